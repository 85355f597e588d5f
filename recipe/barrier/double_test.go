package barrier_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/conformance/servers"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/barrier"
)

func pad(n int) string { return strings.Repeat("x", n) }

// late is a store that holds writes of a key up: they fail as ErrUnknown, and are
// carried out by release.
type late struct {
	backend.Store

	mu   sync.Mutex
	key  string
	held []func() error
}

// hold has the writes of keys that begin like this held up, until release.
func (l *late) hold(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.key = key
}

func (l *late) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.key == "" || !strings.HasPrefix(key, l.key) {
		return l.Store.Put(ctx, key, value, opts...)
	}
	ctx = context.WithoutCancel(ctx)
	l.held = append(l.held, func() error { _, err := l.Store.Put(ctx, key, value, opts...); return err })
	return 0, fmt.Errorf("%w: no answer", backend.ErrUnknown)
}

// letThrough ends the holding up of writes that are yet to come.
func (l *late) letThrough() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.key = ""
}

// tries is how many writes are held up.
func (l *late) tries() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.held)
}

// release carries out what was held, and returns how many writes were.
func (l *late) release() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := l.held
	l.key, l.held = "", nil
	for _, put := range held {
		_ = put()
	}
	return len(held)
}

// In each round nobody is in before all have come, and nobody is out before all
// have left.
func TestDouble(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		const n, rounds = 4, 5
		var came, left atomic.Int64
		var participating sync.WaitGroup
		for range n {
			d := double(t, s.Open(t), n)
			participating.Go(func() {
				for round := range int64(rounds) {
					came.Add(1)
					r, err := d.Enter(t.Context())
					if !assert.NoError(t, err) {
						return
					}
					assert.GreaterOrEqual(t, came.Load(), n*(round+1), "in before all have come")
					left.Add(1)
					assert.NoError(t, r.Leave(t.Context()))
					assert.GreaterOrEqual(t, left.Load(), n*(round+1), "out before all have left")
				}
			})
		}
		participating.Wait()
		assert.Empty(t, keys(t, s.Open(t), dir), "nothing is left behind")
	})
}

func TestDoubleWaits(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		first, second := entering(t, double(t, store, 2)), entering(t, double(t, s.Open(t), 2))
		a, b := enter(t, first), enter(t, second)
		third := entering(t, double(t, s.Open(t), 2))
		fourth := entering(t, double(t, s.Open(t), 2))
		stores.Wait(t, "four members", func() bool { return len(keys(t, store, dir+"members/")) == 4 })
		fifth := entering(t, double(t, s.Open(t), 2))
		stores.Wait(t, "five members", func() bool { return len(keys(t, store, dir+"members/")) == 5 })
		stay(t, third) // there are two of them, but the round is on
		out := make(chan error, 1)
		go func() { out <- a.Leave(t.Context()) }()
		stay(t, out)
		leave(t, b)
		require.NoError(t, <-out)
		require.NoError(t, a.Leave(t.Context()), "twice is no error")
		c, d := enter(t, third), enter(t, fourth)
		stay(t, fifth) // no more than two, the first
		go func() { out <- c.Leave(t.Context()) }()
		leave(t, d)
		require.NoError(t, <-out)
		stay(t, fifth)
	})
}

// Who gives up before the round begins is not counted.
func TestDoubleIsGivenUp(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := double(t, store, 2).Enter(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Empty(t, keys(t, store, dir))

		one := entering(t, double(t, store, 2))
		stay(t, one)
		two := entering(t, double(t, store, 2))
		a, b := enter(t, one), enter(t, two)
		leave(t, a, b)
	})
}

// A participant that dies in the round counts as having left.
func TestDoubleWithADeadParticipant(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		one, two := entering(t, double(t, store, 2)), entering(t, double(t, s.Open(t), 2))
		dead, alive := enter(t, one), enter(t, two)
		out := make(chan error, 1)
		go func() { out <- alive.Leave(t.Context()) }()
		stores.Wait(t, "one has left", func() bool { return len(keys(t, store, dir+"members/")) == 1 })
		stay(t, out)
		entries, _, err := backend.List(t.Context(), store, dir+"members/")
		require.NoError(t, err)
		require.Len(t, entries, 1)
		s.Revoke(t, entries[0].Lease)
		require.NoError(t, <-out)
		<-dead.Lost()
		leave(t, dead)
	})
}

