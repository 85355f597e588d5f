package registry_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/registry"
)

// A fault is what a registration runs into, on a store in a bubble.
type fault struct {
	space *stores.Memory
	store *stores.Faulty // the registration's
	other backend.Store  // somebody else's
	log   stores.Logbook
}

func inBubble(t *testing.T, f func(t *testing.T, x *fault)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		f(t, &fault{space: space, store: &stores.Faulty{Store: space.Open(t)}, other: space.Open(t)})
	})
}

func (x *fault) register(t *testing.T, incarnation string) (r *registry.Registration, stop func() error) {
	t.Helper()
	return run(t, x.store, registry.Config{Node: node(incarnation), Logger: x.log.Logger()})
}

// always is a hook that fails and counts.
func always(err error, calls *atomic.Int64) func(string) error {
	return func(string) error { calls.Add(1); return err }
}

func TestNeverGivesUp(t *testing.T) {
	for _, class := range []error{backend.ErrUnavailable, backend.ErrUnknown, backend.ErrDenied, backend.ErrFull} {
		for _, call := range []string{"lease", "get", "put"} {
			t.Run(fmt.Sprint(call, " ", class), func(t *testing.T) {
				inBubble(t, func(t *testing.T, x *fault) { testNeverGivesUp(t, x, call, class) })
			})
		}
	}
}

func testNeverGivesUp(t *testing.T, x *fault, call string, class error) {
	var calls atomic.Int64
	fail := func() error {
		n := calls.Add(1)
		return fmt.Errorf("%w: attempt %d", class, n)
	}
	hooks := map[string]stores.Hooks{
		"lease": {Lease: fail},
		"get":   {Get: func(string) error { return fail() }},
		"put":   {Put: func(string) error { return fail() }},
	}
	x.store.Set(hooks[call])
	r, stop := x.register(t, first)

	time.Sleep(time.Hour)
	assert.False(t, r.Registered())
	assert.Contains(t, r.Status().LastError, class.Error())
	assert.LessOrEqual(t, time.Since(r.Status().LastErrorAt), 5*time.Second)
	assert.Greater(t, calls.Load(), int64(700), "it goes on trying")
	assert.Less(t, calls.Load(), int64(3000), "but never busily")
	assert.Equal(t, 1, x.log.Count("will be tried"), "logged once: %q", x.log.String())

	x.store.Set(stores.Hooks{Put: func(string) error { return fmt.Errorf("%w: something else", class) }})
	time.Sleep(time.Minute)
	assert.Equal(t, 2, x.log.Count("will be tried"), "and once more when it changes: %q", x.log.String())

	x.store.Set(stores.Hooks{})
	<-r.Ready()
	awaitListed(t, x.other, r)
	time.Sleep(time.Minute)

	x.store.Set(hooks[call])
	x.space.Revoke(t, r.Status().Lease)
	time.Sleep(time.Minute)
	assert.Equal(t, 2, x.log.Count(": attempt"), "after it has worked for a while, it is news again: %q", x.log.String())
	x.store.Set(stores.Hooks{})
	awaitListed(t, x.other, r)
	require.NoError(t, stop())
	absent(t, x.other, key)
}

// Published code put the key back with the lease that was lost, for ever. Here
// the store's word counts at once, long before the lease would be renewed.
func TestDeadLeaseIsNotUsedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, x *fault) {
		x.store.Set(stores.Hooks{Put: func(string) error {
			x.store.Set(stores.Hooks{})
			return backend.ErrLeaseLost // though the lease itself has not heard of it
		}})
		r, _ := x.register(t, first)
		<-r.Ready()
		assert.Equal(t, "lease-2", r.Status().Lease)
	})
	inBubble(t, func(t *testing.T, x *fault) {
		r, err := registry.NewRegistration(x.store, registry.Config{Node: node(first), TTL: time.Hour})
		require.NoError(t, err)
		stores.Start(t, r.Run)
		<-r.Ready()
		lost := await(t, r)
		begun := time.Now()
		x.space.Revoke(t, lost.Lease)
		stores.Wait(t, "a new lease", func() bool { return r.Registered() && r.Status().Lease != lost.Lease })
		assert.Less(t, time.Since(begun), time.Second)
		awaitListed(t, x.other, r)
	})
}

