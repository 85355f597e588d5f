package consul_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/consul"
	"github.com/seed27495941/seckill/conformance/servers"
)

func TestWatch(t *testing.T) {
	s, _ := here(t)
	a := put(t, s, "dir/a", "1")
	put(t, s, "dir", "outside")
	put(t, s, "dir2/a", "outside")
	f := follow(t, s, "dir/")
	first := f.next()
	require.True(t, first.Snapshot)
	require.Equal(t, []backend.Entry{{Key: "dir/a", Value: []byte("1"), Revision: a}}, first.Puts)

	b := put(t, s, "dir/b", "")
	u := f.next()
	require.Equal(t, backend.Update{Revision: b, Puts: []backend.Entry{{Key: "dir/b", Value: []byte{}, Revision: b}}}, u)

	put(t, s, "dir2/b", "outside")
	require.NoError(t, s.Delete(t.Context(), "dir/a"))
	u = f.next()
	require.Equal(t, []string{"dir/a"}, u.Deletes)
	require.Empty(t, u.Puts)
	require.Greater(t, u.Revision, b)

	require.NoError(t, s.Delete(t.Context(), "dir/b"))
	require.Equal(t, []string{"dir/b"}, f.next().Deletes, "the departure of the last one is told")
	require.Zero(t, f.state.Len())
}

// A prefix is literal, and the empty one covers everything.
func TestList(t *testing.T) {
	s, _ := here(t)
	for _, key := range []string{"dir", "dir/a", "dir/b/c", "dir2/a"} {
		put(t, s, key, "")
	}
	for prefix, want := range map[string][]string{
		"dir/": {"dir/a", "dir/b/c"},
		"dir":  {"dir", "dir/a", "dir/b/c", "dir2/a"},
		"":     {"dir", "dir/a", "dir/b/c", "dir2/a"},
		"none": {},
	} {
		entries, rev, err := backend.List(t.Context(), s, prefix)
		require.NoError(t, err)
		require.Equal(t, want, keys(entries), prefix)
		require.NotZero(t, rev)
	}
}

// Without a root, in a store with nothing in it, the empty prefix works too.
func TestEmptyStore(t *testing.T) {
	c := own(t, servers.Config{})
	s := open(t, consul.Config{Endpoints: c.Endpoints()})
	f := follow(t, s, "")
	u := f.next()
	require.True(t, u.Snapshot)
	require.Empty(t, u.Puts)
	rev := put(t, s, "k", "v")
	require.Equal(t, rev, f.next().Puts[0].Revision)
}

// Whoever is slow gets the sum of what happened, and the last state.
func TestSlowConsumer(t *testing.T) {
	s, _ := here(t)
	f := follow(t, s, "")
	f.next()
	for i := range 50 {
		put(t, s, fmt.Sprint("k", i%5), fmt.Sprint(i))
	}
	require.NoError(t, s.Delete(t.Context(), "k0"))
	last := put(t, s, "end", "")
	updates := 0
	for f.state.Revision() < last {
		f.next()
		updates++
	}
	require.Less(t, updates, 10, "versions in between are merged")
	require.Equal(t, 5, f.state.Len())
	e, _ := f.state.Get("k4")
	require.Equal(t, "49", string(e.Value))
}

// The receiver owns what it gets: other watches don't see what it does with it.
func TestUpdatesAreOwned(t *testing.T) {
	s, _ := here(t)
	put(t, s, "k", "value")
	f, g := follow(t, s, ""), follow(t, s, "")
	copy(f.next().Puts[0].Value, "XXXXX")
	require.Equal(t, "value", string(g.next().Puts[0].Value))
	put(t, s, "k", "again")
	copy(f.next().Puts[0].Value, "XXXXX")
	require.Equal(t, "again", string(g.next().Puts[0].Value))
}

// The first update is as new as what was acknowledged before, though another watch keeps the prefix in view already.
func TestFirstUpdateIsFresh(t *testing.T) {
	s, dir := here(t)
	writer := open(t, consul.Config{Endpoints: shared(t).Endpoints(), Root: dir})
	follow(t, s, "").next()
	for range 100 {
		rev := put(t, writer, "k", "")
		entries, _, err := backend.List(t.Context(), s, "")
		require.NoError(t, err)
		require.GreaterOrEqual(t, entries[0].Revision, rev)
	}
}

