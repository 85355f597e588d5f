package pubsub_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/pubsub"
)

// An outcome is a publisher on a store that loses answers or requests, and
// somebody who receives.
type outcome struct {
	store *stores.Faulty
	other backend.Store
	p     *pubsub.Publisher
	all   *inbox
}

func lossy(t *testing.T, f func(t *testing.T, x *outcome)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		x := &outcome{store: &stores.Faulty{Store: space.Open(t)}, other: space.Open(t)}
		x.p = newPublisher(t, x.store, 0)
		_, x.all, _ = subscribe(t, x.other, pubsub.SubscriberConfig{})
		f(t, x)
	})
}

var (
	requestsLost = stores.Hooks{Put: func(string) error { return backend.ErrUnknown }}
	answersLost  = stores.Hooks{AfterPut: func(string) error { return backend.ErrUnknown }}
)

func TestLostAnswerIsResolved(t *testing.T) {
	lossy(t, func(t *testing.T, x *outcome) {
		x.store.Set(answersLost)
		rev := send(t, x.p, "topic", "1")
		assert.Equal(t, rev, x.all.await(t, 1)[0].Revision)
		send(t, x.p, "topic", "2")
		x.all.await(t, 2)
	})
}

func TestLostRequestIsRepeated(t *testing.T) {
	lossy(t, func(t *testing.T, x *outcome) {
		var calls atomic.Int64
		x.store.Set(stores.Hooks{Put: func(string) error {
			if calls.Add(1) < 3 {
				return backend.ErrUnknown
			}
			return nil
		}})
		send(t, x.p, "topic", "1")
		x.all.await(t, 1)
	})
}

// unsettled publishes a message whose outcome stays unknown; it was applied or
// not, as the hooks have it.
func (x *outcome) unsettled(t *testing.T, h stores.Hooks, payload string) {
	t.Helper()
	applied := h.AfterPut != nil
	if applied {
		h.Get = func(string) error { return backend.ErrUnavailable }
	}
	x.store.Set(h)
	_, err := x.p.Publish(t.Context(), "topic", []byte(payload))
	require.ErrorIs(t, err, backend.ErrUnknown)
	x.store.Set(stores.Hooks{})
}

func TestRepeatedByTheCallerItIsOneMessage(t *testing.T) {
	for name, hooks := range map[string]stores.Hooks{"answer lost": answersLost, "request lost": requestsLost} {
		t.Run(name, func(t *testing.T) {
			lossy(t, func(t *testing.T, x *outcome) {
				x.unsettled(t, hooks, "1")
				send(t, x.p, "topic", "1")
				send(t, x.p, "topic", "2")
				messages := x.all.await(t, 2)
				assert.Equal(t, []string{"1", "2"}, x.all.texts())
				assert.Equal(t, uint64(2), messages[1].Number)
			})
		})
	}
}

func TestAnotherMessageSettlesTheOneBefore(t *testing.T) {
	lossy(t, func(t *testing.T, x *outcome) {
		x.unsettled(t, answersLost, "1")
		send(t, x.p, "topic", "2")
		x.all.await(t, 2)
		assert.Equal(t, []string{"1", "2"}, x.all.texts())
	})
	lossy(t, func(t *testing.T, x *outcome) {
		x.unsettled(t, requestsLost, "1")
		send(t, x.p, "topic", "2")
		messages := x.all.await(t, 1)
		assert.Equal(t, uint64(1), messages[0].Number, "it has the place of the lost one")

		// Which now arrives.
		e := retained(t, x.other)[0]
		_, err := x.other.Put(t.Context(), e.Key, []byte("1"), backend.If(e.Key, 0))
		require.ErrorIs(t, err, backend.ErrConflict)
		synctest.Wait()
		x.all.await(t, 1)
	})
}

