package pubsub

import (
	"context"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
)

// A Change is what has become of a key of a [Cache].
type Change struct {
	Key      string // as seen from the directory
	Value    []byte // shared with the cache: not to be modified
	Revision backend.Revision
	Deleted  bool // then there is neither value nor revision
}

// A Cache is a live local copy of the latest value of each key in a directory.
// Values in between may be merged away; who needs each of them takes messages.
// It reads from memory and goes on with what it knows when the store is away.
//
// Somebody has to [Cache.Run] it. It is safe for concurrent use.
type Cache struct {
	store  backend.Store // the directory's part of it
	mirror *backend.Mirror
	loop   *retry.Loop

	mu       sync.Mutex
	handlers []changeHandler
}

type changeHandler struct {
	matches func(key string) bool
	f       func(Change)
}

// NewCache prepares a cache of the keys under dir, which ends with a slash. A
// nil logger is silent. Errors: ErrInvalid.
func NewCache(s backend.Store, dir string, log *slog.Logger) (*Cache, error) {
	if err := checkDir(dir); err != nil {
		return nil, err
	}
	c := &Cache{
		store: backend.Prefix(s, dir),
		loop:  retry.New(retry.Logger(log).With("dir", dir), "follow the keys"),
	}
	c.mirror = backend.NewMirror(c.loop.Hearing(c.store), "", c.changed)
	return c, nil
}

// Run follows the directory until ctx ends; then it returns nil. A watch that
// ends for any other reason is begun again, with a backoff; only a closed store
// (ErrClosed) ends Run early, and running twice at once is ErrInvalid.
func (c *Cache) Run(ctx context.Context) error { return c.loop.Keep(ctx, c.mirror.Run) }

// Handle has f called with each change of a key from now on, the first state
// and deletions included, after the change can be read. Handlers are called
// from Run, one call at a time, and must not block.
func (c *Cache) Handle(key string, f func(Change)) {
	c.handle(changeHandler{func(k string) bool { return k == key }, f})
}

// HandlePrefix has f called with each change of a key that starts with prefix,
// as [Cache.Handle] does; "" covers all.
func (c *Cache) HandlePrefix(prefix string, f func(Change)) {
	c.handle(changeHandler{func(k string) bool { return strings.HasPrefix(k, prefix) }, f})
}

// Get reads the latest value that is known. It is shared and must not be
// modified.
func (c *Cache) Get(key string) (value []byte, ok bool) {
	e, ok := c.mirror.Get(key)
	return e.Value, ok
}

// All ranges over the keys and their values at one moment, in the order of the
// keys. Values are shared and must not be modified.
func (c *Cache) All() iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for e := range c.mirror.All() {
			if !yield(e.Key, e.Value) {
				return
			}
		}
	}
}

// Set writes a key in the store, whatever is there; every cache has it soon. Of
// two at once the later one stays, and one whose outcome is not known may come
// later still: who can't have that writes to the store with a condition.
// Errors: those of [backend.Store.Put].
func (c *Cache) Set(ctx context.Context, key string, value []byte) (backend.Revision, error) {
	return c.store.Put(ctx, key, value)
}

// Delete deletes a key in the store. It may be absent. Errors: those of
// [backend.Store.Delete].
func (c *Cache) Delete(ctx context.Context, key string) error { return c.store.Delete(ctx, key) }

// WaitFor waits until the cache has a write, by its revision: one's own can
// then be read back. See [backend.Mirror.WaitFor].
func (c *Cache) WaitFor(ctx context.Context, rev backend.Revision) error {
	return c.mirror.WaitFor(ctx, rev)
}

// Synced is closed when the first state is in and handlers have been told.
func (c *Cache) Synced() <-chan struct{} { return c.mirror.Synced() }

// Staleness is the time since the store last confirmed the state: see
// [backend.Mirror.Staleness].
func (c *Cache) Staleness() time.Duration { return c.mirror.Staleness() }

// LastError is the last trouble with the watch, over or not, and when it came;
// nil if there was none.
func (c *Cache) LastError() (time.Time, error) {
	last := c.loop.Last()
	return last.At, last.Err
}

func (c *Cache) handle(h changeHandler) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handlers = append(c.handlers, h)
}

// changed tells the handlers of a change of the mirror.
func (c *Cache) changed(u backend.Update) {
	slices.Sort(u.Deletes)
	for _, key := range u.Deletes {
		c.tell(Change{Key: key, Deleted: true})
	}
	for _, e := range u.Puts {
		c.tell(Change{Key: e.Key, Value: e.Value, Revision: e.Revision})
	}
}

func (c *Cache) tell(change Change) {
	c.mu.Lock()
	handlers := slices.Clone(c.handlers)
	c.mu.Unlock()
	for _, h := range handlers {
		if h.matches(change.Key) {
			h.f(change)
		}
	}
}
