package blacklist

import (
	"context"
	"time"
)

// A pace keeps work that nobody waits for from taking processors that requests need: it
// rests for as long as it has worked, so that it takes half of one at most. The zero value
// never rests.
type pace struct {
	since time.Time // it works
}

// gently is a pace that rests.
func gently() *pace { return &pace{since: time.Now()} }

// rest is called between two pieces of work. Errors: context.Cause(ctx) when ctx ends.
func (p *pace) rest(ctx context.Context) error {
	if p.since.IsZero() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return nil
	}
	timer := time.NewTimer(time.Since(p.since))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		p.since = time.Now()
		return nil
	}
}
