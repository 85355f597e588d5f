package etcd_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/etcd"
)

// A client that resumes its watch on whatever it finds misses what another
// cluster has, or takes its smaller revisions for old news.
func TestAnotherClusterBehindTheAddress(t *testing.T) {
	old, other := serve(t), serve(t)
	p := newProxy(t, old.Endpoint())
	s := open(t, on(p.addr()))
	for range 20 {
		put(t, s, "dir/old", "v")
	}
	put(t, s, "dir/both", "old")
	w := watch(t, s, "dir/")
	require.Len(t, w.next().Puts, 2)

	direct := open(t, on(other.Endpoint()))
	rev := put(t, direct, "dir/both", "new")
	p.retarget(other.Endpoint())
	u := w.next()
	require.True(t, u.Snapshot)
	require.Equal(t, rev, u.Revision, "smaller than before")
	require.Equal(t, []string{"dir/both"}, keys(u.Puts))
	require.Equal(t, "new", string(u.Puts[0].Value))
	put(t, direct, "dir/next", "")
	require.Equal(t, []string{"dir/next"}, keys(w.next().Puts))
}

// A member restored from a copy of its data is the same cluster, and by the
// time a watch is back its revision can be the same or greater: nothing but
// reading the prefix again tells.
func TestTheSameClusterRestoredFromABackup(t *testing.T) {
	live, backup := t.TempDir(), t.TempDir()
	srv := serveIn(t, live)
	p := newProxy(t, srv.Endpoint())
	s := open(t, on(p.addr()))
	put(t, s, "dir/kept", "v")
	direct := open(t, on(srv.Endpoint()))
	require.NoError(t, direct.Close())
	p.cut()
	require.NoError(t, srv.Close())
	require.NoError(t, os.CopyFS(backup, os.DirFS(live)))

	srv = serveIn(t, live)
	p.retarget(srv.Endpoint())
	put(t, s, "dir/lost", "v")
	w := watch(t, s, "dir/")
	before := w.next()
	require.Equal(t, []string{"dir/kept", "dir/lost"}, keys(before.Puts))

	restored := serveIn(t, backup)
	direct = open(t, on(restored.Endpoint()))
	for range 10 {
		put(t, direct, "dir/kept", "restored")
	}
	rev := put(t, direct, "dir/kept", "last")
	require.Greater(t, rev, before.Revision)
	p.retarget(restored.Endpoint())
	u := w.next()
	require.True(t, u.Snapshot)
	require.Equal(t, []string{"dir/kept"}, keys(u.Puts), "dir/lost is gone")
	require.Equal(t, rev, u.Revision)
}

func TestHistoryCompactedWhileAway(t *testing.T) {
	srv := serve(t)
	p := newProxy(t, srv.Endpoint())
	s, direct := open(t, on(p.addr())), open(t, on(srv.Endpoint()))
	put(t, s, "dir/a", "v")
	put(t, s, "dir/b", "v")
	w := watch(t, s, "dir/")
	require.Len(t, w.next().Puts, 2)

	p.freeze(true)
	p.cut()
	require.NoError(t, direct.Delete(t.Context(), "dir/a"))
	rev := put(t, direct, "dir/c", "v")
	_, err := rawOn(t, srv.Endpoint()).Compact(t.Context(), int64(rev), clientv3.WithCompactPhysical())
	require.NoError(t, err)
	p.freeze(false)
	u := w.next()
	require.True(t, u.Snapshot)
	require.Equal(t, []string{"dir/b", "dir/c"}, keys(u.Puts))

	// And no loop follows: the next update is the next change.
	put(t, direct, "dir/d", "v")
	require.Equal(t, []string{"dir/d"}, keys(w.next().Puts))
}

// A middleman passes on what a watch asks, and compacts the history that it is
// about to ask for before it hands out the first snapshot: the stream stands, and
// the server itself says that the history is gone.
type middleman struct {
	pb.UnimplementedKVServer
	pb.UnimplementedWatchServer
	server  *clientv3.Client
	compact sync.Once
}

func (m *middleman) Range(ctx context.Context, req *pb.RangeRequest) (*pb.RangeResponse, error) {
	resp, err := pb.NewKVClient(m.server.ActiveConnection()).Range(ctx, req)
	m.compact.Do(func() {
		var last *clientv3.PutResponse
		for _, key := range []string{"/dir/b", "/dir/c"} {
			if err == nil {
				last, err = m.server.Put(ctx, key, "v")
			}
		}
		if err == nil {
			_, err = m.server.Compact(ctx, last.Header.Revision, clientv3.WithCompactPhysical())
		}
	})
	return resp, err
}

