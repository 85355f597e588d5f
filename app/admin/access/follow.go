package access

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
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
	mirrors map[string]*backend.Mirror // by directory, as are
	loops   map[string]*retry.Loop     // in which they run

	mu   sync.Mutex
	gone map[string]time.Time // keys that were deleted here, and when
}

func newCopy(s backend.Store, log *slog.Logger) *copyOf {
	c := &copyOf{mirrors: map[string]*backend.Mirror{}, loops: map[string]*retry.Loop{}, gone: map[string]time.Time{}}
	for _, dir := range []string{usersDir, tokensDir, sessionsDir} {
		loop := retry.New(log, "follow "+dir)
		c.loops[dir], c.mirrors[dir] = loop, backend.NewMirror(loop.Hearing(s), dir)
	}
	return c
}

// follow runs a mirror until ctx ends. A watch that fails is begun again; only a
// closed store ends it early.
func (c *copyOf) follow(ctx context.Context, dir string) error {
	return c.loops[dir].Keep(ctx, c.mirrors[dir].Run)
}

func (c *copyOf) of(key string) *backend.Mirror {
	return c.mirrors[key[:strings.LastIndexByte(key, '/')+1]]
}

// get is a [reader].
func (c *copyOf) get(_ context.Context, key string) (backend.Entry, error) {
	e, ok := c.of(key).Get(key)
	if !ok || c.isGone(key) {
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
// it finds it in force. It does not wait for long: the change is made anyway. rev is 0
// if the key was deleted.
func (c *copyOf) await(ctx context.Context, key string, rev backend.Revision) {
	if c.note(key, rev); rev == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, ownChange)
	defer cancel()
	_ = c.of(key).WaitFor(ctx, rev)
}

// note notes what was deleted. That the copy does not have it says nothing: it may be so
// late that what was deleted has yet to come. When it is later than mostStale nobody goes by
// it, so nothing has to be known for longer.
func (c *copyOf) note(key string, rev backend.Revision) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.gone, func(_ string, at time.Time) bool { return time.Since(at) > mostStale })
	if rev == 0 {
		c.gone[key] = time.Now()
		return
	}
	delete(c.gone, key)
}

func (c *copyOf) isGone(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, gone := c.gone[key]
	return gone && time.Since(at) <= mostStale
}
