package jobs

import (
	"context"
	"time"

	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/backend"
)

// A listing is the events as they were read last, once for all jobs that look at them at
// about the same time: there are more and more that nothing is done to any more.
type listing struct {
	reading    chan struct{} // holds a token while it is read, or forgotten; it guards the rest
	at         time.Time     // zero: to be read again
	events     []event.Event
	unreadable []error
}

func newListing() *listing { return &listing{reading: make(chan struct{}, 1)} }

// fresh is how old a listing may be.
const fresh = often * 2 / 3

// read returns all events, and what is wrong with keys that are none. Both are shared, and
// not to be modified. Errors: those of [event.List].
func (l *listing) read(ctx context.Context, s backend.Store) ([]event.Event, []error, error) {
	select {
	case l.reading <- struct{}{}:
		defer func() { <-l.reading }()
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	if !l.at.IsZero() && time.Since(l.at) < fresh {
		return l.events, l.unreadable, nil
	}
	at := time.Now()
	events, unreadable, err := event.List(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	l.at, l.events, l.unreadable = at, events, unreadable
	return events, unreadable, nil
}

// forget has the events read again: one was changed.
func (l *listing) forget() {
	l.reading <- struct{}{}
	defer func() { <-l.reading }()
	l.at = time.Time{}
}
