package etcd_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/oklog/ulid/v2"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"github.com/seed27495941/seckill/backend/etcd"
	"github.com/seed27495941/seckill/conformance"
	"github.com/seed27495941/seckill/conformance/servers"
)

func TestConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a server; run without -short")
	}
	conformance.Run(t, newHarness)
}

// harness is a namespace of its own on a shared server, or on one of its own if
// the case disturbs it.
type harness struct {
	server   *servers.Cluster
	endpoint string // that the stores under test use
	root     string
	raw      *clientv3.Client
	proxy    *toxiproxy.Proxy // nil unless the case cuts connections
	requests atomic.Int64
}

func newHarness(t *testing.T, c conformance.Case) conformance.Harness {
	h := &harness{root: "conformance-" + ulid.Make().String() + "/"}
	if c.Exclusive() {
		h.server = servers.ForTest(t, servers.Config{Kind: servers.Etcd})
	} else {
		h.server = servers.Shared(t, servers.Etcd)
	}
	direct := h.server.Endpoints()[0]
	h.endpoint = direct
	if slices.Contains(c.Needs, conformance.History) {
		h.proxy = toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), c.Name, "127.0.0.1:0", direct)
		require.NoError(t, h.proxy.Start())
		t.Cleanup(h.proxy.Stop)
		h.endpoint = h.proxy.Listen
	}

	var err error
	h.raw, err = clientv3.New(clientv3.Config{Endpoints: []string{direct}, Logger: zap.NewNop()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.raw.Close()) })
	return h
}

func (h *harness) Describe() conformance.Info {
	return conformance.Info{Driver: "etcd", Server: "etcd " + h.server.Version(), Nodes: len(h.server.Nodes())}
}

func (h *harness) Lacks() map[conformance.Power]string { return nil }

func (h *harness) Open() (conformance.Store, error) {
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   []string{h.endpoint},
		Logger:      zap.NewNop(),
		DialOptions: []grpc.DialOption{etcd.TrackSends(), grpc.WithStatsHandler((*counter)(&h.requests))},
	})
	if err != nil {
		return nil, err
	}
	s, err := etcd.New(client, etcd.Config{Root: h.root})
	if err != nil {
		return nil, err
	}
	return &owner{Store: s, client: client}, nil
}

// owner closes the client with the store.
type owner struct {
	*etcd.Store
	client *clientv3.Client
}

func (o *owner) Close() error {
	err := o.Store.Close()
	_ = o.client.Close() // a second time it says that its context was cancelled
	return err
}

// counter counts the messages that a client sends: on a stream each is a
// request.
type counter atomic.Int64

func (c *counter) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (c *counter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (c *counter) HandleConn(context.Context, stats.ConnStats)                       {}
func (c *counter) HandleRPC(_ context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.OutPayload); ok {
		(*atomic.Int64)(c).Add(1)
	}
}

func (h *harness) Requests() int64 { return h.requests.Load() }

func (h *harness) key(key string) string { return "/" + h.root + key }

func (h *harness) RawPut(ctx context.Context, key string, value []byte) error {
	_, err := h.raw.Put(ctx, h.key(key), string(value))
	return err
}

func (h *harness) RawGet(ctx context.Context, key string) ([]byte, bool, error) {
	resp, err := h.raw.Get(ctx, h.key(key))
	if err != nil || len(resp.Kvs) == 0 {
		return nil, false, err
	}
	return resp.Kvs[0].Value, true, nil
}

func (h *harness) RawDelete(ctx context.Context, key string) error {
	_, err := h.raw.Delete(ctx, h.key(key))
	return err
}

func (h *harness) RawRevoke(ctx context.Context, lease string) error {
	id, err := strconv.ParseInt(lease, 16, 64)
	if err != nil {
		return fmt.Errorf("lease ID %q: %w", lease, err)
	}
	_, err = h.raw.Revoke(ctx, clientv3.LeaseID(id))
	return err
}

// Checkpoint: history is lost by compaction while the stores are cut off.
func (h *harness) Checkpoint(context.Context) (func(context.Context) error, error) {
	return func(ctx context.Context) error {
		h.proxy.Stop()
		if err := h.RawPut(ctx, "dir/missed", nil); err != nil {
			return err
		}
		resp, err := h.raw.Delete(ctx, h.key("dir/0"))
		if err != nil {
			return err
		}
		if _, err := h.raw.Compact(ctx, resp.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
			return err
		}
		return h.proxy.Start()
	}, nil
}

func (h *harness) Restart(ctx context.Context) error {
	if err := h.server.Node(0).Kill(ctx); err != nil {
		return err
	}
	return h.server.Node(0).Start(ctx)
}

func (h *harness) Pause(ctx context.Context) error  { return h.server.Node(0).Pause(ctx) }
func (h *harness) Resume(ctx context.Context) error { return h.server.Node(0).Resume(ctx) }