// However late it turns out that the message before has the number, this one gets
// the next.
func TestTheOneBeforeIsFoundLate(t *testing.T) {
	lossy(t, func(t *testing.T, x *outcome) {
		x.unsettled(t, answersLost, "1")
		var calls atomic.Int64
		x.store.Set(stores.Hooks{Put: func(string) error {
			if calls.Add(1) < 3 {
				return backend.ErrUnknown
			}
			return nil
		}})
		send(t, x.p, "topic", "2")
		x.all.await(t, 2)
		assert.Equal(t, []string{"1", "2"}, x.all.texts())
	})
}

// The lease of the message that took the place was lost first: the lost write
// finds the key free, but its number is known.
func TestLateArrivalIsNotReceived(t *testing.T) {
	lossy(t, func(t *testing.T, x *outcome) {
		send(t, x.p, "topic", "1")
		send(t, x.p, "topic", "2")
		x.all.await(t, 2)
		e := retained(t, x.other)[0]
		require.NoError(t, x.other.Delete(t.Context(), e.Key))
		_, err := x.other.Put(t.Context(), e.Key, []byte("late"), backend.If(e.Key, 0))
		require.NoError(t, err)
		send(t, x.p, "topic", "3")
		x.all.await(t, 3)
		assert.Equal(t, []string{"1", "2", "3"}, x.all.texts())
	})
}

// A message that may have been there and has vanished is not published again.
func TestVanishedIsUnknown(t *testing.T) {
	lossy(t, func(t *testing.T, x *outcome) {
		x.store.Set(stores.Hooks{
			AfterPut: func(string) error { return backend.ErrUnknown },
			Get: func(key string) error {
				x.store.Set(stores.Hooks{})
				return x.other.Delete(t.Context(), key)
			},
		})
		_, err := x.p.Publish(t.Context(), "topic", []byte("1"))
		require.ErrorIs(t, err, backend.ErrUnknown)
		send(t, x.p, "topic", "2")
		synctest.Wait()
		assert.Equal(t, "2", x.all.texts()[len(x.all.texts())-1])
		assert.Equal(t, uint64(2), x.all.get()[len(x.all.get())-1].Number)
	})
}

// What was certainly not published has no number, so nobody misses it.
func TestFailedMessagesAreNoGap(t *testing.T) {
	lossy(t, func(t *testing.T, x *outcome) {
		send(t, x.p, "topic", "1")
		for _, class := range []error{backend.ErrUnavailable, backend.ErrDenied, backend.ErrFull} {
			x.store.Set(stores.Hooks{Put: func(string) error { return class }})
			_, err := x.p.Publish(t.Context(), "topic", []byte("x"))
			require.ErrorIs(t, err, class)
			require.NotErrorIs(t, err, backend.ErrUnknown)
		}
		x.store.Set(stores.Hooks{})
		send(t, x.p, "topic", "2")
		assert.Zero(t, x.all.await(t, 2)[1].Missed)

		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := x.p.Publish(ended, "topic", []byte("x"))
		require.ErrorIs(t, err, context.Canceled)
	})
}

// Trouble with the watch is gone through, and told.
func TestWatchIsBegunAgain(t *testing.T) {
	lossy(t, func(t *testing.T, x *outcome) {
		broken := &stores.Faulty{Store: x.other}
		broken.Set(stores.Hooks{Watch: func(string) error { return backend.ErrDenied }})
		sub, all := prepare(t, broken, pubsub.SubscriberConfig{})
		stores.Start(t, sub.Run)
		synctest.Wait()
		_, err := sub.LastError()
		require.ErrorIs(t, err, backend.ErrDenied)
		broken.Set(stores.Hooks{})
		<-sub.Synced()
		send(t, x.p, "topic", "1")
		all.await(t, 1)
	})
}

// The store's word counts, also before the lease itself has heard of it.
func TestDeadLeaseIsNotUsedAgain(t *testing.T) {
	lossy(t, func(t *testing.T, x *outcome) {
		x.store.Set(stores.Hooks{Put: func(string) error {
			x.store.Set(stores.Hooks{})
			return backend.ErrLeaseLost
		}})
		send(t, x.p, "topic", "1")
		assert.Equal(t, "lease-2", retained(t, x.other)[0].Lease)
		x.all.await(t, 1)
	})
}
