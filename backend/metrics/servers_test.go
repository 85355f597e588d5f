package metrics_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/consul"
	"github.com/seed27495941/seckill/backend/etcd"
	"github.com/seed27495941/seckill/backend/metrics"
	"github.com/seed27495941/seckill/conformance/servers"
)

const (
	patience       = time.Minute // before a condition counts as failed
	requestTimeout = time.Second
)

// A fixture is a store on a server of its own, and what is done to that behind
// the driver's back.
type fixture struct {
	cluster *servers.Cluster
	store   *metrics.Store
	foreign func() error                 // writes what the rules forbid
	prepare func() (forget func() error) // makes the server forget what watches need to go on
}

var tooLarge = make([]byte, backend.MaxValue+1)

func server(t *testing.T, cfg servers.Config) *servers.Cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a server; run without -short")
	}
	return servers.ForTest(t, cfg)
}

func onEtcd(t *testing.T, cfg servers.Config) fixture {
	t.Helper()
	cfg.Kind = servers.Etcd
	c := server(t, cfg)
	driver, err := etcd.Open(etcd.Config{Endpoints: c.Endpoints(), RequestTimeout: requestTimeout})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, driver.Close()) })
	raw, err := clientv3.New(clientv3.Config{Endpoints: c.Endpoints(), Logger: zap.NewNop()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, raw.Close()) })
	return fixture{c, metrics.New(driver),
		func() error {
			_, err := raw.Put(t.Context(), "/dir/foreign", string(tooLarge))
			return err
		},
		// Every broken stream makes the driver read anew.
		func() func() error {
			return func() error {
				return errors.Join(c.Node(0).Kill(t.Context()), c.Node(0).Start(t.Context()))
			}
		},
	}
}

func onConsul(t *testing.T, cfg servers.Config) fixture {
	t.Helper()
	cfg.Kind = servers.Consul
	c := server(t, cfg)
	driver, err := consul.Open(consul.Config{Endpoints: c.Endpoints(), RequestTimeout: requestTimeout})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, driver.Close()) })
	plain := api.DefaultNonPooledConfig()
	plain.Address = c.Endpoints()[0]
	raw, err := api.NewClient(plain)
	require.NoError(t, err)
	return fixture{c, metrics.New(driver),
		func() error {
			_, err := raw.KV().Put(&api.KVPair{Key: "dir/foreign", Value: tooLarge}, nil)
			return err
		},
		func() func() error {
			stream, _, err := raw.Snapshot().Save(nil)
			require.NoError(t, err)
			defer stream.Close()
			var snapshot bytes.Buffer
			_, err = snapshot.ReadFrom(stream)
			require.NoError(t, err)
			return func() error { return raw.Snapshot().Restore(nil, &snapshot) }
		},
	}
}

func TestAnOutageShows(t *testing.T) {
	for kind, on := range map[servers.Kind]func(*testing.T, servers.Config) fixture{servers.Etcd: onEtcd, servers.Consul: onConsul} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			outage(t, on(t, servers.Config{}))
		})
	}
}

func outage(t *testing.T, f fixture) {
	s, node := f.store, f.cluster.Node(0)
	await := func(what string, so func(f figures) bool) {
		t.Helper()
		require.Eventually(t, func() bool { return so(scrape(t, s)) }, patience, 5*time.Millisecond, what)
	}
	forget := f.prepare()
	put(t, s, "dir/a")
	lease, err := s.Lease(t.Context(), time.Second)
	require.NoError(t, err)
	put(t, s, "dir/leased", backend.WithLease(lease))
	end := watch(t, s, "")
	await("the watch begins", func(f figures) bool { return f["seckill_store_watch_puts_total"] == 2 })

	require.NoError(t, node.Pause(t.Context()))
	_, err = s.Put(t.Context(), "dir/a", nil)
	require.ErrorIs(t, err, backend.ErrUnknown)
	_, err = s.Get(t.Context(), "dir/a")
	require.ErrorIs(t, err, backend.ErrUnavailable)
	<-lease.Done()
	now := scrape(t, s)
	assert.Equal(t, map[string]int{"ok": 2, "unknown": 1}, now.calls("put"))
	assert.Equal(t, map[string]int{"unavailable": 1}, now.calls("get"))
	assert.Equal(t, 1, now.count("seckill_store_leases_lost_total"))
	assert.Zero(t, now["seckill_store_leases"])
	assert.Greater(t, now["seckill_store_watch_staleness_seconds"], requestTimeout.Seconds(), "a put and a get ran into it")
	assert.Zero(t, now["seckill_store_watch_failures_total"])

	require.NoError(t, node.Kill(t.Context()))
	require.Eventually(t, func() bool {
		_, _ = s.Put(t.Context(), "dir/a", nil)
		return scrape(t, s).calls("put")["unavailable"] > 0
	}, patience, 5*time.Millisecond, "nothing is sent to nobody")
	require.NoError(t, node.Start(t.Context()))
	require.Eventually(t, func() bool {
		_, err := s.Put(t.Context(), "dir/b", nil)
		return err == nil
	}, patience, 5*time.Millisecond, "the server is back")

	require.NoError(t, forget())
	await("the watch begins again", func(f figures) bool { return f["seckill_store_watch_resyncs_total"] > 0 })
	require.NoError(t, f.foreign())
	await("the foreign key is met", func(f figures) bool { return f["seckill_store_foreign_keys_total"] > 0 })
	require.Eventually(t, func() bool {
		_, err := s.Get(t.Context(), "dir/c")
		return errors.Is(err, backend.ErrNotFound)
	}, patience, 5*time.Millisecond, "the store answers")
	assert.Equal(t, 1, scrape(t, s).calls("get")["not_found"])
	assert.Equal(t, 1, scrape(t, s).count("seckill_store_open_watches"), "it was never closed")
	require.ErrorIs(t, end(), context.Canceled)
}

func TestAFullStoreShows(t *testing.T) {
	t.Parallel()
	s := onEtcd(t, servers.Config{Extra: []string{"--quota-backend-bytes=4194304"}}).store
	value := make([]byte, backend.MaxValue)
	require.Eventually(t, func() bool {
		_, err := s.Put(t.Context(), fmt.Sprint(time.Now().UnixNano()), value)
		return err != nil
	}, patience, time.Millisecond)
	_, err := s.Lease(t.Context(), time.Minute)
	require.ErrorIs(t, err, backend.ErrFull)
	f := scrape(t, s)
	assert.Equal(t, 1, f.calls("put")["full"])
	assert.Equal(t, map[string]int{"full": 1}, f.calls("lease"))
}

func TestMissingRightsShow(t *testing.T) {
	t.Parallel()
	const management = "8c1b5c9f-7f0e-4f8c-9c38-3b7a3a0f6a55"
	s := onConsul(t, servers.Config{
		Extra: []string{"-hcl", `acl { enabled = true default_policy = "deny"
			tokens { initial_management = "` + management + `" agent = "` + management + `" } }`},
		Token: management,
	}).store
	_, err := s.Put(t.Context(), "a", nil)
	require.ErrorIs(t, err, backend.ErrDenied)
	_, err = s.Get(t.Context(), "a")
	require.ErrorIs(t, err, backend.ErrDenied)
	_, _, err = backend.List(t.Context(), s, "dir/")
	require.ErrorIs(t, err, backend.ErrDenied)
	f := scrape(t, s)
	for _, operation := range []string{"put", "get", "list"} {
		assert.Equal(t, map[string]int{"denied": 1}, f.calls(operation), operation)
	}
}
