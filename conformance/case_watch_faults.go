package conformance

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
)

// staleness is how old the news of a watch may be at most; slack is what a busy
// machine may add.
const (
	staleness = 30 * time.Second
	slack     = 15 * time.Second
)

// watchFaults is about watches whose store is in trouble.
func watchFaults() []Case {
	return []Case{{
		Name: "watch/history-lost", Guarantee: 5, Needs: []Power{History},
		Proves: "When history is lost every watch yields another snapshot and goes on with the truth; keys that were left alone are there all the time.",
		run:    historyLost,
	}, {
		Name: "watch/store-replaced", Guarantee: 5, Needs: []Power{Raw, Replace},
		Proves: "Behind another store at the same address, whose revisions are smaller, watches yield a snapshot of that, mirrors drop what it has not, and all goes on.",
		run: func(t *proof) {
			old, revision := t.replaced(func(replace func()) {
				replace()
				t.rawPuts(1)
			})
			require.Less(t, revision, old, "it should have begun anew")
		},
	}, {
		Name: "watch/store-replaced-by-one-ahead", Guarantee: 5, Needs: []Power{Raw, Replace, Network},
		Proves: "The same, when the new store is beyond the revision of the old one by the time the watch is back.",
		run: func(t *proof) {
			n := power[NetworkFaulter](t)
			old, revision := t.replaced(func(replace func()) {
				require.NoError(t, n.Cut(t.ctx))
				replace()
				t.rawPuts(100)
				require.NoError(t, n.Heal(t.ctx))
			})
			require.Greater(t, revision, old, "it should be ahead")
		},
	}, {
		Name: "watch/outlives-a-cut", Guarantee: 5, Needs: []Power{Network, Raw},
		Proves: "What was written and deleted while a watch was cut off, or got no answers, it tells afterwards; one that began meanwhile yields nothing until it knows.",
		run: func(t *proof) {
			n := power[NetworkFaulter](t)
			for _, fault := range []func(context.Context) error{n.Cut, n.DropReplies} {
				t.cutOff(fault, n.Heal)
			}
		},
	}, {
		Name: "watch/outlives-a-pause", Guarantee: 5, Needs: []Power{Pause},
		Proves: "A watch over a server that stood still for a while goes on, and again tells that nothing has changed.",
		run: func(t *proof) {
			p := power[Pauser](t)
			s := t.open()
			rev := t.put(s, "dir/k", nil)
			w := t.tap(s, "dir/")
			for range 2 {
				require.NoError(t, p.Pause(t.ctx))
				late := t.tapLater(s, "dir/")
				time.Sleep(3 * time.Second)
				require.Equal(t, rev, w.entry("dir/k").Revision)
				updates, _ := late.counts()
				require.Zero(t, updates, "an update of a server that stands still")
				require.NoError(t, p.Resume(t.ctx))
				rev = t.putEventually(s, "dir/k")
				w.waitRevision("dir/k", rev)
				late.waitRevision("dir/k", rev)
			}
			t.confirmed(w) // with nobody else writing to the server
			w.waitSame(s)
			require.False(t, w.everGone("dir/k"))
		},
	}, {
		Name: "watch/outlives-a-restart", Guarantee: 5, Needs: []Power{Restart},
		Proves: "A watch outlives a restart of the server without its caller's help, misses nothing, and revisions go on growing.",
		run: func(t *proof) {
			s := t.open()
			w, absent := t.tap(s, "dir/"), t.tap(s, "absent/")
			rev := t.put(s, "dir/stays", nil)
			for round := range 2 {
				for i := range 5 {
					rev = t.put(s, key("dir", round, i), nil)
				}
				require.NoError(t, s.Delete(t.ctx, key("dir", round, 0)))
				require.NoError(t, power[Restarter](t).Restart(t.ctx))
				next := t.putEventually(s, "dir/after")
				require.Greater(t, next, rev)
				w.waitRevision("dir/after", next)
				w.waitSame(s)
			}
			require.False(t, w.everGone("dir/stays"))
			absent.waitRevision("absent/k", t.put(s, "absent/k", nil))
		},
	}, {
		Name: "watch/leader-alone", Guarantee: 5, Needs: []Power{Majority},
		Proves: "Once the majority has been lost for 30s no watch claims to be fresh, and when it is back they go on.",
		run:    leaderAlone,
	}, {
		Name: "watch/leader-stalled", Guarantee: 5, Needs: []Power{Majority},
		Proves: "When the leader hangs, and stays so, every watch follows the others within 30s.",
		run: func(t *proof) {
			m := power[MajorityLoser](t)
			writer := t.open()
			t.put(writer, "dir/k", nil)
			taps := t.everywhere()
			require.NoError(t, m.PauseLeader(t.ctx))
			defer t.resume(m)
			paused := time.Now()
			made := map[string]backend.Revision{"dir/": t.putEventually(writer, "dir/k"), "absent/": t.putEventually(writer, "absent/k")}
			written := time.Now()
			for _, w := range taps {
				w.waitRevision(w.prefix+"k", made[w.prefix])
			}
			require.Less(t, time.Since(written), staleness+slack)
			t.Logf("the others wrote %v after the pause, all watches saw it %v later", written.Sub(paused), time.Since(written))
		},
	}}
}