func TestSurvivesAnOutage(t *testing.T) {
	for _, outage := range []time.Duration{500 * time.Millisecond, time.Minute, 24 * time.Hour} {
		t.Run(outage.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				space := stores.NewMemory()
				store, other := space.Client(t), space.Open(t)
				r, stop := register(t, store, first)
				<-r.Ready()
				before := await(t, r)

				store.Cut()
				require.NoError(t, r.Update(func(n *registry.Node) { n.Weight = 9 }))
				time.Sleep(outage)
				long := outage > stores.ShortestTTL
				assert.Equal(t, !long, r.Registered(), "it says so as soon as its lease can't be relied on")
				if long {
					absent(t, other, key)
				}
				store.Mend()

				stores.Wait(t, "updated", func() bool {
					return r.Registered() && strings.Contains(string(awaitListed(t, other, r).Value), `"weight":9`)
				})
				assert.Equal(t, !long, r.Status().Lease == before.Lease)
				require.NoError(t, stop())
				absent(t, other, key)
			})
		})
	}
}

func TestUnavailableAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		store := space.Client(t)
		store.Cut()
		r, _ := register(t, store, first)
		time.Sleep(time.Hour)
		store.Mend()
		<-r.Ready()
		awaitListed(t, space.Open(t), r)
	})
}

// An outcome that is not known is read, not guessed: the same write is not made
// twice, and not left out.
func TestUnknownOutcome(t *testing.T) {
	inBubble(t, func(t *testing.T, x *fault) {
		x.store.Set(stores.Hooks{AfterPut: func(string) error { return backend.ErrUnknown }})
		r, _ := x.register(t, first)
		<-r.Ready()
		e := awaitListed(t, x.other, r)
		assert.Equal(t, backend.Revision(1), e.Revision, "applied once")

		var calls atomic.Int64
		x.store.Set(stores.Hooks{Put: always(backend.ErrUnknown, &calls)})
		require.NoError(t, r.Update(func(n *registry.Node) { n.Weight = 2 }))
		time.Sleep(time.Second)
		assert.Greater(t, calls.Load(), int64(1), "not applied, so tried again")
		assert.True(t, r.Registered(), "the old value is still listed")
	})
}

// Somebody who writes between the look and the write is not overwritten unseen.
func TestConflictIsLookedInto(t *testing.T) {
	inBubble(t, func(t *testing.T, x *fault) {
		x.store.Set(stores.Hooks{Put: func(string) error {
			x.store.Set(stores.Hooks{})
			put(t, x.other, node(second))
			return nil
		}})
		r, _ := x.register(t, first)
		stores.Wait(t, "replaced", func() bool { return r.Status().Replaced })
		assert.Contains(t, string(get(t, x.other, key).Value), second)
	})
}

func TestALaterIncarnationSeenInPassing(t *testing.T) {
	inBubble(t, func(t *testing.T, x *fault) {
		r, _ := x.register(t, first)
		<-r.Ready()
		var calls atomic.Int64
		x.store.Set(stores.Hooks{Get: always(backend.ErrUnavailable, &calls)})
		put(t, x.other, node(second))
		synctest.Wait()
		require.NoError(t, x.other.Delete(t.Context(), key))
		x.store.Set(stores.Hooks{})

		time.Sleep(time.Hour)
		assert.Equal(t, second, r.Status().ReplacedBy)
		absent(t, x.other, key)
		assert.Equal(t, 1, x.log.Count("replaced by a later process"))
	})
}

// A watch may merge our Put with the Delete that followed: it has the key absent
// before and after.
func TestDeletionMergedWithOurOwnPut(t *testing.T) {
	inBubble(t, func(t *testing.T, x *fault) {
		held := make(chan struct{})
		x.store.Set(stores.Hooks{Yield: func() { <-held }})
		r, _ := x.register(t, first)
		<-r.Ready()
		x.space.Delete(t, key)
		begun := time.Now()
		close(held)
		stores.Wait(t, "put back", func() bool { return r.Status().Revision > 1 })
		assert.Less(t, time.Since(begun), time.Second)
		awaitListed(t, x.other, r)
	})
}

