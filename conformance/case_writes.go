package conformance

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/seed27495941/seckill/backend"
)

// linearizable: guarantee 1.
func linearizable() []Case {
	return []Case{{
		Name: "linearizable/write-is-read-by-another-client", Guarantee: 1,
		Proves: "What one client was told is written, another one reads at once, by Get and by the first update of a watch.",
		run: func(t *proof) {
			a, b := t.open(), t.open()
			for i := range 50 {
				a, b = b, a
				rev := t.put(a, "k", value(i))
				e := t.get(b, "k")
				require.Equal(t, backend.Entry{Key: "k", Value: value(i), Revision: rev}, e)
				entries, complete, err := backend.List(t.ctx, b, "k")
				require.NoError(t, err)
				require.Equal(t, []backend.Entry{e}, entries)
				require.GreaterOrEqual(t, complete, rev)
				if i%10 == 9 {
					require.NoError(t, a.Delete(t.ctx, "k"))
					t.absent(b, "k")
				}
			}
		},
	}, {
		Name: "linearizable/first-update-beside-an-old-watch", Guarantee: 1,
		Proves: "A new watch begins with all that was acknowledged, also when its store already follows the prefix.",
		run: func(t *proof) {
			writer, reader := t.open(), t.open()
			t.tap(reader, "dir/")
			for i := range 50 {
				rev := t.put(writer, "dir/k", value(i))
				entries, _, err := backend.List(t.ctx, reader, "dir/")
				require.NoError(t, err)
				require.Len(t, entries, 1)
				require.Equal(t, rev, entries[0].Revision)
			}
		},
	}, {
		Name: "linearizable/no-lost-update", Guarantee: 1,
		Proves: "Read-modify-write loops of several clients on one key lose no step.",
		run: func(t *proof) {
			const clients, steps = 4, 25
			var g errgroup.Group
			for range clients {
				s := t.open()
				g.Go(func() error {
					for range steps {
						if err := increment(t, s, "counter"); err != nil {
							return err
						}
					}
					return nil
				})
			}
			require.NoError(t, g.Wait())
			require.Equal(t, strconv.Itoa(clients*steps), string(t.get(t.open(), "counter").Value))
		},
	}}
}

func increment(t *proof, s backend.Store, key string) error {
	_, err := backend.Modify(t.ctx, s, key, func(e backend.Entry) ([]byte, error) {
		n := 0
		if e.Revision != 0 {
			var err error
			if n, err = strconv.Atoi(string(e.Value)); err != nil {
				return nil, err
			}
		}
		return value(n + 1), nil
	})
	return err
}