func historyLost(t *proof) {
	s := t.open()
	for i := range 5 {
		t.put(s, key("dir", i), value("old"))
	}
	before, _, err := backend.List(t.ctx, s, "")
	require.NoError(t, err)
	lose, err := power[HistoryLoser](t).Checkpoint(t.ctx)
	require.NoError(t, err)
	mirror, _ := t.mirror(s, "dir/")
	taps := []*tap{t.tap(s, "dir/"), t.tap(s, ""), t.tap(s, "absent/")}
	taps[2].waitRevision("absent/k", t.put(s, "absent/k", nil))
	require.NoError(t, s.Delete(t.ctx, "absent/k"))
	taps[2].waitGone("absent/k")
	seen := t.put(s, "dir/seen", nil)
	for _, w := range taps[:2] {
		w.waitRevision("dir/seen", seen)
	}

	require.NoError(t, lose(t.ctx))
	for _, w := range taps {
		w.waitSame(s)
		w.wait("another snapshot", func(*backend.State) bool { return w.snapshots > 1 })
		w.waitSame(s)
	}
	after, _, err := backend.List(t.ctx, s, "")
	require.NoError(t, err)
	for _, e := range before {
		if slices.ContainsFunc(after, func(a backend.Entry) bool { return sameEntry(a, e) }) {
			require.False(t, taps[0].everGone(e.Key) || taps[1].everGone(e.Key), "%q was said to be gone", e.Key)
		}
	}
	rev := t.putEventually(s, "dir/after")
	for _, w := range taps[:2] {
		w.waitRevision("dir/after", rev)
		w.waitSame(s)
	}
	rev = t.put(s, "absent/k", nil)
	taps[2].waitRevision("absent/k", rev)
	t.sameAs(mirror, taps[0])
}

// replaced follows a prefix while replace puts another store behind the address,
// in which dir/0 and dir/new have been written by the time it returns. It
// returns the revision of dir/0 in both.
func (t *proof) replaced(swap func(replace func())) (old, revision backend.Revision) {
	const keys = 20
	s := t.open()
	for i := range keys {
		t.put(s, key("dir", i), value("old"))
	}
	old = t.put(s, "dir/0", value("old"))
	mirror, deleted := t.mirror(s, "dir/")
	w, absent := t.tap(s, "dir/"), t.tap(s, "absent/")
	swap(func() { require.NoError(t, power[Replacer](t).Replace(t.ctx)) })

	w.wait("the truth of the new store", func(s *backend.State) bool {
		e, _ := s.Get("dir/0")
		n, _ := s.Get("dir/new")
		return s.Len() == 2 && string(e.Value) == "new" && string(n.Value) == "new"
	})
	w.waitSame(s)
	t.sameAs(mirror, w)
	gone := deleted()
	for i := 1; i < keys; i++ {
		require.Contains(t, gone, key("dir", i))
	}
	// All goes on, conditions on the new revisions included.
	revision = w.entry("dir/0").Revision
	w.waitRevision("dir/0", t.put(s, "dir/0", value("newer"), backend.If("dir/0", revision)))
	require.NoError(t, s.Delete(t.ctx, "dir/new"))
	w.waitGone("dir/new")
	absent.waitRevision("absent/k", t.put(s, "absent/k", nil))
	t.sameAs(mirror, w)
	return old, revision
}

// rawPuts writes to a server that was just put up: dir/new, so many times, and
// then dir/0.
func (t *proof) rawPuts(times int) {
	t.Helper()
	for i := range times { // the same bytes again would be no write for some tools
		require.NoError(t, t.raw().RawPut(t.ctx, "dir/new", value(i)))
	}
	require.NoError(t, t.raw().RawPut(t.ctx, "dir/new", value("new")))
	require.NoError(t, t.raw().RawPut(t.ctx, "dir/0", value("new")))
}

