package conformance

import (
	"slices"
	"sync/atomic"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/seed27495941/seckill/backend"
)

// watches: guarantee 5.
func watches() []Case {
	return slices.Concat(watchUpdates(), watchEnds(), watchFaults(), watchCosts())
}

// watchUpdates is about what a watch tells.
func watchUpdates() []Case {
	return []Case{{
		Name: "watch/empty-prefix-of-nothing", Guarantee: 5,
		Proves: "The first update of an absent prefix is an empty snapshot, and the first key under it is seen.",
		run: func(t *proof) {
			s := t.open()
			w := t.tap(s, "dir/")
			require.Zero(t, w.len())
			w.waitRevision("dir/k", t.put(t.open(), "dir/k", nil))
			for range 3 {
				require.NoError(t, s.Delete(t.ctx, "dir/k"))
				w.waitGone("dir/k")
				w.waitRevision("dir/k", t.put(s, "dir/k", nil))
			}
			w.steady()
		},
	}, {
		Name: "watch/prefix-is-literal", Guarantee: 5,
		Proves: "\"dir/\" covers dir/a, neither dir nor dir2/a; \"dir\" covers all three; the empty prefix everything; \"dir/a\" the key of that name.",
		run: func(t *proof) {
			s := t.open()
			later := map[string]*tap{"dir/": nil, "dir": nil, "": nil, "dir/a": nil}
			for prefix := range later {
				later[prefix] = t.tap(s, prefix)
			}
			for _, k := range []string{"dir", "dir/a", "dir2/a", "di", "other"} {
				t.put(s, k, nil)
			}
			for prefix, want := range map[string][]string{
				"dir/":  {"dir/a"},
				"dir":   {"dir", "dir/a", "dir2/a"},
				"":      {"di", "dir", "dir/a", "dir2/a", "other"},
				"dir/a": {"dir/a"},
			} {
				entries, _, err := backend.List(t.ctx, s, prefix)
				require.NoError(t, err)
				require.Equal(t, want, keysOf(entries), "list of %q", prefix)
				later[prefix].waitSame(s)
				for _, k := range want {
					require.NoError(t, s.Delete(t.ctx, k))
				}
				later[prefix].waitSame(s)
				for _, k := range want {
					t.put(s, k, nil)
				}
			}
		},
	}, {
		Name: "watch/tells-what-get-tells", Guarantee: 5,
		Proves: "Entries in snapshots and in changes are those that Get returns: value, revision and lease, also when a key moves or is freed.",
		run: func(t *proof) {
			s, other := t.open(), t.open()
			w := t.tap(other, "k")
			a, b := t.lease(s), t.lease(s)
			for i, opts := range [][]backend.PutOption{
				nil, {backend.WithLease(a)}, {backend.WithLease(b)}, nil, {backend.WithLease(a)},
			} {
				w.waitRevision("k", t.put(s, "k", value(i), opts...))
				e := t.get(other, "k")
				require.Equal(t, e, w.entry("k"), "as a change")
				require.Equal(t, e, t.tap(s, "k").entry("k"), "in a snapshot")
			}
			w.steady()
		},
	}, {
		Name: "watch/snapshot-then-changes", Guarantee: 5,
		Proves: "Watches opened while writers are at work have no gap between their snapshot and the changes: they end with what a fresh read tells.",
		run:    watchesAmongWriters,
	}, {
		Name: "watch/no-gap", Guarantee: 5,
		Proves: "Of 10,000 writes a watch misses none, deletes included, nor does one that was opened in the midst, and none comes twice.",
		run:    noGap,
	}, {
		Name: "watch/neighbours", Guarantee: 5,
		Proves: "Two watches of one store on overlapping prefixes each see their own, and the end of one leaves the other.",
		run: func(t *proof) {
			s := t.open()
			narrow, wide := t.tap(s, "dir/a/"), t.tap(s, "dir/")
			t.put(s, "dir/b/1", nil)
			rev := t.put(s, "dir/a/1", nil)
			narrow.waitRevision("dir/a/1", rev)
			wide.waitRevision("dir/a/1", rev)
			require.ErrorIs(t, narrow.close(), errTapClosed)
			wide.waitRevision("dir/a/2", t.put(s, "dir/a/2", nil))
			require.Equal(t, 1, narrow.len())
		},
	}, {
		Name: "watch/range-is-a-new-watch", Guarantee: 5,
		Proves: "A sequence opens nothing until it is ranged over, each range begins with a snapshot of that moment, and ranges can run at once.",
		run: func(t *proof) {
			s := t.open()
			seq := s.WatchPrefix(t.ctx, "dir/")
			for i := range 3 {
				t.put(s, key("dir", i), nil)
				for u, err := range seq {
					require.NoError(t, err)
					require.True(t, u.Snapshot)
					require.Len(t, u.Puts, i+1)
					break
				}
			}
			outer, inner := 0, 0
			for u, err := range seq {
				require.NoError(t, err)
				require.Equal(t, outer == 0, u.Snapshot)
				if outer++; outer == 2 {
					break
				}
				for u, err := range seq {
					require.NoError(t, err)
					require.Equal(t, inner == 0, u.Snapshot)
					if inner++; inner == 2 {
						break
					}
					t.put(s, "dir/both", nil)
				}
			}
		},
	}, {
		Name: "watch/lease-expiry-is-seen", Guarantee: 5,
		Proves: "Keys that vanish with their lease are seen as deletes, all of them in one update.",
		run: func(t *proof) {
			const keys = 50
			s := t.open()
			w := t.tap(t.open(), "dir/")
			l := t.lease(s)
			for i := range keys {
				w.waitRevision(key("dir", i), t.put(s, key("dir", i), nil, backend.WithLease(l)))
			}
			w.always("all keys of the lease or none", func(s *backend.State) bool { return s.Len()%keys <= 1 })
			require.NoError(t, l.Close(t.ctx))
			w.settle(s)
			require.Equal(t, 1, w.len())
			w.steady()
		},
	}, {
		Name: "watch/values-are-the-callers", Guarantee: 5,
		Proves: "A caller may change the value it has put or got, and those in its updates, without anybody seeing it.",
		run:    ownValues,
	}, {
		Name: "watch/sees-other-tools", Guarantee: 5, Needs: []Power{Raw},
		Proves: "What people write and delete with the store's own tools is seen by watches, and the other way round.",
		run: func(t *proof) {
			s := t.open()
			w := t.tap(s, "")
			require.NoError(t, t.raw().RawPut(t.ctx, "config", value("typed")))
			w.waitValue("config", "typed")
			t.put(s, "config", value("written"), backend.If("config", t.get(s, "config").Revision))
			v, found, err := t.raw().RawGet(t.ctx, "config")
			require.NoError(t, err)
			require.True(t, found)
			require.Equal(t, "written", string(v))
			require.NoError(t, t.raw().RawDelete(t.ctx, "config"))
			w.waitGone("config")
		},
	}}
}