// conditions: guarantee 2.
func conditions() []Case {
	return []Case{{
		Name: "conditions/own-key", Guarantee: 2,
		Proves: "A Put conditioned on its own key's revision is made once, and a conflict tells what was wanted and found.",
		run: func(t *proof) {
			s := t.open()
			first := t.put(s, "k", value("a"), backend.If("k", 0))
			_, err := s.Put(t.ctx, "k", value("b"), backend.If("k", 0))
			t.conflict(err, backend.If("k", 0), first)

			second := t.put(s, "k", value("c"), backend.If("k", first))
			_, err = s.Put(t.ctx, "k", value("d"), backend.If("k", first))
			t.conflict(err, backend.If("k", first), second)
			require.Equal(t, backend.Entry{Key: "k", Value: value("c"), Revision: second}, t.get(s, "k"))
		},
	}, {
		Name: "conditions/other-key", Guarantee: 2,
		Proves: "A condition on another key decides the write, and a failed one changes nothing and names its key.",
		run: func(t *proof) {
			s := t.open()
			guard := t.put(s, "guard", value("1"))
			target := t.put(s, "target", value("a"), backend.If("guard", guard))
			moved := t.put(s, "guard", value("2"))
			w := t.tap(s, "")

			_, err := s.Put(t.ctx, "target", value("b"), backend.If("target", target), backend.If("guard", guard))
			t.conflict(err, backend.If("guard", guard), moved)
			_, err = s.Put(t.ctx, "fresh", value("b"), backend.If("fresh", 0), backend.If("missing", guard))
			t.conflict(err, backend.If("missing", guard), 0)
			_, err = s.Put(t.ctx, "fresh", value("b"), backend.If("guard", 0))
			t.conflict(err, backend.If("guard", 0), moved)

			require.Equal(t, backend.Entry{Key: "target", Value: value("a"), Revision: target}, t.get(s, "target"))
			t.absent(s, "fresh")
			w.waitRevision("end", t.put(s, "end", nil))
			require.Equal(t, target, w.entry("target").Revision, "a failed write was seen by a watch")
		},
	}, {
		Name: "conditions/delete", Guarantee: 2,
		Proves: "Delete obeys its conditions; a wrong revision is a conflict, never \"not found\", and the key stays.",
		run: func(t *proof) {
			s := t.open()
			first := t.put(s, "k", value("a"))
			second := t.put(s, "k", value("b"))
			t.conflict(s.Delete(t.ctx, "k", backend.If("k", first)), backend.If("k", first), second)
			t.conflict(s.Delete(t.ctx, "k", backend.If("k", 0)), backend.If("k", 0), second)
			t.conflict(s.Delete(t.ctx, "k", backend.If("other", first)), backend.If("other", first), 0)
			require.Equal(t, second, t.get(s, "k").Revision)

			require.NoError(t, s.Delete(t.ctx, "k", backend.If("k", second), backend.If("other", 0)))
			t.absent(s, "k")
			t.conflict(s.Delete(t.ctx, "k", backend.If("k", second)), backend.If("k", second), 0)
			require.NoError(t, s.Delete(t.ctx, "k"), "deleting an absent key is no error")
			require.NoError(t, s.Delete(t.ctx, "k", backend.If("k", 0)))
		},
	}, {
		Name: "conditions/exact-key", Guarantee: 2,
		Proves: "A condition is about the key of that name, not about those that begin like it or lie under it.",
		run: func(t *proof) {
			s := t.open()
			t.put(s, "dir/a", nil)
			t.put(s, "dir2", nil)
			rev := t.put(s, "dir", value("1"), backend.If("dir", 0), backend.If("dir/", 0), backend.If("di", 0))
			t.put(s, "dir/a", nil)
			require.NoError(t, s.Delete(t.ctx, "dir2"))
			t.put(s, "dir", value("2"), backend.If("dir", rev))
		},
	}, {
		Name: "conditions/whatever-the-lease", Guarantee: 2,
		Proves: "Conditions on its own key and on others decide a Put whatever lease the key hangs on and the Put gives it, the same one included; so they do a Delete.",
		run:    conditionsWhateverTheLease,
	}, {
		Name: "conditions/several-fail", Guarantee: 2,
		Proves: "Where several conditions fail, the conflict is about one of these.",
		run: func(t *proof) {
			s := t.open()
			holds := backend.If("holds", t.put(s, "holds", nil))
			rev := t.put(s, "fails", nil)
			failing := []backend.Condition{backend.If("fails", 0), backend.If("missing", rev)}
			have := map[backend.Condition]backend.Revision{failing[0]: rev, failing[1]: 0}
			for _, conds := range [][]backend.Condition{
				{holds, failing[0], failing[1]}, {failing[1], holds, failing[0]}, {failing[0], failing[1], holds},
			} {
				made, err := s.Put(t.ctx, "k", nil, options(conds)...)
				require.Zero(t, made)
				for _, err := range []error{err, s.Delete(t.ctx, "holds", conds...)} {
					var conflict *backend.ConflictError
					require.ErrorAs(t, err, &conflict)
					told := backend.If(conflict.Key, conflict.Want)
					require.Contains(t, failing, told)
					t.conflict(err, told, have[told])
				}
			}
			t.absent(s, "k")
			require.Equal(t, holds.Revision, t.get(s, "holds").Revision)
		},
	}, {
		Name: "conditions/sixty-four", Guarantee: 2,
		Proves: "64 conditions are taken together, by Put and by Delete, and a conflict names the one of them that failed.",
		run: func(t *proof) {
			s := t.open()
			var all []backend.Condition
			for i := range backend.MaxConditions {
				k := key("dir", i)
				rev := backend.Revision(0)
				if i%2 == 0 {
					rev = t.put(s, k, value(i))
				}
				all = append(all, backend.If(k, rev))
			}
			t.put(s, "target", value("all hold"), options(all)...)
			for i, c := range all {
				broken := slices.Clone(all)
				broken[i].Revision++
				_, err := s.Put(t.ctx, "target", value("one fails"), options(broken)...)
				t.conflict(err, broken[i], c.Revision)
				t.conflict(s.Delete(t.ctx, "target", broken...), broken[i], c.Revision)
			}
			require.Equal(t, "all hold", string(t.get(s, "target").Value))
			require.NoError(t, s.Delete(t.ctx, "target", all...))
			t.absent(s, "target")
		},
	}, {
		Name: "conditions/contradiction", Guarantee: 2,
		Proves: "Two conditions that can't both hold make a conflict, in either order.",
		run: func(t *proof) {
			s := t.open()
			rev := t.put(s, "k", nil)
			holds, fails := backend.If("k", rev), backend.If("k", 0)
			for _, conds := range [][]backend.Condition{{holds, fails}, {fails, holds}} {
				_, err := s.Put(t.ctx, "k", nil, options(conds)...)
				t.conflict(err, fails, rev)
				t.conflict(s.Delete(t.ctx, "k", conds...), fails, rev)
			}
			require.Equal(t, rev, t.get(s, "k").Revision)
		},
	}, {
		Name: "conditions/one-creator", Guarantee: 2,
		Proves: "Of many clients that create a key if it is absent exactly one succeeds, and its value stays.",
		run: func(t *proof) {
			for round := range 5 {
				k := key("round", round)
				winners := t.race(8, func(s backend.Store, i int) error {
					_, err := s.Put(t.ctx, k, value(i), backend.If(k, 0))
					return err
				})
				require.Len(t, winners, 1)
				require.Equal(t, value(winners[0]), t.get(t.open(), k).Value)
			}
		},
	}, {
		Name: "conditions/fencing-race", Guarantee: 2,
		Proves: "Between the revision that a write was conditioned on and the write itself the other key never moved.",
		run:    fencingRace,
	}, {
		Name: "conditions/delete-race", Guarantee: 2,
		Proves: "Each revision of a key is used up by at most one of the Puts and Deletes conditioned on it.",
		run:    deleteRace,
	}}
}

