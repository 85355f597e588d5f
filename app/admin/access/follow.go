package access

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
)

const (
	// mostStale is how old what this admin knows may be. After that somebody who was
	// put out elsewhere might still be let in here.
	mostStale = time.Minute

	// ownChange bounds the wait for one's own change to come back.
	ownChange = 2 * time.Second
)

// A copyOf the store has its users, tokens and sessions as this admin knows them.
type copyOf struct {
	mirrors map[string]*backend.Mirror // by directory

	mu      sync.Mutex
	changed chan struct{} // closed and replaced with each change
}

func newCopy(s backend.Store) *copyOf {
	c := &copyOf{mirrors: map[string]*backend.Mirror{}, changed: make(chan struct{})}
	for _, dir := range []string{usersDir, tokensDir, sessionsDir} {
		c.mirrors[dir] = backend.NewMirror(s, dir, c.wake)
	}
	return c
}

// follow runs a mirror until ctx ends. A watch that fails is begun again; only a
// closed store ends it early.
func (c *copyOf) follow(ctx context.Context, dir string, log *slog.Logger) error {
	return retry.Forever(ctx, log, "follow "+dir, c.mirrors[dir].Run)
}

func (c *copyOf) wake(backend.Update) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *copyOf) change() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

func (c *copyOf) of(key string) *backend.Mirror {
	return c.mirrors[key[:strings.LastIndexByte(key, '/')+1]]
}

// get is a [reader].
func (c *copyOf) get(_ context.Context, key string) (backend.Entry, error) {
	e, ok := c.of(key).Get(key)
	if !ok {
		return e, fmt.Errorf("%q: %w", key, backend.ErrNotFound)
	}
	return e, nil
}

// isStale reports whether the copy is too old to go by, or not there yet.
func (c *copyOf) isStale() bool {
	for _, m := range c.mirrors {
		if s := m.Staleness(); s < 0 || s > mostStale {
			return true
		}
	}
	return false
}

// await waits until a change that was made here is in the copy, so that whoever made
// it finds it in force. It does not wait for long: the change is made anyway.
func (c *copyOf) await(ctx context.Context, key string, rev backend.Revision) {
	ctx, cancel := context.WithTimeout(ctx, ownChange)
	defer cancel()
	m := c.of(key)
	if rev > 0 {
		_ = m.WaitFor(ctx, rev)
		return
	}
	for {
		changed := c.change()
		if _, there := m.Get(key); !there {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}
