package lock_test

import (
	"context"
	"fmt"
	"iter"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/conformance/servers"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/lock"
)

// holder is a process that holds the lock and writes when it is told to.
func holder(ctx context.Context, s backend.Store, p *stores.Parent) error {
	l, err := lock.New(s, name, lock.Config{TTL: stores.ShortestTTL, Holder: "child"})
	if err != nil {
		return err
	}
	held, err := l.Acquire(ctx)
	if err != nil {
		return err
	}
	p.Say("token %d", held.Token())
	lost := make(chan struct{})
	go func() {
		defer close(lost)
		<-held.Lost()
		p.Say("lost: %v", held.Err())
	}()
	for value := range p.Told {
		_, err := s.Put(context.WithoutCancel(ctx), "written", []byte(value), held.Guard())
		p.Say("write: %v", err)
	}
	err = held.Release(context.WithoutCancel(ctx))
	<-lost
	return err
}

// A holder that was paused past its lease believes to hold the lock when it goes
// on. Its write is refused.
func TestPausedHolder(t *testing.T) {
	stores.EachServer(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		child := stores.Spawn(t, s, "holder")
		token := child.Await(t, "token")
		child.Tell(t, "before")
		assert.Equal(t, "<nil>", child.Await(t, "write:"))

		child.Pause(t)
		child.Tell(t, "stale") // the first thing it does when it goes on
		next := acquire(t, newLock(t, store, lock.Config{}))
		assert.Greater(t, fmt.Sprintf("%20d", next.Token()), fmt.Sprintf("%20s", token))
		_, err := store.Put(t.Context(), "written", []byte("new"), next.Guard())
		require.NoError(t, err)

		child.Resume(t)
		said := map[string]string{}
		for len(said) < 2 { // in any order
			line := child.Await(t, "")
			if n, err := fmt.Sscanf(line, "write: %s", new(string)); n == 1 && err == nil {
				said["write"] = line
			} else {
				said["lost"] = line
			}
		}
		assert.Contains(t, said["write"], "conflict")
		assert.Contains(t, said["lost"], "lease lost")
		e, err := store.Get(t.Context(), "written")
		require.NoError(t, err)
		assert.Equal(t, "new", string(e.Value))
		child.Stop(t)
		require.NoError(t, write(t, store, next), "its release frees nobody else's")
	})
}

func TestKilledHolder(t *testing.T) {
	stores.EachServer(t, func(t *testing.T, s stores.Space) {
		child := stores.Spawn(t, s, "holder")
		child.Await(t, "token")
		store := s.Open(t)
		next := begin(t.Context(), t, newLock(t, store, lock.Config{}))
		awaitLine(t, store, 2)
		child.Kill()
		require.NoError(t, write(t, store, next.succeeds(t)))
	})
}

// Servers that are killed and started again take the lock from nobody whose lease
// lasts, and keep the line.
func TestServerRestart(t *testing.T) {
	stores.EachOwn(t, func(t *testing.T, s stores.Space, c *servers.Cluster) {
		a, b := s.Open(t), s.Open(t)
		held := acquire(t, newLock(t, a, lock.Config{TTL: time.Minute}))
		next := begin(t.Context(), t, newLock(t, b, lock.Config{TTL: time.Minute}))
		awaitLine(t, a, 2)
		places := line(t, a)
		require.NoError(t, c.Restart(t.Context()))
		assert.Equal(t, places, line(t, a))
		assert.False(t, isClosed(held.Lost()))
		assert.False(t, isClosed(next.done))
		stores.Wait(t, "written", func() bool { return write(t, a, held) == nil })
		stores.Wait(t, "released", func() bool { return held.Release(t.Context()) == nil })
		require.NoError(t, write(t, b, next.succeeds(t)))
	})
}

// While the servers stand still the holder finds out that it can't rely on the
// lock, and waiters go on waiting.
func TestServerPause(t *testing.T) {
	stores.EachOwn(t, func(t *testing.T, s stores.Space, c *servers.Cluster) {
		a, b := s.Open(t), s.Open(t)
		held := acquire(t, newLock(t, a, lock.Config{TTL: stores.ShortestTTL}))
		next := begin(t.Context(), t, newLock(t, b, lock.Config{TTL: stores.ShortestTTL}))
		awaitLine(t, a, 2)
		require.NoError(t, c.Pause(t.Context()))
		begun := time.Now()
		awaitLost(t, held)
		t.Logf("lost after %v", time.Since(begun).Round(time.Millisecond))
		require.NoError(t, c.Resume(t.Context()))
		require.NoError(t, write(t, b, next.succeeds(t)))
		require.ErrorIs(t, write(t, a, held), backend.ErrConflict)
	})
}