// conditionsWhateverTheLease goes through what a key can hang on before and what
// a Put hangs it on.
func conditionsWhateverTheLease(t *proof) {
	s := t.open()
	a, b := t.lease(s), t.lease(s)
	guard := t.put(s, "guard", nil)
	leases := map[string][]backend.PutOption{"none": nil, "a": {backend.WithLease(a)}, "b": {backend.WithLease(b)}}
	for before, hang := range leases {
		for after, rehang := range leases {
			k := key(before, after)
			rev := t.put(s, k, value("before"), hang...)
			have := t.get(s, k)
			for _, c := range []backend.Condition{backend.If(k, 0), backend.If(k, guard), backend.If("guard", 0), backend.If("guard", rev)} {
				made, err := s.Put(t.ctx, k, value("refused"), append(options([]backend.Condition{c}), rehang...)...)
				require.Zero(t, made)
				found := rev
				if c.Key == "guard" {
					found = guard
				}
				t.conflict(err, c, found)
				t.conflict(s.Delete(t.ctx, k, c), c, found)
				require.Equal(t, have, t.get(s, k), "from lease %s to %s", before, after)
			}
			holding := options([]backend.Condition{backend.If(k, rev), backend.If("guard", guard)})
			made := t.put(s, k, value("after"), append(holding, rehang...)...)
			require.NoError(t, s.Delete(t.ctx, k, backend.If(k, made), backend.If("guard", guard)))
		}
	}
}

