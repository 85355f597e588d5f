package backend_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed27495941/seckill/backend"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errAway = errors.New("the store is away")

// grantor plays the store's part of a lease.
type grantor struct {
	renewals, revocations atomic.Int32
	renewal, revocation   atomic.Pointer[error] // what the store answers
}

func (g *grantor) answer(p *atomic.Pointer[error], count *atomic.Int32) error {
	count.Add(1)
	if err := p.Load(); err != nil {
		return *err
	}
	return nil
}

func (g *grantor) run(t *testing.T, ttl time.Duration) (*backend.HeldLease, *backend.Lifetime) {
	life := backend.NewLifetime()
	l, err := backend.RunLease(life, backend.Grant{
		ID: "lease", TTL: ttl, Sent: time.Now(),
		Renew:  func(context.Context) error { return g.answer(&g.renewal, &g.renewals) },
		Revoke: func(context.Context) error { return g.answer(&g.revocation, &g.revocations) },
	})
	require.NoError(t, err)
	return l, life
}

func TestLeaseRenewsThreeTimesInATTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g grantor
		l, life := g.run(t, 6*time.Second)
		time.Sleep(60*time.Second + time.Millisecond)
		assert.True(t, l.Valid())
		assert.EqualValues(t, 30, g.renewals.Load())
		life.Close()
		require.ErrorIs(t, l.Err(), backend.ErrClosed)
		assert.False(t, l.Valid())
		assert.Zero(t, g.revocations.Load(), "closing a store revoked a lease")
	})
}

func TestLeaseIsLostOneTTLAfterItsLastRenewalWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g grantor
		l, life := g.run(t, 6*time.Second)
		defer life.Close()
		time.Sleep(2 * time.Second) // the renewal sent now is the last
		synctest.Wait()
		sent := time.Now()
		g.renewal.Store(&errAway)
		<-l.Done()
		assert.Equal(t, 6*time.Second, time.Since(sent))
		require.ErrorIs(t, l.Err(), backend.ErrLeaseLost)
		assert.Greater(t, g.renewals.Load(), int32(5), "failures are repeated sooner")
	})
}

func TestLeaseOutlivesAStoreThatIsAwayForLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g grantor
		l, life := g.run(t, 6*time.Second)
		defer life.Close()
		for range 5 {
			g.renewal.Store(&errAway)
			time.Sleep(3 * time.Second) // the last renewal may be two older
			g.renewal.Store(nil)
			time.Sleep(2 * time.Second)
		}
		assert.True(t, l.Valid())
	})
}

func TestLeaseCountsARenewalFromWhenItWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		life := backend.NewLifetime()
		defer life.Close()
		var renewals atomic.Int32
		start := time.Now()
		l, err := backend.RunLease(life, backend.Grant{
			ID: "lease", TTL: 6 * time.Second, Sent: start.Add(-time.Second), // the grant took a second
			Renew: func(ctx context.Context) error {
				if renewals.Add(1) == 1 {
					time.Sleep(1500 * time.Millisecond) // slow, and within its limit
					return nil
				}
				return errAway
			},
			Revoke: func(context.Context) error { return nil },
		})
		require.NoError(t, err)
		<-l.Done()
		assert.Equal(t, 8*time.Second, time.Since(start), "sent at 2s, 6s of TTL")
	})
}

func TestLeaseEndsThoughARenewalHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		life := backend.NewLifetime()
		defer life.Close()
		attempts := 0
		l, err := backend.RunLease(life, backend.Grant{
			ID: "lease", TTL: 6 * time.Second, Sent: time.Now(),
			Renew: func(ctx context.Context) error {
				attempts++
				<-ctx.Done()
				return ctx.Err()
			},
			Revoke: func(context.Context) error { return nil },
		})
		require.NoError(t, err)
		start := time.Now()
		<-l.Done()
		assert.Equal(t, 6*time.Second, time.Since(start))
		life.Close() // it has stopped then
		assert.Equal(t, 2, attempts, "one hanging renewal must not use up the TTL")
	})
}

func TestLeaseLostAtTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g grantor
		l, life := g.run(t, 6*time.Second)
		defer life.Close()
		gone := errors.Join(backend.ErrLeaseLost)
		g.renewal.Store(&gone)
		g.revocation.Store(&gone)
		start := time.Now()
		<-l.Done()
		assert.Equal(t, 2*time.Second, time.Since(start))
		require.ErrorIs(t, l.Err(), backend.ErrLeaseLost)
		time.Sleep(time.Minute)
		assert.EqualValues(t, 1, g.renewals.Load(), "a lost lease is renewed no more")
		require.NoError(t, l.Close(t.Context()))
		require.ErrorIs(t, l.Err(), backend.ErrLeaseLost, "Close does not change why it ended")
	})
}

func TestLeaseCloseTriesAgainAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g grantor
		l, life := g.run(t, 6*time.Second)
		defer life.Close()
		g.revocation.Store(&errAway)
		require.ErrorIs(t, l.Close(t.Context()), errAway)
		require.ErrorIs(t, l.Err(), backend.ErrClosed)
		g.revocation.Store(nil)
		ended, cancel := context.WithCancelCause(t.Context())
		cancel(backend.ErrLeaseLost)
		require.Error(t, l.Close(ended), "a context that ended for another lease's sake is no success")
		require.NoError(t, l.Close(t.Context()))
		require.NoError(t, l.Close(t.Context()))
		assert.EqualValues(t, 2, g.revocations.Load())
	})
}

func TestLeaseStaysInvalid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		life := backend.NewLifetime()
		defer life.Close()
		answer := make(chan struct{})
		l, err := backend.RunLease(life, backend.Grant{
			ID: "lease", TTL: 6 * time.Second, Sent: time.Now(),
			Renew:  func(context.Context) error { <-answer; return nil }, // does not heed its context
			Revoke: func(context.Context) error { return nil },
		})
		require.NoError(t, err)
		start := time.Now()
		<-l.Done()
		assert.Equal(t, 6*time.Second, time.Since(start), "a renewal that hangs stopped the clock")
		require.False(t, l.Valid())
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, l.Close(short), context.DeadlineExceeded)
		close(answer)
		synctest.Wait()
		require.False(t, l.Valid(), "a renewal that came too late revived the lease")
		require.NoError(t, l.Close(t.Context()))
	})
}

func TestLeaseContextEndsWithTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g grantor
		l, life := g.run(t, 6*time.Second)
		defer life.Close()
		ctx, cancel := backend.WithLeaseContext(t.Context(), l)
		defer cancel()
		require.NoError(t, ctx.Err())
		require.NoError(t, l.Close(t.Context()))
		<-ctx.Done()
		require.ErrorIs(t, context.Cause(ctx), backend.ErrClosed)

		dead, forget := backend.WithLeaseContext(t.Context(), l)
		require.ErrorIs(t, context.Cause(dead), backend.ErrClosed, "a lease that has ended gives no live context")
		forget()

		released, release := backend.WithLeaseContext(t.Context(), l)
		release()
		require.Error(t, released.Err())
	})
}

func TestLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		life := backend.NewLifetime()
		ctx, release, err := life.Call(t.Context(), time.Second)
		require.NoError(t, err)
		defer release()
		start := time.Now()
		<-ctx.Done()
		assert.Equal(t, time.Second, time.Since(start), "without a deadline there is the request timeout")

		long, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		ctx, release, err = life.Call(long, time.Second)
		require.NoError(t, err)
		defer release()
		time.Sleep(time.Minute)
		require.NoError(t, ctx.Err(), "a deadline of the caller's replaces it")

		ended := false
		require.NoError(t, life.Go(func(ctx context.Context) {
			<-ctx.Done()
			time.Sleep(time.Second)
			ended = true
		}))
		life.Close()
		assert.True(t, ended, "Close did not wait")
		require.ErrorIs(t, context.Cause(ctx), backend.ErrClosed)
		_, _, err = life.Call(t.Context(), 0)
		require.ErrorIs(t, err, backend.ErrClosed)
		require.ErrorIs(t, life.Go(func(context.Context) { t.Error("ran") }), backend.ErrClosed)
		life.Close()
	})
}
