package conformance

import (
	"runtime"
	"slices"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/seed27495941/seckill/backend"
)

// watchCosts is about what watches cost: memory, goroutines, requests.
func watchCosts() []Case {
	return []Case{{
		Name: "watch/slow-consumer", Guarantee: 5,
		Proves: "What a slow consumer has not taken is merged: it gets few updates, each key once in each, and the last state.",
		run:    slowConsumer,
	}, {
		Name: "watch/slow-consumer-memory", Guarantee: 5, alone: true,
		Proves: "What a slow consumer has not taken costs the memory of the prefix, not of all that was written: 32 MiB under five keys.",
		run:    slowConsumerMemory,
	}, {
		Name: "watch/goroutines-end", Guarantee: 5, alone: true,
		Proves: "Of watches that were broken off, cancelled or closed with their store, of leases and of the store nothing runs on.",
		run: func(t *proof) {
			t.live() // what a client library starts once and for all is no leak
			before := goleak.IgnoreCurrent()
			t.live()
			began := time.Now()
			for goleak.Find(before) != nil && time.Since(began) < staleness {
				time.Sleep(100 * time.Millisecond)
			}
			require.NoError(t, goleak.Find(before))
		},
	}, {
		Name: "watch/goroutines-of-an-open-store", Guarantee: 5, alone: true,
		Proves: "Of 400 watches, broken off and cancelled, nothing runs on though their store goes on.",
		run: func(t *proof) {
			s := t.open()
			t.comeAndGo(s, 5)
			before := runtime.NumGoroutine()
			for range 4 {
				t.comeAndGo(s, 50)
			}
			// Connections come and go with two goroutines each.
			const room = 40
			began := time.Now()
			for runtime.NumGoroutine() > before+room && time.Since(began) < staleness {
				time.Sleep(100 * time.Millisecond)
			}
			require.LessOrEqual(t, runtime.NumGoroutine(), before+room)
		},
	}, {
		Name: "watch/five-hundred", Guarantee: 5, own: true,
		Proves: "500 watches of five prefixes through one store get their snapshot and see each write, within the server's default limits.",
		run: func(t *proof) {
			s := t.open()
			t.watchers(s, 500)
		},
	}, {
		Name: "watch/requests-of-many", Guarantee: 5, Needs: []Power{Requests},
		Proves: "To open a watch costs at most three requests; what 100 watches of five prefixes are told costs no more than if there were five.",
		run: func(t *proof) {
			const watchers, writes = 100, 10
			c := power[RequestCounter](t)
			s, writer := t.open(), t.open()
			t.put(s, "k", nil) // settles what a driver asks first
			before := c.Requests()
			for i := range watchers {
				_ = s.WatchPrefix(t.ctx, key(i, ""))
			}
			require.Equal(t, before, c.Requests(), "a sequence that nobody ranges over")
			taps := t.watchers(s, watchers)
			opened := c.Requests() - before
			for i := range crowd + writes {
				if i == crowd { // all prefixes have a key by now
					before = c.Requests()
				}
				k := key(i%crowd, "k")
				rev := t.put(writer, k, nil)
				for j := i % crowd; j < watchers; j += crowd {
					taps[j].waitRevision(k, rev)
				}
			}
			told := c.Requests() - before
			t.Logf("%d requests to open, %d for %d writes", opened, told, writes)
			require.LessOrEqual(t, opened, int64(3*watchers))
			// One for each write and one for each change; as many may wait or confirm.
			require.LessOrEqual(t, told, int64(2*2*writes))
		},
	}, {
		Name: "watch/confirmed", Guarantee: 5,
		Proves: "While nothing changes under a prefix, be there keys or none, its watch confirms that at least every 30s, not by a snapshot; so it does when others write elsewhere.",
		run: func(t *proof) {
			s := t.open()
			t.put(s, "dir/k", nil)
			taps := []*tap{t.tap(s, "dir/"), t.tap(s, "absent/"), t.tap(t.open(), "dir/k")}
			for range 2 {
				t.confirmed(taps...)
				t.put(t.open(), "elsewhere", nil)
			}
			for _, w := range taps {
				w.steady()
			}
		},
	}, {
		Name: "watch/idle-is-quiet", Guarantee: 5, Needs: []Power{Requests},
		Proves: "25 idle watches of six prefixes cost at most one request in ten seconds each.",
		run: func(t *proof) {
			const same, others, seconds = 20, 5, 8
			s := t.open()
			for i := range others {
				t.put(s, key(i, "k"), nil)
				t.tap(s, key(i, ""))
			}
			t.put(s, "dir/k", nil)
			for range same {
				t.tap(s, "dir/")
			}
			t.quiet(seconds*time.Second, (same+others)*seconds/10)
		},
	}, {
		Name: "watch/quiet-after-history-lost", Guarantee: 5, Needs: []Power{History, Requests},
		Proves: "A watch that had to begin again, because history was lost, comes to rest: it does not ask in a loop.",
		run: func(t *proof) {
			const seconds = 8
			s := t.open()
			t.put(s, "dir/k", nil)
			lose, err := power[HistoryLoser](t).Checkpoint(t.ctx)
			require.NoError(t, err)
			taps := []*tap{t.tap(s, "dir/"), t.tap(s, "")}
			seen := t.put(s, "dir/seen", nil)
			for _, w := range taps {
				w.waitRevision("dir/seen", seen)
			}
			require.NoError(t, lose(t.ctx))
			for _, w := range taps {
				w.wait("another snapshot", func(*backend.State) bool { return w.snapshots > 1 })
			}
			t.quiet(seconds*time.Second, seconds) // a loop sends that many in a moment
		},
	}, {
		Name: "watch/absent-prefix-beside-a-busy-neighbour", Guarantee: 5, Needs: []Power{Requests},
		Proves: "Watches that nothing happens to do not poll while others write: an absent prefix costs two requests a second at most, one beside it nothing.",
		run: func(t *proof) {
			s, writer := t.open(), t.open()
			t.put(s, "still/k", nil)
			taps := []*tap{t.tap(s, "absent/"), t.tap(s, "still/")}
			c := power[RequestCounter](t)
			before, began, writes := c.Requests(), time.Now(), int64(0)
			for ; time.Since(began) < 4*time.Second; writes++ {
				t.put(writer, key("busy", writes%10), nil)
			}
			// Ten until they have found their pace.
			require.Less(t, float64(c.Requests()-before-writes), 10+2*time.Since(began).Seconds())
			for _, w := range taps {
				updates, _ := w.counts()
				require.Less(t, updates, 5, "watch of %q", w.prefix)
			}
		},
	}}
}