// The same, when the watch has told before the Put has returned.
func TestDeletionBeforeThePutReturns(t *testing.T) {
	inBubble(t, func(t *testing.T, x *fault) {
		x.store.Set(stores.Hooks{AfterPut: func(string) error {
			x.store.Set(stores.Hooks{})
			x.space.Delete(t, key)
			synctest.Wait()
			return nil
		}})
		r, _ := x.register(t, first)
		begun := time.Now()
		stores.Wait(t, "put back", func() bool { return r.Status().Revision > 1 })
		assert.Less(t, time.Since(begun), time.Second)
		awaitListed(t, x.other, r)
	})
}

// The earlier process was paused; what it still writes is put right.
func TestAnEarlierIncarnationGivesWay(t *testing.T) {
	inBubble(t, func(t *testing.T, x *fault) {
		r, _ := x.register(t, second)
		<-r.Ready()
		put(t, x.other, node(first))
		stores.Wait(t, "put right", func() bool { return r.Status().Revision > 2 })
		awaitListed(t, x.other, r)
		assert.False(t, r.Status().Replaced)
	})
}

func TestQuarrelIsNoBusyLoop(t *testing.T) {
	inBubble(t, func(t *testing.T, x *fault) {
		var puts atomic.Int64
		x.store.Set(stores.Hooks{AfterPut: func(key string) error {
			puts.Add(1)
			_, err := x.other.Put(t.Context(), key, []byte("mine"))
			return err
		}})
		x.register(t, first)
		time.Sleep(time.Minute)
		assert.Greater(t, puts.Load(), int64(100), "it does not give in")
		assert.LessOrEqual(t, puts.Load(), int64(601), "ten times a second at most")
	})
}

func TestUpdatesWithoutEndAreFew(t *testing.T) {
	inBubble(t, func(t *testing.T, x *fault) {
		var puts atomic.Int64
		x.store.Set(stores.Hooks{Put: func(string) error { puts.Add(1); return nil }})
		r, _ := x.register(t, first)
		<-r.Ready()
		for i := range 10_000 {
			require.NoError(t, r.Update(func(n *registry.Node) { n.Weight = i }))
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		assert.LessOrEqual(t, puts.Load(), int64(103))
		assert.Contains(t, string(get(t, x.other, key).Value), `"weight":9999`)
	})
}

// A watch that is refused is begun again without haste, and what it would have
// told is noticed when it works.
func TestRefusedWatch(t *testing.T) {
	inBubble(t, func(t *testing.T, x *fault) {
		var calls atomic.Int64
		x.store.Set(stores.Hooks{Watch: always(backend.ErrDenied, &calls)})
		r, _ := x.register(t, first)
		<-r.Ready()
		x.space.Delete(t, key)
		time.Sleep(time.Hour)
		assert.Less(t, calls.Load(), int64(3000))
		assert.Contains(t, r.Status().LastError, "denied")
		assert.Equal(t, 1, x.log.Count("will be tried"))

		x.store.Set(stores.Hooks{})
		stores.Wait(t, "put back", func() bool { return r.Status().Revision > 1 })
		awaitListed(t, x.other, r)
	})
}

func TestLostHistory(t *testing.T) {
	inBubble(t, func(t *testing.T, x *fault) {
		r, _ := x.register(t, first)
		<-r.Ready()
		before := await(t, r)
		x.space.Server.LoseHistory()
		time.Sleep(time.Minute)
		assert.Equal(t, before, r.Status(), "nothing to do")
	})
}

func TestClosedStoreEndsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := stores.NewMemory().Client(t)
		r, err := registry.NewRegistration(store, registry.Config{Node: node(first)})
		require.NoError(t, err)
		go func() {
			<-r.Ready()
			_ = store.Close()
		}()
		require.ErrorIs(t, r.Run(t.Context()), backend.ErrClosed)
		assert.False(t, r.Registered())
	})
}

func TestTTLThatNoStoreTakesEndsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := registry.NewRegistration(stores.NewMemory().Open(t), registry.Config{Node: node(first), TTL: 1000 * time.Hour})
		require.NoError(t, err)
		require.ErrorIs(t, r.Run(t.Context()), backend.ErrInvalid)
	})
}

func TestDeregisteringFromAStoreThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log stores.Logbook
		space := stores.NewMemory()
		store, other := space.Client(t), space.Open(t)
		r, stop := run(t, store, registry.Config{Node: node(first), Logger: log.Logger()})
		<-r.Ready()
		store.Cut()
		begun := time.Now()
		require.ErrorIs(t, stop(), backend.ErrUnavailable)
		assert.LessOrEqual(t, time.Since(begun), 5*time.Second)
		assert.Equal(t, 1, log.Count("not deregistered"))
		assert.False(t, r.Registered())
		stores.Wait(t, "expired", func() bool {
			_, err := other.Get(t.Context(), key)
			return err != nil
		})
	})
}

// Giving up the lease would not do it: somebody has taken the key off it.
func TestDeregistersADetachedKey(t *testing.T) {
	inBubble(t, func(t *testing.T, x *fault) {
		r, stop := x.register(t, first)
		<-r.Ready()
		var calls atomic.Int64
		x.store.Set(stores.Hooks{Put: always(backend.ErrFull, &calls)})
		put(t, x.other, node(first))
		stores.Wait(t, "tried in vain", func() bool { return calls.Load() > 0 })
		require.NoError(t, stop())
		absent(t, x.other, key)
	})
}

func TestGivesItsLeaseUp(t *testing.T) {
	inBubble(t, func(t *testing.T, x *fault) {
		r, stop := x.register(t, first)
		<-r.Ready()
		lease := r.Status().Lease
		require.NoError(t, stop())
		assert.False(t, x.space.Server.ExpireLease(lease), "it is gone")
	})
}

func TestReplacedNodeLeavesTheLaterOneAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, x *fault) {
		r, stop := x.register(t, first)
		<-r.Ready()
		lease := r.Status().Lease
		put(t, x.other, node(second))
		before := get(t, x.other, key)
		stores.Wait(t, "passive", func() bool { return r.Status().Replaced && r.Status().Lease == "" })
		assert.False(t, x.space.Server.ExpireLease(lease), "a passive node needs no lease")
		assert.Equal(t, before, get(t, x.other, key))
		require.NoError(t, stop())
		assert.Equal(t, before, get(t, x.other, key))
	})
}

func TestNeverRegisteredDeletesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		store, other := space.Client(t), space.Open(t)
		put(t, other, node(first)) // by chance the very same process
		store.Cut()
		_, stop := register(t, store, first)
		time.Sleep(time.Minute)
		store.Mend()
		require.NoError(t, stop())
		get(t, other, key)
	})
}

func TestRunsOnceAtATimeAndAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, x *fault) {
		r, stop := x.register(t, first)
		<-r.Ready()
		require.ErrorIs(t, r.Run(t.Context()), backend.ErrInvalid)
		require.NoError(t, stop())
		stores.Start(t, r.Run)
		stores.Wait(t, "registered again", r.Registered)
		awaitListed(t, x.other, r)
	})
}

func TestUpdateRefuses(t *testing.T) {
	inBubble(t, func(t *testing.T, x *fault) {
		r, _ := x.register(t, first)
		for _, change := range []func(*registry.Node){
			func(n *registry.Node) { n.ID = "other" },
			func(n *registry.Node) { n.Addr = "10.0.0.1:1" },
			func(n *registry.Node) { n.Incarnation = third },
		} {
			require.ErrorIs(t, r.Update(change), backend.ErrInvalid)
		}
		tooLarge := func(n *registry.Node) { n.Labels = map[string]string{"a": strings.Repeat("x", backend.MaxValue)} }
		require.ErrorIs(t, r.Update(tooLarge), backend.ErrTooLarge)
		<-r.Ready()
		assert.Equal(t, `{"addr":"10.10.11.12:8080","proto":"http","version":"v1.0.0","incarnation":"`+first+`"}`, string(get(t, x.other, key).Value))
	})
}
