package backend

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// A Grant is a lease as the store has just granted it, for [RunLease].
type Grant struct {
	ID   string
	TTL  time.Duration // as granted
	Sent time.Time     // when the request for it was sent, or a moment before

	// Renew sends one renewal. ErrLeaseLost means that the store knows the
	// lease no more; any other error is tried again while TTL lasts.
	Renew func(ctx context.Context) error

	// Revoke ends the lease at the store. ErrLeaseLost counts as success.
	Revoke func(ctx context.Context) error
}

// RunLease keeps a granted lease alive until it is closed or lost or the
// lifetime ends: a renewal every third of its TTL, each attempt bounded by as
// much, failures repeated sooner. It is the one implementation of keep-alive
// and of the holder's clock; drivers wrap it to know their own leases again.
// Errors: ErrClosed; the lease is then left to expire.
func RunLease(life *Lifetime, g Grant) (*HeldLease, error) {
	l := &HeldLease{
		grant:    g,
		done:     make(chan struct{}),
		stopped:  make(chan struct{}),
		closing:  make(chan struct{}, 1),
		deadline: g.Sent.Add(g.TTL),
	}
	// The clock is not the renewer's: that may hang.
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expiry = time.AfterFunc(time.Until(l.deadline), func() { l.left() })
	if err := life.Go(l.run); err != nil {
		l.expiry.Stop()
		return nil, err
	}
	return l, nil
}

// A HeldLease is a lease as its holder sees it: see [RunLease].
type HeldLease struct {
	grant   Grant
	done    chan struct{}
	stopped chan struct{} // closed when run has returned
	closing chan struct{} // holds a token while Close is at work
	revoked bool          // guarded by closing

	mu       sync.Mutex
	deadline time.Time
	expiry   *time.Timer // at the deadline
	err      error
}

var _ Lease = (*HeldLease)(nil)

// ID implements [Lease].
func (l *HeldLease) ID() string { return l.grant.ID }

// TTL implements [Lease].
func (l *HeldLease) TTL() time.Duration { return l.grant.TTL }

// Done implements [Lease].
func (l *HeldLease) Done() <-chan struct{} { return l.done }

// Valid implements [Lease].
func (l *HeldLease) Valid() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.remaining() > 0
}

// Err implements [Lease].
func (l *HeldLease) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Lose tells the lease that the store knows it no more, for drivers that learn
// it from another call than a renewal.
func (l *HeldLease) Lose(cause error) {
	l.end(fmt.Errorf("%w: %w", ErrLeaseLost, cause))
}

// Close implements [Lease].
func (l *HeldLease) Close(ctx context.Context) error {
	l.end(fmt.Errorf("lease %w", ErrClosed))
	select {
	case l.closing <- struct{}{}:
		defer func() { <-l.closing }()
	case <-ctx.Done():
		return Failure(ctx, ErrUnavailable, "close lease", l.grant.ID, nil)
	}
	// A renewal that is still under way must not overtake the revocation.
	select {
	case <-l.stopped:
	case <-ctx.Done():
	}
	switch {
	case l.revoked:
		return nil
	case ctx.Err() != nil:
		return Failure(ctx, ErrUnavailable, "close lease", l.grant.ID, nil)
	}
	if err := l.grant.Revoke(ctx); err != nil && !errors.Is(err, ErrLeaseLost) {
		return err
	}
	l.revoked = true
	return nil
}

// remaining tells how long the lease can be relied on, ending it if that is
// over. The caller holds mu.
func (l *HeldLease) remaining() time.Duration {
	if l.err != nil {
		return 0
	}
	left := time.Until(l.deadline)
	if left <= 0 {
		l.endLocked(fmt.Errorf("%w: not renewed within its TTL of %v", ErrLeaseLost, l.grant.TTL))
	}
	return left
}

func (l *HeldLease) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endLocked(err)
}

func (l *HeldLease) endLocked(err error) {
	if l.err == nil {
		l.err = err
		l.expiry.Stop()
		close(l.done)
	}
}

// left is remaining for those who do not hold mu.
func (l *HeldLease) left() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.remaining()
}

// renewed extends the lease by a renewal sent at the time given, unless it came
// too late to count.
func (l *HeldLease) renewed(sent time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.remaining() > 0 {
		l.deadline = sent.Add(l.grant.TTL)
		l.expiry.Reset(time.Until(l.deadline))
	}
}

func (l *HeldLease) run(ctx context.Context) {
	defer close(l.stopped)
	interval := l.grant.TTL / 3
	retry := min(l.grant.TTL/12, time.Second)
	for wait := interval; ; {
		if !l.sleep(ctx, wait) {
			return
		}
		sent := time.Now()
		switch err := l.renew(ctx, interval); {
		case err == nil:
			l.renewed(sent)
			wait = interval
		case errors.Is(err, ErrLeaseLost):
			l.end(err)
		default:
			wait = retry
		}
	}
}

// sleep waits for d, at most as long as the lease lasts. It returns false when
// the lease is over.
func (l *HeldLease) sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(min(d, l.left()))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		l.end(context.Cause(ctx))
	case <-l.done:
	case <-timer.C:
	}
	return l.Valid()
}

// renew sends one renewal, within limit and the time of any call, and while the
// lease lasts.
func (l *HeldLease) renew(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, min(limit, DefaultTimeout, l.left()))
	defer cancel()
	ctx, cancelDone := WithLeaseContext(ctx, l)
	defer cancelDone()
	return l.grant.Renew(ctx)
}

// WithLeaseContext derives a context that ends with the lease too, so that work
// done under a lease stops when its holder can't rely on it any more. The cause
// is then [Lease.Err]. The function returned releases it and must be called.
func WithLeaseContext(ctx context.Context, l Lease) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	if !l.Valid() {
		cancel(l.Err()) // now, not when the goroutine gets its turn
	}
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		select {
		case <-l.Done():
			cancel(l.Err())
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-watching
	}
}
