package dynconf

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/internal/retry"
)

// Options say what a configuration is. The zero value takes any T that decodes.
type Options[T any] struct {
	// Defaults are in force while the key does not exist, and until the first
	// good value comes.
	Defaults T

	// Decode makes a value of the key's bytes, nil: as [backend.DecodeJSON]
	// does, which refuses unknown fields and tells line and column.
	Decode func(raw []byte) (T, error)

	// Validate says what is wrong with a decoded value, or with defaults.
	Validate func(T) error

	Logger *slog.Logger // nil: silent
}

// A Config is a configuration that follows its key. Somebody has to
// [Config.Run] it. It is safe for concurrent use.
type Config[T any] struct {
	store    backend.Store
	key      string
	decode   func([]byte) (T, error)
	validate func(T) error
	log      *slog.Logger
	loop     *retry.Loop
	synced   chan struct{}

	current atomic.Pointer[T]

	// changing is held while a change is made and told, so that subscribers
	// hear of changes one at a time and in order; mu while state is touched.
	changing sync.Mutex

	mu          sync.Mutex
	running     bool
	defaults    T
	status      Status
	subscribers []func(old, now T)
}

// New prepares a configuration that has its defaults until Run hears from the
// store. Errors: ErrInvalid for a bad key or bad defaults.
func New[T any](s backend.Store, key string, o Options[T]) (*Config[T], error) {
	if err := backend.CheckKey(key); err != nil {
		return nil, err
	}
	log := retry.Logger(o.Logger).With("key", key)
	c := &Config[T]{
		store:    s,
		key:      key,
		decode:   o.Decode,
		validate: o.Validate,
		log:      log,
		loop:     retry.New(log, "follow the configuration"),
		synced:   make(chan struct{}),
		defaults: o.Defaults,
		status:   Status{Key: key, Source: FromDefaults, Since: time.Now()},
	}
	if c.decode == nil {
		c.decode = c.decodeJSON
	}
	if err := c.checkDefaults(o.Defaults); err != nil {
		return nil, err
	}
	c.current.Store(&o.Defaults)
	return c, nil
}

// Load returns the configuration in force. It is lock-free and never touches
// the store. What T refers to is shared and must not be modified.
func (c *Config[T]) Load() T { return *c.current.Load() }

// Synced is closed when the store's state was heard of for the first time and
// taken in, be it a good value, a refused one, or none.
func (c *Config[T]) Synced() <-chan struct{} { return c.synced }

// Subscribe has f called with each change of the configuration from now on,
// one call at a time and in order, after [Config.Load] returns the new one.
// Writes that change nothing are not told. f must not block, nor call
// [Config.SetDefaults].
func (c *Config[T]) Subscribe(f func(old, now T)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.subscribers = append(c.subscribers, f)
}

// SetDefaults changes what is in force while the key does not exist: at once if
// that is now. Defaults that do not validate are ErrInvalid and change nothing.
func (c *Config[T]) SetDefaults(defaults T) error {
	if err := c.checkDefaults(defaults); err != nil {
		return err
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	if old, inForce := c.replaceDefaults(defaults); inForce {
		c.tell(old, defaults)
	}
	return nil
}

// Run follows the key until ctx ends; then it returns nil. A watch that ends
// for any other reason, such as ErrDenied, is begun again with a backoff, and
// reported by [Config.Status]; only a closed store (ErrClosed) ends Run early.
// The configuration stays in force whatever happens. Run may not run twice at
// once.
func (c *Config[T]) Run(ctx context.Context) error {
	if err := c.begin(); err != nil {
		return err
	}
	defer c.end()
	return c.loop.Keep(ctx, c.follow)
}

func (c *Config[T]) follow(ctx context.Context) error {
	defer c.setFollowing(false)
	for e, err := range backend.WatchKey(ctx, c.store, c.key) {
		if err != nil {
			return err
		}
		c.setFollowing(true)
		err := c.take(ctx, e)
		if err == nil {
			c.loop.Worked()
		}
		if err == nil || errors.Is(err, errHidden) {
			c.sync()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// errHidden ends a watch that can't tell what becomes of the key: it is begun
// again until it can.
var errHidden = errors.New("the watch leaves the value out")

// take takes in what the key has become.
func (c *Config[T]) take(ctx context.Context, e backend.Entry) error {
	if e.Revision == 0 {
		return c.takeAbsent(ctx)
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	hash := Hash(e.Value)
	if c.isKnown(e.Revision, hash) {
		return nil // a watch that was begun again says again how things are
	}
	value, err := c.read(e.Value)
	if err != nil {
		c.refuse(e.Revision, hash, err)
		return nil
	}
	c.tell(c.apply(value, e.Revision, hash), value)
	return nil
}

// takeAbsent takes in that the watch shows no such key. The store is asked
// again, because watches leave out values that break the contract's rules, and
// a value too large is no deletion.
func (c *Config[T]) takeAbsent(ctx context.Context) error {
	e, err := c.store.Get(ctx, c.key)
	absent := errors.Is(err, backend.ErrNotFound)
	if err != nil && !absent {
		return err
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	if absent {
		if old, defaults, reverted := c.revert(); reverted {
			c.tell(old, defaults)
		}
		return nil
	}
	fault := backend.CheckValue(c.key, e.Value)
	if fault == nil {
		return nil // written meanwhile: the watch will tell
	}
	if hash := Hash(e.Value); !c.isKnown(e.Revision, hash) {
		c.refuse(e.Revision, hash, fault)
	}
	return fmt.Errorf("%w: %w", errHidden, fault)
}

// read decodes and validates: all of it, before anything is changed.
func (c *Config[T]) read(raw []byte) (T, error) {
	value, err := c.decode(raw)
	if err == nil && c.validate != nil {
		err = c.validate(value)
	}
	return value, err
}

// tell tells the subscribers of a value in force, if it is another than before.
// The caller holds changing.
func (c *Config[T]) tell(old, value T) {
	if reflect.DeepEqual(old, value) {
		return
	}
	c.mu.Lock()
	subscribers := slices.Clone(c.subscribers)
	c.mu.Unlock()
	for _, f := range subscribers {
		f(old, value)
	}
}

func (c *Config[T]) decodeJSON(raw []byte) (T, error) {
	return backend.DecodeJSON[T](backend.Entry{Key: c.key, Value: raw})
}

func (c *Config[T]) checkDefaults(defaults T) error {
	if c.validate == nil {
		return nil
	}
	if err := c.validate(defaults); err != nil {
		return fmt.Errorf("%w: defaults of %q: %w", backend.ErrInvalid, c.key, err)
	}
	return nil
}

// Hash names a value by its bytes, so that people and nodes can see whether two
// nodes have the same: the first 12 hex digits of their SHA-256.
func Hash(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:6])
}

func (c *Config[T]) begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running {
		return fmt.Errorf("%w: the configuration %q is already running", backend.ErrInvalid, c.key)
	}
	c.running = true
	return nil
}

func (c *Config[T]) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = false
}

// sync is called by Run only.
func (c *Config[T]) sync() {
	select {
	case <-c.synced:
	default:
		close(c.synced)
	}
}
