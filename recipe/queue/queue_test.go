package queue_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/queue"
)

func TestFirstInFirstOut(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		q := open(t, s.Open(t), queue.Config{Shards: 1})
		var ids []string
		for i := range 20 {
			ids = append(ids, fmt.Sprintf("item %d", 99-i)) // neither the order of the keys …
		}
		put(t, q, ids...)
		c, stop := consume(t, open(t, store, queue.Config{Shards: 1}))
		for i, id := range ids {
			item := receive(t, c)
			assert.Equal(t, id, item.ID)
			assert.Equal(t, id, string(item.Value))
			assert.Equal(t, 1, item.Attempt)
			if i%2 == 0 {
				require.NoError(t, item.Ack(t.Context())) // … nor that of the ends
			}
		}
		receiveNothing(t, c)
		require.NoError(t, stop())
		assert.Len(t, keys(t, store), 1+2*10, "half of them are there, with their claims")
	})
}

func TestAcknowledgedItemsLeaveNothingBehind(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		q := open(t, store, queue.Config{})
		c, _ := consume(t, q)
		seen := map[string]bool{}
		for i := range 30 {
			id, err := q.Put(t.Context(), fmt.Append(nil, i))
			require.NoError(t, err)
			_, err = ulid.ParseStrict(id)
			require.NoError(t, err)
			seen[id] = true
		}
		for range 30 {
			item := receive(t, c)
			require.True(t, seen[item.ID])
			delete(seen, item.ID)
			require.NoError(t, item.Ack(t.Context()))
			require.NoError(t, item.Ack(t.Context()), "twice is no error")
			require.ErrorIs(t, item.Nack(t.Context(), 0), queue.ErrLost)
		}
		awaitEmpty(t, store)
	})
}

func TestReceiveWaitsForAnItem(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		c, _ := consume(t, open(t, s.Open(t), queue.Config{}))
		receiveNothing(t, c)
		received := make(chan string)
		go func() {
			item, err := c.Receive(t.Context())
			assert.NoError(t, err)
			received <- item.ID
		}()
		put(t, open(t, s.Open(t), queue.Config{}), "a")
		assert.Equal(t, "a", <-received)
	})
}

// By the store's own record: in the order of the claims' revisions no item was
// handed out for the first time before an earlier one.
func TestNoItemOvertakesAnother(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		const items, consumers, each = 60, 3, 3
		cfg := queue.Config{Shards: 1}
		var mu sync.Mutex
		var got []*queue.Item
		var working sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for range consumers {
			c, _ := consume(t, open(t, s.Open(t), cfg))
			for range each {
				working.Go(func() {
					for {
						item, err := c.Receive(ctx)
						if err != nil {
							return
						}
						assert.NoError(t, item.Ack(ctx))
						mu.Lock()
						got = append(got, item)
						if len(got) == items {
							cancel()
						}
						mu.Unlock()
					}
				})
			}
		}
		producer := open(t, s.Open(t), cfg)
		for i := range items {
			put(t, producer, fmt.Sprint(i))
		}
		working.Wait()
		require.Len(t, got, items)
		slices.SortFunc(got, func(a, b *queue.Item) int { return int(a.Guard().Revision) - int(b.Guard().Revision) })
		for i, item := range got {
			assert.Equal(t, fmt.Sprint(i), item.ID)
			assert.Equal(t, 1, item.Attempt)
		}
	})
}

// A consumer whose lease is over: its item returns to its place.
func TestItemOfADeadConsumerReturns(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store, cfg := s.Open(t), queue.Config{Shards: 1}
		put(t, open(t, store, cfg), "a", "b", "c", "d")
		dying, _ := consume(t, open(t, s.Open(t), cfg))
		lost := receive(t, dying)
		require.Equal(t, "a", lost.ID)
		lease := consumerLease(t, store)
		other, _ := consume(t, open(t, s.Open(t), cfg))
		require.Equal(t, "b", receive(t, other).ID)

		s.Revoke(t, lease)
		var item *queue.Item
		stores.Wait(t, "the item returns", func() bool {
			item = receive(t, other) // c and d may still be before it
			return item.ID == "a"
		})
		assert.Equal(t, 2, item.Attempt)
		assert.Greater(t, item.Guard().Revision, lost.Guard().Revision)

		<-lost.Lost()
		err := lost.Ack(t.Context())
		require.ErrorIs(t, err, queue.ErrLost)
		require.ErrorIs(t, err, backend.ErrConflict)
		require.ErrorIs(t, lost.Nack(t.Context(), 0), queue.ErrLost)
		_, err = store.Put(t.Context(), "result", nil, lost.Guard())
		require.ErrorIs(t, err, backend.ErrConflict)
		_, err = store.Put(t.Context(), "result", nil, item.Guard())
		require.NoError(t, err)
		require.NoError(t, item.Ack(t.Context()))

		// The dead one is a consumer again.
		put(t, open(t, store, cfg), "e")
		stores.Wait(t, "e", func() bool { return receive(t, dying).ID == "e" })
	})
}

