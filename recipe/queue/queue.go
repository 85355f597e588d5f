package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
)

// The number of shards: see the package documentation.
const (
	DefaultShards = 8
	MaxShards     = 64
)

// A Config says what a queue is. It is fixed when the queue is used for the first
// time; everybody must say the same.
type Config struct {
	Shards      int  // DefaultShards if 0
	MaxAttempts int  // how often an item is tried before it is dead; 0: without end
	Gated       bool // consumers wait for the gate: see [Queue.OpenGate]

	Logger *slog.Logger // nil: silent
}

// settings is the part of a Config that is in the store.
type settings struct {
	Shards      int  `json:"shards"`
	MaxAttempts int  `json:"maxAttempts,omitempty"`
	Gated       bool `json:"gated,omitempty"`
}

// A Queue is where items are put. It is safe for concurrent use and has nothing
// to close.
type Queue struct {
	store    backend.Store
	dir      string
	settings settings
	log      *slog.Logger

	mu    sync.Mutex
	fence backend.Revision // of the config key, 0: not known
}

// New names the queue under a directory, which ends with a slash. Nothing is sent
// before it is used. Errors: ErrInvalid.
func New(s backend.Store, dir string, cfg Config) (*Queue, error) {
	if !strings.HasSuffix(dir, "/") {
		return nil, fmt.Errorf("%w: directory %q: expected a slash at the end", backend.ErrInvalid, dir)
	}
	if cfg.Shards == 0 {
		cfg.Shards = DefaultShards
	}
	if cfg.Shards < 1 || cfg.Shards > MaxShards {
		return nil, fmt.Errorf("%w: %d shards, expected 1 to %d", backend.ErrInvalid, cfg.Shards, MaxShards)
	}
	if cfg.MaxAttempts < 0 {
		return nil, fmt.Errorf("%w: %d attempts", backend.ErrInvalid, cfg.MaxAttempts)
	}
	q := &Queue{
		store:    s,
		dir:      dir,
		settings: settings{cfg.Shards, cfg.MaxAttempts, cfg.Gated},
		log:      retry.Logger(cfg.Logger).With("queue", dir),
	}
	if err := q.checkID("x"); err != nil {
		return nil, err // the directory's fault
	}
	return q, nil
}

func (q *Queue) configKey() string           { return q.dir + "config" }
func (q *Queue) gateKey() string             { return q.dir + "gate" }
func (q *Queue) consumersDir() string        { return q.dir + "consumers/" }
func (q *Queue) consumerKey(c string) string { return q.consumersDir() + c }
func (q *Queue) deadKey(id string) string    { return q.dir + "dead/" + id }

func (q *Queue) shardDir(shard int) string {
	return q.dir + "shards/" + strconv.Itoa(shard) + "/"
}

func (q *Queue) itemKey(shard int, id string) string  { return q.shardDir(shard) + itemsDir + id }
func (q *Queue) claimKey(shard int, id string) string { return q.shardDir(shard) + claimsDir + id }

// The two parts of a shard.
const (
	itemsDir  = "items/"
	claimsDir = "claims/"
)

// shardOf is stable: keys in the store depend on it.
func (q *Queue) shardOf(id string) int {
	return int(xxhash.Sum64String(id) % uint64(q.settings.Shards))
}

func (q *Queue) checkID(id string) error {
	if id == "" || strings.Contains(id, "/") {
		return fmt.Errorf("%w: item ID %q: expected some text without a slash", backend.ErrInvalid, id)
	}
	return backend.CheckKey(q.claimKey(q.settings.Shards-1, id)) // the longest of the keys with an ID
}

// Put appends an item and returns the ID that it was given, a ULID. See
// [Queue.PutID] for the errors; the ID is returned with ErrUnknown too, for
// another try that can't make it two items.
func (q *Queue) Put(ctx context.Context, value []byte) (id string, err error) {
	id = ulid.Make().String()
	return id, q.PutID(ctx, id, value)
}