func inBubble(t *testing.T, f func(t *testing.T, space *stores.Memory, store *stores.Faulty, other backend.Store)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		f(t, space, &stores.Faulty{Store: space.Open(t)}, space.Open(t))
	})
}

// The Put was applied and its answer was lost: the place in line is kept.
func TestLostAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *stores.Memory, store *stores.Faulty, other backend.Store) {
		store.Set(stores.Hooks{AfterPut: func(string) error { return backend.ErrUnknown }})
		var log stores.Logbook
		held := acquire(t, newLock(t, store, lock.Config{Logger: log.Logger()}))
		assert.Zero(t, log.Count(""))
		places := line(t, other)
		require.Len(t, places, 1)
		assert.Equal(t, places[0].Revision, held.Token())
		require.NoError(t, write(t, other, held))
	})
}

// The Put was not applied, as far as one can see: another place is taken, and the
// lost Put can come to nothing any more.
func TestLostRequest(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *stores.Memory, store *stores.Faulty, other backend.Store) {
		var calls atomic.Int64
		store.Set(stores.Hooks{Put: func(string) error {
			if calls.Add(1) <= 3 {
				return backend.ErrUnknown
			}
			return nil
		}})
		held := acquire(t, newLock(t, store, lock.Config{}))
		assert.Equal(t, int64(4), calls.Load())
		assert.Len(t, line(t, other), 1)
		require.NoError(t, held.Release(t.Context()))
		assert.Empty(t, line(t, other))
	})
}

// A Put that stands in the socket of a paused server while its caller gives up.
func TestPutArrivesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		store, other := space.Client(t), space.Open(t)
		store.Delay(time.Hour) // carried out at once, and not answered in time
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := newLock(t, store, lock.Config{}).Acquire(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		store.Mend()
		stores.Wait(t, "nothing is left", func() bool { return len(line(t, other)) == 0 })
		acquire(t, newLock(t, other, lock.Config{}))
	})
}

func TestWaitsForAStoreThatIsAway(t *testing.T) {
	for _, class := range []error{backend.ErrUnavailable, backend.ErrUnknown} {
		t.Run(class.Error(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, _ *stores.Memory, store *stores.Faulty, _ backend.Store) {
				var calls atomic.Int64
				var log stores.Logbook
				store.Set(stores.Hooks{Lease: func() error { calls.Add(1); return class }})
				l := newLock(t, store, lock.Config{Logger: log.Logger()})
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				_, err := l.Acquire(ctx)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.ErrorIs(t, err, backend.ErrUnavailable)
				assert.Less(t, calls.Load(), int64(3000))
				assert.Equal(t, 1, log.Count("will be tried"))

				waits := begin(t.Context(), t, l)
				time.Sleep(time.Minute)
				store.Set(stores.Hooks{})
				waits.succeeds(t)
				_, err = l.TryAcquire(t.Context())
				require.ErrorIs(t, err, lock.ErrLocked)
			})
		})
	}
}

func TestFinalErrorsEndTheWaiting(t *testing.T) {
	for _, class := range []error{backend.ErrDenied, backend.ErrFull, backend.ErrInvalid, backend.ErrClosed} {
		fail := func() error { return class }
		of := func(string) error { return class }
		for call, hooks := range map[string]stores.Hooks{"lease": {Lease: fail}, "put": {Put: of}, "watch": {Watch: of}} {
			t.Run(fmt.Sprint(call, " ", class), func(t *testing.T) {
				inBubble(t, func(t *testing.T, _ *stores.Memory, store *stores.Faulty, other backend.Store) {
					store.Set(hooks)
					l := newLock(t, store, lock.Config{})
					_, err := l.Acquire(t.Context())
					require.ErrorIs(t, err, class)
					_, err = l.TryAcquire(t.Context())
					require.ErrorIs(t, err, class)
					assert.Empty(t, line(t, other))
					store.Set(stores.Hooks{})
					acquire(t, l)
				})
			})
		}
	}
}