// The lease is over, but nobody else has come: the work was not in vain.
func TestAckWithoutALease(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		q := open(t, store, queue.Config{})
		put(t, q, "a")
		c, stop := consume(t, q)
		item := receive(t, c)
		require.NoError(t, stop())
		<-item.Lost()
		require.NoError(t, item.Ack(t.Context()))
		awaitEmpty(t, store)
		_, err := c.Receive(t.Context())
		require.ErrorIs(t, err, backend.ErrClosed)
		require.ErrorIs(t, c.Run(t.Context()), backend.ErrInvalid)
	})
}

func TestEndOfAConsumerReturnsItsItems(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		q := open(t, store, queue.Config{})
		put(t, q, "a")
		first, stop := consume(t, q)
		receive(t, first)
		require.NoError(t, stop())
		second, _ := consume(t, q)
		item := receive(t, second)
		assert.Equal(t, 2, item.Attempt)
		require.NoError(t, item.Ack(t.Context()))
		awaitEmpty(t, store)
	})
}

// Published code loses the key of a consumer for good when somebody deletes it.
func TestConsumerComesBackAfterDeletionByHand(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		q := open(t, store, queue.Config{})
		put(t, q, "a")
		c, _ := consume(t, q)
		item := receive(t, c)
		entries, _, err := backend.List(t.Context(), store, dir+"consumers/")
		require.NoError(t, err)
		require.Len(t, entries, 1)
		s.Delete(t, entries[0].Key)
		<-item.Lost()
		again := receive(t, c)
		assert.Equal(t, 2, again.Attempt)
		require.ErrorIs(t, item.Ack(t.Context()), queue.ErrLost)
		require.NoError(t, again.Ack(t.Context()))
	})
}

func TestAnIDIsTakenWhileItsItemIsQueued(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		q := open(t, store, queue.Config{})
		put(t, q, "a", "a", "a")
		require.ErrorIs(t, q.PutID(t.Context(), "a", []byte("other")), backend.ErrConflict)
		c, _ := consume(t, q)
		item := receive(t, c)
		put(t, q, "a")
		require.NoError(t, item.Ack(t.Context()))
		receiveNothing(t, c)

		put(t, q, "a")
		item = receive(t, c)
		assert.Equal(t, 1, item.Attempt, "another item")
		require.NoError(t, item.Ack(t.Context()))
		awaitEmpty(t, store)
	})
}

func TestNackReturnsAnItemToItsPlace(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		q := open(t, s.Open(t), queue.Config{Shards: 1})
		put(t, q, "a", "b")
		c, _ := consume(t, q)
		item := receive(t, c)
		require.NoError(t, item.Nack(t.Context(), 0))
		require.ErrorIs(t, item.Ack(t.Context()), queue.ErrLost)
		item = receive(t, c)
		assert.Equal(t, "a", item.ID)
		assert.Equal(t, 2, item.Attempt)

		begun := time.Now()
		const delay = 500 * time.Millisecond
		require.NoError(t, item.Nack(t.Context(), delay))
		assert.Equal(t, "b", receive(t, c).ID)
		item = receive(t, c)
		assert.Equal(t, "a", item.ID)
		assert.Equal(t, 3, item.Attempt)
		assert.GreaterOrEqual(t, time.Since(begun), delay-time.Millisecond)
		require.ErrorIs(t, item.Nack(t.Context(), -1), backend.ErrInvalid)
	})
}

