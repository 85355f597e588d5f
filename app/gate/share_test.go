package gate

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/limiter"
	"github.com/seed27495941/seckill/recipe/registry"
)

// A member is a house that is a node of a cluster.
type member struct {
	*house
	leave func() error // the list
	drain func()       // says that it is about to
}

func join(t *testing.T, space stores.Space, n int) *member {
	t.Helper()
	store := space.Open(t)
	reg, err := registry.NewRegistration(store, registry.Config{
		Node: registry.Node{Addr: fmt.Sprintf("10.0.0.%d:80", n)}, TTL: stores.ShortestTTL,
	})
	require.NoError(t, err)
	nodes := registry.NewDirectory(store, "", silent)
	shares, err := limiter.New(limiter.Config{
		Limit: limiter.Limit{Burst: 1}, Directory: nodes, Self: reg.Status().Node.Incarnation, Settle: 300 * time.Millisecond,
	})
	require.NoError(t, err)
	m := &member{house: build(t, func(c *Config) {
		c.Cluster.RateLimit = settings.RateLimit{Middle: 60, Low: 60, PerUser: c.Cluster.RateLimit.PerUser}
	})}
	shares.Subscribe(m.SetShare)
	stores.Start(t, nodes.Run)
	stores.Start(t, shares.Run)
	m.leave = stores.Start(t, reg.Run)
	m.drain = func() {
		m.Drain()
		require.NoError(t, reg.Update(func(n *registry.Node) { n.Draining = true }))
	}
	return m
}

func (m *member) has(share float64) {
	m.Helper()
	stores.Wait(m, fmt.Sprintf("a share of %v, of both rates", share), func() bool {
		l := m.Status().Limits
		return math.Abs(l.Share-share) < 1e-9 && math.Abs(l.Node.PerSecond-60*share) < 1e-6 && math.Abs(l.Store.PerSecond-60*share) < 1e-6
	})
}

// What a node takes follows the nodes that there are.
func TestRatesFollowTheNodes(t *testing.T) {
	stores.Each(t, func(t *testing.T, space stores.Space) {
		a := join(t, space, 1)
		a.expect(Unavailable, Order, now)
		require.Error(t, a.Ready())
		a.has(1)
		require.NoError(t, a.Ready())
		b, c := join(t, space, 2), join(t, space, 3)
		for _, m := range []*member{a, b, c} {
			m.has(1. / 3)
		}
		require.NoError(t, c.leave())
		a.has(0.5)
		b.has(0.5)
		c.has(0)
		c.expect(Unavailable, Order, now)

		b.drain()
		a.has(1)
		time.Sleep(time.Second)
		assert.InDelta(t, 0.5, b.Status().Limits.Share, 1e-9, "what still comes is answered")
		require.NoError(t, b.leave())
		assert.True(t, b.passes(Order, now))
	})
}
