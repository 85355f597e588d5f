package etcd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"github.com/seed27495941/seckill/backend/credential"
	"github.com/seed27495941/seckill/backend/etcd"
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
	raw      *clientv3.Client
	open     etcd.Config // of the stores under test
	count    bool
	requests atomic.Int64
	opened   atomic.Int64
}

const (
	quota    = 16 << 20
	rootUser = "root"
)

func newHarness(nodes int) func(t *testing.T, c conformance.Case) conformance.Harness {
	return func(t *testing.T, c conformance.Case) conformance.Harness {
		h := &harness{t: t, count: c.NeedsPower(conformance.Requests)}
		cfg := servers.Config{Kind: servers.Etcd, Nodes: nodes}
		rawCfg := clientv3.Config{Logger: zap.NewNop()}
		if c.NeedsPower(conformance.TLS) {
			authority := servers.NewAuthority(t)
			cfg = authority.Secure(t, cfg)
			rawCfg.TLS = cfg.TLS
			h.open.TLS.CAFile = file(t, "ca.pem", authority.PEM)
		}
		if c.NeedsPower(conformance.Full) {
			cfg.Extra = append(cfg.Extra, fmt.Sprint("--quota-backend-bytes=", quota))
		}
		if c.NeedsPower(conformance.Access) {
			cfg.Extra = append(cfg.Extra, "--bcrypt-cost=4")
		}
		switch {
		case c.Exclusive():
			h.server = servers.ForTest(t, cfg)
		case nodes > 1:
			h.server = servers.SharedNodes(t, servers.Etcd, nodes)
		default:
			h.server = servers.Shared(t, servers.Etcd)
		}
		rawCfg.Endpoints = h.server.Endpoints()
		h.open.Endpoints = h.server.Endpoints()
		h.open.Root = "conformance-" + ulid.Make().String() + "/"
		if c.NeedsPower(conformance.Network, conformance.History, conformance.Replace) {
			h.Network = faults.NewNetwork(t, h.server.Endpoints()...)
			h.open.Endpoints = h.Addrs()
		}
		h.raw = raw(t, rawCfg)
		if c.NeedsPower(conformance.Access) {
			h.lock(rawCfg)
		}
		return h
	}
}

// lock switches authentication on. Root may do everything, the guest what
// conformance.AccessController says.
func (h *harness) lock(rawCfg clientv3.Config) {
	ctx, c := h.t.Context(), h.raw
	must := func(_ any, err error) {
		h.t.Helper()
		require.NoError(h.t, err)
	}
	for _, name := range []string{rootUser, "guest"} {
		must(c.RoleAdd(ctx, name))
		must(c.UserAdd(ctx, name, name))
		must(c.UserGrantRole(ctx, name, name))
	}
	allow := func(dir string, what clientv3.PermissionType) {
		key := h.key(dir)
		must(c.RoleGrantPermission(ctx, "guest", key, clientv3.GetPrefixRangeEnd(key), what))
	}
	allow("guest/", clientv3.PermissionType(clientv3.PermReadWrite))
	allow("shown/", clientv3.PermissionType(clientv3.PermRead))
	must(c.AuthEnable(ctx))
	rawCfg.Username, rawCfg.Password = rootUser, rootUser
	h.raw = raw(h.t, rawCfg)
	h.open.User, h.open.Password = rootUser, rootUser
}

func (h *harness) Describe() conformance.Info {
	return conformance.Info{Driver: "etcd", Server: "etcd " + h.server.Version(), Nodes: len(h.server.Nodes())}
}

func (h *harness) Lacks() map[conformance.Power]string {
	if len(h.server.Nodes()) == 1 {
		return map[conformance.Power]string{conformance.Majority: "one node is its own majority; the run on three nodes shows it"}
	}
	return nil
}

// Open begins with another node for each store, as clients of a cluster do.
func (h *harness) Open() (conformance.Store, error) {
	if !h.count {
		cfg := h.open
		first := int(h.opened.Add(1)) % len(cfg.Endpoints)
		cfg.Endpoints = slices.Concat(cfg.Endpoints[first:], cfg.Endpoints[:first])
		return etcd.Open(cfg)
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   h.open.Endpoints,
		Logger:      zap.NewNop(),
		DialOptions: []grpc.DialOption{etcd.TrackSends(), grpc.WithStatsHandler((*counter)(&h.requests))},
	})
	if err != nil {
		return nil, err
	}
	s, err := etcd.New(client, etcd.Config{Root: h.open.Root})
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

