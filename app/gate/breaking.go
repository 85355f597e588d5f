package gate

import (
	"time"

	"github.com/seed27495941/seckill/app/gate/breaker"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/app/web"
)

// breaking refuses all while the node has too much to do.
type breaking struct {
	breaker *breaker.Breaker
	no      *later
}

func (c *breaking) pass(r *Request) *web.Problem {
	call, ok, wait := c.breaker.Allow()
	if !ok {
		return c.no.after(wait)
	}
	r.call = call
	return nil
}

func thresholds(c settings.CircuitBreaker) breaker.Thresholds {
	return breaker.Thresholds{CPU: float64(c.CPU), Latency: time.Duration(c.Latency) * time.Millisecond}
}
