package lock

import (
	"context"

	"github.com/seed27495941/seckill/backend"
)

// A Held is one acquisition of a lock. [Held.Release] has to be called when it is
// not needed any more, also after it was lost. It is safe for concurrent use.
type Held struct {
	lock    *Lock
	place   *place
	release func(ctx context.Context) error
}

func (l *Lock) held(p *place) *Held {
	return &Held{lock: l, place: p, release: func(ctx context.Context) error { return l.release(ctx, p) }}
}

// Token is the fencing token: greater than that of every holder before.
func (h *Held) Token() backend.Revision { return h.place.rev }

// Guard makes a write depend on the lock: it holds as long as the lock is held,
// and never again after. It takes up one of the write's conditions.
func (h *Held) Guard() backend.Condition { return backend.If(h.place.key, h.place.rev) }

// Lease is the lease that the acquisition is, for keys that are to vanish with
// it. A Put of such a key needs [Held.Guard] nonetheless: the lock can be lost
// while the lease lasts. Closing it gives the lock up.
func (h *Held) Lease() backend.Lease { return h.place.lease }

// Lost is closed when the lock can't be relied on any more: it was released, its
// lease ended, somebody deleted or overwrote its key, or the store can't be
// followed (ErrDenied, ErrClosed). Behind a store that is away that is after TTL at
// the latest. A process that was paused learns of it a moment after it goes on, so
// this is to stop work early, and no protection: see the package documentation.
func (h *Held) Lost() <-chan struct{} { return h.place.lost }

// Err is nil until Lost is closed. Then it says why: ErrLeaseLost, what the store
// refused, or ErrClosed after Release.
func (h *Held) Err() error { return h.lock.why(h.place) }

// Release gives up this acquisition and no other: it does nothing to one that
// another holder, or this process, has made since. It can be repeated; after a
// failure it tries again. When it fails the lock is still over for its holder, and
// free when the lease has expired.
func (h *Held) Release(ctx context.Context) error { return h.release(ctx) }
