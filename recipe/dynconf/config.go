package dynconf

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
	"github.com/seed27495941/seckill/recipe/internal/run"
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

	// Base are configurations that the key's value is merged over, the lowest
	// first, as [Overlay] does: what environments share, in a namespace of its
	// own. Their values and the key's must be JSON objects then.
	Base []Layer

	// Node is who follows. Without an ID no rollout selects it.
	Node Node

	// Report is told how the configuration stands, from when it was first heard
	// of and each time that changes, for others to see. It must not block, nor
	// call a method that changes the configuration.
	Report func(Report)

	Logger *slog.Logger // nil: silent
}

// A Layer is a key of a store, often of another namespace: see
// [backend.Prefix].
type Layer struct {
	Store backend.Store
	Key   string
}

// A Config is a configuration that follows its key. Somebody has to
// [Config.Run] it. It is safe for concurrent use.
type Config[T any] struct {
	key      string
	decode   func([]byte) (T, error)
	validate func(T) error
	report   func(Report)
	log      *slog.Logger
	layers   []*layer // the bases, lowest first, and the key itself at the end
	synced   chan struct{}
	failed   chan struct{} // holds a token while there may be a pending failure

	current atomic.Pointer[T]

	// changing is held while a change is made and told, so that subscribers
	// hear of changes one at a time and in order. It guards what follows.
	changing  sync.Mutex
	node      Node
	defaults  T
	rollout   *Rollout      // nil: there is none, or none that can be read
	published candidate[T]  // the last good one, or the defaults
	trial     *candidate[T] // nil: not on trial
	inForce   candidate[T]
	reported  Report

	// mu guards what is read from outside, and is held for a moment only.
	turn run.Turn // of Run

	mu          sync.Mutex
	status      Status
	pending     *Failure // reported by the application, not taken in yet
	subscribers []func(old, now T)
}

// A candidate is a value that may be in force.
type candidate[T any] struct {
	value    T
	source   Source
	revision backend.Revision
	rollout  string
	hash     string
}

// is reports whether two candidates have the same origin.
func (c candidate[T]) is(other candidate[T]) bool {
	return c.source == other.source && c.revision == other.revision && c.rollout == other.rollout && c.hash == other.hash
}

// New prepares a configuration that has its defaults until Run hears from the
// store. Errors: ErrInvalid for a bad key or bad defaults.
func New[T any](s backend.Store, key string, o Options[T]) (*Config[T], error) {
	log := retry.Logger(o.Logger).With("key", key)
	c := &Config[T]{
		key:       key,
		decode:    o.Decode,
		validate:  o.Validate,
		report:    o.Report,
		log:       log,
		synced:    make(chan struct{}),
		failed:    make(chan struct{}, 1),
		node:      o.Node.clone(),
		defaults:  o.Defaults,
		published: candidate[T]{value: o.Defaults, source: FromDefaults},
		status:    Status{Key: key, Source: FromDefaults, Since: time.Now()},
	}
	for _, at := range append(slices.Clone(o.Base), Layer{s, key}) {
		if err := backend.CheckKey(RolloutKey(at.Key)); err != nil {
			return nil, err
		}
		c.layers = append(c.layers, &layer{
			Layer: at,
			loop:  retry.New(log.With("from", at.Key), "follow the configuration"),
		})
	}
	if c.decode == nil {
		c.decode = c.decodeJSON
	}
	if err := c.checkDefaults(o.Defaults); err != nil {
		return nil, err
	}
	c.inForce = c.published
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
// [Config.Check], [Config.SetDefaults] or [Config.SetNode], which wait for it; it
// may call [Config.ReportFailure].
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
	c.defaults = defaults
	if c.published.source == FromDefaults {
		c.published.value = defaults
	}
	c.choose()
	return nil
}

// SetNode changes who follows, and with it whether a rollout selects it.
func (c *Config[T]) SetNode(n Node) {
	c.changing.Lock()
	defer c.changing.Unlock()
	c.node = n.clone()
	c.settle()
}

// Run follows the key until ctx ends; then it returns nil. A watch that ends
// for any other reason, such as ErrDenied, is begun again with a backoff, and
// reported by [Config.Status]; only a closed store (ErrClosed) ends Run early.
// The configuration stays in force whatever happens. Run may not run twice at
// once.
func (c *Config[T]) Run(ctx context.Context) error {
	if err := c.turn.Begin(fmt.Sprintf("the configuration %q", c.key)); err != nil {
		return err
	}
	defer c.turn.End()
	group, ctx := errgroup.WithContext(ctx)
	for _, l := range c.layers {
		group.Go(func() error {
			return l.loop.Keep(ctx, func(ctx context.Context) error { return c.follow(ctx, l) })
		})
	}
	group.Go(func() error {
		c.awaitFailures(ctx)
		return nil
	})
	return group.Wait()
}

// Check says why raw could not be in force here as the key's value, nil if it
// could: what writers ask before they publish. Bases are taken as they were
// last heard of.
func (c *Config[T]) Check(raw []byte) error {
	c.changing.Lock()
	merged, err := c.overlay(backend.Entry{Key: c.key, Value: raw, Revision: 1})
	c.changing.Unlock()
	if err != nil {
		return err
	}
	_, err = c.read(merged)
	return err
}

// read decodes and validates: all of it, before anything is changed.
func (c *Config[T]) read(raw []byte) (T, error) {
	value, err := c.decode(raw)
	if err == nil && c.validate != nil {
		err = c.validate(value)
	}
	return value, err
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

func (n Node) clone() Node {
	n.Labels = maps.Clone(n.Labels)
	return n
}
