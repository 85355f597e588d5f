package doctor_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/conformance/servers"
)

// All is well with a fresh Consul, and with an etcd once it compacts. Nothing
// is left in either.
func TestHealthy(t *testing.T) {
	t.Run("consul", func(t *testing.T) {
		t.Parallel()
		c := server(t, servers.Config{Kind: servers.Consul})
		set := on(c)
		found := examine(t, open(t, set), set)
		found.require(t, nil)
		assert.Contains(t, found["lease-bounds"].Found, "1s is granted as 1s; with --node-ttl=1h0m0s a node that dies is listed for 1h0m0s to 2h0m0s")

		client := rawConsul(t, c, "")
		keys, _, err := client.KV().Keys("", "", nil)
		require.NoError(t, err)
		assert.Empty(t, keys)
		sessions, _, err := client.Session().List(nil)
		require.NoError(t, err)
		assert.Empty(t, sessions)
	})
	t.Run("etcd", func(t *testing.T) {
		t.Parallel()
		c := server(t, servers.Config{Kind: servers.Etcd})
		client := rawEtcd(t, c, "")
		set := on(c)
		examine(t, open(t, set), set).require(t, verdicts{"compaction": warn})

		now, err := client.Get(t.Context(), "x")
		require.NoError(t, err)
		// What the doctor has written is all there was.
		history := client.Watch(t.Context(), "", clientv3.WithPrefix(), clientv3.WithRev(1))
		puts := 0
		for seen := int64(0); seen < now.Header.Revision; {
			r := <-history
			require.NoError(t, r.Err())
			for _, e := range r.Events {
				seen = e.Kv.ModRevision
				if e.Type == clientv3.EventTypePut {
					puts++
					assert.Contains(t, string(e.Kv.Key), "/shop/doctor/probe-")
					assert.NotZero(t, e.Kv.Lease, "a key that would stay if the doctor were killed now")
				}
			}
		}
		assert.Greater(t, puts, 10)

		_, err = client.Compact(t.Context(), now.Header.Revision)
		require.NoError(t, err)
		examine(t, open(t, set), set).require(t, nil)
		left, err := client.Get(t.Context(), "", clientv3.WithPrefix())
		require.NoError(t, err)
		assert.Empty(t, left.Kvs)
		leases, err := client.Leases(t.Context())
		require.NoError(t, err)
		assert.Empty(t, leases.Leases)
	})
}

// What takes nothing but the contract works on any store.
func TestAStoreThatTellsNothing(t *testing.T) {
	s := memory.New()
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	set := onNothing()
	examine(t, s, set).require(t, nil)
	entries, _, err := backend.List(t.Context(), s, "")
	require.NoError(t, err)
	assert.Empty(t, entries)

	require.NoError(t, s.Close())
	found := examine(t, s, set)
	found.require(t, all(unknown, generic...).and(verdicts{"reach": fail}))
}

func TestADeadEndpoint(t *testing.T) {
	t.Parallel()
	c := server(t, servers.Config{Kind: servers.Etcd})
	set := on(c)
	dead := nowhere(t)
	set.Store.Endpoints = append(set.Store.Endpoints, dead)
	found := examine(t, open(t, set), set)
	found.require(t, verdicts{"endpoints": warn, "compaction": warn})
	assert.Contains(t, found["endpoints"].Found, dead+": dial tcp "+dead+": connect: connection refused")
	assert.Contains(t, found["endpoints"].Remedy, "\n    --endpoints=")
}

func TestNobodyThere(t *testing.T) {
	for _, kind := range []servers.Kind{servers.Etcd, servers.Consul} {
		set := onNothing()
		set.Backend, set.Store.Endpoints = string(kind), []string{nowhere(t)}
		found := examine(t, open(t, set), set)
		want := all(unknown, slices.Concat(drivers[set.Backend], generic)...)
		found.require(t, want.and(verdicts{"endpoints": fail}))
		assert.Contains(t, found["endpoints"].Found, "connection refused")
		assert.Contains(t, found["endpoints"].Remedy, "Nothing listens there")
		assert.Equal(t, "not tried: no endpoint answers", found["right-get"].Found)
	}
}

