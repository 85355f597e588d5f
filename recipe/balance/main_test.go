package balance_test

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/balance"
	"github.com/seed27495941/seckill/recipe/registry"
)

func TestMain(m *testing.M) { stores.Main(m, nil) }

// follow makes a cluster of a store's nodes and runs it.
func follow(t *testing.T, s backend.Store) (*balance.Cluster, *stores.Logbook) {
	t.Helper()
	d := registry.NewDirectory(s, "", nil)
	log := &stores.Logbook{}
	c := balance.NewCluster(d, balance.Config{Logger: slog.New(slog.NewTextHandler(log, nil))})
	stores.Start(t, d.Run)
	stores.Start(t, c.Run)
	return c, log
}

// register lists a node until stop.
func register(t *testing.T, s backend.Store, n registry.Node) (r *registry.Registration, stop func() error) {
	t.Helper()
	r, err := registry.NewRegistration(s, registry.Config{Node: n, TTL: stores.ShortestTTL})
	require.NoError(t, err)
	stop = stores.Start(t, r.Run)
	<-r.Ready()
	return r, stop
}

func ids(endpoints []balance.Endpoint) string {
	out := []string{}
	for _, e := range endpoints {
		out = append(out, e.ID)
	}
	return fmt.Sprint(out)
}

// goesTo waits until a cluster has just these endpoints.
func goesTo(t *testing.T, c *balance.Cluster, want string) {
	t.Helper()
	stores.Wait(t, "endpoints "+want, func() bool { return ids(c.Status().Endpoints) == want })
}

func node(n int) string { return fmt.Sprintf(`{"addr":"10.0.0.%d:80"}`, n) }
