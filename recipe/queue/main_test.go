package queue_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/queue"
)

func TestMain(m *testing.M) {
	stores.Main(m, stores.Roles{"worker": work, "holder": hold})
}

// dir is where the queues of the tests are.
const dir = "queue/"

func open(t testing.TB, s backend.Store, cfg queue.Config) *queue.Queue {
	t.Helper()
	q, err := queue.New(s, dir, cfg)
	require.NoError(t, err)
	return q
}

// consume starts a consumer with the shortest lease.
func consume(t testing.TB, q *queue.Queue) (c *queue.Consumer, stop func() error) {
	t.Helper()
	c, err := queue.NewConsumer(q, queue.ConsumerConfig{TTL: stores.ShortestTTL})
	require.NoError(t, err)
	return c, stores.Start(t, c.Run)
}

// put puts items whose values are their IDs.
func put(t testing.TB, q *queue.Queue, ids ...string) {
	t.Helper()
	for _, id := range ids {
		require.NoError(t, q.PutID(t.Context(), id, []byte(id)))
	}
}

func receive(t testing.TB, c *queue.Consumer) *queue.Item {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	item, err := c.Receive(ctx)
	require.NoError(t, err)
	return item
}

// receiveNothing checks that there is nothing to receive for some time. (That has
// no event to wait for.)
func receiveNothing(t testing.TB, c *queue.Consumer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	item, err := c.Receive(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Nil(t, item)
}

// keys lists what is under the queue's directory without the consumers.
func keys(t testing.TB, s backend.Store) (found []string) {
	t.Helper()
	entries, _, err := backend.List(t.Context(), s, dir)
	require.NoError(t, err)
	for _, e := range entries {
		if len(e.Lease) == 0 {
			found = append(found, e.Key[len(dir):])
		}
	}
	return found
}

// awaitEmpty waits until nothing of any item is left.
func awaitEmpty(t testing.TB, s backend.Store) {
	t.Helper()
	stores.Wait(t, "the queue is empty", func() bool { return len(keys(t, s)) == 1 })
	assert.Equal(t, []string{"config"}, keys(t, s))
}

// consumerLease is the lease of the only consumer there is.
func consumerLease(t testing.TB, s backend.Store) string {
	t.Helper()
	entries, _, err := backend.List(t.Context(), s, dir+"consumers/")
	require.NoError(t, err)
	require.Len(t, entries, 1)
	return entries[0].Lease
}

// A fate is what becomes of a write on a fickle store.
type fate int

const (
	through fate = iota
	applied      // but the answer is lost
	held         // until release, and the answer is lost
	dropped      // and nobody knows
)

// fickle is a store with writes of unknown outcome.
type fickle struct {
	backend.Store

	mu       sync.Mutex
	decide   func(key string) fate // nil: through
	late     []func()
	consumer string // the last key of a consumer that was put
}

func (f *fickle) set(decide func(key string) fate) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.decide = decide
}

// once gives one fate to the next write of a key with this text, and none to others.
func (f *fickle) once(key string, what fate) {
	done := false
	f.set(func(k string) fate {
		if done || k != key {
			return through
		}
		done = true
		return what
	})
}

// release applies what was held, as far as its conditions hold, and returns how
// many writes that were.
func (f *fickle) release() int {
	f.mu.Lock()
	late := f.late
	f.late = nil
	f.mu.Unlock()
	for _, write := range late {
		write()
	}
	return len(late)
}

// write carries a write out, or not, as its fate is.
func (f *fickle) write(ctx context.Context, key string, write func(context.Context) error) error {
	switch f.fateOf(key) {
	case through:
		return write(ctx)
	case applied:
		_ = write(context.WithoutCancel(ctx))
	case held:
		ctx = context.WithoutCancel(ctx)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.late = append(f.late, func() { _ = write(ctx) })
	case dropped:
	}
	return fmt.Errorf("%w: no answer", backend.ErrUnknown)
}

func (f *fickle) fateOf(key string) fate {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.decide == nil {
		return through
	}
	return f.decide(key)
}

func (f *fickle) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (rev backend.Revision, err error) {
	err = f.write(ctx, key, func(ctx context.Context) (err error) {
		rev, err = f.Store.Put(ctx, key, value, opts...)
		return err
	})
	if err != nil {
		return 0, err
	}
	if strings.HasPrefix(key, dir+"consumers/") {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.consumer = key
	}
	return rev, nil
}

func (f *fickle) Delete(ctx context.Context, key string, conds ...backend.Condition) error {
	return f.write(ctx, key, func(ctx context.Context) error { return f.Store.Delete(ctx, key, conds...) })
}