// watchesAmongWriters opens one watch after the other while writers make keys
// and delete some. No key is written twice: what is missed stays missed.
func watchesAmongWriters(t *proof) {
	const writers, writes, most = 4, 120, 40
	reader := t.open()
	var g errgroup.Group
	var writing atomic.Int32
	for i := range writers {
		s := t.open()
		writing.Add(1)
		g.Go(func() error {
			defer writing.Add(-1)
			for j := range writes {
				if _, err := s.Put(t.ctx, key("dir", i, j), value(j)); err != nil {
					return err
				}
				if j%3 == 2 {
					if err := s.Delete(t.ctx, key("dir", i, j-1)); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	var taps []*tap
	for writing.Load() > 0 && len(taps) < most {
		taps = append(taps, t.tap(reader, "dir/"))
	}
	require.NoError(t, g.Wait())
	for _, w := range append(taps, t.tap(t.open(), "dir/")) {
		w.settle(reader)
		w.steady()
	}
}

// noGap writes every key once in each round, and looks at what each write made
// before the next: a write that is missed is not hidden by a later one.
func noGap(t *proof) {
	const rounds, keys, writers = 10, 1000, 16
	s := t.open()
	old := t.tap(t.open(), "dir/")
	made := make([]backend.Revision, keys) // 0: deleted
	for round := range rounds {
		t.rewind()
		var g errgroup.Group
		g.SetLimit(writers)
		watches := []*tap{old}
		for i := range keys {
			g.Go(func() (err error) {
				if k := key("dir", i); (round+i)%10 == 9 {
					made[i], err = 0, s.Delete(t.ctx, k)
				} else {
					made[i], err = s.Put(t.ctx, k, value(round, i))
				}
				return err
			})
			if i == keys/2 && round%4 == 1 {
				watches = append(watches, t.tap(s, "dir/"))
			}
		}
		require.NoError(t, g.Wait())
		for _, w := range watches {
			w.settle(s)
			for i, rev := range made {
				require.Equal(t, rev, w.entry(key("dir", i)).Revision, "dir/%d, round %d", i, round)
			}
			w.steady()
		}
		for _, fresh := range watches[1:] {
			fresh.close()
		}
	}
}

// ownValues has somebody beside each reader who overwrites what he was given.
func ownValues(t *proof) {
	s := t.open()
	given := value("a value")
	rev := t.put(s, "k", given)
	given[0] = '!'
	mirror, _ := t.mirror(s, "k")
	watch, spoiler := t.tap(s, "k"), t.spoiler(s, "k")
	for i, want := range []string{"a value", "the next", "the last"} {
		if i > 0 {
			rev = t.put(s, "k", value(want))
		}
		require.NoError(t, mirror.WaitFor(t.ctx, rev))
		watch.waitRevision("k", rev)
		spoiler.waitRevision("k", rev) // and has spoiled it
		fresh := t.spoiler(s, "k")
		e := t.get(s, "k")
		require.Equal(t, want, string(e.Value))
		for i := range e.Value {
			e.Value[i] = '!'
		}
		mirrored, _ := mirror.Get("k")
		for who, e := range map[string]backend.Entry{
			"mirror": mirrored, "watch": watch.entry("k"), "spoiler": spoiler.entry("k"), "snapshot": fresh.entry("k"), "get": t.get(s, "k"),
		} {
			require.Equal(t, want, string(e.Value), who)
		}
		fresh.close()
	}
}
