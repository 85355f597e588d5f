package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
)

// A tap runs a watch, checks each update against the contract, and keeps what
// the updates add up to.
type tap struct {
	t      *proof
	prefix string
	spoils bool // overwrites the values that it was given: they are its own
	cancel context.CancelCauseFunc
	ended  chan struct{}

	mu        sync.Mutex
	moved     chan struct{} // closed and replaced with each update
	state     backend.State
	rules     []rule
	vanished  map[string]bool // keys that it was told of and that were gone at some time
	updates   int
	snapshots int
	confirmed int // updates that tell of no change
	err       error
	faulty    bool // it broke the contract
	cancelled bool
	over      bool // cancelled before the watch was asked for more
	abandoned bool
}

// A rule is something that has to hold after each update.
type rule struct {
	what string
	cond func(*backend.State) bool
}

// errTapClosed is the cause that ends a tap.
var errTapClosed = fmt.Errorf("the case closed its watch")

// tap starts a watch and waits for its first update.
func (t *proof) tap(s backend.Store, prefix string) *tap {
	t.Helper()
	return t.tapLater(s, prefix).begun()
}

// tapLater starts a watch and does not wait.
func (t *proof) tapLater(s backend.Store, prefix string) *tap {
	w := &tap{t: t, prefix: prefix}
	w.start(s)
	return w
}

// spoiler is a tap that overwrites every value as soon as it has taken note.
func (t *proof) spoiler(s backend.Store, prefix string) *tap {
	t.Helper()
	w := &tap{t: t, prefix: prefix, spoils: true}
	w.start(s)
	return w.begun()
}

func (w *tap) start(s backend.Store) {
	ctx, cancel := context.WithCancelCause(w.t.Context()) // not the watchdog's: see rewind
	w.cancel, w.ended, w.moved, w.vanished = cancel, make(chan struct{}), make(chan struct{}), map[string]bool{}
	go func() {
		defer close(w.ended)
		for u, err := range s.WatchPrefix(ctx, w.prefix) {
			w.take(u, err)
		}
		w.finish()
	}()
	w.t.Cleanup(func() { w.close() })
}

// begun waits for the first update.
func (w *tap) begun() *tap {
	w.t.Helper()
	w.wait("its first update", func(*backend.State) bool { return w.updates > 0 })
	return w
}

// close ends the watch, waits until the range over it has ended, and returns
// the error that it ended with.
func (w *tap) close() error {
	w.t.Helper()
	w.cancel(errTapClosed)
	w.mu.Lock()
	w.cancelled = true
	w.mu.Unlock()
	return w.end()
}

// end waits until the range over the watch has ended.
func (w *tap) end() error {
	w.t.Helper()
	limit := time.NewTimer(min(patience(w.t.T), staleness))
	defer limit.Stop()
	select {
	case <-w.ended:
	case <-limit.C:
		w.t.Errorf("the watch of %q does not end", w.prefix)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.abandoned = true // whatever comes now: the case may be over
	return w.err
}

func (w *tap) take(u backend.Update, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.abandoned {
		return
	}
	defer func() {
		w.over = w.cancelled
		close(w.moved)
		w.moved = make(chan struct{})
	}()
	if w.err != nil {
		w.t.Errorf("watch of %q: yields (%v, %v) after the error %v", w.prefix, u, err, w.err)
		return
	}
	if err != nil {
		w.err = err
		return
	}
	for _, fault := range w.faults(u) {
		w.faulty = true
		w.t.Errorf("watch of %q, update %d: %s", w.prefix, w.updates, fault)
	}
	w.count(u)
	change := w.state.Apply(w.kept(u))
	for _, key := range change.Deletes {
		w.vanished[key] = true
	}
	for _, r := range w.rules {
		if !r.cond(&w.state) {
			w.faulty = true
			w.t.Errorf("watch of %q, update %d breaks the rule: %s", w.prefix, w.updates, r.what)
		}
	}
}

func (w *tap) count(u backend.Update) {
	w.updates++
	switch {
	case u.Snapshot:
		w.snapshots++
	case len(u.Puts)+len(u.Deletes) == 0:
		w.confirmed++
	}
}

// kept is an update as the tap keeps it.
func (w *tap) kept(u backend.Update) backend.Update {
	if !w.spoils {
		return u
	}
	given := u.Puts
	u.Puts = slices.Clone(given)
	for i, e := range given {
		u.Puts[i].Value = append([]byte{}, e.Value...)
		for j := range e.Value {
			e.Value[j] = '!'
		}
	}
	return u
}

// finish looks at how the range ended.
func (w *tap) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil && !w.abandoned {
		w.err = errNoError
		w.t.Errorf("watch of %q: ends without an error", w.prefix)
		close(w.moved)
		w.moved = make(chan struct{})
	}
}