// cutOff has others write while the stores can't reach the server.
func (t *proof) cutOff(fault, heal func(context.Context) error) {
	const keys = 10
	s := t.open()
	for i := range keys {
		t.put(s, key("dir", i), value("before"))
	}
	w := t.tap(s, "dir/")
	mirror, deleted := t.mirror(s, "dir/")
	require.NoError(t, fault(t.ctx))
	late := []*tap{t.tapLater(s, "dir/"), t.tapLater(s, "dir")}
	require.NoError(t, t.raw().RawPut(t.ctx, "dir/0", value("meanwhile")))
	require.NoError(t, t.raw().RawPut(t.ctx, "dir/new", value("meanwhile")))
	require.NoError(t, t.raw().RawDelete(t.ctx, "dir/1"))
	require.NoError(t, t.raw().RawDelete(t.ctx, "dir/2"))
	time.Sleep(time.Second) // for those who make something up
	for _, l := range late {
		updates, _ := l.counts()
		require.Zero(t, updates, "an update that the store can't have told")
	}
	require.NoError(t, heal(t.ctx))

	taps := slices.Concat(late, []*tap{w})
	for _, w := range taps {
		w.wait("what was written meanwhile", func(s *backend.State) bool {
			e, _ := s.Get("dir/0")
			_, ok := s.Get("dir/new")
			return s.Len() == keys-1 && ok && string(e.Value) == "meanwhile"
		})
		w.waitSame(s)
		for i := range keys {
			require.Equal(t, i == 1 || i == 2, w.everGone(key("dir", i)) || w.entry(key("dir", i)).Revision == 0, "dir/%d", i)
		}
	}
	rev := t.put(s, "dir/after", nil)
	for _, w := range taps {
		w.waitRevision("dir/after", rev)
	}
	t.sameAs(mirror, w)
	require.ElementsMatch(t, []string{"dir/1", "dir/2"}, deleted())
	entries, _, err := backend.List(t.ctx, s, "dir/")
	require.NoError(t, err)
	for _, e := range entries {
		require.NoError(t, s.Delete(t.ctx, e.Key))
	}
}

func leaderAlone(t *proof) {
	m := power[MajorityLoser](t)
	s := t.open()
	t.put(s, "dir/k", nil)
	taps := t.everywhere()
	// Some servers tell a watch no progress before there was a write after its
	// beginning.
	rev := t.put(s, "dir/k", nil)
	for _, w := range taps {
		w.wait("the last write", func(s *backend.State) bool { return s.Revision() >= rev })
	}
	require.NoError(t, m.PauseFollowers(t.ctx))
	resume := sync.OnceFunc(func() { t.resume(m) })
	defer resume()

	// What was sent before the 30s were over may take a moment to arrive.
	time.Sleep(staleness + 5*time.Second)
	heard := make([]int, len(taps))
	for i, w := range taps {
		heard[i], _ = w.counts()
	}
	time.Sleep(10 * time.Second)
	for i, w := range taps {
		updates, _ := w.counts()
		require.Equal(t, heard[i], updates, "the watch of %q claims to be fresh", w.prefix)
	}
	resume()
	made := map[string]backend.Revision{"dir/": t.putEventually(s, "dir/after"), "absent/": t.putEventually(s, "absent/after")}
	for _, w := range taps {
		w.waitRevision(w.prefix+"after", made[w.prefix])
		w.waitSame(s)
		require.False(t, w.everGone("dir/k"))
	}
}

// everywhere opens watches through so many stores that some hang on each node.
func (t *proof) everywhere() []*tap {
	t.Helper()
	var taps []*tap
	for range 8 {
		s := t.open()
		taps = append(taps, t.tap(s, "dir/"), t.tap(s, "absent/"))
	}
	return taps
}

// resume lets all nodes go on, also when the case has failed.
func (t *proof) resume(m MajorityLoser) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), watchdog)
	defer cancel()
	require.NoError(t, m.Resume(ctx))
}

// mirror runs a mirror of a prefix until the case ends. deleted lists the keys
// that it was told to drop so far.
func (t *proof) mirror(s backend.Store, prefix string) (m *backend.Mirror, deleted func() []string) {
	t.Helper()
	var mu sync.Mutex
	var gone []string
	m = backend.NewMirror(s, prefix, func(change backend.Update) {
		mu.Lock()
		defer mu.Unlock()
		gone = append(gone, change.Deletes...)
	})
	ctx, cancel := context.WithCancel(t.ctx)
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) && !closed(err) {
			t.Errorf("mirror of %q: %v", prefix, err)
		}
	})
	select {
	case <-m.Synced():
	case <-t.ctx.Done():
		t.Fatalf("mirror of %q: %v", prefix, context.Cause(t.ctx))
	}
	return m, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(gone)
	}
}

// sameAs waits until a mirror shows what a watch of its prefix adds up to.
func (t *proof) sameAs(m *backend.Mirror, w *tap) {
	t.Helper()
	want := w.entries()
	for {
		have := slices.Collect(m.All())
		if slices.EqualFunc(have, want, sameEntry) {
			return
		}
		select {
		case <-t.ctx.Done():
			t.Fatalf("mirror of %q: %v: it shows %v, want %v", w.prefix, context.Cause(t.ctx), have, want)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// putEventually writes to a store that may be away for a moment.
func (t *proof) putEventually(s backend.Store, key string) backend.Revision {
	t.Helper()
	attempt := func() (backend.Revision, error) {
		ctx, cancel := context.WithTimeout(t.ctx, backend.DefaultTimeout)
		defer cancel()
		return s.Put(ctx, key, nil)
	}
	for {
		rev, err := attempt()
		if err == nil {
			return rev
		}
		if t.ctx.Err() != nil {
			t.Fatalf("put %q: %v: the last error: %v", key, context.Cause(t.ctx), err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
