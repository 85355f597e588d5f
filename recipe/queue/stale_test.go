package queue_test

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/queue"
)

// stale is a store with watches that can be made to stand still, as those of a slow
// consumer do.
type stale struct {
	backend.Store

	mu     sync.Mutex
	prefix string
	moving chan struct{}
}

// stall stops the watches of prefixes that begin like this, until go on is called.
func (s *stale) stall(prefix string) (goOn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	moving := make(chan struct{})
	s.prefix, s.moving = prefix, moving
	return sync.OnceFunc(func() { close(moving) })
}

func (s *stale) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		for u, err := range s.Store.WatchPrefix(ctx, prefix) {
			s.mu.Lock()
			stalled, moving := s.moving != nil && strings.HasPrefix(prefix, s.prefix), s.moving
			s.mu.Unlock()
			if stalled {
				select {
				case <-moving:
				case <-ctx.Done():
				}
			}
			if !yield(u, err) {
				return
			}
		}
	}
}

// A consumer that has not heard of another one takes nothing from it.
func TestAConsumerThatNobodyHasHeardOf(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := &stale{Store: s.Open(t)}
		q := open(t, store, oneShard)
		late, _ := consume(t, q)
		receiveNothing(t, late) // it has seen that it is alone …
		goOn := store.stall(dir + "consumers/")
		defer goOn()
		c, stop := consume(t, open(t, s.Open(t), oneShard))
		put(t, q, "a")
		item := receive(t, c)
		receiveNothing(t, late) // … which is not so any more
		require.NoError(t, stop())
		goOn()
		again := receive(t, late)
		assert.Equal(t, 2, again.Attempt)
		require.ErrorIs(t, item.Ack(t.Context()), queue.ErrLost)
		require.NoError(t, again.Ack(t.Context()))
		awaitEmpty(t, store)
	})
}

// A consumer whose key is gone, as it learns when it claims: that says nothing
// about the item, which is still the first.
func TestAConsumerThatHasNotHeardOfItsEnd(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := &stale{Store: s.Open(t)}
		q := open(t, store, oneShard)
		c, _ := consume(t, q)
		receiveNothing(t, c)
		defer store.stall(dir + "consumers/")()
		entries, _, err := backend.List(t.Context(), store.Store, dir+"consumers/")
		require.NoError(t, err)
		require.Len(t, entries, 1)
		s.Delete(t, entries[0].Key)
		put(t, q, "a", "b")
		for _, id := range []string{"a", "b"} {
			item := receive(t, c)
			assert.Equal(t, id, item.ID)
			by, _, err := backend.List(t.Context(), store.Store, dir+"consumers/")
			require.NoError(t, err)
			require.Len(t, by, 1, "the claim is one of a consumer that is there")
			assert.NotEqual(t, entries[0].Key, by[0].Key)
			require.NoError(t, item.Ack(t.Context()))
		}
	})
}

func TestAGateThatWasShutUnnoticed(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := &stale{Store: s.Open(t)}
		q := open(t, store, queue.Config{Shards: 1, Gated: true})
		require.NoError(t, q.OpenGate(t.Context()))
		put(t, q, "a", "b")
		c, _ := consume(t, q)
		receive(t, c)
		goOn := store.stall(dir + "gate")
		defer goOn()
		s.Delete(t, dir+"gate")
		receiveNothing(t, c)
		goOn()
		require.NoError(t, q.OpenGate(t.Context()))
		assert.Equal(t, "b", receive(t, c).ID)
	})
}

// Others have taken items that this consumer still believes to be there.
func TestAShardThatHasChangedUnnoticed(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := &stale{Store: s.Open(t)}
		q := open(t, store, oneShard)
		put(t, q, "a", "b", "c", "d")
		late, _ := consume(t, q)
		assert.Equal(t, "a", receive(t, late).ID)
		goOn := store.stall(dir + "shards/")
		defer goOn()
		c, _ := consume(t, open(t, s.Open(t), oneShard))
		require.NoError(t, receive(t, c).Ack(t.Context()))
		assert.Equal(t, "c", receive(t, c).ID)
		assert.Equal(t, "d", receive(t, late).ID)
	})
}

// A claim by a newer program, which tells more, is a claim: during a rolling
// upgrade nobody works on what somebody else has.
func TestAClaimThatTellsMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stores.NewMemory()
		store := s.Open(t)
		q := open(t, store, queue.Config{Shards: 1})
		put(t, q, "a")
		item, err := store.Get(t.Context(), dir+"shards/0/items/a")
		require.NoError(t, err)
		lease, err := store.Lease(t.Context(), stores.ShortestTTL)
		require.NoError(t, err)
		newer := ulid.Make().String()
		_, err = store.Put(t.Context(), dir+"consumers/"+newer, nil, backend.WithLease(lease))
		require.NoError(t, err)
		s.Put(t, dir+"shards/0/claims/a", fmt.Sprintf(`{"item":%d,"attempt":1,"by":%q,"host":"h"}`, item.Revision, newer))

		c, _ := consume(t, q)
		receiveNothing(t, c)
		require.NoError(t, lease.Close(t.Context()))
		assert.Equal(t, 2, receive(t, c).Attempt, "its attempt counts")
	})
}
