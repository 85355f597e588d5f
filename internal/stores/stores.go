// Package stores lets one test run on every store: memory, etcd and Consul,
// each with a namespace of its own and a way in behind the driver's back. Only
// tests import it.
package stores

import (
	"context"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"
	"go.uber.org/goleak"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/conformance/servers"
)

// ShortestTTL is a lease that every store of the tests grants as it is.
const ShortestTTL = time.Second

// patience bounds the wait for a condition. Nothing waits that long unless it
// fails.
const patience = time.Minute

// A Space is an empty namespace of a running server. What bypasses the driver
// (Put, Delete, Revoke) uses the server's own client, as people's tools do.
type Space interface {
	// Open opens another client, as another process would. It is closed with
	// the test.
	Open(t testing.TB) backend.Store

	// Put writes a key, knowing nothing of leases or conditions.
	Put(t testing.TB, key, value string)

	// Delete deletes a key.
	Delete(t testing.TB, key string)

	// Revoke ends a lease, by the ID that the driver tells.
	Revoke(t testing.TB, lease string)
}

// Each runs f on each store. On memory it runs in a bubble of testing/synctest,
// so f must not start subtests; the others need servers and are skipped by
// -short.
func Each(t *testing.T, f func(t *testing.T, s Space)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { f(t, NewMemory()) })
	})
	EachServer(t, f)
}

// EachServer is [Each] without memory: for tests with processes of their own.
func EachServer(t *testing.T, f func(t *testing.T, s Space)) {
	t.Helper()
	for _, k := range kinds {
		t.Run(string(k.Kind), func(t *testing.T) {
			needServers(t)
			f(t, k.space(t, servers.Shared(t, k.Kind)))
		})
	}
}

// BenchServer is [EachServer] for benchmarks.
func BenchServer(b *testing.B, f func(b *testing.B, s Space)) {
	b.Helper()
	for _, k := range kinds {
		b.Run(string(k.Kind), func(b *testing.B) { f(b, k.space(b, servers.Shared(b, k.Kind))) })
	}
}

// EachOwn is [Each] on servers that f may kill and pause: etcd and Consul only.
func EachOwn(t *testing.T, f func(t *testing.T, s Space, c *servers.Cluster)) {
	t.Helper()
	EachCluster(t, 1, f)
}

// EachCluster is [EachOwn] on clusters of so many nodes.
func EachCluster(t *testing.T, nodes int, f func(t *testing.T, s Space, c *servers.Cluster)) {
	t.Helper()
	for _, k := range kinds {
		t.Run(string(k.Kind), func(t *testing.T) {
			needServers(t)
			c := servers.ForTest(t, servers.Config{Kind: k.Kind, Nodes: nodes})
			f(t, k.space(t, c), c)
		})
	}
}

// Root is the prefix of a space's keys on its server, for programs that open the
// store by themselves.
func Root(t testing.TB, s Space) string {
	t.Helper()
	on, ok := s.(interface{ assignment() assignment })
	if !ok {
		t.Fatalf("%T is on no server", s)
	}
	return on.assignment().Root
}

// A kind of store, as the tests come by it.
type kind struct {
	servers.Kind
	open  func(endpoints []string, root string) (opened, error)
	space func(t testing.TB, c *servers.Cluster) Space
}

var kinds = []kind{
	{servers.Etcd, openEtcd, newEtcd},
	{servers.Consul, openConsul, newConsul},
}

// An opened store has to be closed.
type opened interface {
	backend.Store
	io.Closer
}

func needServers(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: runs on memory only, this needs a server")
	}
}

// Main runs a package's tests, ends the servers they shared and looks for
// goroutines left behind. In a process that was started by [Spawn] it plays the
// role instead.
func Main(m *testing.M, roles Roles) {
	if code, ok := child(roles); ok {
		os.Exit(code)
	}
	goleak.VerifyTestMain(main{m})
}

type main struct{ m *testing.M }

func (m main) Run() int {
	code := m.m.Run()
	if err := servers.CloseShared(); err != nil {
		panic(err)
	}
	return code
}

// Wait waits until something is so.
func Wait(t testing.TB, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !so(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}

// Start runs f until stop is called, at the latest when the test ends. stop
// waits for f and returns what it returned.
func Start(t testing.TB, f func(ctx context.Context) error) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background()) //nolint:usetesting // ends before the cleanups, in their order
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = f(ctx)
	}()
	stop = func() error {
		cancel()
		<-done
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return stop
}

// root is a prefix that no other test uses.
func root() string { return "test-" + ulid.Make().String() + "/" }

func closeLater(t testing.TB, c interface{ Close() error }) {
	t.Helper()
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close %T: %v", c, err)
		}
	})
}
