package lock_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/lock"
)

// The requests, updates and ends of leases that one acquisition takes from asking
// to releasing, when each hand-over is between two processes: lease, put, line,
// watch of the one before with two updates, line, watch of the own key with up to
// two updates, end of the lease; and once more line and watch when those of one
// process follow each other.
const mostCalls = 18

// A hundred wait, in five processes by turns. They get the lock in the order in
// which they asked, and what it takes does not depend on how many they are.
func TestAHundredWaiters(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		few, many := contend(t, s, 10), contend(t, s, 100)
		t.Logf("calls and updates for each acquisition: %.1f with 10 waiting, %.1f with 100", few, many)
		assert.LessOrEqual(t, few, float64(mostCalls))
		assert.LessOrEqual(t, many, float64(mostCalls))
	})
}

func contend(t *testing.T, s stores.Space, n int) float64 {
	t.Helper()
	observer := s.Open(t)
	var processes [5]*counting
	var locks [5]*lock.Lock
	for i := range processes {
		processes[i] = &counting{Store: s.Open(t)}
		locks[i] = newLock(t, processes[i], lock.Config{TTL: 30 * time.Second, Holder: fmt.Sprint(i)})
	}
	held, err := newLock(t, observer, lock.Config{TTL: 30 * time.Second}).Acquire(t.Context())
	require.NoError(t, err)

	type turn struct {
		asked int
		token backend.Revision
	}
	var mu sync.Mutex
	var turns []turn
	var waiting sync.WaitGroup
	for i := range n {
		waiting.Go(func() {
			mine, err := locks[i%len(locks)].Acquire(t.Context())
			if !assert.NoError(t, err) {
				return
			}
			mu.Lock()
			turns = append(turns, turn{i, mine.Token()})
			mu.Unlock()
			assert.NoError(t, write(t, observer, mine))
			assert.NoError(t, mine.Release(t.Context()))
		})
		awaitLine(t, observer, i+2)
	}
	require.NoError(t, held.Release(t.Context()))
	waiting.Wait()

	require.Len(t, turns, n)
	for i, now := range turns {
		assert.Equal(t, i, now.asked, "order of the requests")
		assert.True(t, i == 0 || now.token > turns[i-1].token, "tokens grow")
	}
	assert.Empty(t, line(t, observer))
	var calls int64
	for _, p := range processes {
		calls += p.calls.Load()
		assert.LessOrEqual(t, p.most.Load(), int64(1), "one watch, or one read of the line, at a time")
		assert.Zero(t, p.watches.Load(), "and none afterwards")
	}
	return float64(calls) / float64(n)
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		a := s.Open(t)
		var seen atomic.Int64
		b := &stores.Faulty{Store: s.Open(t)}
		b.Set(stores.Hooks{Yield: func() { seen.Add(1) }})
		held := acquire(t, newLock(t, a, lock.Config{Holder: "first"}))
		second := newLock(t, b, lock.Config{Holder: "second"})

		ctx, cancel := context.WithCancelCause(t.Context())
		waits := begin(ctx, t, second)
		stores.Wait(t, "it has seen the line and the key before its own", func() bool { return seen.Load() >= 2 })
		reason := errors.New("no more time")
		cancel(reason)
		<-waits.done
		var locked *lock.LockedError
		require.ErrorAs(t, waits.err, &locked)
		assert.Equal(t, "first", locked.Holder)
		assert.Equal(t, held.Token(), locked.Token)
		require.ErrorIs(t, waits.err, lock.ErrLocked)
		require.ErrorIs(t, waits.err, context.Canceled)
		require.ErrorIs(t, waits.err, reason)
		assert.Len(t, line(t, a), 1, "its place is given up")

		ctx, cancelTime := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancelTime()
		_, err := second.Acquire(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Len(t, line(t, a), 1)
		require.NoError(t, write(t, a, held))
	})
}

