package queue_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/queue"
)

const (
	itemX  = dir + "shards/0/items/x"
	claimX = dir + "shards/0/claims/x"
	deadX  = dir + "dead/x"
)

var oneShard = queue.Config{Shards: 1}

// eachFate runs f for each fate that leaves a writer in doubt.
func eachFate(t *testing.T, f func(t *testing.T, s stores.Space, what fate)) {
	t.Helper()
	for _, what := range []fate{applied, held, dropped} {
		t.Run([]string{"", "applied", "held", "dropped"}[what], func(t *testing.T) {
			stores.Each(t, func(t *testing.T, s stores.Space) { f(t, s, what) })
		})
	}
}

// A Put that the store carries out long after its producer has given up on it, and
// after the item was put again, received and acknowledged.
func TestALatePutIsRefused(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := &fickle{Store: s.Open(t)}
		q := open(t, store, oneShard)
		store.once(itemX, held)
		require.ErrorIs(t, q.PutID(t.Context(), "x", nil), backend.ErrUnknown)
		assert.Equal(t, []string{"config"}, keys(t, store), "it is not there …")
		assert.Equal(t, 1, store.release())
		assert.Equal(t, []string{"config"}, keys(t, store), "… and never will be")

		store.once(itemX, held)
		require.ErrorIs(t, q.PutID(t.Context(), "x", nil), backend.ErrUnknown)
		require.NoError(t, q.PutID(t.Context(), "x", nil))
		c, _ := consume(t, open(t, s.Open(t), oneShard))
		require.NoError(t, receive(t, c).Ack(t.Context()))
		assert.Equal(t, 1, store.release())
		receiveNothing(t, c)
		awaitEmpty(t, store)
	})
}

// The fence moves under every producer's feet; that is nothing they are told of.
func TestOthersPutWhileAPutIsResolved(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := &fickle{Store: s.Open(t)}
		q, other := open(t, store, oneShard), open(t, s.Open(t), oneShard)
		for i := range 5 {
			store.once(itemX, dropped)
			require.ErrorIs(t, q.PutID(t.Context(), "x", nil), backend.ErrUnknown)
			put(t, other, fmt.Sprint(i))
		}
		assert.Len(t, keys(t, store), 6)
	})
}

func TestAPutWhoseAnswerWasLost(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := &fickle{Store: s.Open(t)}
		q := open(t, store, oneShard)
		store.once(itemX, applied)
		put(t, q, "x")
		c, _ := consume(t, q)
		require.NoError(t, receive(t, c).Ack(t.Context()))
		awaitEmpty(t, store)
	})
}

// The producer gives up before it knows, and says so.
func TestAPutThatIsGivenUp(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := &fickle{Store: s.Open(t)}
		q := open(t, store, oneShard)
		put(t, q, "a")
		store.set(func(string) fate { return held })
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		err := q.PutID(ctx, "x", []byte("x"))
		require.ErrorIs(t, err, backend.ErrUnknown)
		require.ErrorContains(t, err, "may still be applied")
		store.set(nil)
		store.release()
		put(t, q, "x")
		assert.Len(t, keys(t, store), 3)
	})
}

func TestAClaimOfUnknownOutcome(t *testing.T) {
	eachFate(t, func(t *testing.T, s stores.Space, what fate) {
		store := &fickle{Store: s.Open(t)}
		q := open(t, store, oneShard)
		put(t, q, "x")
		c, _ := consume(t, q)
		store.once(claimX, what)
		item := receive(t, c)
		assert.Equal(t, 1, item.Attempt)
		store.release()
		e, err := store.Get(t.Context(), claimX)
		require.NoError(t, err)
		assert.Equal(t, item.Guard().Revision, e.Revision)
		receiveNothing(t, c)
		require.NoError(t, item.Ack(t.Context()))
		awaitEmpty(t, store)
	})
}

// A Receive that ended in doubt leaves no item that nobody has.
func TestAClaimThatIsGivenUp(t *testing.T) {
	eachFate(t, func(t *testing.T, s stores.Space, what fate) {
		store := &fickle{Store: s.Open(t)}
		q := open(t, store, oneShard)
		put(t, q, "x")
		c, _ := consume(t, q)
		store.set(func(key string) fate {
			if key == claimX {
				return what
			}
			return through
		})
		receiveNothing(t, c)
		store.set(nil)
		store.release()
		item := receive(t, c)
		assert.Equal(t, 1, item.Attempt, "nobody has tried")
		require.NoError(t, item.Ack(t.Context()))
		awaitEmpty(t, store)
	})
}

func TestAnAckOfUnknownOutcome(t *testing.T) {
	eachFate(t, func(t *testing.T, s stores.Space, what fate) {
		store := &fickle{Store: s.Open(t)}
		q := open(t, store, oneShard)
		put(t, q, "x")
		c, _ := consume(t, q)
		item := receive(t, c)
		store.once(itemX, what)
		require.NoError(t, item.Ack(t.Context()))
		put(t, q, "x") // another one, which is not acknowledged by a late write
		store.release()
		item = receive(t, c)
		assert.Equal(t, 1, item.Attempt)
		require.NoError(t, item.Ack(t.Context()))
		awaitEmpty(t, store)
	})
}

