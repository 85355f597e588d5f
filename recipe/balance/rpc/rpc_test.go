package rpc_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/balance"
	"github.com/seed27495941/seckill/recipe/balance/rpc"
	"github.com/seed27495941/seckill/recipe/registry"
)

func TestMain(m *testing.M) {
	rpc.Register()
	stores.Main(m, nil)
}

// everywhere runs f on each store, with real time on memory too: for tests that
// use the network.
func everywhere(t *testing.T, f func(t *testing.T, s stores.Space)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) { f(t, stores.NewMemory()) })
	stores.EachServer(t, f)
}

// A node is a gRPC server that is listed. gRPC's own health service stands for
// any other.
type node struct {
	grpc_health_v1.UnimplementedHealthServer
	server *grpc.Server
	addr   string
	asked  atomic.Int64
	answer atomic.Pointer[func() error] // nil: at once, well
	reg    *registry.Registration
	leave  func() error
}

func (n *node) Check(context.Context, *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	n.asked.Add(1)
	if answer := n.answer.Load(); answer != nil {
		if err := (*answer)(); err != nil {
			return nil, err
		}
	}
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
}

func (n *node) answers(f func() error) { n.answer.Store(&f) }

func start(t *testing.T, s backend.Store, addr string, weight int) *node {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	n := &node{server: grpc.NewServer(), addr: l.Addr().String()}
	grpc_health_v1.RegisterHealthServer(n.server, n)
	served := make(chan struct{})
	go func() { defer close(served); _ = n.server.Serve(l) }()
	t.Cleanup(func() { n.server.Stop(); <-served })
	n.reg, err = registry.NewRegistration(s, registry.Config{Node: registry.Node{Addr: n.addr, RPC: n.addr, Weight: weight}, TTL: stores.ShortestTTL})
	require.NoError(t, err)
	n.leave = stores.Start(t, n.reg.Run)
	<-n.reg.Ready()
	return n
}

// stop ends a node as a process should end: it says so, finishes what it has
// begun, and leaves the list.
func (n *node) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, n.reg.Update(func(n *registry.Node) { n.Draining = true }))
	n.server.GracefulStop()
	require.NoError(t, n.leave())
}

func follow(t *testing.T, s backend.Store) *balance.Cluster {
	t.Helper()
	d := registry.NewDirectory(s, "", nil)
	c := balance.NewCluster(d, balance.Config{Addr: func(n registry.Node) string { return n.RPC }})
	stores.Start(t, d.Run)
	stores.Start(t, c.Run)
	return c
}

func dial(t *testing.T, c *balance.Cluster, policy balance.Policy) grpc_health_v1.HealthClient {
	t.Helper()
	conn, err := grpc.NewClient("seckill:///api",
		grpc.WithResolvers(rpc.NewResolver(map[string]*balance.Cluster{"api": c})),
		grpc.WithDefaultServiceConfig(rpc.ServiceConfig(policy, "grpc.health.v1.Health")),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return grpc_health_v1.NewHealthClient(conn)
}

// ask makes one RPC and says who answered.
func ask(ctx context.Context, client grpc_health_v1.HealthClient) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var at peer.Peer
	_, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.Peer(&at))
	if err != nil {
		return "", err
	}
	return at.Addr.String(), nil
}

func mustAsk(t *testing.T, client grpc_health_v1.HealthClient) string {
	t.Helper()
	at, err := ask(t.Context(), client)
	require.NoError(t, err)
	return at
}

// senders is a crowd that asks without pause, and what came of it.
type senders struct {
	done   atomic.Int64
	failed sync.Map
	stop   func() error
}

func send(t *testing.T, client grpc_health_v1.HealthClient, crowd int) *senders {
	t.Helper()
	s := &senders{}
	s.stop = stores.Start(t, func(ctx context.Context) error {
		var running sync.WaitGroup
		for range crowd {
			running.Go(func() {
				for ctx.Err() == nil {
					if _, err := ask(context.WithoutCancel(ctx), client); err != nil {
						s.failed.Store(err.Error(), true)
					}
					s.done.Add(1)
				}
			})
		}
		running.Wait()
		return nil
	})
	return s
}

