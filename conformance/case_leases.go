package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
)

// What cases ask for; the store may grant more. A busy machine may be late with
// the renewals of a short lease, so that is for those which are to expire.
const (
	shortTTL = 2 * time.Second
	longTTL  = time.Minute
)

// leases: guarantee 4.
func leases() []Case {
	return slices.Concat(leaseBasics(), leaseKeys(), leaseHolders())
}

// leaseBasics is about one lease and what hangs on it.
func leaseBasics() []Case {
	return []Case{{
		Name: "lease/granted", Guarantee: 4,
		Proves: "A lease lasts at least as long as asked, is valid at once, and its keys tell its ID.",
		run: func(t *proof) {
			s := t.open()
			for _, ttl := range []time.Duration{10500 * time.Millisecond, longTTL, time.Hour} {
				l, err := s.Lease(t.ctx, ttl)
				require.NoError(t, err)
				require.GreaterOrEqual(t, l.TTL(), ttl)
				require.True(t, l.Valid())
				require.NoError(t, l.Err())
				require.NotEmpty(t, l.ID())
				rev := t.put(s, "k", value("v"), backend.WithLease(l))
				require.Equal(t, backend.Entry{Key: "k", Value: value("v"), Revision: rev, Lease: l.ID()}, t.get(t.open(), "k"))
				require.NoError(t, l.Close(t.ctx))
			}
		},
	}, {
		Name: "lease/ttl-out-of-range", Guarantee: 4,
		Proves: "A TTL that is not positive, or beyond any store's maximum, is refused as invalid.",
		run: func(t *proof) {
			s := t.open()
			for _, ttl := range []time.Duration{0, -time.Second, 1<<63 - 1} {
				l, err := s.Lease(t.ctx, ttl)
				require.ErrorIs(t, err, backend.ErrInvalid)
				require.Nil(t, l)
			}
		},
	}, {
		Name: "lease/close-takes-its-keys", Guarantee: 4,
		Proves: "Closing a lease removes all its keys now and together, and leaves the others.",
		run: func(t *proof) {
			s := t.open()
			w := t.tap(t.open(), "dir/")
			l := t.lease(s)
			const keys = 100
			for i := range keys {
				t.put(s, key("dir", i), nil, backend.WithLease(l))
			}
			stays := t.put(s, "dir/stays", nil)
			w.waitRevision("dir/stays", stays)
			require.NoError(t, l.Close(t.ctx))
			entries, _, err := backend.List(t.ctx, s, "dir/")
			require.NoError(t, err)
			require.Equal(t, []string{"dir/stays"}, keysOf(entries))
			w.waitSame(s)
		},
	}, {
		Name: "lease/closed", Guarantee: 4,
		Proves: "A closed lease is done with ErrClosed, can be closed again, and takes no more keys.",
		run: func(t *proof) {
			s := t.open()
			l := t.lease(s)
			require.NoError(t, l.Close(t.ctx))
			t.done(l)
			require.ErrorIs(t, l.Err(), backend.ErrClosed)
			require.False(t, l.Valid())
			require.NoError(t, l.Close(t.ctx))
			_, err := s.Put(t.ctx, "k", nil, backend.WithLease(l))
			require.ErrorIs(t, err, backend.ErrLeaseLost)
			t.absent(s, "k")
		},
	}, {
		Name: "lease/expires", Guarantee: 4,
		Proves: "When the holder falls silent, its keys are gone within 2×TTL + 2s (10s more for a slow machine).",
		run: func(t *proof) {
			holder, other := t.open(), t.open()
			w := t.tap(other, "dir/")
			l, _ := t.leased(holder, shortTTL, "dir/a", "dir/b")

			// The last renewal may have been sent just before: the TTL counts from
			// the grant at least.
			granted := time.Now()
			require.NoError(t, holder.Close())
			t.done(l)
			require.ErrorIs(t, l.Err(), backend.ErrClosed)
			t.vanishes(other, "dir/a")
			t.vanishes(other, "dir/b")
			lasted := time.Since(granted)
			w.waitGone("dir/a")
			w.waitGone("dir/b")
			require.Less(t, lasted, 2*l.TTL()+12*time.Second)
			t.Logf("TTL %v: gone %v after the last moment of a renewal", l.TTL(), lasted.Round(time.Millisecond))
		},
	}, {
		Name: "lease/closing-a-store-revokes-nothing", Guarantee: 4,
		Proves: "Closing the holder's store ends its lease for the holder, and leaves it to expire in the store.",
		run: func(t *proof) {
			holder, other := t.open(), t.open()
			l, err := holder.Lease(t.ctx, 10*time.Minute)
			require.NoError(t, err)
			rev := t.put(holder, "k", nil, backend.WithLease(l))
			require.NoError(t, holder.Close())
			t.done(l)
			require.ErrorIs(t, l.Err(), backend.ErrClosed)
			require.Equal(t, rev, t.get(other, "k").Revision)
		},
	}, {
		Name: "lease/not-before-its-ttl", Guarantee: 4,
		Proves: "A lease that was never renewed keeps its keys for at least its TTL.",
		run: func(t *proof) {
			holder, other := t.open(), t.open()
			l, before := t.leased(holder, 2500*time.Millisecond, "k")
			require.NoError(t, holder.Close())
			t.vanishes(other, "k")
			require.GreaterOrEqual(t, time.Since(before), l.TTL())
		},
	}, {
		Name: "lease/kept-alive", Guarantee: 4,
		Proves: "A lease that is held outlives three TTLs, though the context of its grant has ended.",
		run: func(t *proof) {
			s := t.open()
			ctx, cancel := context.WithCancel(t.ctx)
			l, err := s.Lease(ctx, 10*time.Second)
			cancel()
			require.NoError(t, err)
			rev := t.put(s, "k", nil, backend.WithLease(l))
			t.lasts(l, 3*l.TTL()+l.TTL()/2)
			require.Equal(t, rev, t.get(t.open(), "k").Revision)
			require.NoError(t, l.Close(t.ctx))
		},
	}, {
		Name: "lease/moved-key-outlives-its-old-lease", Guarantee: 4,
		Proves: "The last Put decides what a key hangs on: closing the lease it has left does not touch it, closing the new one does.",
		run: func(t *proof) {
			s, other := t.open(), t.open()
			old, moved := t.lease(s), t.lease(other)
			t.put(s, "k", value("1"), backend.WithLease(old))
			rev := t.put(other, "k", value("2"), backend.WithLease(moved))
			require.NoError(t, old.Close(t.ctx))
			require.Equal(t, backend.Entry{Key: "k", Value: value("2"), Revision: rev, Lease: moved.ID()}, t.get(s, "k"))
			require.NoError(t, moved.Close(t.ctx))
			t.absent(s, "k")
		},
	}, {
		Name: "lease/freed-key-stays", Guarantee: 4,
		Proves: "A Put without a lease frees the key from the one it hung on.",
		run: func(t *proof) {
			s := t.open()
			l := t.lease(s)
			t.put(s, "k", value("1"), backend.WithLease(l))
			rev := t.put(t.open(), "k", value("2"))
			require.Empty(t, t.get(s, "k").Lease)
			require.NoError(t, l.Close(t.ctx))
			require.Equal(t, backend.Entry{Key: "k", Value: value("2"), Revision: rev}, t.get(s, "k"))
		},
	}, {
		Name: "lease/rewritten-under-it", Guarantee: 4,
		Proves: "A key can be written again and again under its own lease, conditions included.",
		run: func(t *proof) {
			s := t.open()
			l := t.lease(s)
			rev := backend.Revision(0)
			for i := range 5 {
				old := rev
				rev = t.put(s, "k", value(i), backend.WithLease(l), backend.If("k", old))
				_, err := s.Put(t.ctx, "k", value("stale"), backend.WithLease(l), backend.If("k", old))
				t.conflict(err, backend.If("k", old), rev)
			}
			require.Equal(t, l.ID(), t.get(s, "k").Lease)
			require.NoError(t, l.Close(t.ctx))
			t.absent(s, "k")
		},
	}, {
		Name: "lease/conflict-attaches-nothing", Guarantee: 4,
		Proves: "A Put that meets a conflict changes neither the key's value nor its lease.",
		run: func(t *proof) {
			s := t.open()
			l := t.lease(s)
			rev := t.put(s, "k", value("free"))
			_, err := s.Put(t.ctx, "k", value("leased"), backend.WithLease(l), backend.If("k", rev+1))
			t.conflict(err, backend.If("k", rev+1), rev)
			require.NoError(t, l.Close(t.ctx))
			require.Equal(t, backend.Entry{Key: "k", Value: value("free"), Revision: rev}, t.get(s, "k"))
		},
	}, {
		Name: "lease/put-again-after-close", Guarantee: 4,
		Proves: "A key whose lease was closed can be put under a new one at once (Consul's lock-delay is nobody's business).",
		run: func(t *proof) {
			s := t.open()
			held, next := t.lease(s), t.lease(s)
			for range 20 {
				t.put(s, "k", nil, backend.WithLease(held), backend.If("k", 0))
				// What comes after must not take time: the delay is short.
				third := t.lease(s)
				require.NoError(t, held.Close(t.ctx))
				t.put(s, "k", nil, backend.WithLease(next), backend.If("k", 0))
				require.NoError(t, s.Delete(t.ctx, "k"))
				held, next = next, third
			}
			t.absent(s, "k")
		},
	}, {
		Name: "lease/revoked-by-others", Guarantee: 4, Needs: []Power{Raw},
		Proves: "A lease ended by the store's own tools takes its keys, is seen as lost by its holder within its TTL, and takes no more.",
		run: func(t *proof) {
			s := t.open()
			l, _ := t.leased(s, 5*time.Second, "k")
			require.NoError(t, t.raw().RawRevoke(t.ctx, l.ID()))
			t.absent(s, "k")
			revoked := time.Now()
			t.done(l)
			require.Less(t, time.Since(revoked), l.TTL()+10*time.Second)
			require.ErrorIs(t, l.Err(), backend.ErrLeaseLost)
			require.False(t, l.Valid())
			_, err := s.Put(t.ctx, "k", nil, backend.WithLease(l))
			require.ErrorIs(t, err, backend.ErrLeaseLost)
			t.absent(s, "k")
			require.NoError(t, l.Close(t.ctx), "closing a lease that the store has ended is no error")
		},
	}, {
		Name: "lease/put-on-a-lost-one", Guarantee: 4, Needs: []Power{Raw},
		Proves: "A Put with a lease that the holder does not yet know to be lost fails with ErrLeaseLost, writes nothing, and tells the lease.",
		run: func(t *proof) {
			s := t.open()
			for range 5 {
				l, err := s.Lease(t.ctx, time.Hour) // no renewal tells it while the case lasts
				require.NoError(t, err)
				t.put(s, "k", nil, backend.WithLease(l))
				require.NoError(t, t.raw().RawRevoke(t.ctx, l.ID()))
				_, err = s.Put(t.ctx, "k", nil, backend.WithLease(l))
				require.ErrorIs(t, err, backend.ErrLeaseLost)
				t.absent(s, "k")
				t.done(l)
				require.ErrorIs(t, l.Err(), backend.ErrLeaseLost)
			}
		},
	}, {
		Name: "lease/of-another-store", Guarantee: 4,
		Proves: "A lease of another store is refused as invalid, and nothing is written.",
		run: func(t *proof) {
			s := t.open()
			l := t.lease(t.open())
			_, err := s.Put(t.ctx, "k", nil, backend.WithLease(l))
			require.ErrorIs(t, err, backend.ErrInvalid)
			_, err = s.Put(t.ctx, "k", nil, backend.WithLease(nil))
			require.ErrorIs(t, err, backend.ErrInvalid)
			t.absent(s, "k")
		},
	}, {
		Name: "lease/outlives-a-restart", Guarantee: 4, Needs: []Power{Restart},
		Proves: "A lease and its keys outlive a restart of the server, and renewal goes on by itself.",
		run: func(t *proof) {
			r := power[Restarter](t)
			s := t.open()
			l, err := s.Lease(t.ctx, 30*time.Second)
			require.NoError(t, err)
			rev := t.put(s, "k", nil, backend.WithLease(l))
			require.NoError(t, r.Restart(t.ctx))
			t.lasts(l, l.TTL()+l.TTL()/2) // what was renewed before, and nothing since, is over by then
			require.Equal(t, backend.Entry{Key: "k", Value: []byte{}, Revision: rev, Lease: l.ID()}, t.get(s, "k"))
			require.NoError(t, l.Close(t.ctx))
			t.absent(s, "k")
		},
	}, {
		Name: "lease/lost-by-the-holders-clock", Guarantee: 4, Needs: []Power{Pause},
		Proves: "A holder that can't renew gives its lease up when its TTL has passed, without an answer of the store.",
		run: func(t *proof) {
			p := power[Pauser](t)
			s := t.open()
			l, _ := t.leased(s, shortTTL, "k")
			require.NoError(t, p.Pause(t.ctx))
			paused := time.Now()
			t.done(l)
			took := time.Since(paused)
			require.NoError(t, p.Resume(t.ctx))
			require.ErrorIs(t, l.Err(), backend.ErrLeaseLost)
			require.False(t, l.Valid())
			require.Less(t, took, l.TTL()+5*time.Second)
			_, err := s.Put(t.ctx, "k", nil, backend.WithLease(l))
			require.ErrorIs(t, err, backend.ErrLeaseLost)
		},
	}}
}

