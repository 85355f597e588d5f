package consul_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/consul"
	"github.com/seed27495941/seckill/conformance/servers"
)

func TestMain(m *testing.M) {
	code := m.Run()
	// A proxy that is stopped abandons what it was just copying.
	abandoned := goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run")
	unread := goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read")
	if err := errors.Join(servers.CloseShared(), goleak.Find(abandoned, unread)); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// watchdog is how long a condition may take that should come at once. It is no measure, only an end.
const watchdog = 30 * time.Second

func needServers(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a Consul server; run without -short")
	}
}

// shared is the server that tests share which neither kill nor fill it.
func shared(t *testing.T) *servers.Cluster {
	t.Helper()
	needServers(t)
	return servers.Shared(t, servers.Consul)
}

// own is a server of the test's own.
func own(t *testing.T, cfg servers.Config) *servers.Cluster {
	t.Helper()
	needServers(t)
	cfg.Kind = servers.Consul
	return servers.ForTest(t, cfg)
}

var directories atomic.Uint64

// root is a directory that no other test uses.
func root() string { return fmt.Sprintf("t%d-%d/", time.Now().UnixNano(), directories.Add(1)) }

// open makes a store that is closed with the test.
func open(t *testing.T, cfg consul.Config) *consul.Store {
	t.Helper()
	s, err := consul.Open(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// here is a store in a directory of its own on the shared server.
func here(t *testing.T) (*consul.Store, string) {
	t.Helper()
	dir := root()
	return open(t, consul.Config{Endpoints: shared(t).Endpoints(), Root: dir}), dir
}

// raw is a client beside the driver.
func raw(t *testing.T, c *servers.Cluster) *api.Client {
	t.Helper()
	client, err := api.NewClient(&api.Config{Address: c.Node(0).URL()})
	require.NoError(t, err)
	return client
}

func put(t *testing.T, s backend.Store, key, value string, opts ...backend.PutOption) backend.Revision {
	t.Helper()
	rev, err := s.Put(t.Context(), key, []byte(value), opts...)
	require.NoError(t, err)
	require.NotZero(t, rev)
	return rev
}

func get(t *testing.T, s backend.Store, key string) backend.Entry {
	t.Helper()
	e, err := s.Get(t.Context(), key)
	require.NoError(t, err)
	return e
}

func newLease(t *testing.T, s backend.Store, ttl time.Duration) backend.Lease {
	t.Helper()
	l, err := s.Lease(t.Context(), ttl)
	require.NoError(t, err)
	return l
}

func requireConflict(t *testing.T, err error, want backend.ConflictError) {
	t.Helper()
	require.ErrorIs(t, err, backend.ErrConflict)
	var conflict *backend.ConflictError
	require.ErrorAs(t, err, &conflict)
	require.Equal(t, want, *conflict)
}

// eventually waits for a condition under the watchdog.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	require.Eventually(t, holds, watchdog, 5*time.Millisecond, what)
}

// A follower ranges over a watch in the background.
type follower struct {
	t       *testing.T
	updates chan backend.Update
	ended   chan error
	cancel  context.CancelFunc
	state   backend.State
}

func follow(t *testing.T, s backend.Store, prefix string) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	f := &follower{t: t, updates: make(chan backend.Update), ended: make(chan error, 1), cancel: cancel}
	go func() {
		for u, err := range s.WatchPrefix(ctx, prefix) {
			if err != nil {
				f.ended <- err
				return
			}
			select {
			case f.updates <- u:
			case <-ctx.Done():
			}
		}
	}()
	t.Cleanup(cancel)
	return f
}

// next is the next update that says anything.
func (f *follower) next() backend.Update {
	f.t.Helper()
	for {
		u := f.any()
		if u.Snapshot || len(u.Puts)+len(u.Deletes) > 0 {
			return u
		}
	}
}

// any is the next update.
func (f *follower) any() backend.Update {
	f.t.Helper()
	select {
	case u := <-f.updates:
		f.state.Apply(u)
		return u
	case err := <-f.ended:
		require.NoError(f.t, err, "the watch ended")
	case <-time.After(watchdog):
		require.Fail(f.t, "no update")
	}
	return backend.Update{}
}

// end is the error that ends the watch.
func (f *follower) end() error {
	f.t.Helper()
	for {
		select {
		case u := <-f.updates:
			f.state.Apply(u)
		case err := <-f.ended:
			return err
		case <-time.After(watchdog):
			require.Fail(f.t, "the watch goes on")
		}
	}
}

func keys(entries []backend.Entry) []string {
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Key)
	}
	return names
}
