package registry

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/seed27495941/seckill/backend"
)

// settle makes the key what it should be, if it is not.
func (r *Registration) settle(ctx context.Context) error {
	have, err := r.store.Get(ctx, r.key)
	if err != nil && !errors.Is(err, backend.ErrNotFound) {
		return err
	}
	if r.isLater(have) {
		return nil
	}
	lease, err := r.holdLease(ctx)
	if err != nil {
		return err
	}
	want, err := r.wanted()
	if err != nil {
		return err
	}
	listed := r.isOurs(have) && have.Lease == lease.ID()
	if listed && bytes.Equal(have.Value, want) {
		r.settled(lease, have.Revision)
		return nil
	}
	if !listed {
		r.unlisted(have)
	}
	return r.put(ctx, want, have.Revision, lease)
}

func (r *Registration) put(ctx context.Context, value []byte, have backend.Revision, lease backend.Lease) error {
	r.mu.Lock()
	r.wrote = true
	r.mu.Unlock()
	rev, err := r.store.Put(ctx, r.key, value, backend.If(r.key, have), backend.WithLease(lease))
	if errors.Is(err, backend.ErrLeaseLost) {
		r.loseLease()
	}
	if err != nil {
		return err
	}
	r.settled(lease, rev)
	return nil
}

// isLater is giveWay for those who do not hold mu.
func (r *Registration) isLater(e backend.Entry) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.giveWay(e)
}

func (r *Registration) isOurs(e backend.Entry) bool {
	id, ok := incarnation(e.Value)
	return ok && id == r.incarnation
}

// holdLease returns a lease that can be relied on, a new one if need be. A lost
// one is left to the store.
func (r *Registration) holdLease(ctx context.Context) (backend.Lease, error) {
	if lease := r.currentLease(); lease != nil {
		if lease.Valid() {
			return lease, nil
		}
		r.log.Warn("lease lost", "lease", lease.ID(), "error", lease.Err())
		r.loseLease()
	}
	lease, err := r.store.Lease(ctx, r.ttl)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lease = lease
	return lease, nil
}

func (r *Registration) loseLease() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lease, r.since = nil, time.Time{}
}

// settled takes note that the key is as it should be.
func (r *Registration) settled(lease backend.Lease, rev backend.Revision) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.revision = rev
	if r.seenUpTo >= rev && r.seen != rev {
		r.nudge() // the watch has overtaken us: it is over already
	}
	if r.replaced != "" || !r.since.IsZero() {
		return
	}
	r.since = time.Now()
	r.log.Info("registered", "lease", lease.ID(), "ttl", lease.TTL(), "revision", uint64(rev))
	select {
	case <-r.ready:
	default:
		close(r.ready)
	}
}

// unlisted takes note that somebody has made the key what it should not be.
func (r *Registration) unlisted(have backend.Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.since.IsZero() {
		return
	}
	r.since = time.Time{}
	if have.Revision == 0 {
		r.log.Warn("the key is gone, will be put back")
		return
	}
	r.log.Warn("the key was overwritten, will be put back", "revision", uint64(have.Revision), "lease", have.Lease)
}
