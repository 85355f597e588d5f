package tasks

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
)

// A table is a live copy of a prefix with its values decoded, each once.
type table[T any] struct {
	store   backend.Store
	prefix  string
	read    func(id string, e backend.Entry) (T, error)
	changed func() // called after each change
	log     *slog.Logger
	loop    *retry.Loop
	synced  chan struct{}

	state backend.State // follow's own

	mu       sync.Mutex
	rows     map[string]row[T] // by id, the rest of the key
	revision backend.Revision
	moved    chan struct{} // closed and replaced with each update
}

// A row is what an entry was found to be, if err is nil.
type row[T any] struct {
	key      string
	revision backend.Revision
	lease    string
	value    T
	err      error
}

func newTable[T any](s backend.Store, prefix string, log *slog.Logger, changed func(), read func(string, backend.Entry) (T, error)) *table[T] {
	return &table[T]{
		store:   s,
		prefix:  prefix,
		read:    read,
		changed: changed,
		log:     log,
		loop:    retry.New(log, "follow "+prefix),
		synced:  make(chan struct{}),
		rows:    map[string]row[T]{},
		moved:   make(chan struct{}),
	}
}

// run follows the prefix until ctx ends, through any trouble that may pass.
func (t *table[T]) run(ctx context.Context) error { return t.loop.Keep(ctx, t.follow) }

func (t *table[T]) follow(ctx context.Context) error {
	for u, err := range t.store.WatchPrefix(ctx, t.prefix) {
		if err != nil {
			return err
		}
		t.loop.Worked()
		change := t.state.Apply(u)
		t.take(change)
		if len(change.Puts)+len(change.Deletes) > 0 {
			t.changed()
		}
	}
	return nil
}

func (t *table[T]) take(change backend.Update) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, key := range change.Deletes {
		delete(t.rows, strings.TrimPrefix(key, t.prefix))
	}
	for _, e := range change.Puts {
		if folder := e.Key == t.prefix; !folder {
			t.rows[strings.TrimPrefix(e.Key, t.prefix)] = t.row(e)
		}
	}
	t.revision = change.Revision
	close(t.moved)
	t.moved = make(chan struct{})
	select {
	case <-t.synced:
	default:
		close(t.synced)
	}
}

func (t *table[T]) row(e backend.Entry) row[T] {
	r := row[T]{key: e.Key, revision: e.Revision, lease: e.Lease}
	id := strings.TrimPrefix(e.Key, t.prefix)
	if r.value, r.err = t.read(id, e); strings.Contains(id, "/") {
		r.err = errUnder
	}
	if r.err != nil {
		t.log.Warn("left out", "key", e.Key, "revision", uint64(e.Revision), "error", r.err)
	}
	return r
}

func (t *table[T]) get(id string) (row[T], bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, ok := t.rows[id]
	return r, ok
}

// good lists the rows that could be read, the one written first in front.
func (t *table[T]) good() []row[T] {
	return t.list(func(r row[T]) bool { return r.err == nil }, func(a, b row[T]) int { return cmp.Compare(a.revision, b.revision) })
}

// bad lists the others, in the order of their keys.
func (t *table[T]) bad() []row[T] {
	return t.list(func(r row[T]) bool { return r.err != nil }, func(a, b row[T]) int { return cmp.Compare(a.key, b.key) })
}

func (t *table[T]) list(which func(row[T]) bool, order func(a, b row[T]) int) []row[T] {
	t.mu.Lock()
	defer t.mu.Unlock()
	rows := slices.Collect(maps.Values(t.rows))
	rows = slices.DeleteFunc(rows, func(r row[T]) bool { return !which(r) })
	slices.SortFunc(rows, order)
	return rows
}

// waitFor waits until the table is complete up to rev, or ctx ends.
func (t *table[T]) waitFor(ctx context.Context, rev backend.Revision) {
	for {
		t.mu.Lock()
		reached, moved := t.revision >= rev, t.moved
		t.mu.Unlock()
		if reached {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-moved:
		}
	}
}
