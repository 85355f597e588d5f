package catalogue

import (
	"context"
	"log/slog"
	"maps"
	"sync/atomic"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
)

// A Problem is a key that was left out, since its value is not what it should be.
type Problem struct {
	Key      string
	Revision backend.Revision
	Err      error
}

// A shelf has the records of one directory, read once each.
type shelf[T any] struct {
	mirror  *backend.Mirror
	loop    *retry.Loop // in which it runs
	read    func(backend.Entry) (T, error)
	log     *slog.Logger
	current atomic.Pointer[contents[T]]
}

// A contents is one immutable state of a shelf.
type contents[T any] struct {
	records  map[string]T // by key
	problems map[string]Problem
}

// newShelf prepares a shelf. changed is called after each change.
func newShelf[T any](s backend.Store, dir string, log *slog.Logger, read func(backend.Entry) (T, error), changed func()) *shelf[T] {
	f := &shelf[T]{read: read, log: log, loop: retry.New(log, "follow "+dir)}
	f.current.Store(&contents[T]{})
	f.mirror = backend.NewMirror(f.loop.Hearing(s), dir, func(u backend.Update) {
		f.take(u)
		changed()
	})
	return f
}

// follow runs the mirror until ctx ends, and begins a watch that has failed again. Errors:
// backend.ErrClosed.
func (f *shelf[T]) follow(ctx context.Context) error { return f.loop.Keep(ctx, f.mirror.Run) }

func (f *shelf[T]) take(u backend.Update) {
	next := f.current.Load().clone()
	for _, key := range u.Deletes {
		next.drop(key)
	}
	for _, e := range u.Puts {
		next.drop(e.Key)
		r, err := f.read(e)
		if err != nil {
			f.log.Warn("not readable, left out", "key", e.Key, "revision", uint64(e.Revision), "error", err)
			next.problems[e.Key] = Problem{e.Key, e.Revision, err}
			continue
		}
		next.records[e.Key] = r
	}
	f.current.Store(next)
}

func (c *contents[T]) clone() *contents[T] {
	next := &contents[T]{records: map[string]T{}, problems: map[string]Problem{}}
	maps.Copy(next.records, c.records)
	maps.Copy(next.problems, c.problems)
	return next
}

func (c *contents[T]) drop(key string) {
	delete(c.records, key)
	delete(c.problems, key)
}

func (f *shelf[T]) get(key string) (T, bool) {
	r, ok := f.current.Load().records[key]
	return r, ok
}