// counted is a client that counts its requests.
type counted struct {
	base     http.RoundTripper
	requests atomic.Int64
	blocking atomic.Int64 // blocking queries under way
	most     atomic.Int64 // of them at once
}

func (c *counted) RoundTrip(req *http.Request) (*http.Response, error) {
	c.requests.Add(1)
	if req.URL.Query().Has("index") {
		now := c.blocking.Add(1)
		defer c.blocking.Add(-1)
		for most := c.most.Load(); now > most && !c.most.CompareAndSwap(most, now); most = c.most.Load() {
		}
	}
	return c.base.RoundTrip(req)
}

// countedStore is a store of a client of one's own, whose requests are counted.
func countedStore(t *testing.T, c *servers.Cluster, dir string) (*consul.Store, *counted) {
	t.Helper()
	base := &http.Transport{MaxIdleConnsPerHost: 8}
	t.Cleanup(base.CloseIdleConnections)
	count := &counted{base: base}
	client, err := api.NewClient(&api.Config{Address: c.Node(0).URL(), HttpClient: &http.Client{Transport: count}})
	require.NoError(t, err)
	s, err := consul.New(client, consul.Options{Root: dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s, count
}

// A list is one request. A watch that polled would show here (go-cloud's etcdvar sent 7,620 requests in 3s), so does one that
// spins on a blocking query without an index (go-kit #1214).
func TestIdleWatchIsQuiet(t *testing.T) {
	t.Parallel()
	s, count := countedStore(t, shared(t), root())
	put(t, s, "dir/k", "v")
	count.requests.Store(0)
	for range 3 {
		_, _, err := backend.List(t.Context(), s, "dir/")
		require.NoError(t, err)
	}
	require.EqualValues(t, 3, count.requests.Load())

	// An absent prefix is woken by the other tests' writes: it has a test of its own.
	count.requests.Store(0)
	follow(t, s, "dir/").next()
	eventually(t, "it is followed", func() bool { return count.blocking.Load() == 1 })
	time.Sleep(3 * time.Second)
	require.LessOrEqual(t, count.requests.Load(), int64(3))
}

// An absent prefix is woken by every write to the store. Neither the server nor the consumer may feel that.
func TestAbsentPrefixBesideABusyNeighbour(t *testing.T) {
	t.Parallel()
	shared := shared(t)
	dir := root()
	s, count := countedStore(t, shared, dir)
	neighbour := open(t, consul.Config{Endpoints: shared.Endpoints(), Root: dir})
	f := follow(t, s, "none/")
	f.next()

	stop, stopped := make(chan struct{}), make(chan struct{})
	var writes atomic.Int64
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := neighbour.Put(t.Context(), "busy", nil); err == nil {
					writes.Add(1)
				}
			}
		}
	}()
	updates, began := 0, time.Now()
	for end := time.After(8 * time.Second); end != nil; {
		select {
		case u := <-f.updates:
			require.Empty(t, u.Puts)
			require.Empty(t, u.Deletes)
			updates++
		case <-end:
			end = nil
		}
	}
	t.Logf("%d writes of the neighbour, %d requests, %d empty updates in %v", writes.Load(), count.requests.Load(), updates, time.Since(began))
	require.LessOrEqual(t, updates, 2)
	require.LessOrEqual(t, count.requests.Load(), int64(20))
	require.Greater(t, writes.Load(), 5*count.requests.Load())

	rev := put(t, s, "none/any more", "")
	require.Equal(t, rev, f.next().Puts[0].Revision)
	close(stop)
	<-stopped
}