// The first try of an Ack comes when the ID is in use again, and nobody has deleted
// the claim yet.
func TestALateAckIsRefused(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := &fickle{Store: s.Open(t)}
		q := open(t, store, oneShard)
		put(t, q, "x")
		c, stop := consume(t, q)
		item := receive(t, c)
		tries := 0
		store.set(func(key string) fate {
			switch key {
			case itemX:
				if tries++; tries == 1 {
					return held
				}
			case claimX:
				return dropped
			}
			return through
		})
		require.NoError(t, item.Ack(t.Context()))
		require.NoError(t, stop())
		put(t, q, "x")
		assert.Equal(t, 1, store.release())
		assert.Equal(t, []string{"config", "shards/0/claims/x", "shards/0/items/x"}, keys(t, store))
		store.set(nil)
		c, _ = consume(t, q)
		item = receive(t, c)
		assert.Equal(t, 1, item.Attempt, "the claim is of another item")
		require.NoError(t, item.Ack(t.Context()))
		awaitEmpty(t, store)
	})
}

// The first item's claim takes long; the second one waits for it.
func TestASlowClaimIsNotOvertaken(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := &fickle{Store: s.Open(t)}
		q := open(t, store, oneShard)
		put(t, q, "x", "y")
		c, _ := consume(t, q)
		store.once(claimX, dropped)
		received := make(chan *queue.Item)
		for range 2 {
			go func() {
				item, err := c.Receive(t.Context())
				assert.NoError(t, err)
				received <- item
			}()
		}
		first, second := <-received, <-received
		if first.ID != "x" {
			first, second = second, first
		}
		assert.Less(t, first.Guard().Revision, second.Guard().Revision)
	})
}

// Somebody else has the item before its former holder knows about its own Ack.
func TestAnAckThatWasTooLate(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := &fickle{Store: s.Open(t)}
		q := open(t, store, oneShard)
		put(t, q, "x")
		c, stop := consume(t, q)
		item := receive(t, c)
		store.set(func(string) fate { return held })
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, item.Ack(ctx), backend.ErrUnknown)
		store.set(nil)
		require.NoError(t, stop())
		other, _ := consume(t, open(t, s.Open(t), oneShard))
		again := receive(t, other)
		require.ErrorIs(t, item.Ack(t.Context()), queue.ErrLost)
		store.release()
		require.NoError(t, again.Ack(t.Context()), "the late one changed nothing")
		awaitEmpty(t, store)
	})
}

// Nothing is left to tell whether it was this Ack or that of the next holder.
func TestAnAckThatCannotBeKnown(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := &fickle{Store: s.Open(t)}
		q := open(t, store, oneShard)
		put(t, q, "x")
		c, stop := consume(t, q)
		item := receive(t, c)
		store.set(func(string) fate { return applied })
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, item.Ack(ctx), backend.ErrUnknown)
		store.set(nil)
		require.NoError(t, stop())
		other, _ := consume(t, open(t, s.Open(t), oneShard))
		awaitEmpty(t, store) // the other one has tidied up
		receiveNothing(t, other)
		require.ErrorIs(t, item.Ack(t.Context()), backend.ErrUnknown)
	})
}

func TestANackOfUnknownOutcome(t *testing.T) {
	eachFate(t, func(t *testing.T, s stores.Space, what fate) {
		store := &fickle{Store: s.Open(t)}
		q := open(t, store, oneShard)
		put(t, q, "x")
		c, _ := consume(t, q)
		item := receive(t, c)
		store.once(claimX, what)
		require.NoError(t, item.Nack(t.Context(), 0))
		item = receive(t, c)
		assert.Equal(t, 2, item.Attempt)
		store.release()
		require.NoError(t, item.Ack(t.Context()), "the late one changed nothing")
		awaitEmpty(t, store)
	})
}

// A claim whose item is gone is deleted: by its maker, and if that is dead too, by
// anybody.
func TestClaimsThatAreLeftOver(t *testing.T) {
	for _, dead := range []bool{false, true} {
		t.Run(fmt.Sprint("maker dead ", dead), func(t *testing.T) {
			stores.Each(t, func(t *testing.T, s stores.Space) {
				store := &fickle{Store: s.Open(t)}
				q := open(t, store, oneShard)
				put(t, q, "x")
				c, stop := consume(t, q)
				item := receive(t, c)
				if dead {
					store.set(func(key string) fate {
						if key == claimX {
							return dropped
						}
						return through
					})
				} else {
					store.once(claimX, dropped)
				}
				require.NoError(t, item.Ack(t.Context()))
				if dead {
					require.NoError(t, stop())
					require.True(t, slices.Contains(keys(t, store), claimX[len(dir):]))
					consume(t, open(t, s.Open(t), oneShard))
				}
				awaitEmpty(t, store)
			})
		})
	}
}