// done waits until a lease can't be relied on any more.
func (t *proof) done(l backend.Lease) {
	t.Helper()
	select {
	case <-l.Done():
	case <-t.ctx.Done():
		t.Fatalf("waiting for the end of lease %s: %v", l.ID(), context.Cause(t.ctx))
	}
}

// leased takes a lease that is to expire, and hangs keys on it. It tries again
// where the machine is so slow that the lease is over before.
func (t *proof) leased(s backend.Store, ttl time.Duration, keys ...string) (l backend.Lease, before time.Time) {
	t.Helper()
	t.eventually("a lease that outlasts the writing of its keys", func() bool {
		before = time.Now()
		var err error
		l, err = s.Lease(t.ctx, ttl)
		require.NoError(t, err)
		valid := l.Valid()
		for _, k := range keys {
			if _, err = s.Put(t.ctx, k, nil, backend.WithLease(l)); err != nil {
				break
			}
		}
		if time.Since(before) < l.TTL() {
			require.True(t, valid)
			require.NoError(t, err)
		}
		return err == nil
	})
	return l, before
}

// vanishes waits until a key does not exist.
func (t *proof) vanishes(s backend.Store, k string) {
	t.Helper()
	t.eventually(fmt.Sprintf("the end of %q", k), func() bool {
		_, err := s.Get(t.ctx, k)
		require.True(t, err == nil || t.fails("get", err, is(backend.ErrNotFound)))
		return err != nil
	})
}

// lasts requires that a lease can be relied on for d.
func (t *proof) lasts(l backend.Lease, d time.Duration) {
	t.Helper()
	select {
	case <-l.Done():
		t.Fatalf("lease %s lost: %v", l.ID(), l.Err())
	case <-t.ctx.Done():
		t.Fatal(context.Cause(t.ctx))
	case <-time.After(d):
	}
	require.True(t, l.Valid())
	require.NoError(t, l.Err())
}

// raw is the harness's RawClient.
func (t *proof) raw() RawClient { return power[RawClient](t) }

func closed(err error) bool { return errors.Is(err, backend.ErrClosed) }
