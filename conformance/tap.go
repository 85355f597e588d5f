package conformance

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
)

// A tap runs a watch, checks each update against the contract, and keeps what
// the updates add up to.
type tap struct {
	t      *proof
	prefix string
	cancel context.CancelCauseFunc
	ended  chan struct{}

	mu        sync.Mutex
	moved     chan struct{} // closed and replaced with each update
	state     backend.State
	updates   int
	snapshots int
	err       error
}

// errTapClosed is the cause that ends a tap.
var errTapClosed = fmt.Errorf("the case closed its watch")

// tap starts a watch and waits for its first update.
func (t *proof) tap(s backend.Store, prefix string) *tap {
	t.Helper()
	w := t.tapLater(s, prefix)
	w.wait("its first update", func(*backend.State) bool { return w.updates > 0 })
	return w
}

// tapLater starts a watch and does not wait.
func (t *proof) tapLater(s backend.Store, prefix string) *tap {
	ctx, cancel := context.WithCancelCause(t.ctx)
	w := &tap{t: t, prefix: prefix, cancel: cancel, ended: make(chan struct{}), moved: make(chan struct{})}
	go func() {
		defer close(w.ended)
		for u, err := range s.WatchPrefix(ctx, prefix) {
			w.take(u, err)
		}
	}()
	t.Cleanup(func() { w.close() })
	return w
}

// close ends the watch and waits until the range over it has ended.
func (w *tap) close() error {
	w.cancel(errTapClosed)
	<-w.ended
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *tap) take(u backend.Update, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() {
		close(w.moved)
		w.moved = make(chan struct{})
	}()
	if err != nil {
		w.err = err
		return
	}
	if w.err != nil {
		w.t.Errorf("an update after the error %v", w.err)
	}
	for _, fault := range w.faults(u) {
		w.t.Errorf("watch of %q, update %d: %s", w.prefix, w.updates, fault)
	}
	w.updates++
	if u.Snapshot {
		w.snapshots++
	}
	w.state.Apply(u)
}

// faults lists what an update does that the contract forbids.
func (w *tap) faults(u backend.Update) []string {
	var faults []string
	if w.updates == 0 && !u.Snapshot {
		faults = append(faults, "the first update is no snapshot")
	}
	if u.Snapshot && len(u.Deletes) > 0 {
		faults = append(faults, "a snapshot with deletes")
	}
	seen := map[string]bool{}
	for _, key := range append(slices.Clone(u.Deletes), keysOf(u.Puts)...) {
		if seen[key] {
			faults = append(faults, fmt.Sprintf("names %q twice", key))
		}
		seen[key] = true
		if !strings.HasPrefix(key, w.prefix) {
			faults = append(faults, fmt.Sprintf("names %q, which is outside the prefix", key))
		}
	}
	if !u.Snapshot && u.Revision < w.state.Revision() {
		faults = append(faults, fmt.Sprintf("goes back from revision %d to %d", w.state.Revision(), u.Revision))
	}
	last := backend.Revision(0)
	for _, e := range u.Puts {
		if !u.Snapshot && e.Revision <= w.state.Revision() {
			faults = append(faults, fmt.Sprintf("tells %q at revision %d after an update complete up to %d", e.Key, e.Revision, w.state.Revision()))
		}
		have, known := w.state.Get(e.Key)
		switch {
		case e.Revision <= last:
			faults = append(faults, fmt.Sprintf("puts are not in revision order at %q", e.Key))
		case e.Revision > u.Revision:
			faults = append(faults, fmt.Sprintf("%q has revision %d in an update complete up to %d", e.Key, e.Revision, u.Revision))
		case e.Value == nil:
			faults = append(faults, fmt.Sprintf("%q has a nil value", e.Key))
		case known && !u.Snapshot && e.Revision < have.Revision:
			faults = append(faults, fmt.Sprintf("%q goes back from revision %d to %d", e.Key, have.Revision, e.Revision))
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
		ok, err, moved := cond(&w.state), w.err, w.moved
		w.mu.Unlock()
		if ok {
			return
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

// len counts the keys that the watch adds up to.
func (w *tap) len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state.Len()
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

// lease takes a lease that is closed when the case ends.
func (t *proof) lease(s backend.Store) backend.Lease {
	t.Helper()
	l, err := s.Lease(t.ctx, shortTTL)
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := l.Close(context.WithoutCancel(t.ctx)); err != nil && !closed(err) {
			t.Errorf("close lease: %v", err)
		}
	})
	return l
}

var _ testing.TB = (*proof)(nil)
