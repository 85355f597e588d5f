package consul_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/consul"
	"github.com/seed27495941/seckill/conformance/servers"
)

// The lease is attached, as Consul itself sees it (cilium's was not), with a lock-delay of 1ms and not of 15s (consul #4508), and without
// the health check that would end it when the node's gossip hiccups.
func TestLeaseIsASession(t *testing.T) {
	s, dir := here(t)
	client := raw(t, shared(t))
	l := newLease(t, s, 2*time.Second)
	put(t, s, "k", "v", backend.WithLease(l))
	require.Equal(t, l.ID(), get(t, s, "k").Lease)

	pair, _, err := client.KV().Get(dir+"k", nil)
	require.NoError(t, err)
	require.Equal(t, l.ID(), pair.Session)
	session, _, err := client.Session().Info(l.ID(), nil)
	require.NoError(t, err)
	require.Equal(t, time.Millisecond, session.LockDelay)
	require.Equal(t, api.SessionBehaviorDelete, session.Behavior)
	require.Equal(t, l.TTL().String(), session.TTL)
	require.Empty(t, session.NodeChecks)
	require.Empty(t, session.Checks)

	require.NoError(t, l.Close(t.Context()))
	require.NoError(t, l.Close(t.Context()))
	require.ErrorIs(t, l.Err(), backend.ErrClosed)
	_, err = s.Get(t.Context(), "k")
	require.ErrorIs(t, err, backend.ErrNotFound, "the key vanishes with its lease")
	session, _, err = client.Session().Info(l.ID(), nil)
	require.NoError(t, err)
	require.Nil(t, session)
}

// The last Put decides which lease a key hangs on.
func TestKeyMovesBetweenLeases(t *testing.T) {
	s, _ := here(t)
	a, b := newLease(t, s, time.Minute), newLease(t, s, time.Minute)
	rev := put(t, s, "k", "1", backend.WithLease(a))
	rev = put(t, s, "k", "2", backend.WithLease(a), backend.If("k", rev))
	rev = put(t, s, "k", "3", backend.WithLease(b), backend.If("k", rev))
	require.Equal(t, b.ID(), get(t, s, "k").Lease)
	require.NoError(t, a.Close(t.Context()))
	require.Equal(t, rev, get(t, s, "k").Revision, "a key that left a lease outlives it")

	_, err := s.Put(t.Context(), "k", nil, backend.If("k", rev+1))
	requireConflict(t, err, backend.ConflictError{Key: "k", Want: rev + 1, Have: rev})
	rev = put(t, s, "k", "4", backend.If("k", rev))
	require.Equal(t, backend.Entry{Key: "k", Value: []byte("4"), Revision: rev}, get(t, s, "k"), "a Put without a lease frees the key")
	require.NoError(t, b.Close(t.Context()))
	require.Equal(t, rev, get(t, s, "k").Revision)
}

// Consul refuses the former keys of an ended session for its lock-delay, even of 1ms.
func TestPutAtOnceAfterClose(t *testing.T) {
	s, _ := here(t)
	next := newLease(t, s, time.Minute)
	for range 200 {
		l := next
		put(t, s, "k", "v", backend.WithLease(l))
		next = newLease(t, s, time.Minute)
		require.NoError(t, l.Close(t.Context()))
		rev := put(t, s, "k", "w", backend.WithLease(next), backend.If("k", 0))
		put(t, s, "k", "x", backend.If("k", rev))
		require.NoError(t, s.Delete(t.Context(), "k"))
	}
}

// The lock-delay of somebody else's session ends the call at its deadline, as a write that was not applied, unless that comes while a
// request is on its way.
func TestForeignLockDelay(t *testing.T) {
	s, dir := here(t)
	client := raw(t, shared(t))
	id, _, err := client.Session().Create(&api.SessionEntry{LockDelay: time.Minute, Behavior: api.SessionBehaviorDelete}, nil)
	require.NoError(t, err)
	ok, _, err := client.KV().Acquire(&api.KVPair{Key: dir + "k", Session: id}, nil)
	require.NoError(t, err)
	require.True(t, ok)
	_, err = client.Session().Destroy(id, nil)
	require.NoError(t, err)

	l := newLease(t, s, time.Minute)
	patience := 50 * time.Millisecond
	eventually(t, "the deadline comes between two requests", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		patience = patience * 3 / 2 // a busy server has not said anything by then
		_, err := s.Put(ctx, "k", nil, backend.WithLease(l))
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		if errors.Is(err, backend.ErrUnknown) {
			return false
		}
		assert.ErrorIs(t, err, backend.ErrUnavailable)
		return strings.Contains(err.Error(), "lock delay") // else it came before the first one
	})
	put(t, s, "k", "free") // only locks are delayed
}

