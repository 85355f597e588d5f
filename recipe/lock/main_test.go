package lock_test

import (
	"context"
	"iter"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/lock"
)

func TestMain(m *testing.M) { stores.Main(m, stores.Roles{"holder": holder}) }

const name = "locks/a"

func newLock(t testing.TB, s backend.Store, cfg lock.Config) *lock.Lock {
	t.Helper()
	l, err := lock.New(s, name, cfg)
	require.NoError(t, err)
	return l
}

// acquire acquires what must be free at last, and releases it with the test.
func acquire(t testing.TB, l *lock.Lock) *lock.Held {
	t.Helper()
	held, err := l.Acquire(t.Context())
	require.NoError(t, err)
	releaseLater(t, held)
	return held
}

func releaseLater(t testing.TB, held *lock.Held) {
	t.Helper()
	t.Cleanup(func() { _ = held.Release(context.WithoutCancel(t.Context())) }) // the store may be away
}

// An attempt is an Acquire that goes on beside the test.
type attempt struct {
	held *lock.Held
	err  error
	done chan struct{}
}

func begin(ctx context.Context, t testing.TB, l *lock.Lock) *attempt {
	t.Helper()
	a := &attempt{done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.held, a.err = l.Acquire(ctx)
	}()
	t.Cleanup(func() {
		<-a.done
		if a.held != nil {
			_ = a.held.Release(context.WithoutCancel(ctx)) // the store may be away
		}
	})
	return a
}

// succeeds waits for it.
func (a *attempt) succeeds(t testing.TB) *lock.Held {
	t.Helper()
	stores.Wait(t, "acquired", func() bool { return isClosed(a.done) })
	require.NoError(t, a.err)
	return a.held
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func awaitLost(t testing.TB, held *lock.Held) {
	t.Helper()
	stores.Wait(t, "lost", func() bool { return isClosed(held.Lost()) })
}

// line lists the keys of the lock.
func line(t testing.TB, s backend.Store) []backend.Entry {
	t.Helper()
	entries, _, err := backend.List(context.WithoutCancel(t.Context()), s, name+"/")
	require.NoError(t, err)
	return entries
}

func awaitLine(t testing.TB, s backend.Store, n int) {
	t.Helper()
	stores.Wait(t, "so many in line", func() bool { return len(line(t, s)) == n })
}

// write writes with a guard.
func write(t testing.TB, s backend.Store, held *lock.Held) error {
	t.Helper()
	_, err := s.Put(t.Context(), "written", []byte("x"), held.Guard())
	return err
}

// counting counts the calls of a store. The ends of leases are not seen: there is
// one for each lease.
type counting struct {
	backend.Store
	calls, watches atomic.Int64 // open watches, Lists included
	most           atomic.Int64 // watches at once
}

func (c *counting) Lease(ctx context.Context, ttl time.Duration) (backend.Lease, error) {
	c.calls.Add(2) // and its end
	return c.Store.Lease(ctx, ttl)
}

func (c *counting) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	c.calls.Add(1)
	return c.Store.Put(ctx, key, value, opts...)
}

func (c *counting) Get(ctx context.Context, key string) (backend.Entry, error) {
	c.calls.Add(1)
	return c.Store.Get(ctx, key)
}

func (c *counting) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		c.calls.Add(1)
		now := c.watches.Add(1)
		defer c.watches.Add(-1)
		for most := c.most.Load(); now > most && !c.most.CompareAndSwap(most, now); most = c.most.Load() {
		}
		for u, err := range c.Store.WatchPrefix(ctx, prefix) {
			c.calls.Add(1) // an update is an answer, on Consul to a request
			if !yield(u, err) {
				return
			}
		}
	}
}

func TestNewRefuses(t *testing.T) {
	s := stores.NewMemory().Open(t)
	for _, bad := range []string{"", "/a", "a/", "a//b", "a/../b", strings.Repeat("x", backend.MaxKey)} {
		_, err := lock.New(s, bad, lock.Config{})
		require.ErrorIs(t, err, backend.ErrInvalid, bad)
	}
	_, err := lock.New(s, "a", lock.Config{TTL: -1})
	require.ErrorIs(t, err, backend.ErrInvalid)
	_, err = lock.New(s, "a", lock.Config{Holder: "\xff"})
	require.ErrorIs(t, err, backend.ErrInvalid)
	l, err := lock.New(s, "a", lock.Config{})
	require.NoError(t, err)
	assert.Regexp(t, `^.+/\d+$`, l.Holder())
}