var errNoError = errors.New("the sequence ended without an error")

// faults lists what an update does that the contract forbids.
func (w *tap) faults(u backend.Update) []string {
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	switch {
	case w.over:
		fault("comes after the end of its context")
	case w.updates == 0 && !u.Snapshot:
		fault("the first update is no snapshot")
	case u.Snapshot && len(u.Deletes) > 0:
		fault("a snapshot with deletes")
	case !u.Snapshot && u.Revision < w.state.Revision():
		fault("goes back from revision %d to %d", w.state.Revision(), u.Revision)
	case u.Revision == 0 && len(u.Deletes) > 0:
		fault("deletes at revision 0")
	}
	seen := map[string]bool{}
	for _, key := range append(slices.Clone(u.Deletes), keysOf(u.Puts)...) {
		if seen[key] {
			fault("names %q twice", key)
		}
		seen[key] = true
		if !strings.HasPrefix(key, w.prefix) {
			fault("names %q, which is outside the prefix", key)
		}
		if err := backend.CheckKey(key); err != nil {
			fault("names a key against the rules: %v", err)
		}
	}
	last := backend.Revision(0)
	for _, e := range u.Puts {
		have, known := w.state.Get(e.Key)
		switch {
		case e.Revision <= last:
			fault("puts are not in revision order at %q", e.Key)
		case e.Revision > u.Revision:
			fault("%q has revision %d in an update complete up to %d", e.Key, e.Revision, u.Revision)
		case e.Value == nil:
			fault("%q has a nil value", e.Key)
		case len(e.Value) > backend.MaxValue:
			fault("%q has a value of %d bytes", e.Key, len(e.Value))
		case u.Snapshot: // may be of another history
		case known && e.Revision < have.Revision:
			fault("%q goes back from revision %d to %d", e.Key, have.Revision, e.Revision)
		case e.Revision <= w.state.Revision():
			fault("tells %q at revision %d after an update complete up to %d", e.Key, e.Revision, w.state.Revision())
		}
		last = e.Revision
	}
	return faults
}

func keysOf(entries []backend.Entry) []string {
	keys := make([]string, len(entries))
	for i, e := range entries {
		keys[i] = e.Key
	}
	return keys
}

// wait waits until cond holds of the state; it is called with the tap locked.
func (w *tap) wait(what string, cond func(*backend.State) bool) {
	w.t.Helper()
	for {
		w.mu.Lock()
		ok, err, moved, faulty := cond(&w.state), w.err, w.moved, w.faulty
		w.mu.Unlock()
		if ok {
			return
		}
		if faulty {
			w.t.Fatalf("watch of %q: not waiting for %s, after what it has told", w.prefix, what)
		}
		if err != nil {
			w.t.Fatalf("watch of %q ended waiting for %s: %v", w.prefix, what, err)
		}
		select {
		case <-moved:
		case <-w.t.ctx.Done():
			w.t.Fatalf("watch of %q: waiting for %s: %v", w.prefix, what, context.Cause(w.t.ctx))
		}
	}
}

// waitRevision waits until key is seen at a revision.
func (w *tap) waitRevision(key string, rev backend.Revision) {
	w.t.Helper()
	w.wait(fmt.Sprintf("%q at revision %d", key, rev), func(s *backend.State) bool {
		e, _ := s.Get(key)
		return e.Revision == rev
	})
}

// waitValue waits until key is seen with a value.
func (w *tap) waitValue(key, want string) {
	w.t.Helper()
	w.wait(fmt.Sprintf("%q as the value of %q", want, key), func(s *backend.State) bool {
		e, ok := s.Get(key)
		return ok && bytes.Equal(e.Value, []byte(want))
	})
}

// waitGone waits until key is seen not to exist.
func (w *tap) waitGone(key string) {
	w.t.Helper()
	w.wait(fmt.Sprintf("the end of %q", key), func(s *backend.State) bool {
		_, ok := s.Get(key)
		return !ok
	})
}