func TestTryAcquire(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		a := s.Open(t)
		b := &counting{Store: s.Open(t)}
		first, second := newLock(t, a, lock.Config{Holder: "first"}), newLock(t, b, lock.Config{Holder: "second"})
		held, err := first.TryAcquire(t.Context())
		require.NoError(t, err)
		require.NoError(t, write(t, a, held))

		_, err = second.TryAcquire(t.Context())
		var locked *lock.LockedError
		require.ErrorAs(t, err, &locked)
		assert.Equal(t, "first", locked.Holder)
		assert.WithinDuration(t, time.Now(), locked.Since, time.Minute)
		assert.Equal(t, held.Token(), locked.Token)
		assert.Contains(t, err.Error(), `"locks/a" is locked by "first", in line since `)
		assert.LessOrEqual(t, b.calls.Load(), int64(2), "one look")

		require.NoError(t, held.Release(t.Context()))
		next, err := second.TryAcquire(t.Context())
		require.NoError(t, err, "free at once")
		assert.Greater(t, next.Token(), held.Token())
		assert.False(t, isClosed(next.Lost()))
		s.Revoke(t, next.Lease().ID())
		awaitLost(t, next)
		require.NoError(t, next.Release(t.Context()))
		assert.Empty(t, line(t, a))
	})
}

func TestAttemptsAtOnce(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		observer := s.Open(t)
		var mu sync.Mutex
		var winners []*lock.Held
		var trying sync.WaitGroup
		for range 8 {
			l := newLock(t, s.Open(t), lock.Config{})
			trying.Go(func() {
				held, err := l.TryAcquire(t.Context())
				if err != nil {
					assert.ErrorIs(t, err, lock.ErrLocked)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				winners = append(winners, held)
			})
		}
		trying.Wait()
		require.Len(t, winners, 1)
		assert.Len(t, line(t, observer), 1)
		require.NoError(t, winners[0].Release(t.Context()))
	})
}

func TestReleaseIsForTheOwn(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		l := newLock(t, store, lock.Config{})
		old := acquire(t, l)
		s.Revoke(t, old.Lease().ID())
		now := acquire(t, l)
		require.NoError(t, old.Release(t.Context()))
		require.NoError(t, old.Release(t.Context()), "again")
		require.NoError(t, write(t, store, now), "a stale release frees nobody else's")
		assert.False(t, isClosed(now.Lost()))

		require.ErrorIs(t, write(t, store, old), backend.ErrConflict)
		require.NoError(t, now.Release(t.Context()))
		assert.True(t, isClosed(now.Lost()))
		require.ErrorIs(t, now.Err(), backend.ErrClosed)
		require.ErrorIs(t, write(t, store, now), backend.ErrConflict)
	})
}

func TestLeaseRevoked(t *testing.T) {
	testLost(t, func(t *testing.T, s stores.Space, held *lock.Held) { s.Revoke(t, held.Lease().ID()) })
}

func TestKeyDeletedByHand(t *testing.T) {
	testLost(t, func(t *testing.T, s stores.Space, held *lock.Held) { s.Delete(t, held.Guard().Key) })
}

// Other tools know nothing of leases. In etcd the key leaves its lease and counts
// no more; in Consul it stays with the session until that is given up.
func TestKeyOverwrittenByHand(t *testing.T) {
	testLost(t, func(t *testing.T, s stores.Space, held *lock.Held) {
		s.Put(t, held.Guard().Key, "mine")
		awaitLost(t, held)
		require.NoError(t, held.Release(t.Context()))
	})
}

// testLost takes the lock from its holder, while another one waits.
func testLost(t *testing.T, take func(t *testing.T, s stores.Space, held *lock.Held)) {
	t.Helper()
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		var log stores.Logbook
		held := acquire(t, newLock(t, store, lock.Config{TTL: 5 * time.Second, Logger: log.Logger()}))
		next := begin(t.Context(), t, newLock(t, s.Open(t), lock.Config{}))
		awaitLine(t, store, 2)
		take(t, s, held)
		awaitLost(t, held)
		require.ErrorIs(t, held.Err(), backend.ErrLeaseLost)
		assert.Equal(t, 1, log.Count("the lock was lost"))
		require.ErrorIs(t, write(t, store, held), backend.ErrConflict)
		require.NoError(t, write(t, store, next.succeeds(t)))
		require.ErrorIs(t, write(t, store, held), backend.ErrConflict)
	})
}

// A waiter whose place was taken away stands in line again, at its end.
func TestPlaceLost(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		var log stores.Logbook
		held := acquire(t, newLock(t, store, lock.Config{}))
		waits := newLock(t, s.Open(t), lock.Config{TTL: time.Second, Logger: log.Logger()})
		for i, take := range []func(place backend.Entry){
			func(place backend.Entry) { s.Delete(t, place.Key) }, // found when it would be its turn, or the key before changes
			func(place backend.Entry) { s.Revoke(t, place.Lease) },
		} {
			next := begin(t.Context(), t, waits)
			awaitLine(t, store, 2)
			place := last(line(t, store))
			take(place)
			if i > 0 {
				stores.Wait(t, "in line again", func() bool { l := line(t, store); return len(l) == 2 && last(l).Revision > place.Revision })
			}
			require.NoError(t, held.Release(t.Context()))
			held = next.succeeds(t)
			assert.Greater(t, held.Token(), place.Revision)
			require.NoError(t, write(t, store, held))
			assert.Equal(t, i+1, log.Count("will be tried"))
		}
	})
}