func (m *middleman) Watch(client pb.Watch_WatchServer) error {
	server, err := pb.NewWatchClient(m.server.ActiveConnection()).Watch(client.Context())
	if err != nil {
		return err
	}
	go func() { // ends with the client
		for {
			req, err := client.Recv()
			if err != nil || server.Send(req) != nil {
				return
			}
		}
	}()
	for {
		resp, err := server.Recv()
		if err != nil {
			return err
		}
		if err := client.Send(resp); err != nil {
			return err
		}
	}
}

func TestHistoryCompactedBeforeTheWatchBegins(t *testing.T) {
	srv := serve(t)
	direct := open(t, on(srv.Endpoint()))
	put(t, direct, "dir/a", "v")
	m := &middleman{server: rawOn(t, srv.Endpoint())}
	s := open(t, on(serveKV(t, m)))
	s.SetPulse(time.Hour, time.Hour) // silence is not what tells it
	w := watch(t, s, "dir/")
	require.Equal(t, []string{"dir/a"}, keys(w.next().Puts))
	u := w.next()
	require.True(t, u.Snapshot)
	require.Equal(t, []string{"dir/a", "dir/b", "dir/c"}, keys(u.Puts))
	put(t, direct, "dir/d", "v")
	require.Equal(t, []string{"dir/d"}, keys(w.next().Puts))
}

func TestForeignKeysAreLeftOutAndCounted(t *testing.T) {
	srv := serve(t)
	s := open(t, on(srv.Endpoint()))
	c := rawOn(t, srv.Endpoint())
	huge := strings.Repeat("v", backend.MaxValue+1)
	for key, value := range map[string]string{
		"/dir//a": "v", "/dir/../b": "v", "/dir/\n": "v", "/dir/\xff": "v", "/dir/huge": huge, "/dir/good": "v",
		"dir/other": "v", // not below the root: not even met
	} {
		_, err := c.Put(t.Context(), key, value)
		require.NoError(t, err)
	}
	w := watch(t, s, "dir/")
	require.Equal(t, []string{"dir/good"}, keys(w.next().Puts))
	require.EqualValues(t, 5, s.ForeignKeys())

	_, err := c.Put(t.Context(), "/dir//a", "w")
	require.NoError(t, err)
	_, err = c.Delete(t.Context(), "/dir//a")
	require.NoError(t, err)
	_, err = c.Put(t.Context(), "/dir/good", huge)
	require.NoError(t, err)
	u := w.next()
	require.Empty(t, u.Puts)
	require.Equal(t, []string{"dir/good"}, u.Deletes, "it has no value that can be told")
	require.EqualValues(t, 8, s.ForeignKeys())

	put(t, s, "dir/good", "again")
	require.Equal(t, []string{"dir/good"}, keys(w.next().Puts))
}

// More than fits into one message, and into one page.
func TestLargePrefixesAndTransactions(t *testing.T) {
	srv := serve(t)
	s := open(t, on(srv.Endpoint()))
	c := rawOn(t, srv.Endpoint())
	value := bytes.Repeat([]byte("v"), 15<<10)
	write := func(name string) {
		for part := range 8 {
			var ops []clientv3.Op
			for i := range 100 {
				ops = append(ops, clientv3.OpPut(fmt.Sprintf("/dir/%s-%d-%03d", name, part, i), string(value)))
			}
			_, err := c.Txn(t.Context()).Then(ops[:90]...).Commit()
			require.NoError(t, err)
			_, err = c.Txn(t.Context()).Then(ops[90:]...).Commit()
			require.NoError(t, err)
		}
	}
	write("before")
	w := watch(t, s, "dir/")
	u := w.next()
	require.Len(t, u.Puts, 800)
	assert.LessOrEqual(t, u.Puts[0].Revision, u.Puts[799].Revision)

	write("after")
	perRevision := map[backend.Revision]int{}
	for n := 0; n < 800; {
		u := w.next()
		for _, e := range u.Puts {
			require.LessOrEqual(t, e.Revision, u.Revision)
			perRevision[e.Revision]++
		}
		assert.Contains(t, []int{10, 90}, perRevision[u.Revision], "an update is complete up to its revision")
		n += len(u.Puts)
	}
}

// A client that falls behind gets what it missed in large answers, which the
// server cuts anywhere, also in the middle of a revision.
func TestAnUpdateIsNeverHalfARevision(t *testing.T) {
	srv := serve(t)
	p := newProxy(t, srv.Endpoint())
	s := open(t, on(p.addr()))
	w := watch(t, s, "dir/")
	w.next()
	p.freeze(true)
	c := rawOn(t, srv.Endpoint())
	value := strings.Repeat("v", 2<<10)
	for i := range 300 { // more than the server keeps for a client that does not listen
		_, err := c.Put(t.Context(), "/dir/fill", fmt.Sprint(i, value))
		require.NoError(t, err)
	}
	const keysEach = 50
	var last int64
	for i := range 40 {
		var ops []clientv3.Op
		for k := range keysEach {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("/dir/%d-%d", i, k), value))
		}
		resp, err := c.Txn(t.Context()).Then(ops...).Commit()
		require.NoError(t, err)
		last = resp.Header.Revision
	}
	p.freeze(false)
	perRevision := map[backend.Revision]int{}
	for u := w.next(); ; u = w.next() {
		for _, e := range u.Puts {
			require.LessOrEqual(t, e.Revision, u.Revision)
			if e.Key != "dir/fill" {
				perRevision[e.Revision]++
			}
		}
		for rev, n := range perRevision {
			require.Equal(t, keysEach, n, "revision %d", rev)
		}
		if u.Revision == backend.Revision(last) {
			break
		}
	}
	require.Len(t, perRevision, 40)
}

