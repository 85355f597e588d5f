package barrier_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/barrier"
)

func single(t testing.TB, s backend.Store) *barrier.Barrier {
	t.Helper()
	b, err := barrier.New(s, key)
	require.NoError(t, err)
	return b
}

func waiting(t testing.TB, b *barrier.Barrier) <-chan error {
	t.Helper()
	passed := make(chan error, 1)
	stores.Start(t, func(ctx context.Context) error {
		err := b.Wait(ctx)
		passed <- err
		return err
	})
	return passed
}

func TestBarrier(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		b := single(t, s.Open(t))
		require.NoError(t, <-waiting(t, b), "nobody holds it")
		for range 3 {
			require.NoError(t, b.Hold(t.Context()))
			require.NoError(t, b.Hold(t.Context()), "twice is once")
			first, second := waiting(t, b), waiting(t, single(t, s.Open(t)))
			stay(t, first)
			stay(t, second)
			require.NoError(t, single(t, s.Open(t)).Release(t.Context()), "by somebody else")
			require.NoError(t, <-first)
			require.NoError(t, <-second)
			require.NoError(t, b.Release(t.Context()))
			require.NoError(t, <-waiting(t, b))
		}
	})
}

func TestBarrierByHand(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		b := single(t, s.Open(t))
		s.Put(t, key, "null") // whatever that is, it is no permission
		passed := waiting(t, b)
		stay(t, passed)
		s.Put(t, key, "released")
		require.NoError(t, <-passed)
		s.Put(t, key, "held")
		passed = waiting(t, b)
		stay(t, passed)
		s.Delete(t, key)
		require.NoError(t, <-passed)
		s.Put(t, key+"2", "held") // another key
		require.NoError(t, <-waiting(t, b))
	})
}

// Whoever held it is gone; the barrier is not.
func TestBarrierOutlivesItsHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		holder := space.Client(t)
		require.NoError(t, single(t, holder).Hold(t.Context()))
		holder.Cut()
		passed := waiting(t, single(t, space.Open(t)))
		time.Sleep(24 * time.Hour)
		stay(t, passed)
		require.NoError(t, single(t, space.Open(t)).Release(t.Context()))
		require.NoError(t, <-passed)
	})
}

func TestBarrierWaitEnds(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		b := single(t, s.Open(t))
		require.NoError(t, b.Hold(t.Context()))
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, b.Wait(ctx), context.DeadlineExceeded)
	})
}

// A Hold that the store carries out after the Release: it had its chance.
func TestALateHoldIsRefused(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		for range 2 { // without a key, and with one
			late := &late{Store: s.Open(t)}
			late.hold(key)
			holding := stores.Start(t, single(t, late).Hold)
			stores.Wait(t, "tried", func() bool { return late.tries() > 0 })
			require.ErrorIs(t, holding(), backend.ErrUnknown)
			b := single(t, s.Open(t))
			require.NoError(t, b.Release(t.Context()))
			require.Positive(t, late.release())
			require.NoError(t, <-waiting(t, b))
			require.NoError(t, b.Hold(t.Context()))
			require.NoError(t, b.Release(t.Context()))
		}
	})
}

func TestHoldOfUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		store := &stores.Faulty{Store: space.Open(t)}
		b := single(t, store)
		for _, hooks := range []stores.Hooks{
			{AfterPut: func(string) error { store.Set(stores.Hooks{}); return backend.ErrUnknown }},
			{Put: func(string) error { store.Set(stores.Hooks{}); return backend.ErrUnknown }},
		} {
			store.Set(hooks)
			require.NoError(t, b.Hold(t.Context()))
			passed := waiting(t, b)
			stay(t, passed)
			store.Set(hooks)
			require.NoError(t, b.Release(t.Context()))
			require.NoError(t, <-passed)
		}
		store.Set(stores.Hooks{Put: func(string) error { return backend.ErrDenied }})
		require.ErrorIs(t, b.Hold(t.Context()), backend.ErrDenied)
	})
}

func TestBarrierRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := stores.NewMemory().Open(t)
		_, err := barrier.New(store, "/a")
		require.ErrorIs(t, err, backend.ErrInvalid)
		for _, cfg := range []barrier.DoubleConfig{{}, {Participants: -1}, {Participants: barrier.MaxParticipants + 1}, {Participants: 1, TTL: -1}} {
			_, err := barrier.NewDouble(store, dir, cfg)
			require.ErrorIs(t, err, backend.ErrInvalid)
		}
		for _, bad := range []string{"", "double", "/"} {
			_, err := barrier.NewDouble(store, bad, barrier.DoubleConfig{Participants: 2})
			require.ErrorIs(t, err, backend.ErrInvalid)
		}
		long := pad(300) + "/"
		_, err = barrier.NewDouble(store, long, barrier.DoubleConfig{Participants: barrier.MaxParticipants})
		require.ErrorIs(t, err, backend.ErrTooLarge)
		_, err = barrier.NewDouble(store, long, barrier.DoubleConfig{Participants: 2})
		require.NoError(t, err)
		d, err := barrier.NewDouble(store, dir, barrier.DoubleConfig{Participants: 2, TTL: 10000 * time.Hour})
		require.NoError(t, err)
		_, err = d.Enter(t.Context())
		assert.ErrorIs(t, err, backend.ErrInvalid)
	})
}