// waitSame waits until the watch adds up to what a fresh read tells.
func (w *tap) waitSame(s backend.Store) {
	w.t.Helper()
	want, _, err := backend.List(w.t.ctx, s, w.prefix)
	require.NoError(w.t, err)
	w.wait("the state that a fresh read tells", func(have *backend.State) bool {
		return slices.EqualFunc(have.Entries(), want, sameEntry)
	})
}

// settle writes a key after all others and waits until it is seen. An update is
// complete up to its revision: by then the watch has to add up to what a fresh
// read tells.
func (w *tap) settle(s backend.Store) {
	w.t.Helper()
	last := w.t.put(s, w.prefix+"last", nil)
	w.wait("the last write", func(s *backend.State) bool { return s.Revision() >= last })
	want, _, err := backend.List(w.t.ctx, s, w.prefix)
	require.NoError(w.t, err)
	have := w.entries()
	for i := range max(len(want), len(have)) {
		if i >= len(want) || i >= len(have) || !sameEntry(want[i], have[i]) {
			w.t.Fatalf("watch of %q: it adds up to %d keys, a read shows %d; they differ from number %d on", w.prefix, len(have), len(want), i)
		}
	}
}

// confirmed waits until each watch confirms anew that nothing has changed, and
// requires that it does so in time.
func (t *proof) confirmed(taps ...*tap) {
	t.Helper()
	began := time.Now()
	before := make([]int, len(taps))
	for i, w := range taps {
		w.mu.Lock()
		before[i] = w.confirmed
		w.mu.Unlock()
	}
	for i, w := range taps {
		w.wait("a confirmation", func(*backend.State) bool { return w.confirmed > before[i] })
		require.Less(t, time.Since(began), staleness+slack)
	}
}

// always requires that cond holds now and after each update to come.
func (w *tap) always(what string, cond func(*backend.State) bool) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	require.True(w.t, cond(&w.state), what)
	w.rules = append(w.rules, rule{what, cond})
}

// steady requires that changes came as changes: the whole prefix is sent at the
// beginning and when history was lost. Connections break by themselves, too, so
// a few more snapshots pass.
func (w *tap) steady() {
	w.t.Helper()
	_, snapshots := w.counts()
	require.LessOrEqual(w.t, snapshots, 3, "the watch of %q yields snapshots instead of changes", w.prefix)
}

// everGone reports whether the watch, at any time since it began, said that a
// key was no more.
func (w *tap) everGone(key string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.vanished[key]
}

// len counts the keys that the watch adds up to.
func (w *tap) len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state.Len()
}

// entries is what the watch adds up to, in key order.
func (w *tap) entries() []backend.Entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state.Entries()
}

// entry is what the watch knows of a key.
func (w *tap) entry(key string) backend.Entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	e, _ := w.state.Get(key)
	return e
}

// counts tells how many updates came and how many were snapshots.
func (w *tap) counts() (updates, snapshots int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.updates, w.snapshots
}

func sameEntry(a, b backend.Entry) bool {
	return a.Key == b.Key && bytes.Equal(a.Value, b.Value) && a.Revision == b.Revision && a.Lease == b.Lease
}

// put writes and requires that it works.
func (t *proof) put(s backend.Store, key string, value []byte, opts ...backend.PutOption) backend.Revision {
	t.Helper()
	rev, err := s.Put(t.ctx, key, value, opts...)
	require.NoError(t, err)
	require.NotZero(t, rev)
	return rev
}

// get reads a key that must exist.
func (t *proof) get(s backend.Store, key string) backend.Entry {
	t.Helper()
	e, err := s.Get(t.ctx, key)
	require.NoError(t, err)
	require.Equal(t, key, e.Key)
	require.NotNil(t, e.Value)
	return e
}

// absent requires that a key does not exist.
func (t *proof) absent(s backend.Store, key string) {
	t.Helper()
	e, err := s.Get(t.ctx, key)
	require.ErrorIs(t, err, backend.ErrNotFound)
	require.Equal(t, backend.Entry{Key: key}, e)
}

// keptTTL is long enough for a holder on a busy machine to renew in time.
const keptTTL = 10 * time.Second

// lease takes a lease that is not meant to expire; it is closed when the case
// ends.
func (t *proof) lease(s backend.Store) backend.Lease {
	t.Helper()
	l, err := s.Lease(t.ctx, keptTTL)
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := l.Close(context.WithoutCancel(t.ctx)); err != nil && !closed(err) {
			t.Errorf("close lease: %v", err)
		}
	})
	return l
}

var _ testing.TB = (*proof)(nil)
