package consul_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend/consul"
	"github.com/seed27495941/seckill/backend/credential"
	"github.com/seed27495941/seckill/conformance"
	"github.com/seed27495941/seckill/conformance/faults"
	"github.com/seed27495941/seckill/conformance/servers"
)

// everything tells whether long runs and clusters are wanted.
func everything() bool { return os.Getenv("SECKILL_TEST_FULL") != "" }

// harness is a namespace of its own on a shared server, or on servers of its
// own if the case disturbs them.
type harness struct {
	*faults.Network // nil unless the case needs it

	t        *testing.T
	server   *servers.Cluster
	raw      *api.Client
	open     consul.Config // of the stores under test
	count    bool
	requests atomic.Int64
	opened   atomic.Int64
}

func newHarness(nodes int) func(t *testing.T, c conformance.Case) conformance.Harness {
	return func(t *testing.T, c conformance.Case) conformance.Harness {
		h := &harness{t: t, count: c.NeedsPower(conformance.Requests)}
		h.open.Root = "conformance-" + ulid.Make().String() + "/"
		cfg := servers.Config{Kind: servers.Consul, Nodes: nodes}
		if c.NeedsPower(conformance.TLS) {
			authority := servers.NewAuthority(t)
			cfg = authority.Secure(t, cfg)
			h.open.TLS.CAFile = h.file("ca.pem", authority.PEM)
		}
		switch {
		case c.NeedsPower(conformance.Access):
			h.server, h.raw = guarded(t, nodes, "")
			h.open.Token = management
		case c.Exclusive():
			h.server = servers.ForTest(t, cfg)
		default:
			h.server = servers.SharedNodes(t, servers.Consul, nodes)
		}
		if h.raw == nil {
			h.raw = h.client(cfg.TLS)
		}
		h.open.Endpoints = h.server.Endpoints()
		if c.NeedsPower(conformance.Network, conformance.Replace) {
			h.Network = faults.NewNetwork(t, h.server.Endpoints()...)
			h.open.Endpoints = h.Addrs()
		}
		return h
	}
}

// client reaches the server past the driver.
func (h *harness) client(cfg *tls.Config) *api.Client {
	transport := &http.Transport{TLSClientConfig: cfg}
	h.t.Cleanup(transport.CloseIdleConnections)
	client, err := api.NewClient(&api.Config{Address: h.server.Node(0).URL(), HttpClient: &http.Client{Transport: transport}})
	require.NoError(h.t, err)
	return client
}

func (h *harness) file(name string, content []byte) string {
	path := filepath.Join(h.t.TempDir(), name)
	require.NoError(h.t, os.WriteFile(path, content, 0o600))
	return path
}

func (h *harness) Describe() conformance.Info {
	return conformance.Info{Driver: "consul", Server: "Consul " + h.server.Version(), Nodes: len(h.server.Nodes())}
}

func (h *harness) Lacks() map[conformance.Power]string {
	lacks := map[conformance.Power]string{
		conformance.Full: "Consul has no limit of its own: it grows until the machine is full",
	}
	if len(h.server.Nodes()) == 1 {
		lacks[conformance.Majority] = "one node is its own majority; the run on three nodes shows it"
	}
	return lacks
}

// Open begins with another node for each store, as clients of a cluster do.
func (h *harness) Open() (conformance.Store, error) {
	if !h.count {
		cfg := h.open
		first := int(h.opened.Add(1)) % len(cfg.Endpoints)
		cfg.Endpoints = slices.Concat(cfg.Endpoints[first:], cfg.Endpoints[:first])
		return consul.Open(cfg)
	}
	transport := &http.Transport{}
	client, err := api.NewClient(&api.Config{
		Address:    h.server.Node(0).URL(),
		HttpClient: &http.Client{Transport: &counter{sent: &h.requests, next: transport}},
	})
	if err != nil {
		return nil, err
	}
	s, err := consul.New(client, consul.Options{Root: h.open.Root})
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
	return h.rawTxn(ctx, &api.KVTxnOp{Verb: api.KVSet, Key: h.open.Root + key, Value: value})
}