// fencingRace: one client moves the guard all the time, another writes under it,
// and every other time waits until it has certainly moved.
func fencingRace(t *proof) {
	const writes = 100
	type write struct{ guard, made backend.Revision }
	var (
		mover, writer = t.open(), t.open()
		moved         = []backend.Revision{t.put(mover, "guard", nil)}
		moves         atomic.Int64
		written       []write
		g             errgroup.Group
		done          = make(chan struct{})
	)
	g.Go(func() error {
		for {
			select {
			case <-done:
				return nil
			default:
			}
			rev, err := mover.Put(t.ctx, "guard", nil)
			if err != nil {
				return err
			}
			moved = append(moved, rev)
			moves.Add(1)
		}
	})
	g.Go(func() error {
		defer close(done)
		for i := range writes {
			guard, err := writer.Get(t.ctx, "guard")
			if err != nil {
				return err
			}
			for before := moves.Load(); i%2 == 1 && moves.Load() < before+2 && t.ctx.Err() == nil; {
				time.Sleep(100 * time.Microsecond)
			}
			rev, err := writer.Put(t.ctx, "target", nil, backend.If("guard", guard.Revision))
			switch {
			case err == nil:
				written = append(written, write{guard.Revision, rev})
			case !errors.Is(err, backend.ErrConflict):
				return err
			}
		}
		return nil
	})
	require.NoError(t, g.Wait())
	for _, w := range written {
		for _, m := range moved {
			if w.guard < m && m < w.made {
				t.Fatalf("written at %d on guard %d, which moved at %d", w.made, w.guard, m)
			}
		}
	}
}

