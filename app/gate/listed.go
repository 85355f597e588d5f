package gate

import (
	"github.com/seed27495941/seckill/app/gate/blacklist"
	"github.com/seed27495941/seckill/app/web"
)

// listed refuses those on the blacklist.
type listed struct {
	list *blacklist.List // nil: nobody is on it
	no   *web.Problem
}

func (c *listed) pass(r *Request) *web.Problem {
	if c.list != nil && c.list.Contains(r.User) {
		return c.no
	}
	return nil
}
