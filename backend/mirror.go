package backend

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Mirror is a live copy of the keys under a prefix, fed by one watch: there
// is no gap between reading the state and following it. Reads are lock-free,
// never touch the store, and go on with the last known state when the store is
// away; [Mirror.Staleness] tells how old that may be.
//
// Somebody has to [Mirror.Run] it. All other methods are safe for concurrent
// use.
type Mirror struct {
	store    Store
	prefix   string
	onChange []func(change Update)

	synced  chan struct{}
	current atomic.Pointer[version]
	heard   atomic.Pointer[time.Time] // when the last update came

	mu      sync.Mutex
	running bool
	moved   chan struct{} // closed and replaced with each version
}

// A version is one immutable state of a mirror.
type version struct {
	revision Revision
	entries  []*Entry // in key order
}

// NewMirror prepares a mirror of the keys under prefix. Each onChange is called
// from Run, one call at a time and in order, after the version it tells of can
// be read: the change has the deletes that a snapshot implies, and Snapshot is
// never set. Values in it are shared with the mirror and must not be modified.
func NewMirror(s Store, prefix string, onChange ...func(change Update)) *Mirror {
	m := &Mirror{
		store:    s,
		prefix:   prefix,
		onChange: onChange,
		synced:   make(chan struct{}),
		moved:    make(chan struct{}),
	}
	m.current.Store(&version{})
	return m
}

// Run follows the prefix until ctx ends or the watch does, and returns why, as
// [Store.WatchPrefix] says. The mirror keeps its last state then and Run may be
// called again to catch up, but not twice at once: that is ErrInvalid.
func (m *Mirror) Run(ctx context.Context) error {
	if err := m.begin(); err != nil {
		return err
	}
	defer m.end()
	state := m.state()
	for u, err := range m.store.WatchPrefix(ctx, m.prefix) {
		if err != nil {
			return err
		}
		m.publish(state.Apply(u))
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return Failure(ctx, ErrUnavailable, "mirror", m.prefix, errors.New("the watch ended without an error"))
}

func (m *Mirror) begin() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running {
		return fmt.Errorf("%w: the mirror of %q is already running", ErrInvalid, m.prefix)
	}
	m.running = true
	return nil
}

func (m *Mirror) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running = false
}

// state is what the mirror shows, to be told apart from the next snapshot.
func (m *Mirror) state() *State {
	s := &State{}
	u := Update{Snapshot: true, Revision: m.Revision()}
	for e := range m.All() {
		u.Puts = append(u.Puts, e)
	}
	s.Apply(u)
	return s
}

func (m *Mirror) publish(change Update) {
	now := time.Now()
	m.current.Store(m.current.Load().after(change))
	m.heard.Store(&now)

	m.mu.Lock()
	close(m.moved)
	m.moved = make(chan struct{})
	m.mu.Unlock()

	if len(change.Puts)+len(change.Deletes) > 0 {
		for _, f := range m.onChange {
			f(change)
		}
	}
	select {
	case <-m.synced:
	default:
		close(m.synced)
	}
}

// after is the version that a change makes of v.
func (v *version) after(change Update) *version {
	next := &version{revision: change.Revision, entries: v.entries}
	if len(change.Puts)+len(change.Deletes) == 0 {
		return next
	}
	drop := make(map[string]struct{}, len(change.Puts)+len(change.Deletes))
	puts := make([]*Entry, 0, len(change.Puts))
	for _, key := range change.Deletes {
		drop[key] = struct{}{}
	}
	for _, e := range change.Puts {
		drop[e.Key] = struct{}{}
		puts = append(puts, &e)
	}
	slices.SortFunc(puts, func(a, b *Entry) int { return strings.Compare(a.Key, b.Key) })

	next.entries = make([]*Entry, 0, len(v.entries)+len(puts))
	for _, e := range v.entries {
		for len(puts) > 0 && puts[0].Key < e.Key {
			next.entries, puts = append(next.entries, puts[0]), puts[1:]
		}
		if _, dropped := drop[e.Key]; !dropped {
			next.entries = append(next.entries, e)
		}
	}
	next.entries = append(next.entries, puts...)
	return next
}

// Get finds an entry. Its value is shared and must not be modified.
func (m *Mirror) Get(key string) (Entry, bool) {
	entries := m.current.Load().entries
	i, ok := slices.BinarySearchFunc(entries, key, func(e *Entry, key string) int { return strings.Compare(e.Key, key) })
	if !ok {
		return Entry{Key: key}, false
	}
	return *entries[i], true
}

// All ranges over one version of the mirror in the order of the keys. Values
// are shared and must not be modified.
func (m *Mirror) All() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for _, e := range m.current.Load().entries {
			if !yield(*e) {
				return
			}
		}
	}
}

// Len counts the entries.
func (m *Mirror) Len() int { return len(m.current.Load().entries) }

// Revision is what the mirror is complete up to.
func (m *Mirror) Revision() Revision { return m.current.Load().revision }

// Synced is closed when the first snapshot is in and the callbacks for it have
// returned.
func (m *Mirror) Synced() <-chan struct{} { return m.synced }

// WaitFor waits until the mirror is complete up to rev, the revision of a Put
// under its prefix: one's own write can then be read back. It returns
// context.Cause(ctx) when ctx ends first.
//
// It is not for revisions made elsewhere in the store. While nothing changes
// under the prefix only a confirmation could bring such a one: etcd's does so
// some seconds later, Consul's never while there are keys under the prefix. Nor
// need a revision ever come again that was made in a history now lost.
func (m *Mirror) WaitFor(ctx context.Context, rev Revision) error {
	for {
		m.mu.Lock()
		moved := m.moved
		m.mu.Unlock()
		if m.Revision() >= rev {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-moved:
		}
	}
}

// Staleness is the time since the store last confirmed the state, by an update
// or by saying that there is none. While the watch works it stays below some 30
// seconds. Before the first snapshot, when there is nothing to be stale, it is
// negative: a limit on it must be checked together with [Mirror.Synced].
func (m *Mirror) Staleness() time.Duration {
	heard := m.heard.Load()
	if heard == nil {
		return -1
	}
	return time.Since(*heard)
}