// A session that was destroyed behind its holder's back is found out by a Put, also where the lock-delay of the key hides it.
func TestDeadSession(t *testing.T) {
	s, _ := here(t)
	client := raw(t, shared(t))
	for _, key := range []string{"never held", "held"} {
		l := newLease(t, s, time.Minute)
		put(t, s, "held", "v", backend.WithLease(l))
		_, err := client.Session().Destroy(l.ID(), nil)
		require.NoError(t, err)
		require.True(t, l.Valid(), "its holder can't know yet")

		_, err = s.Put(t.Context(), key, nil, backend.WithLease(l))
		require.ErrorIs(t, err, backend.ErrLeaseLost)
		require.False(t, l.Valid())
		<-l.Done()
		require.ErrorIs(t, l.Err(), backend.ErrLeaseLost)
		_, err = s.Put(t.Context(), key, nil, backend.WithLease(l))
		require.ErrorIs(t, err, backend.ErrLeaseLost)
		require.NoError(t, l.Close(t.Context()), "a lease that is gone can be closed")
	}
}

func TestRenewal(t *testing.T) {
	t.Parallel()
	s, _ := here(t)
	client := raw(t, shared(t))
	const ttl = 3 * time.Second
	l := newLease(t, s, ttl)
	put(t, s, "k", "v", backend.WithLease(l))
	// Consul ends a session at up to twice its TTL; this one outlives that by being renewed.
	for began := time.Now(); time.Since(began) < 3*ttl; time.Sleep(100 * time.Millisecond) {
		require.True(t, l.Valid())
		get(t, s, "k")
	}
	_, err := client.Session().Destroy(l.ID(), nil)
	require.NoError(t, err)
	select {
	case <-l.Done():
	case <-time.After(watchdog):
		t.Fatal("the renewal did not notice")
	}
	require.ErrorIs(t, l.Err(), backend.ErrLeaseLost)
	_, err = s.Put(t.Context(), "k", nil, backend.WithLease(l))
	require.ErrorIs(t, err, backend.ErrLeaseLost)
}

// Closing a store stops renewal and revokes nothing: the keys go when the sessions expire.
func TestExpiry(t *testing.T) {
	t.Parallel()
	s, dir := here(t)
	other := open(t, consul.Config{Endpoints: shared(t).Endpoints(), Root: dir})
	const ttl = 3 * time.Second
	began := time.Now()
	l := newLease(t, s, ttl)
	put(t, s, "a", "v", backend.WithLease(l))
	put(t, s, "b", "v", backend.WithLease(l))
	require.NoError(t, s.Close())
	get(t, other, "a")
	f := follow(t, other, "")
	f.next()
	for f.state.Len() > 0 {
		f.next()
		require.NotEqual(t, 1, f.state.Len(), "keys of one lease vanish together")
	}
	require.GreaterOrEqual(t, time.Since(began), ttl)
}

func TestLeaseOfAnotherStore(t *testing.T) {
	s, dir := here(t)
	other := open(t, consul.Config{Endpoints: shared(t).Endpoints(), Root: dir})
	l := newLease(t, other, time.Minute)
	_, err := s.Put(t.Context(), "k", nil, backend.WithLease(l))
	require.ErrorIs(t, err, backend.ErrInvalid)
	_, err = s.Put(t.Context(), "k", nil, backend.WithLease(struct{ backend.Lease }{newLease(t, s, time.Minute)}))
	require.ErrorIs(t, err, backend.ErrInvalid)
	require.NoError(t, l.Close(t.Context()))
	_, err = other.Put(t.Context(), "k", nil, backend.WithLease(l))
	require.ErrorIs(t, err, backend.ErrLeaseLost)
	_, err = s.Get(t.Context(), "k")
	require.ErrorIs(t, err, backend.ErrNotFound)
}

// With the limits that every Consul has that was not told otherwise: no test may depend on a session_ttl_min of its own (valkeyrie).
func TestTTLLimits(t *testing.T) {
	t.Parallel()
	c := own(t, servers.Config{SessionTTLMin: 10 * time.Second})
	s := open(t, consul.Config{Endpoints: c.Endpoints()})
	for asked, granted := range map[time.Duration]time.Duration{
		time.Nanosecond:                10 * time.Second,
		500 * time.Millisecond:         10 * time.Second,
		10*time.Second + 1:             10*time.Second + time.Millisecond,
		90*time.Second + time.Second/2: 90*time.Second + time.Second/2,
		24 * time.Hour:                 24 * time.Hour,
	} {
		l := newLease(t, s, asked)
		assert.Equal(t, granted, l.TTL())
		session, _, err := raw(t, c).Session().Info(l.ID(), nil)
		require.NoError(t, err)
		assert.Equal(t, granted.String(), session.TTL)
		require.NoError(t, l.Close(t.Context()))
	}
	for _, long := range []time.Duration{24*time.Hour + 1, math.MaxInt64} {
		_, err := s.Lease(t.Context(), long)
		require.ErrorIs(t, err, backend.ErrInvalid)
		require.ErrorContains(t, err, "at most 24h0m0s")
	}
	_, err := s.Lease(t.Context(), -time.Second)
	require.ErrorIs(t, err, backend.ErrInvalid)
	sessions, _, err := raw(t, c).Session().List(nil)
	require.NoError(t, err)
	require.Empty(t, sessions)
}

