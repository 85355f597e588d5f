package conformance

import (
	"context"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/seed27495941/seckill/backend"
)

// leaseHolders is about what a lease is to its holder.
func leaseHolders() []Case {
	return []Case{{
		Name: "lease/raised-ttl-is-told", Guarantee: 4,
		Proves: "When the store raises a TTL, TTL tells the one that the lease goes by, for its holder and for its keys.",
		run:    raisedTTL,
	}, {
		Name: "lease/two-hundred", Guarantee: 4,
		Proves: "Two hundred leases of one store are kept alive beyond three TTLs, with their keys.",
		run: func(t *proof) {
			s := t.open()
			held := t.leases(s, 200)
			t.lasts(held[0], 3*held[0].TTL()+held[0].TTL()/8)
			for _, l := range held {
				t.lasts(l, 0)
			}
			entries, _, err := backend.List(t.ctx, s, "dir/")
			require.NoError(t, err)
			require.Len(t, entries, len(held))
		},
	}, {
		Name: "lease/cost-of-fifty", Guarantee: 4, Needs: []Power{Requests},
		Proves: "Keeping fifty leases alive costs at most four requests each in a TTL.",
		run: func(t *proof) {
			c := power[RequestCounter](t)
			held := t.leases(t.open(), 50)
			before, began := c.Requests(), time.Now()
			t.lasts(held[0], held[0].TTL())
			sent, ttls := c.Requests()-before, time.Since(began).Seconds()/held[0].TTL().Seconds()
			require.Less(t, float64(sent), 4*ttls*float64(len(held)))
			for _, l := range held {
				t.lasts(l, 0)
			}
		},
	}, {
		Name: "lease/lost-while-cut-off", Guarantee: 4, Needs: []Power{Network, Raw},
		Proves: "A holder that is cut off gives its lease up when its TTL has passed, and before the store could have given its keys to others.",
		run:    lostWhileCutOff,
	}, {
		Name: "lease/kept-through-a-short-cut", Guarantee: 4, Needs: []Power{Network},
		Proves: "A lease outlives a cut that is shorter than its TTL, though a renewal fell into it.",
		run:    keptThroughShortCut,
	}, {
		Name: "lease/closed-after-its-store", Guarantee: 4,
		Proves: "Closing a lease whose store was closed is refused as closed, since its keys stay until it expires; one that was closed before stays closed.",
		run: func(t *proof) {
			s, other := t.open(), t.open()
			before, after := t.lease(s), t.lease(s)
			t.put(s, "before", nil, backend.WithLease(before))
			rev := t.put(s, "after", nil, backend.WithLease(after))
			require.NoError(t, before.Close(t.ctx))
			require.NoError(t, s.Close())
			require.NoError(t, before.Close(t.ctx))
			t.fails("close", after.Close(t.ctx), is(backend.ErrClosed))
			t.fails("close again", after.Close(t.ctx), is(backend.ErrClosed))
			t.done(after)
			t.fails("lease", after.Err(), is(backend.ErrClosed))
			require.False(t, after.Valid())
			t.absent(other, "before")
			require.Equal(t, rev, t.get(other, "after").Revision)
		},
	}, {
		Name: "lease/closed-while-the-server-is-paused", Guarantee: 4, Needs: []Power{Pause},
		Proves: "Closing a lease without an answer ends with its context, leaves it over for its holder, and can be repeated with success.",
		run:    closedWhilePaused,
	}, {
		Name: "lease/closed-by-several", Guarantee: 4,
		Proves: "Of several that close a lease at the same time each is told only when its keys are gone.",
		run: func(t *proof) {
			const closers = 8
			s, other := t.open(), t.open()
			for range 10 {
				l, err := s.Lease(t.ctx, time.Minute)
				require.NoError(t, err)
				t.put(s, "k", nil, backend.WithLease(l))
				calls := map[string]call{}
				for i := range closers {
					calls[key("close", i)] = func(ctx context.Context) error {
						if err := l.Close(ctx); err != nil {
							return err
						}
						e, err := other.Get(ctx, "k")
						if err == nil {
							t.Errorf("%+v is there after Close", e)
						}
						return nil
					}
				}
				for name, err := range t.begin(t.ctx, calls).end() {
					require.NoError(t, err, name)
				}
			}
		},
	}}
}