// All watches of a prefix share one connection, and reads for those that join at once are shared too.
func TestManyWatchesOneQuery(t *testing.T) {
	t.Parallel()
	s, count := countedStore(t, shared(t), root())
	put(t, s, "k", "0")
	const watches = 200
	followers := make([]*follower, watches)
	for i := range followers {
		followers[i] = follow(t, s, "")
	}
	for _, f := range followers {
		f.next()
	}
	for i := range 3 {
		rev := put(t, s, "k", fmt.Sprint(i))
		for _, f := range followers {
			for f.state.Revision() < rev {
				f.next()
			}
		}
	}
	require.EqualValues(t, 1, count.most.Load(), "blocking queries at once")
	for _, f := range followers {
		f.cancel()
		require.ErrorIs(t, f.end(), context.Canceled)
	}
	eventually(t, "the query ends with the last watch", func() bool { return count.blocking.Load() == 0 })
}

// Over the budget a watch says so, a list still works, and there is room again when a watch has ended.
func TestBudget(t *testing.T) {
	// On a server of its own: connections that it has closed count there until the server has noticed.
	s := open(t, consul.Config{Endpoints: own(t, servers.Config{}).Endpoints()})
	var followers []*follower
	for i := range consul.MaxFollowed {
		f := follow(t, s, fmt.Sprintf("p%03d/", i))
		f.next()
		followers = append(followers, f)
		put(t, s, fmt.Sprintf("p%03d/k", i), "")
		f.next() // so it is followed
	}
	one := follow(t, s, "one more/")
	require.True(t, one.next().Snapshot)
	err := one.end()
	require.ErrorIs(t, err, backend.ErrUnavailable)
	require.ErrorContains(t, err, "128 prefixes")
	_, _, err = backend.List(t.Context(), s, "one more/")
	require.NoError(t, err)
	more := follow(t, s, "p000/")
	more.next()

	followers[1].cancel()
	eventually(t, "there is room again", func() bool {
		again := follow(t, s, "one more/")
		again.next()
		put(t, s, "one more/k", "")
		select {
		case <-again.updates:
			return true
		case err := <-again.ended:
			require.ErrorIs(t, err, backend.ErrUnavailable)
			return false
		case <-time.After(watchdog):
			return false
		}
	})
}

// Keys that somebody else wrote against the rules are left out, and counted once.
func TestForeignKeys(t *testing.T) {
	s, dir := here(t)
	client := raw(t, shared(t))
	write := func(key string, size int) {
		ok, _, _, err := client.Txn().Txn(api.TxnOps{{KV: &api.KVTxnOp{Verb: api.KVSet, Key: key, Value: make([]byte, size)}}}, nil)
		require.NoError(t, err)
		require.True(t, ok)
	}
	put(t, s, "good", "")
	for _, key := range []string{"a//b", "/x", "a/../b", "line\nbreak", ""} {
		write(dir+key, 0)
	}
	write(dir+"large", backend.MaxValue+1)
	f := follow(t, s, "")
	require.Equal(t, []string{"good"}, keys(f.next().Puts))
	require.EqualValues(t, 6, s.ForeignKeys())
	write(dir+"a//b", 1)
	put(t, s, "good", "")
	f.next()
	_, _, err := backend.List(t.Context(), s, "")
	require.NoError(t, err)
	require.EqualValues(t, 7, s.ForeignKeys(), "once per revision")
}

// A watch outlives its server, and misses nothing.
func TestServerRestarts(t *testing.T) {
	t.Parallel()
	c := own(t, servers.Config{})
	s := open(t, consul.Config{Endpoints: c.Endpoints()})
	put(t, s, "gone", "")
	f := follow(t, s, "")
	f.next()
	require.NoError(t, c.Node(0).Kill(t.Context()))
	_, err := s.Get(t.Context(), "gone")
	require.ErrorIs(t, err, backend.ErrUnavailable)
	require.NoError(t, c.Node(0).Start(t.Context()))
	require.NoError(t, c.WaitReady(t.Context()))
	require.NoError(t, s.Delete(t.Context(), "gone"))
	rev := put(t, s, "new", "")
	for f.state.Revision() < rev {
		f.next()
	}
	require.Equal(t, []string{"new"}, keys(f.state.Entries()))
}