// slowConsumer holds its first update while others write, and make and delete
// keys.
func slowConsumer(t *proof) {
	const writes, keys, passing, writers = 600, 10, 100, 8
	writer, reader := t.open(), t.open()
	barrier := t.tap(reader, "dir/")
	var state backend.State
	var last backend.Revision
	updates, deletes := 0, 0
	for u, err := range reader.WatchPrefix(t.ctx, "dir/") {
		require.NoError(t, err)
		state.Apply(u)
		deletes += len(u.Deletes)
		if updates++; updates == 1 {
			var g errgroup.Group
			g.SetLimit(writers)
			for i := range passing {
				g.Go(func() error {
					k := key("dir", "passing", i)
					if _, err := writer.Put(t.ctx, k, nil); err != nil {
						return err
					}
					return writer.Delete(t.ctx, k)
				})
			}
			for i := range writes {
				g.Go(func() error {
					_, err := writer.Put(t.ctx, key("dir", i%keys), value(i))
					return err
				})
			}
			require.NoError(t, g.Wait())
			last = t.put(writer, "dir/last", nil)
			barrier.wait("the last write", func(s *backend.State) bool { return s.Revision() >= last })
		}
		if u.Revision >= last {
			break
		}
	}
	entries, _, err := backend.List(t.ctx, reader, "dir/")
	require.NoError(t, err)
	require.True(t, slices.EqualFunc(state.Entries(), entries, sameEntry))
	require.Less(t, updates, 10, "%d writes were not merged", writes)
	require.Less(t, deletes, passing/10, "deletes of keys that the consumer was never told of pile up")
}

func slowConsumerMemory(t *proof) {
	const writes, keys, size, writers = 512, 4, 64 << 10, 8
	writer, reader := t.open(), t.open()
	barrier := t.tap(reader, "dir/")
	updates := 0
	for u, err := range reader.WatchPrefix(t.ctx, "dir/") {
		require.NoError(t, err)
		if updates++; updates == 1 {
			before := heap()
			var g errgroup.Group
			g.SetLimit(writers)
			for i := range writes {
				g.Go(func() error {
					_, err := writer.Put(t.ctx, key("dir", i%keys), make([]byte, size))
					return err
				})
			}
			require.NoError(t, g.Wait())
			barrier.waitRevision("dir/last", t.put(writer, "dir/last", nil))
			grown := heap() - before
			t.Logf("%d KiB were written, the heap grew by %d KiB", writes*size>>10, grown>>10)
			require.Less(t, grown, int64(writes*size/4))
		}
		if slices.Contains(keysOf(u.Puts), "dir/last") {
			break
		}
	}
}

// heap is how many bytes are in use.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what is in pools survives one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// live is the life of a store: what it starts must end with it.
func (t *proof) live() {
	t.Helper()
	s, err := t.Open()
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	held := t.lease(s)
	closed, err := s.Lease(t.ctx, longTTL)
	require.NoError(t, err)
	w := t.tap(s, "dir/")
	w.waitRevision("dir/k", t.put(s, "dir/k", nil, backend.WithLease(closed)))
	t.comeAndGo(s, 5)
	require.NoError(t, closed.Close(t.ctx))
	w.waitGone("dir/k")

	require.NoError(t, s.Close())
	require.ErrorIs(t, w.end(), backend.ErrClosed)
	t.done(held)
}

// comeAndGo opens n watches that are broken off and n that are cancelled.
func (t *proof) comeAndGo(s backend.Store, n int) {
	t.Helper()
	var taps []*tap
	for i := range n {
		prefix := key(i%crowd, "")
		taps = append(taps, t.tapLater(s, prefix))
		for _, err := range s.WatchPrefix(t.ctx, prefix) {
			require.NoError(t, err)
			break
		}
	}
	for _, w := range taps {
		w.begun().close()
	}
}

// crowd is how many prefixes many watches share.
const crowd = 5

// watchers opens n watches of five prefixes, and has each see its prefix's key
// be written and deleted.
func (t *proof) watchers(s backend.Store, n int) []*tap {
	t.Helper()
	var taps []*tap
	for i := range n {
		taps = append(taps, t.tapLater(s, key(i%crowd, "")))
	}
	for _, w := range taps {
		w.begun()
	}
	for i := range crowd {
		k := key(i, "k")
		rev := t.put(s, k, nil)
		for j := i; j < n; j += crowd {
			taps[j].waitRevision(k, rev)
		}
		require.NoError(t, s.Delete(t.ctx, k))
		for j := i; j < n; j += crowd {
			taps[j].waitGone(k)
		}
	}
	return taps
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
	sent := c.Requests() - before
	t.Logf("%d requests in %v", sent, d)
	require.LessOrEqual(t, sent, n)
}
