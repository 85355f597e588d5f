package etcd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/conformance/servers"
)

// server starts real servers for what can't be done to an embedded one.
func server(t *testing.T, cfg servers.Config) *servers.Cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a server process; run without -short")
	}
	return servers.ForTest(t, cfg)
}

func TestAFullStore(t *testing.T) {
	srv := server(t, servers.Config{Kind: servers.Etcd, Extra: []string{"--quota-backend-bytes=4194304"}})
	s := open(t, on(srv.Endpoints()...))
	rev := put(t, s, "k", "v")
	value := bytes.Repeat([]byte("v"), 128<<10)
	var full error
	for i := 0; full == nil && i < 100; i++ {
		_, full = s.Put(t.Context(), fmt.Sprint("fill/", i), value)
	}
	require.ErrorIs(t, full, backend.ErrFull)
	_, err := s.Put(t.Context(), "k", value, backend.If("k", rev))
	require.ErrorIs(t, err, backend.ErrFull)
	_, err = s.Lease(t.Context(), time.Minute)
	require.ErrorIs(t, err, backend.ErrFull)
	got, err := s.Get(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, rev, got.Revision, "nothing was written")
	require.NoError(t, s.Delete(t.Context(), "fill/0"), "deleting makes room")
	require.NoError(t, s.Delete(t.Context(), "k", backend.If("k", rev)))
}

// While the store fills up under many writers, etcd applies some writes and
// answers that there is no space for them.
func TestWhatAFullStoreRefusedMayBeThere(t *testing.T) {
	srv := server(t, servers.Config{Kind: servers.Etcd, Extra: []string{"--quota-backend-bytes=8388608"}})
	s := open(t, on(srv.Endpoints()...))
	value := bytes.Repeat([]byte("v"), 64<<10)
	var mu sync.Mutex
	refused := map[string]error{}
	var writers sync.WaitGroup
	for w := range 32 {
		writers.Go(func() {
			for i := range 20 {
				key := fmt.Sprintf("%d/%d", w, i)
				if _, err := s.Put(t.Context(), key, value); err != nil {
					mu.Lock()
					refused[key] = err
					mu.Unlock()
				}
			}
		})
	}
	writers.Wait()
	require.NotEmpty(t, refused)
	there := 0
	for key, err := range refused {
		require.ErrorIs(t, err, backend.ErrFull)
		require.ErrorIs(t, err, backend.ErrUnknown)
		_, gone := s.Get(t.Context(), key)
		if gone == nil {
			there++
		}
	}
	t.Logf("%d writes refused, %d of them applied", len(refused), there)
}

func TestAKilledServer(t *testing.T) {
	srv := server(t, servers.Config{Kind: servers.Etcd})
	s := open(t, on(srv.Endpoints()...))
	put(t, s, "dir/k", "v")
	w := watch(t, s, "dir/")
	w.next()
	lease, err := s.Lease(t.Context(), 30*time.Second)
	require.NoError(t, err)
	rev := put(t, s, "dir/held", "v", backend.WithLease(lease))
	require.Equal(t, []string{"dir/held"}, keys(w.next().Puts))

	require.NoError(t, srv.Node(0).Kill(t.Context()))
	_, err = s.Put(within(t, 300*time.Millisecond), "dir/k", nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, backend.ErrUnavailable)
	require.NoError(t, srv.Node(0).Start(t.Context()))

	got, err := s.Get(t.Context(), "dir/held")
	require.NoError(t, err)
	require.Equal(t, rev, got.Revision)
	put(t, s, "dir/after", "v")
	for seen := map[string]bool{}; !seen["dir/after"]; {
		for _, e := range w.next().Puts {
			seen[e.Key] = true
		}
	}
	require.NoError(t, lease.Close(t.Context()))
}

func TestTheOutcomeOfAWriteToAPausedServer(t *testing.T) {
	srv := server(t, servers.Config{Kind: servers.Etcd})
	s := open(t, on(srv.Endpoints()...))
	put(t, s, "k", "v")
	require.NoError(t, srv.Node(0).Pause(t.Context()))
	_, err := s.Put(within(t, 300*time.Millisecond), "k", []byte("w"))
	require.ErrorIs(t, err, backend.ErrUnknown)
	_, err = s.Get(within(t, 300*time.Millisecond), "k")
	require.ErrorIs(t, err, backend.ErrUnavailable)
	require.NoError(t, srv.Node(0).Resume(t.Context()))
	put(t, s, "k", "x")
}

// full leaves out what takes three nodes.
func full(t *testing.T) {
	t.Helper()
	if os.Getenv("SECKILL_TEST_FULL") == "" {
		t.Skip("needs three nodes; run with SECKILL_TEST_FULL=1")
	}
}

func TestTheLeaderDies(t *testing.T) {
	full(t)
	srv := server(t, servers.Config{Kind: servers.Etcd, Nodes: 3})
	s := open(t, on(srv.Endpoints()...))
	put(t, s, "dir/k", "v")
	w := watch(t, s, "dir/")
	w.next()
	require.NoError(t, leader(t, srv).Kill(t.Context()))
	var rev backend.Revision
	require.Eventually(t, func() bool {
		var err error
		rev, err = s.Put(t.Context(), "dir/k", []byte("w"))
		if err != nil {
			assert.True(t, errors.Is(err, backend.ErrUnknown) || errors.Is(err, backend.ErrUnavailable), err)
		}
		return err == nil
	}, patience, 10*time.Millisecond)
	for u := w.next(); u.Revision < rev; u = w.next() {
		t.Log(u)
	}
}

// A member that lost its leader answers nothing that it can't know: watches
// and reads go elsewhere, or say so.
func TestAMemberWithoutALeader(t *testing.T) {
	full(t)
	srv := server(t, servers.Config{Kind: servers.Etcd, Nodes: 3})
	s := open(t, on(srv.Node(0).Endpoint()))
	put(t, s, "dir/k", "v")
	w := watch(t, s, "dir/")
	w.next()
	require.NoError(t, srv.Node(1).Kill(t.Context()))
	require.NoError(t, srv.Node(2).Kill(t.Context()))
	require.Eventually(t, func() bool {
		_, err := s.Put(within(t, time.Second), "dir/k", []byte("w"))
		return errors.Is(err, backend.ErrUnavailable) // no leader: certainly not applied
	}, patience, 10*time.Millisecond)
	require.NoError(t, srv.Node(1).Start(t.Context()))
	rev := put(t, s, "dir/k", "x")
	for u := w.next(); u.Revision < rev; u = w.next() {
		t.Log(u)
	}
}

func leader(t *testing.T, srv *servers.Cluster) *servers.Node {
	t.Helper()
	c := raw(t, clientv3.Config{Endpoints: srv.Endpoints()})
	for _, n := range srv.Nodes() {
		st, err := c.Status(t.Context(), n.Endpoint())
		require.NoError(t, err)
		if st.Leader == st.Header.MemberId {
			return n
		}
	}
	require.Fail(t, "no leader")
	return nil
}