// Who loses the right to follow the line can't know any more whether it holds the
// lock.
func TestWatchIsDenied(t *testing.T) {
	inBubble(t, func(t *testing.T, space *stores.Memory, store *stores.Faulty, other backend.Store) {
		l := newLock(t, store, lock.Config{})
		held := acquire(t, l)
		waits := begin(t.Context(), t, l)
		awaitLine(t, other, 2)
		store.Set(stores.Hooks{Watch: func(string) error { return backend.ErrDenied }})
		synctest.Wait()
		assert.False(t, isClosed(held.Lost()), "nothing has been asked yet")
		space.Delete(t, held.Guard().Key)
		<-held.Lost()
		require.ErrorIs(t, held.Err(), backend.ErrDenied)
		<-waits.done
		require.ErrorIs(t, waits.err, backend.ErrDenied)
		assert.Empty(t, line(t, other))
	})
}

// A watch that is cut off for a while is begun again.
func TestWatchFailsForAWhile(t *testing.T) {
	inBubble(t, func(t *testing.T, space *stores.Memory, store *stores.Faulty, other backend.Store) {
		held := acquire(t, newLock(t, other, lock.Config{}))
		waits := begin(t.Context(), t, newLock(t, store, lock.Config{}))
		awaitLine(t, other, 2)
		store.Set(stores.Hooks{Watch: func(string) error { return backend.ErrUnavailable }})
		require.NoError(t, held.Release(t.Context()))
		time.Sleep(time.Minute)
		assert.False(t, isClosed(waits.done))
		store.Set(stores.Hooks{})
		waits.succeeds(t)
		space.Server.LoseHistory()
		time.Sleep(time.Minute)
		assert.False(t, isClosed(waits.held.Lost()))
	})
}

// A holder whose line to the store is cut knows it when its lease has passed.
func TestCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		store, other := space.Client(t), space.Open(t)
		held := acquire(t, newLock(t, store, lock.Config{TTL: 10 * time.Second}))
		next := begin(t.Context(), t, newLock(t, other, lock.Config{}))
		awaitLine(t, other, 2)
		store.Cut()
		cut := time.Now()
		<-held.Lost()
		assert.LessOrEqual(t, time.Since(cut), 10*time.Second)
		require.Error(t, held.Release(t.Context()), "the store is away")
		<-next.done
		require.NoError(t, next.err)
		store.Mend()
		require.NoError(t, held.Release(t.Context()))
		require.NoError(t, write(t, other, next.held))
	})
}

func TestStoreIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		store, other := space.Client(t), space.Open(t)
		l := newLock(t, store, lock.Config{})
		held := acquire(t, l)
		waits := begin(t.Context(), t, l)
		awaitLine(t, other, 2)
		require.NoError(t, store.Close())
		<-held.Lost()
		require.ErrorIs(t, held.Err(), backend.ErrClosed)
		<-waits.done
		require.ErrorIs(t, waits.err, backend.ErrClosed)
	})
}

// A place whose waiter gives up while the store is away for a moment does not hold
// up the line until its lease has passed.
func TestAbandonsWhenTheStoreIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		store, other := space.Client(t), space.Open(t)
		held := acquire(t, newLock(t, other, lock.Config{}))
		ctx, cancel := context.WithCancel(t.Context())
		waits := begin(ctx, t, newLock(t, store, lock.Config{TTL: time.Hour}))
		awaitLine(t, other, 2)
		store.Cut()
		time.AfterFunc(time.Second, store.Mend)
		cancel()
		<-waits.done
		require.ErrorIs(t, waits.err, context.Canceled)
		places := line(t, other)
		require.Len(t, places, 1)
		assert.Equal(t, held.Token(), places[0].Revision)
	})
}

// A store that can be read and not followed, as one of Consul's with too many
// watches: the loss of the lock is found by looking, which must not become a storm.
func TestCanNotBeWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		store := &counting{Store: unwatchable{space.Open(t)}}
		var log stores.Logbook
		held := acquire(t, newLock(t, store, lock.Config{Logger: log.Logger()}))
		before := store.calls.Load()
		time.Sleep(time.Hour)
		rounds := (store.calls.Load() - before) / 4 // a read and a watch, each with an answer
		assert.Less(t, rounds, int64(3600))
		assert.Equal(t, 1, log.Count("will be tried"))
		assert.False(t, isClosed(held.Lost()))

		space.Delete(t, held.Guard().Key)
		begun := time.Now()
		<-held.Lost()
		assert.Less(t, time.Since(begun), 5*time.Second)
		require.ErrorIs(t, held.Err(), backend.ErrLeaseLost)
	})
}

// unwatchable is a store whose watches fail after the first update.
type unwatchable struct{ backend.Store }

func (u unwatchable) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		for update, err := range u.Store.WatchPrefix(ctx, prefix) {
			if yield(update, err) {
				yield(backend.Update{}, backend.ErrUnavailable)
			}
			return
		}
	}
}