func (h *harness) key(key string) string { return "/" + h.open.Root + key }

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
		if err := h.Cut(ctx); err != nil {
			return err
		}
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
		return h.Heal(ctx)
	}, nil
}

// Replace: the new server is another cluster.
func (h *harness) Replace(ctx context.Context) error {
	another := servers.ForTest(h.t, servers.Config{Kind: servers.Etcd, Nodes: len(h.server.Nodes())}) //nolint:contextcheck // it ends with the test
	h.raw = rawOn(h.t, another.Endpoints()[0])
	return h.Retarget(ctx, another.Endpoints()...)
}

func (h *harness) Restart(ctx context.Context) error { return h.server.Restart(ctx) }
func (h *harness) Pause(ctx context.Context) error   { return h.server.Pause(ctx) }
func (h *harness) Resume(ctx context.Context) error  { return h.server.Resume(ctx) }

func (h *harness) PauseLeader(ctx context.Context) error    { return h.server.PauseLeader(ctx) }
func (h *harness) PauseFollowers(ctx context.Context) error { return h.server.PauseFollowers(ctx) }

func (h *harness) OpenStrangers() (map[string]conformance.Store, error) {
	strangers := map[string]func(*etcd.Config){
		"wrong password": func(c *etcd.Config) { c.Password = "wrong" },
		"unknown user":   func(c *etcd.Config) { c.User = "nobody" },
		"no user":        func(c *etcd.Config) { c.User, c.Password = "", "" },
	}
	return h.openEach(strangers)
}

func (h *harness) OpenGuest(context.Context) (conformance.Store, func(context.Context) error, error) {
	cfg := h.open
	cfg.User, cfg.Password = "guest", credential.Secret("guest")
	s, err := etcd.Open(cfg)
	return s, func(ctx context.Context) error {
		_, err := h.raw.UserRevokeRole(ctx, "guest", "guest")
		return err
	}, err
}

func (h *harness) OpenMismatched() (map[string]conformance.Store, error) {
	other := file(h.t, "other.pem", servers.NewAuthority(h.t).PEM)
	return h.openEach(map[string]func(*etcd.Config){
		"unknown authority": func(c *etcd.Config) { c.TLS.CAFile = other },
		"another name":      func(c *etcd.Config) { c.TLS.ServerName = "another.test" },
		"plain text":        func(c *etcd.Config) { c.TLS = credential.TLS{} },
	})
}

func (h *harness) openEach(changes map[string]func(*etcd.Config)) (map[string]conformance.Store, error) {
	stores := map[string]conformance.Store{}
	for name, change := range changes {
		cfg := h.open
		change(&cfg)
		s, err := etcd.Open(cfg)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		stores[name] = s
	}
	return stores, nil
}

// Fill writes until the quota is used up, in a corner of its own.
func (h *harness) Fill(ctx context.Context) error {
	value := bytes.Repeat([]byte("x"), 1<<20)
	for i := range 2 * quota / len(value) {
		err := h.RawPut(ctx, fmt.Sprint("filler/", i), value)
		if err != nil {
			if alarms, listing := h.raw.AlarmList(ctx); listing == nil && len(alarms.Alarms) > 0 {
				return nil
			}
			return err
		}
	}
	return errors.New("the store does not get full")
}

// Free does what an operator would: delete, compact, defragment, disarm.
func (h *harness) Free(ctx context.Context) error {
	filler := h.key("filler/")
	resp, err := h.raw.Delete(ctx, filler, clientv3.WithPrefix())
	if err != nil {
		return err
	}
	if _, err := h.raw.Compact(ctx, resp.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		return err
	}
	for _, endpoint := range h.server.Endpoints() {
		if _, err := h.raw.Defragment(ctx, endpoint); err != nil {
			return err
		}
	}
	_, err = h.raw.AlarmDisarm(ctx, &clientv3.AlarmMember{})
	return err
}