func (h *harness) RawDelete(ctx context.Context, key string) error {
	return h.rawTxn(ctx, &api.KVTxnOp{Verb: api.KVDelete, Key: h.open.Root + key})
}

func (h *harness) rawTxn(ctx context.Context, op *api.KVTxnOp) error {
	_, _, _, err := h.raw.Txn().Txn(api.TxnOps{{KV: op}}, (&api.QueryOptions{}).WithContext(ctx))
	return err
}

func (h *harness) RawGet(ctx context.Context, key string) ([]byte, bool, error) {
	pair, _, err := h.raw.KV().Get(h.open.Root+key, (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx))
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

// Replace: the new server is another cluster, whose indexes begin again.
func (h *harness) Replace(ctx context.Context) error {
	h.server = servers.ForTest(h.t, servers.Config{Kind: servers.Consul, Nodes: len(h.server.Nodes())}) //nolint:contextcheck // it ends with the test
	h.raw = h.client(nil)
	return h.Retarget(ctx, h.server.Endpoints()...)
}

func (h *harness) Restart(ctx context.Context) error { return h.server.Restart(ctx) }
func (h *harness) Pause(ctx context.Context) error   { return h.server.Pause(ctx) }
func (h *harness) Resume(ctx context.Context) error  { return h.server.Resume(ctx) }

func (h *harness) PauseLeader(ctx context.Context) error    { return h.server.PauseLeader(ctx) }
func (h *harness) PauseFollowers(ctx context.Context) error { return h.server.PauseFollowers(ctx) }

func (h *harness) OpenStrangers() (map[string]conformance.Store, error) {
	return h.openEach(map[string]func(*consul.Config){
		"unknown token": func(c *consul.Config) { c.Token = "00000000-1111-2222-3333-444444444444" },
		"no token":      func(c *consul.Config) { c.Token = "" },
	})
}

func (h *harness) OpenGuest(context.Context) (conformance.Store, func(context.Context) error, error) {
	dir := func(name, policy string) string {
		return fmt.Sprintf("key_prefix %q { policy = %q }\n", h.open.Root+name, policy)
	}
	token, change := newToken(h.t, h.raw, dir("guest/", "write")+dir("shown/", "read")+`session_prefix "" { policy = "write" }`)
	h.awaitToken(token)
	cfg := h.open
	cfg.Token = token
	s, err := consul.Open(cfg)
	return s, func(context.Context) error { change(""); return nil }, err
}

// awaitToken waits until each node knows a token: the followers of the one that
// made it learn of it a little later.
func (h *harness) awaitToken(token credential.Secret) {
	for _, node := range h.server.Nodes() {
		client, err := api.NewClient(&api.Config{Address: node.URL(), Token: string(token)})
		require.NoError(h.t, err)
		require.Eventually(h.t, func() bool {
			_, _, err := client.ACL().TokenReadSelf(&api.QueryOptions{AllowStale: true})
			return err == nil
		}, time.Minute, 10*time.Millisecond)
	}
}

func (h *harness) OpenMismatched() (map[string]conformance.Store, error) {
	other := h.file("other.pem", servers.NewAuthority(h.t).PEM)
	return h.openEach(map[string]func(*consul.Config){
		"unknown authority": func(c *consul.Config) { c.TLS.CAFile = other },
		"another name":      func(c *consul.Config) { c.TLS.ServerName = "another.test" },
		"plain text":        func(c *consul.Config) { c.TLS = credential.TLS{} },
	})
}

func (h *harness) openEach(changes map[string]func(*consul.Config)) (map[string]conformance.Store, error) {
	stores := map[string]conformance.Store{}
	for name, change := range changes {
		cfg := h.open
		change(&cfg)
		s, err := consul.Open(cfg)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		stores[name] = s
	}
	return stores, nil
}