// One that loses its lease while it waits is a new member.
func TestDoubleWaitsOnAfterLeaseLoss(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		one := entering(t, double(t, store, 2))
		var before []backend.Entry
		stores.Wait(t, "a member", func() bool {
			before, _, _ = backend.List(t.Context(), store, dir+"members/")
			return len(before) == 1
		})
		s.Revoke(t, before[0].Lease)
		two := entering(t, double(t, s.Open(t), 2))
		a, b := enter(t, one), enter(t, two)
		assert.NotContains(t, keys(t, store, dir), before[0].Key)
		leave(t, a, b)
	})
}

// The first try to join, or to begin, is carried out late: nobody is counted twice.
func TestDoubleWithLateWrites(t *testing.T) {
	for _, part := range []string{"members/", "round"} {
		t.Run(part, func(t *testing.T) {
			stores.Each(t, func(t *testing.T, s stores.Space) {
				store := &late{Store: s.Open(t)}
				store.hold(dir + part)
				one, two := entering(t, double(t, store, 3)), entering(t, double(t, store, 3))
				stores.Wait(t, "tried", func() bool {
					return store.tries() >= 2 || part == "round" && len(keys(t, store.Store, dir)) == 2
				})
				stay(t, one)
				three := entering(t, double(t, store, 3))
				stay(t, two)
				stores.Wait(t, "applied", func() bool { store.release(); return len(keys(t, store, dir+"members/")) == 3 })
				rounds := []*barrier.Round{enter(t, one), enter(t, two), enter(t, three)}
				assert.Len(t, keys(t, store, dir), 4, "three members and a round")
				leave(t, rounds...)
				store.release()
				assert.Empty(t, keys(t, store, dir))
			})
		})
	}
}

// A write that was to put a member's key comes after the member has left.
func TestALateMemberIsRefused(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := &late{Store: s.Open(t)}
		store.hold(dir + "members/")
		one := entering(t, double(t, store, 1))
		stores.Wait(t, "tried", func() bool { return store.tries() > 0 })
		store.letThrough()
		leave(t, enter(t, one))
		require.Positive(t, store.release())
		assert.Empty(t, keys(t, store, dir))
	})
}

// A write that was to begin a round comes when it has begun: it is the same round.
func TestALateRoundIsRefused(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := &late{Store: s.Open(t)}
		store.hold(dir + "round")
		one, two := entering(t, double(t, store, 2)), entering(t, double(t, store, 2))
		stores.Wait(t, "tried", func() bool { return store.tries() >= 2 })
		store.letThrough()
		a, b := enter(t, one), enter(t, two)
		out := make(chan error, 1)
		go func() { out <- a.Leave(t.Context()) }()
		require.Positive(t, store.release())
		stay(t, out)
		leave(t, b)
		require.NoError(t, <-out)
	})
}

// The write that begins a round comes when one of its members has given up.
func TestALateRoundNeedsItsMembers(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := &late{Store: s.Open(t)}
		store.hold(dir + "round")
		one, two := entering(t, double(t, store, 3)), entering(t, double(t, store, 3))
		leaver := stores.Start(t, func(ctx context.Context) error {
			_, err := double(t, store, 3).Enter(ctx)
			return err
		})
		stores.Wait(t, "all three have tried", func() bool {
			return store.tries() >= 3
		})
		require.ErrorIs(t, leaver(), context.Canceled)
		require.Len(t, keys(t, store.Store, dir), 2)
		require.Positive(t, store.release())
		stay(t, one)
		three := entering(t, double(t, store, 3))
		leave(t, enter(t, one), enter(t, two), enter(t, three))
	})
}

func TestDoubleLeavesForeignKeysAlone(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		s.Put(t, dir+"members/somebody", "")
		s.Put(t, dir+"members/01ARZ3NDEKTSV4RRFFQ69G5FAV", "without a lease")
		s.Put(t, dir+"other", "null")
		s.Put(t, dir+"round", "null") // no round, so it is deleted
		one := entering(t, double(t, store, 2))
		stay(t, one)
		two := entering(t, double(t, store, 2))
		a, b := enter(t, one), enter(t, two)
		leave(t, a, b)
		assert.Len(t, keys(t, store, dir), 3)
	})
}

func TestDoubleGoesOnThroughTrouble(t *testing.T) {
	for _, class := range []error{backend.ErrUnavailable, backend.ErrUnknown, backend.ErrDenied, backend.ErrFull} {
		t.Run(class.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				space := stores.NewMemory()
				store := &stores.Faulty{Store: space.Open(t)}
				fail := func(string) error { return class }
				trouble := []stores.Hooks{{Lease: func() error { return class }}, {Put: fail}, {Watch: fail}}
				if errors.Is(class, backend.ErrUnknown) {
					trouble = append(trouble, stores.Hooks{AfterPut: fail})
				}
				for _, hooks := range trouble {
					store.Set(hooks)
					one, two := entering(t, double(t, store, 2)), entering(t, double(t, space.Open(t), 2))
					time.Sleep(time.Minute)
					store.Set(stores.Hooks{})
					a, b := enter(t, one), enter(t, two)
					leave(t, a, b)
					assert.Empty(t, keys(t, store, dir))
				}
			})
		})
	}
}