func (s *senders) await(t *testing.T, more int64) {
	t.Helper()
	was := s.done.Load()
	stores.Wait(t, "requests", func() bool { return s.done.Load() >= was+more })
}

// The promise: while nodes are restarted one by one no request is lost, though
// they come without pause and each node has some under way when it stops.
func TestNothingIsLostWhileNodesAreRolled(t *testing.T) {
	rounds := 1
	if os.Getenv("SECKILL_TEST_FULL") != "" {
		rounds = 10
	}
	everywhere(t, func(t *testing.T, s stores.Space) {
		for _, policy := range []balance.Policy{balance.WeightedRoundRobin, balance.PeakEWMA} {
			store := s.Open(t)
			nodes := make([]*node, 3)
			for i := range nodes {
				nodes[i] = start(t, store, "127.0.0.1:0", i+1)
				busy(nodes[i])
			}
			c := follow(t, s.Open(t))
			crowd := send(t, dial(t, c, policy), 6)
			crowd.await(t, 60)
			for range rounds {
				for i, n := range nodes {
					n.stop(t)
					crowd.await(t, 30)
					nodes[i] = start(t, store, n.addr, i+1)
					busy(nodes[i])
					stores.Wait(t, "it gets requests again", func() bool { return nodes[i].asked.Load() > 5 })
				}
			}
			require.NoError(t, crowd.stop())
			crowd.failed.Range(func(what, _ any) bool { t.Errorf("%s: lost: %s", policy, what); return true })
			t.Logf("%s: %d requests", policy, crowd.done.Load())
			for _, n := range nodes {
				n.stop(t)
			}
			stores.Wait(t, "gone", func() bool { return c.Status().Listed == 0 })
		}
	})
}

// busy makes each request take a while, so that some are under way at any time.
func busy(n *node) {
	n.answers(func() error { time.Sleep(2 * time.Millisecond); return nil })
}

// A node that dies without a word is listed until its lease ends; its requests
// are sent elsewhere.
func TestNothingIsLostWhenANodeDies(t *testing.T) {
	everywhere(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		nodes := []*node{start(t, store, "127.0.0.1:0", 1), start(t, store, "127.0.0.1:0", 1)}
		crowd := send(t, dial(t, follow(t, s.Open(t)), balance.RoundRobin), 4)
		crowd.await(t, 40)
		nodes[0].server.Stop() // cuts what is under way
		crowd.await(t, 200)
		require.NoError(t, crowd.stop())
		crowd.failed.Range(func(what, _ any) bool { t.Errorf("lost: %s", what); return true })
	})
}

func TestDrainAndUndrain(t *testing.T) {
	everywhere(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		a, b := start(t, store, "127.0.0.1:0", 1), start(t, store, "127.0.0.1:0", 1)
		c := follow(t, s.Open(t))
		client := dial(t, c, balance.RoundRobin)
		stores.Wait(t, "both are asked", func() bool { mustAsk(t, client); return a.asked.Load() > 0 && b.asked.Load() > 0 })

		id := a.reg.Status().Node.ID
		require.NoError(t, registry.DrainNode(t.Context(), store, "", id, registry.Drain{}))
		stores.Wait(t, "drained", func() bool { return len(c.Status().Endpoints) == 1 })
		stores.Wait(t, "the client has it", func() bool {
			first, second := mustAsk(t, client), mustAsk(t, client)
			return first == b.addr && second == b.addr
		})
		was := a.asked.Load()
		for range 20 {
			mustAsk(t, client)
		}
		assert.Equal(t, was, a.asked.Load())

		require.NoError(t, registry.UndrainNode(t.Context(), store, "", id))
		stores.Wait(t, "undrained", func() bool { return mustAsk(t, client) == a.addr })
	})
}