func raisedTTL(t *proof) {
	const asked = time.Nanosecond
	holder, other := t.open(), t.open()
	l, began := t.leased(holder, asked, "k")
	require.Greater(t, l.TTL(), asked, "the key was there for longer")
	require.NoError(t, holder.Close())
	t.vanishes(other, "k")
	lasted := time.Since(began)
	require.GreaterOrEqual(t, lasted, l.TTL())
	require.Less(t, lasted, 2*l.TTL()+12*time.Second)
}

// leases takes n leases with a key on each.
func (t *proof) leases(s backend.Store, n int) []backend.Lease {
	t.Helper()
	held := make([]backend.Lease, n)
	var g errgroup.Group
	g.SetLimit(8) // a client address has a limited number of connections
	for i := range held {
		g.Go(func() (err error) {
			if held[i], err = s.Lease(t.ctx, 15*time.Second); err != nil {
				return err
			}
			_, err = s.Put(t.ctx, key("dir", i), nil, backend.WithLease(held[i]))
			return err
		})
	}
	require.NoError(t, g.Wait())
	return held
}

func lostWhileCutOff(t *proof) {
	n := power[NetworkFaulter](t)
	s := t.open()
	for _, fault := range []func(context.Context) error{n.Cut, n.DropReplies} {
		l, _ := t.leased(s, shortTTL, "k")
		awaited, _ := t.leased(s, shortTTL)
		require.NoError(t, fault(t.ctx))
		cut, over := time.Now(), time.Time{}
		told := t.begin(t.ctx, map[string]call{"done": func(ctx context.Context) error {
			select {
			case <-awaited.Done():
				over = time.Now()
			case <-ctx.Done():
			}
			return nil
		}})
		// Whoever sees the key gone must find that its holder has let go before.
		t.rawSees(map[string]string{"k": ""})
		require.False(t, l.Valid(), "the store has taken the key away, and its holder still relies on it")
		t.done(l)
		t.fails("lease", l.Err(), is(backend.ErrLeaseLost))
		told.end()
		require.Less(t, over.Sub(cut), awaited.TTL()+promptly)
		t.fails("awaited lease", awaited.Err(), is(backend.ErrLeaseLost))
		_, err := s.Put(t.ctx, "k", nil, backend.WithLease(l))
		t.fails("put", err, is(backend.ErrLeaseLost))
		require.NoError(t, n.Heal(t.ctx))
		t.putEventually(s, "healed")
		t.absent(s, "k")
		require.NoError(t, l.Close(t.ctx), "the store knows it no more: that is closed")
	}
}

func keptThroughShortCut(t *proof) {
	const ttl = 18 * time.Second // a third for the cut, and a third for what comes before and after
	n := power[NetworkFaulter](t)
	s := t.open()
	l, err := s.Lease(t.ctx, ttl)
	require.NoError(t, err)
	rev := t.put(s, "k", nil, backend.WithLease(l))
	require.NoError(t, n.Cut(t.ctx))
	t.lasts(l, l.TTL()/3+time.Second/2)
	require.NoError(t, n.Heal(t.ctx))
	t.lasts(l, l.TTL())
	require.Equal(t, rev, t.get(s, "k").Revision)
	require.NoError(t, l.Close(t.ctx))
	t.absent(s, "k")
}

func closedWhilePaused(t *proof) {
	p := power[Pauser](t)
	s := t.open()
	l, err := s.Lease(t.ctx, time.Hour)
	require.NoError(t, err)
	t.put(s, "k", nil, backend.WithLease(l))
	require.NoError(t, p.Pause(t.ctx))
	for range 2 {
		err := t.within(500*time.Millisecond, map[string]call{"close": l.Close})["close"]
		t.fails("close", err, is(backend.ErrUnknown, context.DeadlineExceeded), is(backend.ErrUnavailable, context.DeadlineExceeded))
		t.done(l)
		t.fails("lease", l.Err(), is(backend.ErrClosed))
		require.False(t, l.Valid())
	}
	require.NoError(t, p.Resume(t.ctx))
	require.NoError(t, l.Close(t.ctx))
	t.absent(s, "k")
}