// PutID appends an item whose ID is the caller's, printable text without a slash.
// While an item is in the queue its ID is taken: putting the same value again
// changes nothing and is no error, another value is ErrConflict. So is the ID of
// an item in dead/, until somebody deletes that.
//
// If the outcome of the write can't be told the error is ErrUnknown, as
// everywhere. Two things lead there. If ctx ended, the item may still turn up. If
// not, it is certain that it is not in the queue and will not turn up: it was
// either never there, or has been acknowledged already. Putting it again is right
// for consumers that notice what they have done before.
//
// Other errors: those of [backend.Store.Put] but ErrLeaseLost; ErrInvalid also
// when the queue exists with another Config.
func (q *Queue) PutID(ctx context.Context, id string, value []byte) error {
	if err := q.checkID(id); err != nil {
		return err
	}
	key := q.itemKey(q.shardOf(id), id)
	for {
		fence, err := q.settle(ctx)
		if err != nil {
			return err
		}
		_, err = q.store.Put(ctx, key, value, backend.If(key, 0), backend.If(q.deadKey(id), 0), backend.If(q.configKey(), fence))
		var conflict *backend.ConflictError
		switch {
		case errors.Is(err, backend.ErrUnknown):
			return q.resolve(ctx, key, value, fence, err)
		case !errors.As(err, &conflict):
			return err
		case conflict.Key == q.configKey():
			q.forget(fence)
		case conflict.Key != key:
			return err // dead
		default:
			queued, err := q.queued(ctx, key, value)
			if queued || err != nil {
				return err
			} // it has just left the queue
		}
	}
}

// resolve finds out about a Put whose outcome is not known. First it makes sure
// that it can't be applied any more, however late: that Put has the condition
// that the config key is as it was, and from now on it is not.
func (q *Queue) resolve(ctx context.Context, key string, value []byte, fence backend.Revision, cause error) error {
	loop := retry.New(q.log, "resolve a put")
	doubt, moved, queued := true, false, false
	err := insist(ctx, loop, &doubt, func() (err error) {
		if !moved {
			if err := q.move(ctx, fence); err != nil {
				return err
			}
			moved = true
		}
		queued, err = q.queued(ctx, key, value)
		return err
	})
	switch {
	case errors.Is(err, backend.ErrConflict):
		return err
	case err != nil && moved:
		return fmt.Errorf("%w; reading it back: %w", cause, err)
	case err != nil:
		return fmt.Errorf("%w; it may still be applied: %w", cause, err)
	case !queued:
		return fmt.Errorf("%w; it is not in the queue", cause)
	}
	return nil
}

// queued reports whether the item with this value is in the queue; with another
// value it is ErrConflict.
func (q *Queue) queued(ctx context.Context, key string, value []byte) (bool, error) {
	e, err := q.store.Get(ctx, key)
	switch {
	case errors.Is(err, backend.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	case !bytes.Equal(e.Value, value):
		return false, fmt.Errorf("%q is queued with another value: %w", key, &backend.ConflictError{Key: key, Have: e.Revision})
	}
	return true, nil
}

// settle returns the revision of the config key, which it creates if need be.
func (q *Queue) settle(ctx context.Context) (backend.Revision, error) {
	if fence := q.known(); fence != 0 {
		return fence, nil
	}
	for {
		have, e, err := backend.GetJSON[settings](ctx, q.store, q.configKey())
		switch {
		case err == nil && have != q.settings:
			return 0, fmt.Errorf("%w: %q says %+v, expected %+v", backend.ErrInvalid, q.configKey(), have, q.settings)
		case err == nil:
			q.remember(e.Revision)
			return e.Revision, nil
		case e.Revision != 0:
			return 0, fmt.Errorf("%w: %w", backend.ErrInvalid, err)
		case !errors.Is(err, backend.ErrNotFound):
			return 0, err
		}
		if rev, err := backend.PutJSON(ctx, q.store, q.configKey(), q.settings, backend.If(q.configKey(), 0)); err == nil {
			q.remember(rev)
			return rev, nil
		} else if !errors.Is(err, backend.ErrConflict) {
			return 0, fmt.Errorf("create %q: %w", q.configKey(), err)
		}
	}
}

// move gives the config key another revision than fence. A conflict says that
// somebody has.
func (q *Queue) move(ctx context.Context, fence backend.Revision) error {
	q.forget(fence)
	rev, err := backend.PutJSON(ctx, q.store, q.configKey(), q.settings, backend.If(q.configKey(), fence))
	switch {
	case err == nil:
		q.remember(rev)
		return nil
	case errors.Is(err, backend.ErrConflict):
		return nil
	default:
		return err
	}
}

func (q *Queue) known() backend.Revision {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.fence
}

func (q *Queue) remember(fence backend.Revision) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.fence = max(q.fence, fence)
}

func (q *Queue) forget(fence backend.Revision) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fence == fence {
		q.fence = 0
	}
}