// Processes: one is paused in the round for longer than its lease, one is killed.
func TestDoubleWithProcesses(t *testing.T) {
	stores.EachServer(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		paused := stores.Spawn(t, s, "participant")
		killed := stores.Spawn(t, s, "participant")
		three := entering(t, double(t, store, 3))
		round := enter(t, three)
		paused.Await(t, "in")
		killed.Await(t, "in")
		paused.Pause(t)
		killed.Kill()
		leave(t, round) // when the leases of the others are over
		assert.Empty(t, keys(t, store, dir))
		paused.Resume(t)
		paused.Tell(t, "leave")
		paused.Await(t, "lost")
		paused.Await(t, "out")
	})
}

// A process that is killed while it waits is not counted.
func TestDoubleWithAProcessKilledBefore(t *testing.T) {
	stores.EachServer(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		p := stores.Spawn(t, s, "participant")
		stores.Wait(t, "a member", func() bool { return len(keys(t, store, dir)) == 1 })
		p.Kill()
		stores.Wait(t, "it is gone", func() bool { return len(keys(t, store, dir)) == 0 })
		one, two := entering(t, double(t, store, 3)), entering(t, double(t, store, 3))
		stay(t, one)
		three := entering(t, double(t, store, 3))
		rounds := []*barrier.Round{enter(t, one), enter(t, two), enter(t, three)}
		leave(t, rounds...)
	})
}

func TestDoubleOutlivesARestart(t *testing.T) {
	stores.EachOwn(t, func(t *testing.T, s stores.Space, c *servers.Cluster) {
		store := s.Open(t)
		one := entering(t, double(t, store, 2))
		stores.Wait(t, "a member", func() bool { return len(keys(t, store, dir)) == 1 })
		require.NoError(t, c.Node(0).Kill(t.Context()))
		require.NoError(t, c.Node(0).Start(t.Context()))
		two := entering(t, double(t, s.Open(t), 2))
		a, b := enter(t, one), enter(t, two)
		leave(t, a, b)
	})
}

// moved is a store behind whose address there is another one all of a sudden, with
// smaller revisions: a restore that was begun anew, or a mistake.
type moved struct {
	backend.Store // the one before

	to   backend.Store
	gone chan struct{} // closed when it has moved
}

func (m *moved) now() backend.Store {
	select {
	case <-m.gone:
		return m.to
	default:
		return m.Store
	}
}

func (m *moved) Lease(ctx context.Context, ttl time.Duration) (backend.Lease, error) {
	return m.now().Lease(ctx, ttl)
}

func (m *moved) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	return m.now().Put(ctx, key, value, opts...)
}

func (m *moved) Get(ctx context.Context, key string) (backend.Entry, error) {
	return m.now().Get(ctx, key)
}

func (m *moved) Delete(ctx context.Context, key string, conds ...backend.Condition) error {
	return m.now().Delete(ctx, key, conds...)
}

// WatchPrefix goes on with a snapshot of the other store.
func (m *moved) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		before, cancel := context.WithCancel(ctx)
		defer cancel()
		stop := make(chan struct{})
		defer close(stop)
		go func() { // ends with the watch
			select {
			case <-m.gone:
				cancel()
			case <-stop:
			}
		}()
		for u, err := range m.now().WatchPrefix(before, prefix) {
			if before.Err() != nil && ctx.Err() == nil {
				break
			}
			if !yield(u, err) {
				return
			}
		}
		m.to.WatchPrefix(ctx, prefix)(yield)
	}
}

// Somebody waits to enter while the store becomes another one. Its member is
// gone, not yet to come.
func TestDoubleWaitsOnInAnotherStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space, other := stores.NewMemory(), stores.NewMemory()
		store := &moved{Store: space.Open(t), to: other.Open(t), gone: make(chan struct{})}
		for range 100 {
			space.Put(t, "elsewhere", "")
		}
		one := entering(t, double(t, store, 2))
		synctest.Wait()
		require.Len(t, keys(t, space.Open(t), dir), 1)
		close(store.gone)
		two := entering(t, double(t, other.Open(t), 2))
		a, b := enter(t, one), enter(t, two)
		leave(t, a, b)
	})
}
