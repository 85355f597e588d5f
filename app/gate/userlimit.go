package gate

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/seed27495941/seckill/app/gate/limit"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/app/web"
)

// usersAtOnce is how many users there are buckets for: see [limit.Users].
const usersAtOnce = 1 << 18

// A userLimit bounds what a single user sends to this node.
type userLimit struct {
	users   *limit.Users
	tooMany *later
	limit   atomic.Pointer[limit.Limit]
}

func newUserLimit(r settings.UserRate) (*userLimit, error) {
	users, err := limit.NewUsers(perUser(r), usersAtOnce)
	tooMany := newLater(http.StatusTooManyRequests, RateLimited, "This buyer sends too many requests."+unseen)
	c := &userLimit{users: users, tooMany: tooMany}
	l := perUser(r)
	c.limit.Store(&l)
	return c, err
}

func (c *userLimit) pass(r *Request) *web.Problem {
	if ok, wait := c.users.Allow(r.User); !ok {
		return c.tooMany.after(wait)
	}
	return nil
}

// set changes the limit, if it is another one: there may be many users to change it for.
func (c *userLimit) set(r settings.UserRate) error {
	l := perUser(r)
	if *c.limit.Load() == l {
		return nil
	}
	if err := c.users.SetLimit(l); err != nil {
		return err
	}
	c.limit.Store(&l)
	return nil
}

func (c *userLimit) inForce() Rate { return rateOf(*c.limit.Load()) }

func perUser(r settings.UserRate) limit.Limit {
	return limit.Limit{Tokens: int64(r.Requests), Per: time.Duration(r.Seconds) * time.Second, Burst: int64(r.Burst)}
}
