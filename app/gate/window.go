package gate

import (
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/catalogue"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/web"
)

// skew is how far this node's clock may be behind that of who decides. Nobody measures it
// here: a clock that is kept by NTP is wrong by milliseconds. Orders that come so long
// before the opening are left to the owner of the stock, and those are the most: longer
// would have the crowd use up what the store can take.
const skew = 10 * time.Second

// Events tells of an event: a [catalogue.Catalogue].
type Events interface {
	Event(id ulid.ULID) (event.Event, bool)
}

// window refuses orders for what has not opened: none can have been placed before, so
// it is no repeated request that is refused. When an event has closed its owner is
// asked, who knows those.
type window struct {
	events Events
	early  *later
}

func (c *window) pass(r *Request) *web.Problem {
	e, ok := c.events.Event(r.Event)
	if !ok {
		return nil
	}
	now := time.Now()
	if catalogue.PhaseOf(e, now.Add(skew), false) != catalogue.Scheduled {
		return nil
	}
	return c.early.after(e.Window.Opens.Sub(now))
}
