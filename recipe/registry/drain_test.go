package registry_test

import (
	"encoding/json"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/registry"
)

const id = "10-10-11-12-8080"

func TestDrainOutlastsWhatTheNodeDoes(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		d, seen := follow(t, s.Open(t))
		r, stop := register(t, s.Open(t), first)
		<-r.Ready()
		serves := func(want bool) func() bool {
			return func() bool { n, ok := d.Node(id); return ok && n.Serves() == want }
		}
		stores.Wait(t, "serves", serves(true))

		require.NoError(t, registry.DrainNode(t.Context(), store, "", id, registry.Drain{By: "alice", Reason: "new disk"}))
		stores.Wait(t, "drained", serves(false))
		n, _ := d.Node(id)
		assert.Equal(t, "alice", n.Drain.By)
		assert.Equal(t, "new disk", n.Drain.Reason)
		assert.False(t, n.Drain.Since.IsZero())
		stores.Wait(t, "told", func() bool { return len(seen.last().Updated) == 1 && seen.last().Updated[0].Drain != nil })
		stores.Wait(t, "the node knows", func() bool { return r.Status().Drain != nil })
		assert.Empty(t, d.Problems())

		// It writes itself anew, …
		require.NoError(t, r.Update(func(n *registry.Node) { n.Weight, n.Health = 3, registry.Warning }))
		stores.Wait(t, "rewritten", func() bool { n, _ := d.Node(id); return n.Weight == 3 })
		assert.True(t, serves(false)())
		// … loses its lease, …
		before := await(t, r)
		s.Revoke(t, before.Lease)
		stores.Wait(t, "a new lease", func() bool { return r.Registered() && r.Status().Lease != before.Lease })
		stores.Wait(t, "listed", serves(false))
		// … and is another process.
		require.NoError(t, stop())
		again, _ := register(t, s.Open(t), second)
		<-again.Ready()
		stores.Wait(t, "the next process", func() bool { n, ok := d.Node(id); return ok && n.Incarnation == second })
		assert.True(t, serves(false)())

		require.NoError(t, registry.UndrainNode(t.Context(), store, "", id))
		stores.Wait(t, "serves again", serves(true))
		stores.Wait(t, "the node knows", func() bool { return again.Status().Drain == nil })
		require.NoError(t, registry.UndrainNode(t.Context(), store, "", id), "again")
	})
}

// A person in a hurry does not write JSON.
func TestDrainByHand(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		key := "nodes/" + id + "/drain"
		s.Put(t, key, "disk is on fire\n") // before the node is there
		d, _ := follow(t, s.Open(t))
		<-d.Synced()
		assert.Empty(t, d.Problems())
		s.Put(t, "nodes/"+id, value(addr))
		s.Put(t, "nodes/10-10-11-12-80", value("10.10.11.12:80"))
		stores.Wait(t, "joined", func() bool { return len(d.Nodes()) == 2 })
		n, _ := d.Node(id)
		require.NotNil(t, n.Drain)
		assert.Equal(t, "disk is on fire", n.Drain.Reason)
		other, _ := d.Node("10-10-11-12-80")
		assert.Nil(t, other.Drain, "somebody else's")

		for _, value := range []string{`null`, `{}`, ` `, `[1]`, `{"by":1}`, "\xff"} {
			s.Put(t, key, value)
		}
		s.Put(t, key, `{"by":"bob"}`)
		stores.Wait(t, "taken in", func() bool { n, _ := d.Node(id); return n.Drain != nil && n.Drain.By == "bob" })

		fetched, err := d.Fetch(t.Context())
		require.NoError(t, err)
		assert.Equal(t, d.Nodes(), fetched)

		s.Delete(t, key)
		stores.Wait(t, "undrained", func() bool { n, _ := d.Node(id); return n.Drain == nil })
	})
}

func TestDrainRefuses(t *testing.T) {
	inBubble(t, func(t *testing.T, x *fault) {
		for _, id := range []string{"", "a/b", "../a"} {
			require.ErrorIs(t, registry.DrainNode(t.Context(), x.other, "", id, registry.Drain{}), backend.ErrInvalid, id)
			require.ErrorIs(t, registry.UndrainNode(t.Context(), x.other, "", id), backend.ErrInvalid, id)
		}
		require.ErrorIs(t, registry.DrainNode(t.Context(), x.other, "nodes", "a", registry.Drain{}), backend.ErrInvalid)
		n := node(first)
		n.Drain = &registry.Drain{}
		_, err := registry.NewRegistration(x.other, registry.Config{Node: n})
		require.ErrorIs(t, err, backend.ErrInvalid)
		r, _ := x.register(t, first)
		require.ErrorIs(t, r.Update(func(n *registry.Node) { n.Drain = &registry.Drain{} }), backend.ErrInvalid)

		// Who meets another operator is told, not merged. The operator has a
		// store of his own: the registration above still writes to x.store.
		operator := &stores.Faulty{Store: x.other}
		operator.Set(stores.Hooks{Put: func(key string) error {
			operator.Set(stores.Hooks{})
			x.space.Put(t, key, "first")
			return nil
		}})
		require.ErrorIs(t, registry.DrainNode(t.Context(), operator, "", id, registry.Drain{}), backend.ErrConflict)
	})
}

