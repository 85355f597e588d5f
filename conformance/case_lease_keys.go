package conformance

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/seed27495941/seckill/backend"
)

// leaseKeys is about the end of the keys that hang on a lease.
func leaseKeys() []Case {
	return []Case{{
		Name: "lease/keys-vanish-together", Guarantee: 4,
		Proves: "When a lease is closed, and when it expires, no read and no watch ever shows a part of its keys.",
		run: func(t *proof) {
			closed, silent := t.open(), t.open()
			for range 5 {
				t.vanishTogether(closed, longTTL, func(l backend.Lease) error { return l.Close(t.ctx) })
			}
			t.vanishTogether(silent, 2*shortTTL, func(backend.Lease) error { return silent.Close() })
		},
	}, {
		Name: "lease/revoked-keys-vanish-together", Guarantee: 4, Needs: []Power{Raw},
		Proves: "When a lease is ended by the store's own tools no read and no watch ever shows a part of its keys.",
		run: func(t *proof) {
			s := t.open()
			for range 5 {
				t.vanishTogether(s, longTTL, func(l backend.Lease) error { return t.raw().RawRevoke(t.ctx, l.ID()) })
			}
		},
	}, {
		Name: "lease/a-thousand-keys", Guarantee: 4,
		Proves: "A thousand keys hang on one lease; those that moved to another or were freed outlive it, the rest is gone when Close returns.",
		run:    thousandKeys,
	}, {
		Name: "lease/put-beside-its-close", Guarantee: 4,
		Proves: "Of a Put and the end of its lease one comes first: the key is gone with the lease, or the Put fails with ErrLeaseLost and has changed nothing.",
		run:    putBesideClose,
	}, {
		Name: "lease/put-and-its-close-under-way", Guarantee: 4, Needs: []Power{Pause},
		Proves: "The same, when all were sent before the store looked at any of them.",
		run:    putBesidePausedClose,
	}}
}

// vanishTogether ends a lease that holds many keys, while others look.
func (t *proof) vanishTogether(holder backend.Store, ttl time.Duration, end func(backend.Lease) error) {
	t.Helper()
	const keys = 50
	var names []string
	for i := range keys {
		names = append(names, key("dir", i))
	}
	l, _ := t.leased(holder, ttl, names...)

	reader := t.open()
	var taps []*tap
	for range 5 {
		w := t.tap(reader, "dir/")
		w.always("all keys of the lease or none", func(s *backend.State) bool { return s.Len() == keys || s.Len() == 0 })
		taps = append(taps, w)
	}
	var g errgroup.Group
	var looking sync.WaitGroup
	for _, s := range []backend.Store{reader, t.open()} {
		looking.Add(1)
		g.Go(func() error { return t.listTogether(s, keys, sync.OnceFunc(looking.Done)) })
	}
	looking.Wait()
	time.Sleep(rand.N(5 * time.Millisecond)) // another moment of their lists each time
	require.NoError(t, end(l))
	require.NoError(t, g.Wait())
	for _, w := range taps {
		w.wait("the end of all keys", func(s *backend.State) bool { return s.Len() == 0 })
		require.ErrorIs(t, w.close(), errTapClosed) // before the next lease
	}
}

// listTogether lists keys until there are none, and tells when it has begun.
func (t *proof) listTogether(s backend.Store, keys int, begun func()) error {
	defer begun()
	for {
		entries, _, err := backend.List(t.ctx, s, "dir/")
		switch {
		case err != nil:
			return err
		case len(entries) == 0:
			return nil
		case len(entries) != keys:
			return fmt.Errorf("a list shows %d of %d keys", len(entries), keys)
		}
		begun()
		time.Sleep(2 * time.Millisecond) // leaves the others some of the server
	}
}

