package conformance

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/seed27495941/seckill/backend"
)

// watches: guarantee 5.
func watches() []Case {
	return []Case{{
		Name: "watch/empty-prefix-of-nothing", Guarantee: 5,
		Proves: "The first update of an absent prefix is an empty snapshot, and the first key under it is seen.",
		run: func(t *proof) {
			s := t.open()
			w := t.tap(s, "dir/")
			require.Zero(t, w.len())
			w.waitRevision("dir/k", t.put(t.open(), "dir/k", nil))
			require.NoError(t, s.Delete(t.ctx, "dir/k"))
			w.waitGone("dir/k")
			w.waitRevision("dir/k", t.put(s, "dir/k", nil))
		},
	}, {
		Name: "watch/prefix-is-literal", Guarantee: 5,
		Proves: "\"dir/\" covers dir/a, neither dir nor dir2/a; \"dir\" covers all three; the empty prefix everything.",
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
		Name: "watch/snapshot-then-changes", Guarantee: 5,
		Proves: "Watches opened while writers are at work miss nothing and end with what a fresh read tells.",
		run: func(t *proof) {
			const writers, watchers, writes = 4, 4, 150
			reader := t.open()
			var g errgroup.Group
			for i := range writers {
				s := t.open()
				g.Go(func() error {
					for j := range writes {
						k := key("dir", i, j%7)
						if j%5 == 4 {
							if err := s.Delete(t.ctx, k); err != nil {
								return err
							}
							continue
						}
						if _, err := s.Put(t.ctx, k, value(j)); err != nil {
							return err
						}
					}
					return nil
				})
			}
			var taps []*tap
			for range watchers {
				taps = append(taps, t.tap(reader, "dir/"))
			}
			require.NoError(t, g.Wait())
			for _, w := range append(taps, t.tap(t.open(), "dir/")) {
				w.waitSame(reader)
			}
		},
	}, {
		Name: "watch/no-gap", Guarantee: 5,
		Proves: "Of 1,000 new keys written one after another a watch misses none, and none comes twice.",
		run: func(t *proof) {
			const writes, batch = 1000, 50
			s := t.open()
			w := t.tap(t.open(), "dir/")
			var g errgroup.Group
			g.SetLimit(8)
			for i := range writes {
				g.Go(func() error {
					_, err := s.Put(t.ctx, key("dir", i), value(i), backend.If(key("dir", i), 0))
					return err
				})
				if i%batch == 0 {
					require.NoError(t, g.Wait())
				}
			}
			require.NoError(t, g.Wait())
			w.wait("all keys", func(s *backend.State) bool { return s.Len() == writes })
			w.waitSame(s)
		},
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
		Proves: "A sequence opens nothing until it is ranged over, and each range begins with a snapshot of that moment.",
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
		},
	}, {
		Name: "watch/lease-expiry-is-seen", Guarantee: 5,
		Proves: "Keys that vanish with their lease are seen as deletes.",
		run: func(t *proof) {
			s := t.open()
			l := t.lease(s)
			w := t.tap(t.open(), "dir/")
			t.put(s, "dir/a", nil, backend.WithLease(l))
			w.waitRevision("dir/b", t.put(s, "dir/b", nil, backend.WithLease(l)))
			require.NoError(t, l.Close(t.ctx))
			w.waitGone("dir/a")
			w.waitGone("dir/b")
		},
	}, {
		Name: "watch/ends-with-its-context", Guarantee: 5,
		Proves: "A watch that waits ends with its context at once, and yields the context's cause once.",
		run: func(t *proof) {
			s := t.open()
			cause := errors.New("the reason")
			ctx, cancel := context.WithCancelCause(t.ctx)
			defer cancel(nil)
			var errs []error
			updates := 0
			for _, err := range s.WatchPrefix(ctx, "dir/") {
				if err != nil {
					errs = append(errs, err)
					continue
				}
				if updates++; updates == 1 {
					time.AfterFunc(50*time.Millisecond, func() { cancel(cause) })
				}
			}
			require.Len(t, errs, 1)
			require.ErrorIs(t, errs[0], cause)
			yields := 0
			for _, err := range s.WatchPrefix(ctx, "dir/") {
				yields++
				require.ErrorIs(t, err, cause)
			}
			require.Equal(t, 1, yields, "a watch whose context has ended says so")
		},
	}, {
		Name: "watch/ends-with-its-store", Guarantee: 5,
		Proves: "Closing the store ends its watches with ErrClosed, and new ones, and calls, get the same.",
		run: func(t *proof) {
			s := t.open()
			w := t.tap(s, "dir/")
			require.NoError(t, s.Close())
			<-w.ended
			require.ErrorIs(t, w.err, backend.ErrClosed)
			updates := 0
			for _, err := range s.WatchPrefix(t.ctx, "dir/") {
				updates++
				require.ErrorIs(t, err, backend.ErrClosed)
			}
			require.Equal(t, 1, updates)
			_, err := s.Get(t.ctx, "k")
			require.ErrorIs(t, err, backend.ErrClosed)
			_, err = s.Put(t.ctx, "k", nil)
			require.ErrorIs(t, err, backend.ErrClosed)
			require.ErrorIs(t, s.Delete(t.ctx, "k"), backend.ErrClosed)
			_, err = s.Lease(t.ctx, shortTTL)
			require.ErrorIs(t, err, backend.ErrClosed)
			require.NoError(t, s.Close(), "closing again is no error")
		},
	}, {
		Name: "watch/slow-consumer", Guarantee: 5,
		Proves: "What a slow consumer has not taken is merged: it gets few updates, each key once in each, and the last state.",
		run: func(t *proof) {
			const writes, keys = 1000, 10
			writer, reader := t.open(), t.open()
			barrier := t.tap(reader, "dir/")
			var state backend.State
			updates := 0
			for u, err := range reader.WatchPrefix(t.ctx, "dir/") {
				require.NoError(t, err)
				state.Apply(u)
				if updates++; updates == 1 {
					last := t.churn(writer, writes, keys)
					barrier.waitRevision("dir/last", last)
				}
				if _, ok := state.Get("dir/last"); ok {
					break
				}
			}
			entries, _, err := backend.List(t.ctx, reader, "dir/")
			require.NoError(t, err)
			require.True(t, slices.EqualFunc(state.Entries(), entries, sameEntry))
			require.Less(t, updates, writes/10, "%d writes were not merged", writes)
		},
	}, {
		Name: "watch/values-are-the-callers", Guarantee: 5,
		Proves: "What a caller does to a value it gave or was given is seen by nobody else.",
		run: func(t *proof) {
			s := t.open()
			given := value("value")
			t.put(s, "k", given)
			given[0] = 'X'
			for range 2 {
				for u, err := range s.WatchPrefix(t.ctx, "k") {
					require.NoError(t, err)
					require.Equal(t, "value", string(u.Puts[0].Value))
					u.Puts[0].Value[0] = 'X'
					break
				}
				e := t.get(s, "k")
				require.Equal(t, "value", string(e.Value))
				e.Value[0] = 'X'
			}
		},
	}, {
		Name: "watch/sees-other-tools", Guarantee: 5, Needs: []Power{Raw},
		Proves: "What people write and delete with the store's own tools is seen by watches, and the other way round.",
		run: func(t *proof) {
			s := t.open()
			w := t.tap(s, "")
			require.NoError(t, t.raw().RawPut(t.ctx, "config", value("typed")))
			w.wait("the typed value", func(s *backend.State) bool {
				e, _ := s.Get("config")
				return string(e.Value) == "typed"
			})
			t.put(s, "config", value("written"), backend.If("config", t.get(s, "config").Revision))
			v, found, err := t.raw().RawGet(t.ctx, "config")
			require.NoError(t, err)
			require.True(t, found)
			require.Equal(t, "written", string(v))
			require.NoError(t, t.raw().RawDelete(t.ctx, "config"))
			w.waitGone("config")
		},
	}, {
		Name: "watch/foreign-keys-are-left-out", Guarantee: 5, Needs: []Power{ForeignKeys},
		Proves: "Keys and values that break the rules, written by other tools, are left out of watches and hide nothing else.",
		run: func(t *proof) {
			s := t.open()
			foreign := func(suffix string) {
				require.NoError(t, t.raw().RawPut(t.ctx, "dir/a//b"+suffix, nil))
				require.NoError(t, t.raw().RawPut(t.ctx, "dir/\x01"+suffix, nil))
				require.NoError(t, t.raw().RawPut(t.ctx, "dir/large"+suffix, make([]byte, backend.MaxValue+1)))
			}
			foreign("before")
			t.put(s, "dir/own", nil)
			w := t.tap(s, "dir/")
			require.Equal(t, 1, w.len())
			foreign("after")
			require.NoError(t, t.raw().RawDelete(t.ctx, "dir/a//bafter"))
			w.waitRevision("dir/last", t.put(s, "dir/last", nil))
			require.Equal(t, 2, w.len())
		},
	}, {
		Name: "watch/history-lost", Guarantee: 5, Needs: []Power{History},
		Proves: "When history is lost every watch yields another snapshot and goes on with the truth.",
		run: func(t *proof) {
			s := t.open()
			for i := range 5 {
				t.put(s, key("dir", i), value("old"))
			}
			lose, err := power[HistoryLoser](t).Checkpoint(t.ctx)
			require.NoError(t, err)
			taps := []*tap{t.tap(s, "dir/"), t.tap(s, "")}
			seen := t.put(s, "dir/seen", nil)
			for _, w := range taps {
				w.waitRevision("dir/seen", seen)
			}
			require.NoError(t, lose(t.ctx))
			for _, w := range taps {
				w.waitSame(s)
				w.wait("another snapshot", func(*backend.State) bool { return w.snapshots > 1 })
			}
			rev := t.putEventually(s, "dir/after")
			for _, w := range taps {
				w.waitRevision("dir/after", rev)
			}
		},
	}, {
		Name: "watch/outlives-a-restart", Guarantee: 5, Needs: []Power{Restart},
		Proves: "A watch outlives a restart of the server without its caller's help, and misses nothing.",
		run: func(t *proof) {
			s := t.open()
			t.put(s, "dir/before", nil)
			w := t.tap(s, "dir/")
			require.NoError(t, power[Restarter](t).Restart(t.ctx))
			w.waitRevision("dir/after", t.putEventually(s, "dir/after"))
			w.waitSame(s)
		},
	}, {
		Name: "watch/idle-is-quiet", Guarantee: 5, Needs: []Power{Requests},
		Proves: "Twenty idle watches of one prefix cost at most two requests a second.",
		run: func(t *proof) {
			s := t.open()
			t.put(s, "dir/k", nil)
			for range 20 {
				t.tap(s, "dir/")
			}
			t.quiet(3*time.Second, 6)
		},
	}, {
		Name: "watch/absent-prefix-beside-a-busy-neighbour", Guarantee: 5, Needs: []Power{Requests},
		Proves: "Watches that nothing happens to do not poll while others write: an absent prefix, and one beside it.",
		run: func(t *proof) {
			s := t.open()
			t.put(s, "still/k", nil)
			absent, still := t.tap(s, "absent/"), t.tap(s, "still/")
			c := power[RequestCounter](t)
			const writes = 200
			before := c.Requests()
			began := time.Now()
			t.churn(t.open(), writes, 10)
			sent := c.Requests() - before - writes - 1
			// Ten a second is what the backoff of an absent prefix may cost.
			require.Less(t, float64(sent), 10+15*time.Since(began).Seconds())
			for _, w := range []*tap{absent, still} {
				updates, _ := w.counts()
				require.Less(t, updates, 10, "watch of %q", w.prefix)
			}
		},
	}}
}

// churn makes writes puts over a few keys and then one of dir/last, whose
// revision it returns.
func (t *proof) churn(s backend.Store, writes, keys int) backend.Revision {
	t.Helper()
	for i := range writes {
		t.put(s, key("dir", i%keys), value(i))
	}
	return t.put(s, "dir/last", nil)
}

// putEventually writes to a store that may be away for a moment.
func (t *proof) putEventually(s backend.Store, key string) (rev backend.Revision) {
	t.Helper()
	require.Eventually(t, func() bool {
		var err error
		rev, err = s.Put(t.ctx, key, nil)
		return err == nil
	}, 30*time.Second, 20*time.Millisecond)
	return rev
}

// quiet requires that the harness's stores, once they have settled, send at
// most n requests in d.
func (t *proof) quiet(d time.Duration, n int64) {
	t.Helper()
	c := power[RequestCounter](t)
	before := int64(-1)
	require.Eventually(t, func() bool {
		last := before
		before = c.Requests()
		return before == last
	}, 20*time.Second, 500*time.Millisecond, "the watches never come to rest")
	time.Sleep(d)
	require.LessOrEqual(t, c.Requests()-before, n)
}