func TestServing(t *testing.T) {
	named := func(id string, change func(*registry.Node)) registry.Node {
		n := registry.Node{ID: id}
		if change != nil {
			change(&n)
		}
		return n
	}
	well := named("well", nil)
	odd := named("odd", func(n *registry.Node) { n.Health = "whatever" })
	warning := named("warning", func(n *registry.Node) { n.Health = registry.Warning })
	critical := named("critical", func(n *registry.Node) { n.Health = registry.Critical })
	stopping := named("stopping", func(n *registry.Node) { n.Draining = true })
	drained := named("drained", func(n *registry.Node) { n.Drain = &registry.Drain{Since: time.Now()} })
	waiting := named("well~"+second, nil)
	for _, c := range []struct {
		nodes    []registry.Node
		want     []string
		fallback bool
	}{
		{[]registry.Node{well, odd, warning, critical, stopping, drained, waiting}, []string{"well", "odd", "warning"}, false},
		{[]registry.Node{critical, stopping, drained, waiting}, []string{"critical", "stopping"}, true},
		{[]registry.Node{drained, waiting}, []string{}, false},
		{nil, []string{}, false},
	} {
		serving, fallback := registry.Serving(c.nodes)
		assert.Equal(t, c.want, ids(serving))
		assert.Equal(t, c.fallback, fallback)
	}
	for weight, want := range map[int]int{-5: 1, 0: 1, 1: 1, 7: 7, 1 << 40: registry.MaxWeight} {
		assert.Equal(t, want, registry.Node{Weight: weight}.EffectiveWeight())
	}
}

func TestNodeAsJSON(t *testing.T) {
	n := registry.Node{Addr: addr, Weight: 2, Health: registry.Critical, Draining: true, Drain: &registry.Drain{By: "x"}}
	text, err := json.Marshal(n)
	require.NoError(t, err)
	assert.JSONEq(t, `{"addr":"10.10.11.12:8080","weight":2,"health":"critical","draining":true}`, string(text))
}

func TestAnOperatorsWeightCountsInPlaceOfTheNodesOwn(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		d, _ := follow(t, s.Open(t))
		r, _ := register(t, s.Open(t), first)
		<-r.Ready()
		require.NoError(t, r.Update(func(n *registry.Node) { n.Weight = 3 }))
		weighs := func(want int) func() bool {
			return func() bool { n, ok := d.Node(id); return ok && n.EffectiveWeight() == want }
		}
		stores.Wait(t, "its own", weighs(3))

		require.NoError(t, registry.WeighNode(t.Context(), store, "", id, registry.Weight{Weight: 7, By: "alice"}))
		stores.Wait(t, "the operator's", weighs(7))
		n, _ := d.Node(id)
		assert.Equal(t, "alice", n.Weighed.By)
		assert.False(t, n.Weighed.Since.IsZero())
		require.NoError(t, r.Update(func(n *registry.Node) { n.Weight, n.Health = 4, registry.Warning }))
		stores.Wait(t, "rewritten", func() bool { n, _ := d.Node(id); return n.Health == registry.Warning })
		assert.True(t, weighs(7)())
		assert.Empty(t, d.Problems())

		_, err := store.Put(t.Context(), "nodes/"+id+"/weight", []byte(`{"weight":0}`))
		require.NoError(t, err)
		stores.Wait(t, "a weight that is none", weighs(4))
		require.Len(t, d.Problems(), 1)
		assert.ErrorIs(t, d.Problems()[0].Err, backend.ErrInvalid)
		require.ErrorIs(t, registry.WeighNode(t.Context(), store, "", id, registry.Weight{}), backend.ErrInvalid)

		require.NoError(t, registry.UnweighNode(t.Context(), store, "", id))
		stores.Wait(t, "no problem", func() bool { return len(d.Problems()) == 0 })
		require.NoError(t, registry.UnweighNode(t.Context(), store, "", id), "again")
	})
}

// What an operator has said of a node counts for the process that takes it over, too: before
// it has the node's id, and whether it was said before or after it came.
func TestAnOperatorsWordCountsForASuccessor(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		d, _ := follow(t, s.Open(t))
		require.NoError(t, registry.WeighNode(t.Context(), store, "", id, registry.Weight{Weight: 7}))
		successor := registry.Config{ID: id + "~" + second, Node: node(second)}
		r, _ := run(t, s.Open(t), successor)
		<-r.Ready()
		is := func(ok func(registry.Node) bool) func() bool {
			return func() bool { n, listed := d.Node(successor.ID); return listed && ok(n) }
		}
		stores.Wait(t, "weighed", is(func(n registry.Node) bool { return n.Place() == id && n.EffectiveWeight() == 7 && n.Waits() }))

		var changes atomic.Int32
		d.Subscribe(func(c registry.Change) {
			for _, n := range c.Updated {
				if n.ID == successor.ID && n.Drain != nil {
					changes.Add(1)
				}
			}
		})
		require.NoError(t, registry.DrainNode(t.Context(), store, "", id, registry.Drain{By: "alice"}))
		stores.Wait(t, "drained", is(func(n registry.Node) bool { return n.Drain != nil && !n.Waits() }))
		stores.Wait(t, "told", func() bool { return changes.Load() == 1 })
		require.NoError(t, registry.UndrainNode(t.Context(), store, "", id))
		stores.Wait(t, "not drained", is(func(n registry.Node) bool { return n.Drain == nil && n.Waits() }))
	})
}
