package consul_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/consul/api"
	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend/consul"
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
	root     string
	raw      *api.Client
	requests atomic.Int64
}

func newHarness(t *testing.T, c conformance.Case) conformance.Harness {
	h := &harness{root: "conformance-" + ulid.Make().String() + "/"}
	if c.Exclusive() {
		h.server = servers.ForTest(t, servers.Config{Kind: servers.Consul})
	} else {
		h.server = servers.Shared(t, servers.Consul)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	raw, err := h.client(transport)
	require.NoError(t, err)
	h.raw = raw
	return h
}

func (h *harness) client(transport http.RoundTripper) (*api.Client, error) {
	return api.NewClient(&api.Config{Address: h.server.Node(0).URL(), HttpClient: &http.Client{Transport: transport}})
}

func (h *harness) Describe() conformance.Info {
	return conformance.Info{Driver: "consul", Server: "Consul " + h.server.Version(), Nodes: len(h.server.Nodes())}
}

func (h *harness) Lacks() map[conformance.Power]string { return nil }

func (h *harness) Open() (conformance.Store, error) {
	transport := &http.Transport{}
	client, err := h.client(&counter{sent: &h.requests, next: transport})
	if err != nil {
		return nil, err
	}
	s, err := consul.New(client, consul.Options{Root: h.root})
	if err != nil {
		return nil, err
	}
	return &owner{Store: s, transport: transport}, nil
}

// owner closes the connections with the store.
type owner struct {
	*consul.Store
	transport *http.Transport
}

func (o *owner) Close() error {
	err := o.Store.Close()
	o.transport.CloseIdleConnections()
	return err
}

// counter counts the requests that a client sends.
type counter struct {
	sent *atomic.Int64
	next http.RoundTripper
}

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.sent.Add(1)
	return c.next.RoundTrip(r)
}

func (h *harness) Requests() int64 { return h.requests.Load() }

// RawPut goes through a transaction: it takes keys that a URL can't carry.
func (h *harness) RawPut(ctx context.Context, key string, value []byte) error {
	return h.rawTxn(ctx, &api.KVTxnOp{Verb: api.KVSet, Key: h.root + key, Value: value})
}

func (h *harness) RawDelete(ctx context.Context, key string) error {
	return h.rawTxn(ctx, &api.KVTxnOp{Verb: api.KVDelete, Key: h.root + key})
}

func (h *harness) rawTxn(ctx context.Context, op *api.KVTxnOp) error {
	_, _, _, err := h.raw.Txn().Txn(api.TxnOps{{KV: op}}, (&api.QueryOptions{}).WithContext(ctx))
	return err
}

func (h *harness) RawGet(ctx context.Context, key string) ([]byte, bool, error) {
	pair, _, err := h.raw.KV().Get(h.root+key, (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx))
	if err != nil || pair == nil {
		return nil, false, err
	}
	return pair.Value, true, nil
}

func (h *harness) RawRevoke(ctx context.Context, lease string) error {
	_, err := h.raw.Session().Destroy(lease, (&api.WriteOptions{}).WithContext(ctx))
	return err
}

// Checkpoint: history is lost by restoring a snapshot of the server, which
// takes every index back.
func (h *harness) Checkpoint(ctx context.Context) (func(context.Context) error, error) {
	stream, _, err := h.raw.Snapshot().Save((&api.QueryOptions{}).WithContext(ctx))
	if err != nil {
		return nil, err
	}
	defer func() { _ = stream.Close() }()
	snapshot, err := io.ReadAll(stream)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		return h.raw.Snapshot().Restore((&api.WriteOptions{}).WithContext(ctx), bytes.NewReader(snapshot))
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