// When an older snapshot is restored the index goes back. The watch says what is, and goes on (go-kit #997).
func TestSnapshotRestored(t *testing.T) {
	needServers(t)
	c := own(t, servers.Config{})
	s := open(t, consul.Config{Endpoints: c.Endpoints()})
	put(t, s, "dir/old", "1")
	saved, _, err := raw(t, c).Snapshot().Save(nil)
	require.NoError(t, err)
	defer saved.Close()
	f := follow(t, s, "dir/")
	f.next()
	put(t, s, "dir/old", "2")
	high := put(t, s, "dir/new", "")
	for f.state.Revision() < high {
		f.next()
	}
	require.NoError(t, raw(t, c).Snapshot().Restore(nil, saved))
	restored := time.Now()
	u := f.next()
	require.Less(t, time.Since(restored), 10*time.Second, "the blocking query is not waited for")
	require.True(t, u.Snapshot)
	require.Less(t, u.Revision, high)
	require.Equal(t, []string{"dir/old"}, keys(u.Puts))
	require.Equal(t, "1", string(u.Puts[0].Value))
	rev := put(t, s, "dir/after", "")
	require.Equal(t, rev, f.next().Puts[0].Revision)
}

// Ranges over one sequence are watches of their own, and may end anywhere.
func TestRanges(t *testing.T) {
	s, _ := here(t)
	put(t, s, "k", "")
	seq := s.WatchPrefix(t.Context(), "")
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for u, err := range seq {
				if err != nil || !u.Snapshot {
					t.Errorf("%v %v", u, err)
				}
				break
			}
		})
	}
	wg.Wait()
	cause := fmt.Errorf("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	for _, err := range s.WatchPrefix(ctx, "") {
		require.ErrorIs(t, err, cause)
	}
}

// While the store answers, some update comes at least every 30 seconds, also for a prefix with nothing in it, and not much more often.
func TestIdleWatchIsConfirmed(t *testing.T) {
	t.Parallel()
	s, _ := here(t)
	put(t, s, "dir/k", "")
	var wg sync.WaitGroup
	for _, prefix := range []string{"dir/", "none/"} {
		f := follow(t, s, prefix)
		snapshot := f.next()
		put(t, s, "elsewhere", "") // of which a prefix with keys does not hear, not even in its revision: see backend.Mirror.WaitFor
		wg.Go(func() {
			began := time.Now()
			select {
			case u := <-f.updates:
				if u.Snapshot || len(u.Puts)+len(u.Deletes) > 0 || u.Revision < snapshot.Revision {
					t.Errorf("%q: %+v after %+v", prefix, u, snapshot)
				}
				if prefix == "dir/" && u.Revision != snapshot.Revision {
					t.Errorf("%q: revision %d, though nothing was written there after %d", prefix, u.Revision, snapshot.Revision)
				}
				if after := time.Since(began); after < 5*time.Second {
					t.Errorf("%q: confirmed after %v already", prefix, after)
				}
			case <-time.After(30 * time.Second):
				t.Errorf("%q: no update in 30s", prefix)
			}
		})
	}
	wg.Wait()
}

// Consul holds a blocking query, and with it one of the 200 connections of a client address, though its client has left.
func TestWatchesThatComeAndGo(t *testing.T) {
	t.Parallel()
	s := open(t, consul.Config{Endpoints: own(t, servers.Config{}).Endpoints()})
	for i := range 250 {
		key := fmt.Sprintf("dir/%d", i)
		put(t, s, key, "")
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Millisecond)
		for _, err := range s.WatchPrefix(ctx, key) {
			if err != nil {
				require.ErrorIs(t, err, context.DeadlineExceeded)
			}
		}
		cancel()
	}
}

// More calls than the server takes connections wait for each other.
func TestBurst(t *testing.T) {
	t.Parallel()
	s := open(t, consul.Config{Endpoints: own(t, servers.Config{}).Endpoints()})
	ctx, cancel := context.WithTimeout(t.Context(), watchdog)
	defer cancel()
	var group errgroup.Group
	for i := range 400 {
		group.Go(func() error {
			_, err := s.Put(ctx, fmt.Sprintf("dir/%d", i), nil)
			return err
		})
	}
	require.NoError(t, group.Wait())
}