func nowhere(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// A server that stands still costs no more than its time, whenever that
// happens.
func TestAPausedServer(t *testing.T) {
	for _, kind := range []servers.Kind{servers.Etcd, servers.Consul} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			c := server(t, servers.Config{Kind: kind})
			set := on(c)
			set.Store.RequestTimeout = 3 * time.Second
			midway := &onThePut{Store: open(t, set), number: 3, do: func() { assert.NoError(t, c.Node(0).Pause(t.Context())) }}
			examine(t, midway, set).require(t, all(fail, "right-put-if", "right-get").
				and(all(unknown, "right-watch", "right-delete", "round-trip", "lease-bounds", "foreign-keys")))

			found := examine(t, open(t, set), set)
			found.require(t, all(unknown, slices.Concat(drivers[set.Backend], generic)...).and(verdicts{"endpoints": fail}))
			assert.Contains(t, found["endpoints"].Found, "no answer within 3s")
			assert.Contains(t, found["endpoints"].Remedy, "hangs or is overloaded")
		})
	}
}

// onThePut does something before one of the puts.
type onThePut struct {
	backend.Store
	number int32
	puts   atomic.Int32
	do     func()
}

func (s *onThePut) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	if s.puts.Add(1) == s.number {
		s.do()
	}
	return s.Store.Put(ctx, key, value, opts...)
}

var errInterrupted = errors.New("received the signal")

// Ctrl-C ends it at once, and still nothing is left.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	c := server(t, servers.Config{Kind: servers.Consul})
	set := on(c)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	s := &onThePut{Store: open(t, set), number: 4, do: func() { cancel(errInterrupted) }}
	found := examineUntil(ctx, t, s, set)
	found.require(t, all(unknown, "right-watch", "right-delete", "round-trip", "lease-bounds", "foreign-keys"))
	assert.Equal(t, "not tried: received the signal", found["round-trip"].Found)

	client := rawConsul(t, c, "")
	keys, _, err := client.KV().Keys("", "", nil)
	require.NoError(t, err)
	assert.Empty(t, keys)
	sessions, _, err := client.Session().List(nil)
	require.NoError(t, err)
	assert.Empty(t, sessions)
}

func TestForeignKeys(t *testing.T) {
	t.Parallel()
	c := server(t, servers.Config{Kind: servers.Etcd})
	client := rawEtcd(t, c, "")
	for _, key := range []string{"/shop/a//b", "/shop/../c", "/other//d"} {
		_, err := client.Put(t.Context(), key, "")
		require.NoError(t, err)
	}
	_, err := client.Put(t.Context(), "/shop/large", string(make([]byte, backend.MaxValue+1)))
	require.NoError(t, err)
	set := on(c)
	found := examine(t, open(t, set), set)
	found.require(t, verdicts{"foreign-keys": warn, "compaction": warn})
	assert.Contains(t, found["foreign-keys"].Found, "3 below the root break the rules for keys, or have more than 256 KiB")
	assert.Contains(t, found["foreign-keys"].Remedy, "\n    etcdctl --endpoints="+c.Endpoints()[0]+" get --prefix --keys-only /shop/")
}

// No store is fast enough for leases of a microsecond.
func TestASlowStore(t *testing.T) {
	s := memory.New()
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	set := onNothing()
	set.Node.TTL = time.Nanosecond
	found := examine(t, s, set)
	found.require(t, verdicts{"round-trip": warn})
	assert.Regexp(t, `: slow for leases of 1ns, which have 0s for a renewal$`, found["round-trip"].Found)
	assert.Regexp(t, `\n    --node-ttl=\d+s$`, found["round-trip"].Remedy)
}

// A store that is full says so, and what to do.
func TestAFullStore(t *testing.T) {
	t.Parallel()
	c := server(t, servers.Config{Kind: servers.Etcd, Extra: []string{"--quota-backend-bytes=2097152"}})
	set := on(c)
	s := open(t, set)
	var err error
	for i := 0; err == nil; i++ {
		_, err = s.Put(t.Context(), fmt.Sprint("fill/", i), make([]byte, 128<<10))
	}
	require.ErrorIs(t, err, backend.ErrFull)
	found := examine(t, s, set)
	delete(found, "fragmentation") // may be one way or the other
	found.require(t, all(fail, "alarms", "right-lease", "right-put-if").and(all(warn, "quota", "compaction")).
		and(all(unknown, "right-put-with-lease", "lease-bounds")))
	assert.Contains(t, found["alarms"].Found, "NOSPACE at member ")
	assert.Contains(t, found["alarms"].Remedy, " alarm disarm\n")
	assert.Equal(t, "See alarms and quota.", found["right-lease"].Remedy)
}
