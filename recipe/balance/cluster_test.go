package balance_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/conformance/servers"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/balance"
	"github.com/seed27495941/seckill/recipe/registry"
)

func TestClusterFollowsWhoServes(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		c, _ := follow(t, store)
		a, _ := register(t, s.Open(t), registry.Node{Addr: "10.0.0.1:80", Weight: 3})
		b, stopB := register(t, s.Open(t), registry.Node{Addr: "10.0.0.2:80"})
		goesTo(t, c, "[10-0-0-1-80 10-0-0-2-80]")
		first := c.Status().Endpoints[0]
		assert.Equal(t, balance.Endpoint{ID: "10-0-0-1-80", Incarnation: a.Status().Node.Incarnation, Addr: "10.0.0.1:80", Weight: 3}, first)

		require.NoError(t, a.Update(func(n *registry.Node) { n.Health = registry.Critical }))
		goesTo(t, c, "[10-0-0-2-80]")
		require.NoError(t, a.Update(func(n *registry.Node) { n.Health = registry.Passing }))
		goesTo(t, c, "[10-0-0-1-80 10-0-0-2-80]")
		require.NoError(t, registry.DrainNode(t.Context(), store, "", "10-0-0-1-80", registry.Drain{}))
		goesTo(t, c, "[10-0-0-2-80]")

		// Those that call themselves ill are better than none; an operator's
		// word counts even then.
		require.NoError(t, b.Update(func(n *registry.Node) { n.Health = registry.Critical }))
		stores.Wait(t, "fallback", func() bool { return c.Status().Fallback })
		assert.Equal(t, "[10-0-0-2-80]", ids(c.Status().Endpoints))
		require.NoError(t, registry.DrainNode(t.Context(), store, "", "10-0-0-2-80", registry.Drain{}))
		goesTo(t, c, "[]")
		p, err := c.Picker(balance.Random)
		require.NoError(t, err)
		_, _, err = p.Pick()
		require.ErrorIs(t, err, balance.ErrNoEndpoint)

		require.NoError(t, stopB())
		require.NoError(t, registry.UndrainNode(t.Context(), store, "", "10-0-0-1-80"))
		goesTo(t, c, "[10-0-0-1-80]")
		e, done, err := p.Pick()
		require.NoError(t, err)
		done(balance.Result{})
		assert.Equal(t, "10-0-0-1-80", e.ID)
		assert.Zero(t, c.Status().Kept)
	})
}

// Somebody empties the registry, or a backup from before is restored.
func TestEmptiedRegistryKeepsTheNodes(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		s.Put(t, "nodes/a", node(1))
		s.Put(t, "nodes/b", node(2))
		c, log := follow(t, s.Open(t))
		goesTo(t, c, "[a b]")
		s.Delete(t, "nodes/a")
		goesTo(t, c, "[b]")
		s.Delete(t, "nodes/b")
		stores.Wait(t, "kept", func() bool { return !c.Status().Kept.IsZero() })
		assert.Equal(t, "[a b]", ids(c.Status().Endpoints), "a left just before: leases do not end all at once")
		assert.Zero(t, c.Status().Listed)
		assert.Contains(t, log.String(), "the last known ones are kept")

		s.Put(t, "nodes/b", node(3))
		stores.Wait(t, "b is back, a is kept", func() bool {
			now := c.Status()
			return now.Listed == 1 && ids(now.Endpoints) == "[a b]" && now.Endpoints[1].Addr == "10.0.0.3:80"
		})
	})
}

// An operator's order counts for nodes that are kept, too: the one given before
// they were gone, although the key may have gone with them, and the one given
// after.
func TestKeptNodesAreDrained(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		ids := []string{"a", "b", "c"}
		for i, id := range ids {
			s.Put(t, "nodes/"+id, node(i+1))
		}
		c, _ := follow(t, s.Open(t))
		goesTo(t, c, "[a b c]")
		require.NoError(t, registry.DrainNode(t.Context(), store, "", "a", registry.Drain{}))
		goesTo(t, c, "[b c]")
		for _, id := range ids {
			s.Delete(t, "nodes/"+id)
		}
		require.NoError(t, registry.UndrainNode(t.Context(), store, "", "a"))
		stores.Wait(t, "kept", func() bool { return !c.Status().Kept.IsZero() })
		goesTo(t, c, "[b c]")

		begun := time.Now()
		require.NoError(t, registry.DrainNode(t.Context(), store, "", "b", registry.Drain{}))
		goesTo(t, c, "[c]")
		assert.Less(t, time.Since(begun), 30*time.Second, "it is told, not come across")
		require.NoError(t, registry.UndrainNode(t.Context(), store, "", "b"))
		goesTo(t, c, "[b c]")
	})
}

func TestKeptNodesAreLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		space.Put(t, "nodes/a", node(1))
		space.Put(t, "nodes/b", node(2))
		space.Put(t, "nodes/c", node(3))
		c, log := follow(t, space.Open(t))
		goesTo(t, c, "[a b c]")
		space.Delete(t, "nodes/c")
		time.Sleep(31 * time.Second)
		space.Delete(t, "nodes/b")
		space.Delete(t, "nodes/a")
		time.Sleep(24 * time.Hour)
		assert.Equal(t, "[a b]", ids(c.Status().Endpoints), "c has been gone for longer; the others are kept for as long as it takes")

		space.Put(t, "nodes/b", node(2))
		time.Sleep(29 * time.Second)
		assert.Equal(t, "[a b]", ids(c.Status().Endpoints), "the first that is back does not get all requests")
		space.Delete(t, "nodes/b")
		time.Sleep(time.Hour)
		assert.Equal(t, "[a b]", ids(c.Status().Endpoints), "empty again")
		assert.Equal(t, 1, strings.Count(log.String(), "are kept"), log)

		space.Put(t, "nodes/d", node(4))
		time.Sleep(31 * time.Second)
		assert.Equal(t, "[d]", ids(c.Status().Endpoints))
		assert.Zero(t, c.Status().Kept)
		assert.Contains(t, log.String(), "no longer kept")
	})
}

// What has never been is not kept: an empty list at the start is one.
func TestEmptyAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		c, _ := follow(t, space.Open(t))
		<-c.Synced()
		time.Sleep(time.Minute)
		assert.Empty(t, c.Status().Endpoints)
		assert.Zero(t, c.Status().Kept)
		space.Put(t, "nodes/a", node(1))
		goesTo(t, c, "[a]")
		require.ErrorIs(t, c.Run(t.Context()), backend.ErrInvalid, "it is running")
	})
}

// A process that waits for the address of another is no second endpoint.
func TestWaitingProcessGetsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		space.Put(t, "nodes/a", node(1))
		space.Put(t, "nodes/a~01", node(1))
		c, _ := follow(t, space.Open(t))
		goesTo(t, c, "[a]")
	})
}

func TestSilentStoreKeepsTheNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		space.Put(t, "nodes/a", node(1))
		store := space.Client(t)
		c, log := follow(t, store)
		goesTo(t, c, "[a]")
		time.Sleep(time.Hour)
		assert.False(t, c.Status().Stale, "a quiet store is not a silent one")

		store.Cut()
		space.Delete(t, "nodes/a")
		changed := c.Changed()
		<-changed
		assert.True(t, c.Status().Stale)
		assert.Equal(t, "[a]", ids(c.Status().Endpoints))
		assert.Contains(t, log.String(), "the store is silent")

		store.Mend()
		stores.Wait(t, "fresh", func() bool { return !c.Status().Stale })
		assert.NotZero(t, c.Status().Kept, "and empty")
	})
}

func TestServerThatStandsStillKeepsTheNodes(t *testing.T) {
	stores.EachOwn(t, func(t *testing.T, s stores.Space, own *servers.Cluster) {
		c, _ := follow(t, s.Open(t))
		r, _ := register(t, s.Open(t), registry.Node{Addr: "10.0.0.1:80"})
		goesTo(t, c, "[10-0-0-1-80]")
		p, err := c.Picker(balance.PeakEWMA)
		require.NoError(t, err)

		require.NoError(t, own.Node(0).Pause(t.Context()))
		stores.Wait(t, "the lease is lost", func() bool { return !r.Registered() })
		_, done, err := p.Pick()
		require.NoError(t, err)
		done(balance.Result{})
		require.NoError(t, own.Node(0).Resume(t.Context()))
		stores.Wait(t, "registered again", r.Registered)
		goesTo(t, c, "[10-0-0-1-80]")
	})
}
