package etcd_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
)

// etcd counts in seconds. Cut to 0 a lease would be refused, or last as long
// as the server likes.
func TestATTLIsNeverLessThanAsked(t *testing.T) {
	s := open(t, on(serve(t).Endpoint()))
	for _, ttl := range []time.Duration{1, 300 * time.Millisecond, 2500 * time.Millisecond, 3 * time.Second} {
		l, err := s.Lease(t.Context(), ttl)
		require.NoError(t, err)
		assert.GreaterOrEqual(t, l.TTL(), ttl)
		assert.Less(t, l.TTL(), ttl+2*time.Second)
		assert.Zero(t, l.TTL()%time.Second)
		require.NoError(t, l.Close(t.Context()))
	}
	for _, ttl := range []time.Duration{0, -time.Second, math.MaxInt64} {
		_, err := s.Lease(t.Context(), ttl)
		assert.ErrorIs(t, err, backend.ErrInvalid, ttl)
	}
}

func TestALeaseIsKept(t *testing.T) {
	s := open(t, on(serve(t).Endpoint()))
	l, err := s.Lease(t.Context(), time.Second)
	require.NoError(t, err)
	put(t, s, "k", "v", backend.WithLease(l))
	time.Sleep(2*l.TTL() + time.Second) // longer than it would last by itself
	require.NoError(t, l.Err())
	require.True(t, l.Valid())
	_, err = s.Get(t.Context(), "k")
	require.NoError(t, err)
	require.NoError(t, l.Close(t.Context()))
	_, err = s.Get(t.Context(), "k")
	require.ErrorIs(t, err, backend.ErrNotFound)
	require.NoError(t, l.Close(t.Context()), "again")
	require.ErrorIs(t, l.Err(), backend.ErrClosed)
}

func TestALeaseRevokedByOthers(t *testing.T) {
	srv := serve(t)
	s, c := open(t, on(srv.Endpoint())), rawOn(t, srv.Endpoint())
	revokeAll := func() {
		leases, err := c.Leases(t.Context())
		require.NoError(t, err)
		for _, l := range leases.Leases {
			_, err := c.Revoke(t.Context(), l.ID)
			require.NoError(t, err)
		}
	}
	// Noticed by a Put, with a condition and without.
	for _, opts := range [][]backend.PutOption{nil, {backend.If("k", 0)}} {
		l, err := s.Lease(t.Context(), time.Minute)
		require.NoError(t, err)
		revokeAll()
		require.True(t, l.Valid(), "nobody has told the holder yet")
		_, err = s.Put(t.Context(), "k", nil, append(opts, backend.WithLease(l))...)
		require.ErrorIs(t, err, backend.ErrLeaseLost)
		<-l.Done()
		require.ErrorIs(t, l.Err(), backend.ErrLeaseLost)
		require.NoError(t, l.Close(t.Context()), "the store has ended it already")
		_, err = s.Get(t.Context(), "k")
		require.ErrorIs(t, err, backend.ErrNotFound)
	}
	// Noticed by the renewal.
	l, err := s.Lease(t.Context(), 2*time.Second)
	require.NoError(t, err)
	revokeAll()
	select {
	case <-l.Done():
	case <-time.After(patience):
		require.Fail(t, "the holder is never told")
	}
	require.ErrorIs(t, l.Err(), backend.ErrLeaseLost)
	_, err = s.Put(t.Context(), "k", nil, backend.WithLease(l))
	require.ErrorIs(t, err, backend.ErrLeaseLost)
}

func TestALeaseThatEndedIsNotSent(t *testing.T) {
	p := newProxy(t, serve(t).Endpoint())
	s := open(t, on(p.addr()))
	l, err := s.Lease(t.Context(), time.Second)
	require.NoError(t, err)
	p.freeze(true)
	select {
	case <-l.Done():
	case <-time.After(patience):
		require.Fail(t, "the holder's clock has stopped")
	}
	require.ErrorIs(t, l.Err(), backend.ErrLeaseLost)
	begun := time.Now()
	_, err = s.Put(t.Context(), "k", nil, backend.WithLease(l))
	require.ErrorIs(t, err, backend.ErrLeaseLost)
	require.Less(t, time.Since(begun), time.Second, "without asking a server that hangs")
	p.freeze(false)

	closed, err := s.Lease(t.Context(), time.Minute)
	require.NoError(t, err)
	require.NoError(t, closed.Close(t.Context()))
	_, err = s.Put(t.Context(), "k", nil, backend.WithLease(closed))
	require.ErrorIs(t, err, backend.ErrLeaseLost)
}

type wrapped struct{ backend.Lease }

func TestALeaseOfAnotherStore(t *testing.T) {
	srv := serve(t)
	s, other := open(t, on(srv.Endpoint())), open(t, on(srv.Endpoint()))
	l, err := other.Lease(t.Context(), time.Minute)
	require.NoError(t, err)
	_, err = s.Put(t.Context(), "k", nil, backend.WithLease(l))
	require.ErrorIs(t, err, backend.ErrInvalid)
	_, err = other.Put(t.Context(), "k", nil, backend.WithLease(wrapped{l}))
	require.ErrorIs(t, err, backend.ErrInvalid)
	_, err = backend.Prefix(other, "p/").Put(t.Context(), "k", nil, backend.WithLease(l))
	require.NoError(t, err)
}

// clientv3's KeepAliveOnce repeats a failed renewal at once and without end.
func TestRenewalsAreSpacedOutWhileTheServerIsAway(t *testing.T) {
	srv := serve(t)
	p := newProxy(t, srv.Endpoint())
	s := open(t, on(p.addr()))
	l, err := s.Lease(t.Context(), 3*time.Second)
	require.NoError(t, err)
	p.retarget(deadAddr(t))
	before := p.accepted.Load()
	<-l.Done()
	require.ErrorIs(t, l.Err(), backend.ErrLeaseLost)
	assert.Less(t, p.accepted.Load()-before, int64(30), "attempts to connect")
}

func TestALeaseOutlivesAShortOutage(t *testing.T) {
	srv := serve(t)
	p := newProxy(t, srv.Endpoint())
	s := open(t, on(p.addr()))
	l, err := s.Lease(t.Context(), 10*time.Second)
	require.NoError(t, err)
	put(t, s, "k", "v", backend.WithLease(l))
	p.retarget(deadAddr(t))
	time.Sleep(4 * time.Second) // a renewal fails
	p.retarget(srv.Endpoint())
	c := rawOn(t, srv.Endpoint())
	require.Eventually(t, func() bool {
		leases, err := c.Leases(t.Context())
		require.NoError(t, err)
		ttl, err := c.TimeToLive(t.Context(), leases.Leases[0].ID)
		return err == nil && ttl.TTL > 8
	}, patience, 50*time.Millisecond)
	require.True(t, l.Valid())
}
