package registry

import (
	"context"
	"errors"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/internal/run"
)

// withdrawals is how often it is tried to delete the key.
const withdrawals = 3

// deregister takes the node off the list and gives the lease up.
func (r *Registration) deregister(ctx context.Context) error {
	err := errors.Join(r.withdraw(ctx), r.closeLease(ctx))
	if err != nil {
		r.log.Warn("not deregistered, the lease will expire", "error", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil && r.wrote && r.replaced == "" {
		r.log.Info("deregistered")
	}
	r.lease, r.revision, r.since, r.wrote = nil, 0, time.Time{}, false
	return err
}

// withdraw deletes the key if it is ours, and no other: the one key, under a
// condition on the revision at which it was seen to be ours.
func (r *Registration) withdraw(ctx context.Context) error {
	r.mu.Lock()
	wrote := r.wrote
	r.mu.Unlock()
	if !wrote {
		return nil
	}
	ctx, cancel := run.Farewell(ctx)
	defer cancel()
	for attempt := 1; ; attempt++ {
		have, err := r.store.Get(ctx, r.key)
		switch {
		case errors.Is(err, backend.ErrNotFound):
			return nil
		case err != nil:
			return err
		case !r.isOurs(have):
			return nil
		}
		err = r.store.Delete(ctx, r.key, backend.If(r.key, have.Revision))
		// A conflict is somebody else's write, an unknown outcome is told by
		// the key: look again.
		open := errors.Is(err, backend.ErrConflict) || errors.Is(err, backend.ErrUnknown)
		if !open || attempt == withdrawals {
			return err
		}
	}
}

func (r *Registration) closeLease(ctx context.Context) error {
	lease := r.currentLease()
	if lease == nil {
		return nil
	}
	ctx, cancel := run.Farewell(ctx)
	defer cancel()
	return lease.Close(ctx)
}