// tampered is a client whose requests go through a function, and a store on it.
func tampered(t *testing.T, tamper func(req *http.Request, send http.RoundTripper) (*http.Response, error)) *consul.Store {
	t.Helper()
	base := &http.Transport{}
	t.Cleanup(base.CloseIdleConnections)
	through := roundTripper(func(req *http.Request) (*http.Response, error) { return tamper(req, base) })
	client, err := api.NewClient(&api.Config{Address: shared(t).Node(0).URL(), HttpClient: &http.Client{Transport: through}})
	require.NoError(t, err)
	s, err := consul.New(client, consul.Options{Root: root()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

const renewals = "/v1/session/renew/"

// A renewal that finds the session to be another ends the lease: its keys would not vanish with its holder, or vanish before its holder
// knows.
func TestRenewalFindsAnotherSession(t *testing.T) {
	t.Parallel()
	client := raw(t, shared(t))
	const ttl = 6 * time.Second
	for want, other := range map[string]api.SessionEntry{
		`TTL is "5s", it was 6s`: {TTL: "5s", Behavior: api.SessionBehaviorDelete},
		`TTL is "", it was 6s`:   {Behavior: api.SessionBehaviorDelete},
		`behavior is "release"`:  {TTL: "6s", Behavior: api.SessionBehaviorRelease},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			var renewed atomic.Int64
			var found atomic.Value
			found.Store("")
			s := tampered(t, func(req *http.Request, send http.RoundTripper) (*http.Response, error) {
				if strings.HasPrefix(req.URL.Path, renewals) {
					defer renewed.Add(1)
					if id, ok := found.Load().(string); ok && id != "" {
						req.URL.Path = renewals + id
					}
				}
				return send.RoundTrip(req)
			})
			l := newLease(t, s, ttl)
			eventually(t, "it is renewed", func() bool { return renewed.Load() > 0 })
			require.True(t, l.Valid())
			id, _, err := client.Session().CreateNoChecks(&other, nil)
			require.NoError(t, err)
			found.Store(id)
			select {
			case <-l.Done():
			case <-time.After(watchdog):
				t.Fatal("the renewal did not notice")
			}
			require.ErrorIs(t, l.Err(), backend.ErrLeaseLost)
			require.ErrorContains(t, l.Err(), want)
			_, err = client.Session().Destroy(id, nil)
			require.NoError(t, err)
			require.NoError(t, l.Close(t.Context()))
		})
	}
}

// A 404 of somebody else, a proxy whose Consul is away, is no proof that the session is gone.
func TestRenewalMeetsAStrangers404(t *testing.T) {
	t.Parallel()
	var strangers atomic.Int64
	s := tampered(t, func(req *http.Request, send http.RoundTripper) (*http.Response, error) {
		if !strings.HasPrefix(req.URL.Path, renewals) || strangers.Add(1) > 2 {
			return send.RoundTrip(req)
		}
		return &http.Response{
			StatusCode: http.StatusNotFound, Request: req, Header: http.Header{},
			Body: io.NopCloser(strings.NewReader("404 page not found")),
		}, nil
	})
	l := newLease(t, s, 15*time.Second) // long: a machine that is too busy loses no lease before it is tried again
	eventually(t, "the session is renewed", func() bool { return strangers.Load() > 3 || !l.Valid() })
	require.True(t, l.Valid())
	require.NoError(t, l.Close(t.Context()))
}

// A session that was granted when the store was just being closed has no holder. It is not left to expire.
func TestLeaseGrantedWhileClosing(t *testing.T) {
	client := raw(t, shared(t))
	var s *consul.Store
	var session struct{ ID string }
	s = tampered(t, func(req *http.Request, send http.RoundTripper) (*http.Response, error) {
		resp, err := send.RoundTrip(req)
		if err != nil || req.URL.Path != "/v1/session/create" {
			return resp, err
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return nil, err
		}
		resp.Body = io.NopCloser(bytes.NewReader(body))
		if err := json.Unmarshal(body, &session); err != nil {
			return nil, err
		}
		return resp, s.Close()
	})
	_, err := s.Lease(t.Context(), time.Hour)
	require.ErrorIs(t, err, backend.ErrClosed)
	require.NotEmpty(t, session.ID)
	left, _, err := client.Session().Info(session.ID, nil)
	require.NoError(t, err)
	require.Nil(t, left)
}
