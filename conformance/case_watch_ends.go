package conformance

import (
	"context"
	"errors"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
)

// watchEnds is about the end of a watch.
func watchEnds() []Case {
	return []Case{{
		Name: "watch/ends-with-its-context", Guarantee: 5,
		Proves: "A watch that waits ends with its context at once, and yields the context's cause once.",
		run: func(t *proof) {
			s := t.open()
			cause := errors.New("the reason")
			ctx, cancel := context.WithCancelCause(t.ctx)
			defer cancel(nil)
			var errs []error
			var cancelled time.Time
			updates := 0
			for _, err := range s.WatchPrefix(ctx, "dir/") {
				if err != nil {
					errs = append(errs, err)
					require.Less(t, time.Since(cancelled), promptly)
					continue
				}
				if updates++; updates == 1 {
					cancelled = time.Now().Add(50 * time.Millisecond)
					time.AfterFunc(time.Until(cancelled), func() { cancel(cause) })
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
		Name: "watch/cancelled-while-its-consumer-works", Guarantee: 5,
		Proves: "When the context ends in the body of the range, the cause comes next, and what was pending does not.",
		run: func(t *proof) {
			s := t.open()
			other := t.tap(s, "dir/")
			cause := errors.New("the reason")
			ctx, cancel := context.WithCancelCause(t.ctx)
			defer cancel(nil)
			var errs []error
			for _, err := range s.WatchPrefix(ctx, "dir/") {
				if errs = append(errs, err); len(errs) == 1 {
					other.waitRevision("dir/k", t.put(s, "dir/k", nil))
					cancel(cause)
				}
			}
			require.Len(t, errs, 2)
			require.NoError(t, errs[0])
			require.ErrorIs(t, errs[1], cause)
		},
	}, {
		Name: "watch/broken-off", Guarantee: 5,
		Proves: "A range that is broken off, at the snapshot or at a change, ends at once and leaves the other watches of its prefix.",
		run: func(t *proof) {
			s := t.open()
			stays := t.tap(s, "dir/")
			for at := range 3 {
				updates := 0
				var broken time.Time
				for u, err := range s.WatchPrefix(t.ctx, "dir/") {
					require.NoError(t, err)
					if len(u.Puts)+len(u.Deletes) == 0 && !u.Snapshot {
						continue
					}
					if updates++; updates > at {
						broken = time.Now()
						break
					}
					t.put(s, "dir/k", nil)
				}
				require.Less(t, time.Since(broken), promptly)
				stays.waitRevision("dir/k", t.put(s, "dir/k", nil))
			}
			stays.steady()
		},
	}, {
		Name: "watch/ends-while-the-store-is-away", Guarantee: 5, Needs: []Power{Network},
		Proves: "A watch that waits for its first update or for a change, a range that is broken off, and Close, end at once though nobody answers.",
		run: func(t *proof) {
			n := power[NetworkFaulter](t)
			for what, fault := range map[string]func(context.Context) error{"cut": n.Cut, "mute": n.DropReplies} {
				s := t.open()
				t.put(s, "dir/k", nil)
				waiting := []*tap{t.tap(s, "dir/"), t.tap(s, "absent/")}
				breakOff := t.hold(s, "dir/")
				require.NoError(t, fault(t.ctx), what)
				waiting = append(waiting, t.tapLater(s, "dir/"), t.tapLater(s, "other/"))
				time.Sleep(200 * time.Millisecond) // they are on their way: nothing tells when
				t.ends(what+": a range that is broken off", breakOff)
				for _, w := range waiting {
					t.ends(what+": a watch that is cancelled", func() { w.close() })
					require.ErrorIs(t, w.err, errTapClosed, what)
				}
				last := []*tap{t.tapLater(s, "dir/"), t.tapLater(s, "other/")}
				t.ends(what+": a store that is closed", func() { assert.NoError(t, s.Close()) })
				for _, w := range last {
					require.ErrorIs(t, w.end(), backend.ErrClosed, what)
				}
				require.NoError(t, n.Heal(t.ctx), what)
			}
		},
	}, {
		Name: "watch/ends-with-its-store", Guarantee: 5,
		Proves: "Closing the store ends its watches with ErrClosed, and new ones, and calls, get the same.",
		run: func(t *proof) {
			s := t.open()
			w := t.tap(s, "dir/")
			require.NoError(t, s.Close())
			require.ErrorIs(t, w.end(), backend.ErrClosed)
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
	}}
}

// promptly is how soon a call ends that needs no answer. No request that it
// might wait for in vain ends as soon, and no machine is that slow.
const promptly = backend.DefaultTimeout - time.Second

// ends requires that f ends promptly.
func (t *proof) ends(what string, f func()) {
	t.Helper()
	began, ended := time.Now(), make(chan struct{})
	go func() {
		defer close(ended)
		f()
	}()
	select {
	case <-ended:
		require.Less(t, time.Since(began), promptly, what)
	case <-time.After(staleness):
		t.Fatalf("%s does not end", what)
	}
}

// hold ranges over a watch and stays in the body of its first update until
// breakOff is called, which returns when the range has ended.
func (t *proof) hold(s backend.Store, prefix string) (breakOff func()) {
	t.Helper()
	first, leave, ended := make(chan error, 1), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for _, err := range s.WatchPrefix(t.ctx, prefix) {
			first <- err
			<-leave
			break
		}
	}()
	require.NoError(t, <-first)
	return func() {
		close(leave)
		<-ended
	}
}