func last(entries []backend.Entry) (last backend.Entry) {
	for _, e := range entries {
		if e.Revision > last.Revision {
			last = e
		}
	}
	return last
}

// Keys that are nobody's place do not hold up the line.
func TestForeignKeys(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		for _, foreign := range []string{"garbage", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5FAV/x"} {
			s.Put(t, name+"/"+foreign, "null")
		}
		var log stores.Logbook
		store := s.Open(t)
		l := newLock(t, store, lock.Config{Logger: log.Logger()})
		held := acquire(t, l)
		_, err := l.TryAcquire(t.Context())
		require.ErrorIs(t, err, lock.ErrLocked)
		assert.Equal(t, 3, log.Count("not a place in line"), "each once: %q", log.String())
		require.NoError(t, held.Release(t.Context()))
		assert.Len(t, line(t, store), 3)
	})
}

// A holder that nobody can read the name of is a holder nonetheless.
func TestUnreadableHolder(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		lease, err := store.Lease(t.Context(), 10*time.Second)
		require.NoError(t, err)
		rev, err := store.Put(t.Context(), name+"/01ARZ3NDEKTSV4RRFFQ69G5FAV", []byte("null"), backend.WithLease(lease))
		require.NoError(t, err)
		_, err = newLock(t, store, lock.Config{}).TryAcquire(t.Context())
		var locked *lock.LockedError
		require.ErrorAs(t, err, &locked)
		assert.Equal(t, lock.LockedError{Name: name, Token: rev}, *locked)
		require.NoError(t, lease.Close(t.Context()))
	})
}

func TestSession(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		l := newLock(t, store, lock.Config{})
		session, other := l.Session(), l.Session()
		outer, err := session.Acquire(t.Context())
		require.NoError(t, err)
		inner, err := session.Acquire(t.Context())
		require.NoError(t, err)
		tried, err := session.TryAcquire(t.Context())
		require.NoError(t, err)
		assert.Equal(t, outer.Guard(), inner.Guard())
		assert.Equal(t, outer.Token(), tried.Token())
		assert.Len(t, line(t, store), 1)
		_, err = other.TryAcquire(t.Context())
		require.ErrorIs(t, err, lock.ErrLocked, "re-entrant for the one session only")

		require.NoError(t, outer.Release(t.Context()))
		require.NoError(t, outer.Release(t.Context()), "counts once")
		require.NoError(t, inner.Release(t.Context()))
		require.NoError(t, write(t, store, tried))
		require.NoError(t, tried.Release(t.Context()))
		assert.Empty(t, line(t, store))
		require.ErrorIs(t, write(t, store, outer), backend.ErrConflict)

		again, err := session.Acquire(t.Context())
		require.NoError(t, err)
		assert.Greater(t, again.Token(), outer.Token())
		require.NoError(t, outer.Release(t.Context()), "a stale one")
		require.NoError(t, write(t, store, again))
		s.Revoke(t, again.Lease().ID())
		awaitLost(t, again)
		anew, err := session.Acquire(t.Context())
		require.NoError(t, err, "what was lost is acquired again")
		assert.Greater(t, anew.Token(), again.Token())
		require.NoError(t, again.Release(t.Context()))
		require.NoError(t, write(t, store, anew))
		require.NoError(t, anew.Release(t.Context()))
	})
}

// Goroutines of one session wait in line once.
func TestSessionOfManyGoroutines(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		l := newLock(t, store, lock.Config{})
		held := acquire(t, l)
		session := l.Session()
		var waiting sync.WaitGroup
		for range 10 {
			waiting.Go(func() {
				shared, err := session.Acquire(t.Context())
				if assert.NoError(t, err) {
					assert.NoError(t, write(t, store, shared))
					assert.NoError(t, shared.Release(t.Context()))
				}
			})
		}
		awaitLine(t, store, 2)
		_, err := session.TryAcquire(t.Context())
		require.ErrorIs(t, err, lock.ErrLocked)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err = session.Acquire(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Len(t, line(t, store), 2)
		require.NoError(t, held.Release(t.Context()))
		waiting.Wait()
		assert.Empty(t, line(t, store))
	})
}
