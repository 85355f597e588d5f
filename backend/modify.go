package backend

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Modify is the read-modify-write loop: it reads key, lets change make the new
// value, writes it on the condition that the key is as it was read, and begins
// again if it is not. For an absent key change gets an Entry of revision 0. An
// error of change ends the loop and is returned as it is.
//
// Options are those of [Store.Put]. A key that hangs on a lease would be freed
// from it by a Put without one, so for such a key [WithLease] must be given;
// else the error is ErrInvalid. A conflict on a condition of the caller's is
// returned; the loop adds one of its own, and ends with ctx at the latest. If the
// outcome of a write is unknown the error is ErrUnknown: calling Modify again is
// safe from overwriting or being overwritten, but may apply change twice.
func Modify(ctx context.Context, s Store, key string, change func(Entry) ([]byte, error), opts ...PutOption) (Revision, error) {
	resolved, err := ResolvePut(key, nil, opts...)
	if err != nil {
		return 0, err
	}
	for attempt := 0; ; attempt++ {
		e, err := s.Get(ctx, key)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return 0, err
		}
		if e.Lease != "" && resolved.Lease == nil {
			return 0, fmt.Errorf("%w: %q hangs on lease %s, modifying it takes WithLease", ErrInvalid, key, e.Lease)
		}
		read := e.Revision
		value, err := change(e)
		if err != nil {
			return 0, err
		}
		rev, err := s.Put(ctx, key, value, append([]PutOption{If(key, read)}, opts...)...)
		var conflict *ConflictError
		if !errors.As(err, &conflict) || conflict.Key != key || conflict.Want != read {
			return rev, err
		}
		if err := pause(ctx, attempt); err != nil {
			return 0, Failure(ctx, ErrConflict, "modify", key, conflict)
		}
	}
}

// pause spreads out writers that keep meeting each other: a random part of 1ms,
// doubled with each attempt up to 100ms.
func pause(ctx context.Context, attempt int) error {
	limit := min(time.Millisecond<<min(attempt, 7), 100*time.Millisecond)
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(rand.N(limit)):
		return nil
	}
}
