package gate

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/app/web"
)

// switchedPatience is when to try again what operators have switched off: nobody
// knows when they switch it on.
const switchedPatience = 20 * time.Second

// switches refuse what operators have switched off, for all events or for one.
type switches struct {
	board              atomic.Pointer[board]
	readOnly, noOrders *later
}

// A board is what is switched off at present.
type board struct {
	settings.Degrade
	events map[ulid.ULID]settings.Switches // what counts for each; an id can be written in more than one way
}

func newSwitches() *switches {
	c := &switches{
		readOnly: newLater(http.StatusServiceUnavailable, SwitchedOff, "Orders are neither placed nor cancelled for now, by the operators' word."+unseen),
		noOrders: newLater(http.StatusServiceUnavailable, SwitchedOff, "No orders are placed for now, by the operators' word."+unseen),
	}
	c.board.Store(&board{})
	return c
}

func (c *switches) pass(r *Request) *web.Problem {
	switch off := c.of(r.Event); {
	case off.ReadOnly:
		return c.readOnly.after(switchedPatience)
	case off.RefuseOrders && r.Kind == Order:
		return c.noOrders.after(switchedPatience)
	}
	return nil
}

func (c *switches) set(d settings.Degrade) {
	b := &board{Degrade: d, events: make(map[ulid.ULID]settings.Switches, len(d.Events))}
	for id := range d.Events {
		if event, err := ulid.ParseStrict(id); err == nil { // it was validated
			b.events[event] = d.Of(id)
		}
	}
	c.board.Store(b)
}

// of are the switches that count for an event.
func (c *switches) of(event ulid.ULID) settings.Switches {
	b := c.board.Load()
	if own, found := b.events[event]; found {
		return own
	}
	return b.Switches
}