// deleteRace: clients delete and write one key, each on the revision it has read.
func deleteRace(t *proof) {
	const clients, steps = 4, 60
	var (
		mu   sync.Mutex
		used = map[backend.Revision]int{}
		g    errgroup.Group
	)
	for n := range clients {
		s := t.open()
		g.Go(func() error {
			for range steps {
				e, err := s.Get(t.ctx, "k")
				if err != nil && !errors.Is(err, backend.ErrNotFound) {
					return err
				}
				time.Sleep(rand.N(time.Millisecond)) // for the others
				if n%2 == 0 && e.Revision != 0 {
					err = s.Delete(t.ctx, "k", backend.If("k", e.Revision))
				} else {
					_, err = s.Put(t.ctx, "k", nil, backend.If("k", e.Revision))
				}
				switch {
				case err == nil && e.Revision != 0:
					mu.Lock()
					used[e.Revision]++
					mu.Unlock()
				case err != nil && !errors.Is(err, backend.ErrConflict):
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	for rev, n := range used {
		require.Equal(t, 1, n, "revision %d was used up %d times", rev, n)
	}
}

// options are conditions as Put takes them.
func options(conds []backend.Condition) []backend.PutOption {
	opts := make([]backend.PutOption, len(conds))
	for i, c := range conds {
		opts[i] = c
	}
	return opts
}

// conflict requires the conflict of one condition. A store may not tell what it
// had; if it tells, it must be right.
func (t *proof) conflict(err error, c backend.Condition, have backend.Revision) {
	t.Helper()
	require.True(t, t.fails("write", err, is(backend.ErrConflict)))
	var conflict *backend.ConflictError
	require.ErrorAs(t, err, &conflict)
	require.Equal(t, c, backend.If(conflict.Key, conflict.Want))
	if conflict.Have != 0 {
		require.Equal(t, have, conflict.Have)
	}
}

// race runs f at the same time for n clients and lists those whose f returned
// nil; the others must have met a conflict.
func (t *proof) race(n int, f func(s backend.Store, i int) error) []int {
	t.Helper()
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex
		winners []int
		start   = make(chan struct{})
	)
	for i := range n {
		s := t.open()
		wg.Go(func() {
			<-start
			err := f(s, i)
			if errors.Is(err, backend.ErrConflict) {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if assert.NoError(t, err) {
				winners = append(winners, i)
			}
		})
	}
	close(start)
	wg.Wait()
	return winners
}

// revisions: guarantee 3.
func revisions() []Case {
	return []Case{{
		Name: "revisions/grow-over-all-keys", Guarantee: 3,
		Proves: "Each Put's revision is greater than any before it, whatever the key, the client, the conditions and the lease; Get and watches tell the same one.",
		run: func(t *proof) {
			s, other := t.open(), t.open()
			w := t.tap(s, "")
			l := t.lease(s)
			last := backend.Revision(0)
			for i := range 60 {
				k := key("k", i%4)
				s, other = other, s
				var opts []backend.PutOption
				if i%3 == 0 {
					opts = append(opts, backend.If("k/never", 0), backend.If(k, w.entry(k).Revision))
				}
				if i%5 == 0 && i%2 == 1 { // the store whose lease it is
					opts = append(opts, backend.WithLease(l))
				}
				rev := t.put(s, k, value(i), opts...)
				require.Greater(t, rev, last)
				require.Equal(t, rev, t.get(other, k).Revision)
				w.waitRevision(k, rev)
				if last = rev; i%7 == 6 {
					require.NoError(t, other.Delete(t.ctx, k))
					w.waitGone(k)
				}
			}
		},
	}, {
		Name: "revisions/same-bytes-twice", Guarantee: 3,
		Proves: "Writing the same bytes again is a write: it makes a new revision and watches see it.",
		run: func(t *proof) {
			s := t.open()
			w := t.tap(s, "k")
			l := t.lease(s)
			for _, opts := range [][]backend.PutOption{nil, {backend.WithLease(l)}} {
				first := t.put(s, "k", value("same"), opts...)
				w.waitRevision("k", first)
				second := t.put(s, "k", value("same"), opts...)
				require.Greater(t, second, first)
				w.waitRevision("k", second)
				_, err := s.Put(t.ctx, "k", value("same"), backend.If("k", first))
				t.conflict(err, backend.If("k", first), second)
			}
		},
	}, {
		Name: "revisions/same-bytes-one-winner", Guarantee: 3,
		Proves: "Of several writers that put equal bytes on one revision at most one succeeds.",
		run: func(t *proof) {
			s := t.open()
			rev := t.put(s, "k", value("same"))
			for range 5 {
				winners := t.race(6, func(s backend.Store, _ int) error {
					_, err := s.Put(t.ctx, "k", value("same"), backend.If("k", rev))
					return err
				})
				require.Len(t, winners, 1)
				next := t.get(s, "k").Revision
				require.Greater(t, next, rev)
				rev = next
			}
		},
	}, {
		Name: "revisions/recreated-key", Guarantee: 3,
		Proves: "Deleting and recreating a key never brings an old revision back, so an old condition can't hold again.",
		run: func(t *proof) {
			s := t.open()
			seen := map[backend.Revision]bool{}
			last := backend.Revision(0)
			for i := range 10 {
				rev := t.put(s, "k", value("same"), backend.If("k", 0))
				require.False(t, seen[rev], "revision %d came back", rev)
				require.Greater(t, rev, last)
				if last != 0 {
					_, err := s.Put(t.ctx, "k", value("stale"), backend.If("k", last))
					t.conflict(err, backend.If("k", last), rev)
				}
				seen[rev], last = true, rev
				require.NoError(t, s.Delete(t.ctx, "k"), fmt.Sprint(i))
			}
		},
	}}
}
