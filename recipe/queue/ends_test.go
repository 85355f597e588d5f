package queue_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/queue"
)

// A burial stands still before one of its steps. The last holder, whose lease is
// over, is done with the item just then: it is acknowledged or dead, never both.
func TestAnItemIsAcknowledgedOrDead(t *testing.T) {
	cfg := queue.Config{Shards: 1, MaxAttempts: 1}
	for _, step := range []string{deadX, itemX, claimX} {
		t.Run(step, func(t *testing.T) {
			stores.Each(t, func(t *testing.T, s stores.Space) {
				late, store := &fickle{Store: s.Open(t)}, &fickle{Store: s.Open(t)}
				q := open(t, late, cfg)
				put(t, q, "x")
				c, stop := consume(t, q)
				item := receive(t, c)
				require.NoError(t, stop())

				reached, buried := make(chan struct{}), make(chan struct{})
				reach := sync.OnceFunc(func() { close(reached) })
				store.set(func(key string) fate {
					if key != step {
						return through
					}
					reach()
					<-buried
					return dropped
				})
				late.once(itemX, dropped) // so that it has to find out
				other, _ := consume(t, open(t, store, cfg))
				ctx, cancel := context.WithCancel(t.Context())
				var receiving sync.WaitGroup
				receiving.Go(func() { _, _ = other.Receive(ctx) })
				<-reached
				acked := item.Ack(t.Context())
				cancel()
				close(buried)
				store.set(nil)
				receiving.Wait()

				receiveNothing(t, other)
				stores.Wait(t, "it has left the queue", func() bool { return len(left(t, store.Store)) == 0 })
				_, err := store.Get(t.Context(), deadX)
				if acked == nil {
					assert.ErrorIs(t, err, backend.ErrNotFound, "acknowledged and dead")
				} else {
					assert.ErrorIs(t, acked, queue.ErrLost)
					assert.NoError(t, err)
				}
			})
		})
	}
}

// A Receive has ended before it knew that it had made a claim. Nobody was given the
// item: it is not tried, and not kept from other consumers.
func TestAClaimThatNobodyHasIsReturned(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		cfg := queue.Config{Shards: 1, MaxAttempts: 1}
		store := &fickle{Store: s.Open(t)}
		q := open(t, store, cfg)
		c, _ := consume(t, q)
		receiveNothing(t, c)
		put(t, q, "x")
		for range 2 {
			store.set(func(key string) fate {
				if key == claimX {
					return applied
				}
				return through
			})
			receiveNothing(t, c)
			store.set(nil)
		}
		other, _ := consume(t, open(t, s.Open(t), cfg))
		item := receive(t, other)
		assert.Equal(t, 1, item.Attempt)
		require.NoError(t, item.Ack(t.Context()))
		awaitEmpty(t, store)
	})
}

// A claim is refused, but by then the watch has shown why, and that it would not be
// any more: there is no other news to wait for.
func TestALostRaceThatIsOldNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		asked, ask := make(chan struct{}), make(chan struct{})
		answered := make(chan struct{})
		store := &slow{Store: space.Open(t), before: func() { close(asked); <-ask }, after: func() { <-answered }}
		q := open(t, space.Open(t), oneShard)
		put(t, q, "x")
		fast, _ := consume(t, q)
		c, _ := consume(t, open(t, store, oneShard))
		synctest.Wait()
		received := make(chan *queue.Item, 1)
		go func() {
			item, err := c.Receive(t.Context())
			assert.NoError(t, err)
			received <- item
		}()
		<-asked
		item := receive(t, fast)
		close(ask)
		synctest.Wait()
		require.NoError(t, item.Nack(t.Context(), 0))
		synctest.Wait() // the slow one's watch has seen that
		begun := time.Now()
		close(answered)
		assert.Equal(t, 2, (<-received).Attempt)
		assert.Less(t, time.Since(begun), time.Second)
	})
}

// slow is a store whose first claim takes time on its way there and back.
type slow struct {
	backend.Store
	before, after func()
	once          sync.Once
}

func (s *slow) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (rev backend.Revision, err error) {
	first := false
	if key == claimX {
		s.once.Do(func() { first = true })
	}
	if first {
		s.before()
		defer s.after()
	}
	return s.Store.Put(ctx, key, value, opts...)
}

// Who asks for a gate that there is none of does not wait for it.
func TestOpenGateWhenThereIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := open(t, stores.NewMemory().Open(t), oneShard)
		require.ErrorIs(t, q.OpenGateWhen(t.Context(), queue.Present("x")), backend.ErrInvalid)
	})
}