func TestWeightsCountAndChange(t *testing.T) {
	space := stores.NewMemory()
	store := space.Open(t)
	a, b := start(t, store, "127.0.0.1:0", 3), start(t, store, "127.0.0.1:0", 1)
	client := dial(t, follow(t, store), balance.WeightedRoundRobin)
	stores.Wait(t, "both are asked", func() bool { mustAsk(t, client); return a.asked.Load() > 0 && b.asked.Load() > 0 })
	shares := func() (int64, int64) {
		beforeA, beforeB := a.asked.Load(), b.asked.Load()
		for range 40 {
			mustAsk(t, client)
		}
		return a.asked.Load() - beforeA, b.asked.Load() - beforeB
	}
	gotA, gotB := shares()
	assert.Equal(t, []int64{30, 10}, []int64{gotA, gotB})
	require.NoError(t, b.reg.Update(func(n *registry.Node) { n.Weight = 9 }))
	stores.Wait(t, "the new weight", func() bool { gotA, gotB := shares(); return gotA == 10 && gotB == 30 })
}

// An emptied registry, and a node that is not well, change nothing for the
// client as long as somebody answers.
func TestEmptiedRegistry(t *testing.T) {
	space := stores.NewMemory()
	n := start(t, space.Open(t), "127.0.0.1:0", 1)
	c := follow(t, space.Open(t))
	client := dial(t, c, balance.PeakEWMA)
	mustAsk(t, client)
	require.NoError(t, n.leave()) // the list is empty now, the server goes on
	stores.Wait(t, "kept", func() bool { return !c.Status().Kept.IsZero() })
	assert.Equal(t, n.addr, mustAsk(t, client))
}

func TestNobodyIsThere(t *testing.T) {
	space := stores.NewMemory()
	c := follow(t, space.Open(t))
	client := dial(t, c, balance.Random)
	_, err := ask(t.Context(), client)
	assert.Equal(t, codes.Unavailable, status.Code(err), err)
	n := start(t, space.Open(t), "127.0.0.1:0", 1)
	stores.Wait(t, "somebody", func() bool { at, err := ask(t.Context(), client); return err == nil && at == n.addr })
}

// RPCs wait for the first list: not knowing is not knowing that there is nobody.
func TestWaitsForTheFirstList(t *testing.T) {
	unheard := balance.NewCluster(registry.NewDirectory(stores.NewMemory().Open(t), "", nil), balance.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := ask(ctx, dial(t, unheard, balance.Random))
	assert.Equal(t, codes.DeadlineExceeded, status.Code(err))
}

func TestErrorsOfTheApplicationAreAnswers(t *testing.T) {
	space := stores.NewMemory()
	n := start(t, space.Open(t), "127.0.0.1:0", 1)
	n.answers(func() error { return status.Error(codes.FailedPrecondition, "sold out") })
	_, err := ask(t.Context(), dial(t, follow(t, space.Open(t)), balance.PeakEWMA))
	assert.Equal(t, codes.FailedPrecondition, status.Code(err))
	assert.Equal(t, int64(1), n.asked.Load())
}

func TestUnknownTarget(t *testing.T) {
	conn, err := grpc.NewClient("seckill:///other", grpc.WithResolvers(rpc.NewResolver(nil)), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err == nil {
		_, err = ask(t.Context(), grpc_health_v1.NewHealthClient(conn))
		require.NoError(t, conn.Close())
	}
	assert.ErrorContains(t, err, "expected one of the clusters")
}

func TestServiceConfig(t *testing.T) {
	var config struct {
		LoadBalancingConfig []map[string]any
		MethodConfig        []struct{ Name []map[string]string }
	}
	require.NoError(t, json.Unmarshal([]byte(rpc.ServiceConfig(balance.Random, "shop.Stock", "/shop.Cart/Show", "*")), &config))
	assert.Contains(t, config.LoadBalancingConfig[0], "seckill_random")
	assert.Equal(t, []map[string]string{{"service": "shop.Stock"}, {"service": "shop.Cart", "method": "Show"}, {}}, config.MethodConfig[0].Name)

	require.NoError(t, json.Unmarshal([]byte(rpc.ServiceConfig(balance.Random)), &config))
	for _, policy := range balance.Policies() {
		conn, err := grpc.NewClient("passthrough:///", grpc.WithDefaultServiceConfig(rpc.ServiceConfig(policy, "*")), grpc.WithTransportCredentials(insecure.NewCredentials()))
		require.NoError(t, err, fmt.Sprint("gRPC takes ", policy))
		require.NoError(t, conn.Close())
	}
}