func TestItemIsDeadAfterItsLastAttempt(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		q := open(t, store, queue.Config{MaxAttempts: 3})
		put(t, q, "poison")
		c, stop := consume(t, q)
		for attempt := 1; attempt <= 2; attempt++ {
			item := receive(t, c)
			assert.Equal(t, attempt, item.Attempt)
			require.NoError(t, item.Nack(t.Context(), time.Millisecond))
		}
		receive(t, c)
		require.NoError(t, stop()) // the last attempt ends with the consumer
		c, _ = consume(t, q)
		receiveNothing(t, c)
		stores.Wait(t, "dead", func() bool { return len(keys(t, store)) == 2 })
		e, err := store.Get(t.Context(), dir+"dead/poison")
		require.NoError(t, err)
		assert.Equal(t, "poison", string(e.Value))

		require.ErrorIs(t, q.PutID(t.Context(), "poison", nil), backend.ErrConflict)
		s.Delete(t, dir+"dead/poison")
		put(t, q, "poison")
		assert.Equal(t, 1, receive(t, c).Attempt)
	})
}

// The steps of burying an item, each of them last before a crash.
func TestBurialIsFinishedByOthers(t *testing.T) {
	for _, key := range []string{"dead/x", "shards/0/items/x", "shards/0/claims/x"} {
		t.Run(key, func(t *testing.T) {
			stores.Each(t, func(t *testing.T, s stores.Space) {
				store := &fickle{Store: s.Open(t)}
				cfg := queue.Config{Shards: 1, MaxAttempts: 1}
				put(t, open(t, store, cfg), "x")
				c, stop := consume(t, open(t, store, cfg))
				item := receive(t, c)
				require.NoError(t, item.Nack(t.Context(), 0))
				reached := make(chan struct{})
				var once sync.Once
				store.set(func(k string) fate {
					if k != dir+key {
						return through
					}
					once.Do(func() { close(reached) })
					return applied // and never heard of again
				})
				ctx, cancel := context.WithCancel(t.Context())
				go func() { <-reached; cancel() }()
				_, _ = c.Receive(ctx)
				require.NoError(t, stop())

				other, _ := consume(t, open(t, s.Open(t), cfg))
				receiveNothing(t, other)
				stores.Wait(t, "dead", func() bool { return slices.Equal(keys(t, store), []string{"config", "dead/x"}) })
			})
		})
	}
}

func TestGateOpensOnASignal(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		q := open(t, store, queue.Config{Gated: true})
		put(t, q, "a", "b")
		c, _ := consume(t, q)
		receiveNothing(t, c)
		require.NoError(t, q.OpenGate(t.Context()))
		require.NoError(t, q.OpenGate(t.Context()))
		require.NoError(t, receive(t, c).Ack(t.Context()))

		s.Delete(t, dir+"gate") // at once, as the condition of each claim
		receiveNothing(t, c)
		s.Put(t, dir+"gate", "by hand")
		require.NoError(t, receive(t, c).Ack(t.Context()))
	})
}

func TestGateOpensWhen(t *testing.T) {
	t.Parallel()
	stores.Each(t, func(t *testing.T, s stores.Space) {
		for i, c := range []struct {
			trigger         queue.Trigger
			before, opening func(q *queue.Queue)
		}{
			{queue.AtLeast(3), func(q *queue.Queue) { put(t, q, "a", "b") }, func(q *queue.Queue) { put(t, q, "c") }},
			{queue.Present("x"), func(q *queue.Queue) { put(t, q, "a", "xx") }, func(q *queue.Queue) { put(t, q, "x") }},
			{queue.Absent("x"), func(q *queue.Queue) { put(t, q, "x", "a") }, func(*queue.Queue) { deleteItem(t, s, "x") }},
			{queue.AtLeast(100), func(q *queue.Queue) { put(t, q, "a") }, func(q *queue.Queue) { assert.NoError(t, q.OpenGate(t.Context())) }},
		} {
			store := s.Open(t)
			q := open(t, store, queue.Config{Gated: true})
			consumer, stop := consume(t, q)
			c.before(q)
			opened := make(chan error)
			for range 2 {
				go func() { opened <- q.OpenGateWhen(t.Context(), c.trigger) }()
			}
			receiveNothing(t, consumer)
			c.opening(q)
			require.NoError(t, <-opened, i)
			require.NoError(t, <-opened, i)
			receive(t, consumer)
			require.NoError(t, stop())
			for _, key := range keys(t, store) {
				s.Delete(t, dir+key)
			}
		}
	})
}

