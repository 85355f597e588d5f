package node

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend"
)

// patience is how long a store may be silent before it counts as away: watches
// are told at least every 30s that nothing has changed.
const patience = 45 * time.Second

// impatience is a deadline that even a healthy store may miss now and then.
const impatience = 2 * time.Second

// glance is how often it is looked at, and the log told if it is away.
const glance = 5 * time.Second

// A contact is a store that remembers whether it answered.
type contact struct {
	backend.Store

	mu       sync.Mutex
	answered time.Time
	failed   time.Time
}

// last tells when the store answered last, and whether it can be expected to
// answer now.
func (c *contact) last() (answered time.Time, reachable bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answered, c.answered.After(c.failed) && time.Since(c.answered) < patience
}

// probe asks the store something if nothing was heard of it since the last
// glance, so that an idle process notices an outage as soon as a busy one.
func (c *contact) probe(ctx context.Context) {
	c.mu.Lock()
	quiet := time.Since(c.answered) >= glance
	c.mu.Unlock()
	if !quiet {
		return
	}
	// Whatever it answers, it answers.
	_, _ = c.Get(ctx, settings.ConfigKey)
}

// tell logs when the store goes away and when it is back, until ctx ends.
func (c *contact) tell(ctx context.Context, log *slog.Logger) {
	ticker := time.NewTicker(glance)
	defer ticker.Stop()
	for away := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		c.probe(ctx)
		answered, reachable := c.last()
		switch {
		case away && reachable:
			log.Info("the store answers again")
		case !away && !reachable:
			log.Warn("the store does not answer, going on with what is known", "answered", answered)
		}
		away = !reachable
	}
}

// note takes in how a call ended. A refusal is an answer too.
func (c *contact) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, backend.ErrClosed), errors.Is(err, backend.ErrInvalid), errors.Is(err, backend.ErrTooLarge):
	case errors.Is(err, backend.ErrUnavailable), errors.Is(err, backend.ErrUnknown):
		c.failed = time.Now()
	default:
		c.answered = time.Now()
	}
}

func (c *contact) Lease(ctx context.Context, ttl time.Duration) (backend.Lease, error) {
	lease, err := c.Store.Lease(ctx, ttl)
	c.note(err)
	return lease, err
}

func (c *contact) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	rev, err := c.Store.Put(ctx, key, value, opts...)
	c.note(err)
	return rev, err
}

func (c *contact) Get(ctx context.Context, key string) (backend.Entry, error) {
	began := time.Now()
	e, err := c.Store.Get(ctx, key)
	if errors.Is(err, context.DeadlineExceeded) && time.Since(began) < impatience {
		return e, err // the caller did not want to wait: that says little of the store
	}
	c.note(err)
	return e, err
}

func (c *contact) Delete(ctx context.Context, key string, conds ...backend.Condition) error {
	err := c.Store.Delete(ctx, key, conds...)
	c.note(err)
	return err
}

func (c *contact) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		for u, err := range c.Store.WatchPrefix(ctx, prefix) {
			c.note(err)
			if !yield(u, err) {
				return
			}
		}
	}
}
