// Package run is what the Run methods of recipes have in common: how they begin,
// and how they end.
package run

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/seed27495941/seckill/backend"
)

// A Turn is taken by one Run at a time. The zero value is free. It is safe for
// concurrent use.
type Turn struct{ taken atomic.Bool }

// Begin takes the turn for what is run, which the error names. Errors: ErrInvalid
// if it is taken.
func (t *Turn) Begin(what string) error {
	if !t.taken.CompareAndSwap(false, true) {
		return fmt.Errorf("%w: %s is already running", backend.ErrInvalid, what)
	}
	return nil
}

// End gives the turn back.
func (t *Turn) End() { t.taken.Store(false) }

// patience bounds a farewell: a process that is to end should.
const patience = 2500 * time.Millisecond

// Farewell is a context for what is left to do when ctx has ended: it has ctx's
// values, not its end, and ends some seconds from now.
func Farewell(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), patience)
}