func TestOneQuestionForAllWatches(t *testing.T) {
	srv := serve(t)
	p := newProxy(t, srv.Endpoint())
	s := open(t, on(p.addr()))
	s.SetPulse(100*time.Millisecond, time.Minute)
	rev := put(t, s, "dir/k", "v")
	var watches []*watcher
	for i := range 10 {
		w := watch(t, s, fmt.Sprintf("dir/%.*s", i%2, "k"))
		require.True(t, w.next().Snapshot)
		watches = append(watches, w)
	}
	// In a store that nobody writes to ...
	for range 3 {
		for _, w := range watches {
			require.Equal(t, backend.Update{Revision: rev}, w.any())
		}
	}
	// ... and in one where others are busy: the revision shows how far the
	// watch has come.
	now := put(t, s, "elsewhere", "v")
	for _, w := range watches {
		require.Eventually(t, func() bool { return w.any().Revision == now }, patience, time.Millisecond)
	}
	require.EqualValues(t, 1, p.accepted.Load(), "one connection carries it all")
}

// A server that hangs without closing its connections: nothing but silence
// tells.
func TestASilentServerIsLeft(t *testing.T) {
	srv := serve(t)
	p := newProxy(t, srv.Endpoint())
	cfg := on(p.addr())
	cfg.RequestTimeout = 200 * time.Millisecond
	s, direct := open(t, cfg), open(t, on(srv.Endpoint()))
	s.SetPulse(100*time.Millisecond, 500*time.Millisecond)
	w := watch(t, s, "dir/")
	w.next()
	p.muted.Store(true) // and what is asked now is never answered
	put(t, direct, "dir/k", "v")
	time.Sleep(time.Second) // longer than the silence that is borne
	p.muted.Store(false)
	p.cut() // the old connection has lost a part of its stream
	u := w.next()
	require.True(t, u.Snapshot)
	require.Equal(t, []string{"dir/k"}, keys(u.Puts))
}

// An answer that stops in the middle says nothing and holds up its connection:
// nothing but silence tells. The watch may not be stale for longer than it is
// waited for here.
func TestAnAnswerStopsInTheMiddle(t *testing.T) {
	t.Parallel()
	srv := serve(t)
	p := newProxy(t, srv.Endpoint())
	s, direct := open(t, on(p.addr())), open(t, on(srv.Endpoint()))
	w := watch(t, s, "dir/")
	w.next()
	p.stalls.Store(true)
	rev := put(t, direct, "dir/k", strings.Repeat("v", backend.MaxValue))
	require.Equal(t, rev, w.next().Revision)
	require.False(t, p.stalls.Load(), "it was stopped")
}

func TestAWatchThatIsLeftEnds(t *testing.T) {
	srv := serve(t)
	s := open(t, on(srv.Endpoint()))
	put(t, s, "dir/k", "v")
	stays := watch(t, s, "dir/")
	stays.next()
	for range 50 {
		for u, err := range s.WatchPrefix(t.Context(), "dir/") {
			require.NoError(t, err)
			require.True(t, u.Snapshot)
			break
		}
	}
	put(t, s, "dir/k", "w")
	require.Equal(t, []string{"dir/k"}, keys(stays.next().Puts), "the stream is still there for the others")
}

// What a slow consumer has not taken is merged.
func TestASlowConsumer(t *testing.T) {
	s := open(t, on(serve(t).Endpoint()))
	w := watch(t, s, "dir/")
	w.next()
	var last backend.Revision
	for i := range 500 {
		last = put(t, s, fmt.Sprintf("dir/%d", i%3), fmt.Sprint(i))
	}
	updates := 0
	for u := w.next(); ; u = w.next() {
		updates++
		require.LessOrEqual(t, len(u.Puts), 3)
		if u.Revision == last {
			break
		}
	}
	assert.Less(t, updates, 500)
}

func TestBadPrefix(t *testing.T) {
	s, err := etcd.Open(on("localhost:1"))
	require.NoError(t, err)
	defer s.Close()
	require.ErrorIs(t, watch(t, s, "/a").err(), backend.ErrInvalid)
}
