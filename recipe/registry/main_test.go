package registry_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/registry"
)

func TestMain(m *testing.M) { stores.Main(m, stores.Roles{"node": beNode}) }

// beNode is a process that is registered, as the incarnation it is given, and
// says whether it was replaced when it is asked.
func beNode(ctx context.Context, s backend.Store, p *stores.Parent) error {
	r, err := registry.NewRegistration(s, registry.Config{Node: node(p.Args[0]), TTL: stores.ShortestTTL})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	<-r.Ready()
	p.Say("ready")
	for range p.Told {
		p.Say("replaced %t", r.Status().Replaced)
	}
	return <-ended
}

const (
	addr = "10.10.11.12:8080"
	key  = "nodes/10-10-11-12-8080"
)

// Three processes at one address, one after the other.
var first, second, third = incarnationAt(1), incarnationAt(2), incarnationAt(3)

func incarnationAt(hour int) string {
	at := time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC)
	return ulid.MustNew(ulid.Timestamp(at), ulid.DefaultEntropy()).String()
}

func node(incarnation string) registry.Node {
	return registry.Node{Addr: addr, Proto: "http", Version: "v1.0.0", Incarnation: incarnation}
}

// register makes a registration of node(incarnation) and runs it.
func register(t *testing.T, s backend.Store, incarnation string) (r *registry.Registration, stop func() error) {
	t.Helper()
	return run(t, s, registry.Config{Node: node(incarnation)})
}

// run makes a registration and runs it, with the shortest TTL.
func run(t *testing.T, s backend.Store, cfg registry.Config) (r *registry.Registration, stop func() error) {
	t.Helper()
	cfg.TTL = stores.ShortestTTL
	r, err := registry.NewRegistration(s, cfg)
	require.NoError(t, err)
	return r, stores.Start(t, r.Run)
}

func await(t *testing.T, r *registry.Registration) registry.Status {
	t.Helper()
	stores.Wait(t, "registered", r.Registered)
	return r.Status()
}

// awaitListed waits until the key is there, is this incarnation's, and hangs
// on the lease that the registration has now.
func awaitListed(t *testing.T, s backend.Store, r *registry.Registration) backend.Entry {
	t.Helper()
	var e backend.Entry
	stores.Wait(t, "listed on its lease", func() bool {
		var n registry.Node
		var err error
		if e, err = s.Get(t.Context(), key); err != nil || json.Unmarshal(e.Value, &n) != nil {
			return false
		}
		now := r.Status()
		return now.Registered && e.Revision == now.Revision && e.Lease == now.Lease && n.Incarnation == now.Node.Incarnation
	})
	return e
}

func absent(t *testing.T, s backend.Store, key string) {
	t.Helper()
	_, err := s.Get(t.Context(), key)
	require.ErrorIs(t, err, backend.ErrNotFound, key)
}

func get(t *testing.T, s backend.Store, key string) backend.Entry {
	t.Helper()
	e, err := s.Get(t.Context(), key)
	require.NoError(t, err)
	return e
}

func put(t *testing.T, s backend.Store, n registry.Node, opts ...backend.PutOption) {
	t.Helper()
	_, err := backend.PutJSON(context.WithoutCancel(t.Context()), s, key, n, opts...)
	require.NoError(t, err)
}
