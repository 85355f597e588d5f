package rpc

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/resolver"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/balance"
)

// Scheme is the scheme of targets: seckill:///api is the cluster "api".
const Scheme = "seckill"

// NewResolver makes a resolver for some clusters by name, for
// grpc.WithResolvers. A target that names another is refused when the client is
// made or first used. The clusters must outlive the clients.
func NewResolver(clusters map[string]*balance.Cluster) resolver.Builder {
	return builder{maps.Clone(clusters)}
}

type builder struct{ clusters map[string]*balance.Cluster }

func (builder) Scheme() string { return Scheme }

func (b builder) Build(target resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	cluster, ok := b.clusters[target.Endpoint()]
	if !ok {
		return nil, fmt.Errorf("%w: target %q: expected one of the clusters %q", backend.ErrInvalid, target, slices.Sorted(maps.Keys(b.clusters)))
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{cluster: cluster, conn: cc, cancel: cancel}
	f.running.Go(func() { f.run(ctx) })
	return f, nil
}

// A follower tells one client of the endpoints, until it is closed.
type follower struct {
	cluster *balance.Cluster
	conn    resolver.ClientConn
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// ResolveNow has nothing to do: what is known is told at once.
func (f *follower) ResolveNow(resolver.ResolveNowOptions) {}

func (f *follower) Close() {
	f.cancel()
	f.running.Wait()
}

// run waits for the first list, as RPCs then do too; it does not make an empty
// one of it.
func (f *follower) run(ctx context.Context) {
	var told []balance.Endpoint
	for first := true; ; {
		changed := f.cluster.Changed()
		status := f.cluster.Status()
		if status.Synced && (first || !slices.Equal(told, status.Endpoints)) {
			// The error says that the client could do nothing with it, and asks
			// for a retry: the next change is one.
			_ = f.conn.UpdateState(state(status.Endpoints))
			told, first = status.Endpoints, false
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// endpointKey finds a balance.Endpoint among the attributes of a gRPC endpoint.
type endpointKey struct{}

// state is the endpoints as gRPC has them. The attributes are the endpoint's and
// not its address's: a new weight must not break the connection.
func state(endpoints []balance.Endpoint) resolver.State {
	var s resolver.State
	for _, e := range endpoints {
		s.Endpoints = append(s.Endpoints, resolver.Endpoint{
			Addresses:  []resolver.Address{{Addr: e.Addr}},
			Attributes: attributes.New(endpointKey{}, e),
		})
	}
	return s
}