func deleteItem(t testing.TB, s stores.Space, id string) {
	t.Helper()
	for _, key := range keys(t, s.Open(t)) {
		if strings.HasSuffix(key, "/items/"+id) {
			s.Delete(t, dir+key)
		}
	}
}

func TestWhatIsNoneOfOursIsLeftAlone(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		foreign := []string{"shards/0/claims/x/y", "shards/0/items/x/y", "shards/0/other", "shards/00/items/a", "shards/9/items/a"}
		for _, key := range foreign {
			s.Put(t, dir+key, "null")
		}
		store := s.Open(t)
		q := open(t, store, queue.Config{Shards: 1})
		put(t, q, "a", "b", "c")
		for key, value := range map[string]string{"a": "null", "b": `{"item"`, "c": `{"item":1,"attempt":7,"notBefore":"2999-01-01T00:00:00Z"}`, "d": "", "e": `[]`} {
			s.Put(t, dir+"shards/0/claims/"+key, value)
		}
		c, _ := consume(t, q)
		for range 3 {
			item := receive(t, c)
			assert.Equal(t, 1, item.Attempt)
			require.NoError(t, item.Ack(t.Context()))
		}
		receiveNothing(t, c)
		stores.Wait(t, "tidy", func() bool {
			return slices.Equal(keys(t, store), append([]string{"config"}, slices.Sorted(slices.Values(foreign))...))
		})
	})
}

func TestQueueWithAnotherConfig(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		put(t, open(t, s.Open(t), queue.Config{}), "a")
		for _, cfg := range []queue.Config{{Shards: 3}, {MaxAttempts: 1}, {Gated: true}} {
			q := open(t, s.Open(t), cfg)
			require.ErrorIs(t, q.PutID(t.Context(), "b", nil), backend.ErrInvalid)
			c, err := queue.NewConsumer(q, queue.ConsumerConfig{})
			require.NoError(t, err)
			require.ErrorIs(t, c.Run(t.Context()), backend.ErrInvalid)
		}
		for _, value := range []string{"null", "{", `{"shards":8,"more":1}`, ""} {
			s.Put(t, dir+"config", value)
			require.ErrorIs(t, open(t, s.Open(t), queue.Config{}).PutID(t.Context(), "b", nil), backend.ErrInvalid, value)
		}
	})
}

func TestRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := stores.NewMemory().Open(t)
		for _, bad := range []string{"", "queue", "/", "a//", strings.Repeat("x", backend.MaxKey) + "/"} {
			_, err := queue.New(store, bad, queue.Config{})
			require.ErrorIs(t, err, backend.ErrInvalid, bad)
		}
		for _, cfg := range []queue.Config{{Shards: -1}, {Shards: queue.MaxShards + 1}, {MaxAttempts: -1}} {
			_, err := queue.New(store, dir, cfg)
			require.ErrorIs(t, err, backend.ErrInvalid)
		}
		q := open(t, store, queue.Config{})
		for _, id := range []string{"", "a/b", ".", "..", "\n", strings.Repeat("x", backend.MaxKey)} {
			require.ErrorIs(t, q.PutID(t.Context(), id, nil), backend.ErrInvalid, id)
		}
		require.ErrorIs(t, q.PutID(t.Context(), "a", make([]byte, backend.MaxValue+1)), backend.ErrTooLarge)
		_, err := queue.NewConsumer(q, queue.ConsumerConfig{TTL: -1})
		require.ErrorIs(t, err, backend.ErrInvalid)
		require.ErrorIs(t, q.OpenGate(t.Context()), backend.ErrInvalid, "it has no gate")
		gated := open(t, store, queue.Config{Gated: true})
		for _, trigger := range []queue.Trigger{{}, queue.AtLeast(-1), queue.Present("a/b"), queue.Absent("")} {
			require.ErrorIs(t, gated.OpenGateWhen(t.Context(), trigger), backend.ErrInvalid)
		}
	})
}