func thousandKeys(t *proof) {
	const keys, moved, freed = 1000, 10, 20 // every 10th moves, of the others every 20th is freed
	s := t.open()
	l, err := s.Lease(t.ctx, 30*time.Second)
	require.NoError(t, err)
	other, err := s.Lease(t.ctx, 30*time.Second)
	require.NoError(t, err)
	put := func(step int, opts ...backend.PutOption) {
		var g errgroup.Group
		g.SetLimit(8)
		for i := 0; i < keys; i += step {
			g.Go(func() error {
				_, err := s.Put(t.ctx, key("dir", i), nil, opts...)
				return err
			})
		}
		require.NoError(t, g.Wait())
	}
	put(1, backend.WithLease(l))
	put(moved, backend.WithLease(other))
	put(freed)
	leases := func() map[string]int {
		entries, _, err := backend.List(t.ctx, s, "dir/")
		require.NoError(t, err)
		count := map[string]int{}
		for _, e := range entries {
			count[e.Lease]++
		}
		return count
	}
	const free, elsewhere = keys / freed, keys/moved - keys/freed
	require.Equal(t, map[string]int{l.ID(): keys - free - elsewhere, other.ID(): elsewhere, "": free}, leases())
	require.NoError(t, l.Close(t.ctx))
	require.Equal(t, map[string]int{other.ID(): elsewhere, "": free}, leases())
	require.NoError(t, other.Close(t.ctx))
	require.Equal(t, map[string]int{"": free}, leases())
}

func putBesideClose(t *proof) {
	const rounds, most = 40, 2 * time.Millisecond
	s := t.open()
	lost := 0
	for round := range rounds {
		lost += t.closeBeside(s, func(put func(i int), end func()) {
			var wg sync.WaitGroup
			for i := range besideClose {
				wg.Go(func() {
					time.Sleep(most * time.Duration(i) / besideClose)
					put(i)
				})
			}
			wg.Go(func() {
				time.Sleep(most * time.Duration(round) / rounds) // another moment each time
				end()
			})
			wg.Wait()
		})
	}
	t.Logf("of %d puts %d came too late", rounds*besideClose, lost)
}

// putBesidePausedClose lets all be under way before the server decides.
func putBesidePausedClose(t *proof) {
	const rounds = 5
	p := power[Pauser](t)
	s := t.open()
	lost := 0
	for range rounds {
		lost += t.closeBeside(s, func(put func(i int), end func()) {
			require.NoError(t, p.Pause(t.ctx))
			var wg sync.WaitGroup
			for i := range besideClose {
				wg.Go(func() { put(i) })
			}
			time.Sleep(50 * time.Millisecond) // most are under way
			wg.Go(end)
			time.Sleep(50 * time.Millisecond)
			require.NoError(t, p.Resume(t.ctx))
			wg.Wait()
		})
	}
	t.Logf("of %d puts %d came too late", rounds*besideClose, lost)
}

// besideClose is how many keys are put while their lease is being closed.
const besideClose = 8

// closeBeside lets race put keys under a lease and close it, and returns how
// many puts came too late.
func (t *proof) closeBeside(s backend.Store, race func(put func(i int), end func())) (lost int) {
	t.Helper()
	l, err := s.Lease(t.ctx, 30*time.Second)
	require.NoError(t, err)
	var (
		errs   [besideClose]error
		before [besideClose]backend.Revision
	)
	for i := range before {
		before[i] = t.put(s, key("k", i), value("free"))
	}
	race(func(i int) {
		k := key("k", i)
		_, errs[i] = s.Put(t.ctx, k, value("leased"), backend.WithLease(l), backend.If(k, before[i]))
	}, func() {
		assert.NoError(t, l.Close(t.ctx))
	})
	for i, err := range errs {
		if err == nil {
			t.absent(s, key("k", i))
			continue
		}
		lost++
		t.fails("put", err, is(backend.ErrLeaseLost), is(backend.ErrLeaseLost, backend.ErrClosed))
		require.Equal(t, backend.Entry{Key: key("k", i), Value: value("free"), Revision: before[i]}, t.get(s, key("k", i)))
	}
	return lost
}
