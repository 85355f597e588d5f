package lock_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/consul"
	"github.com/seed27495941/seckill/conformance/servers"
	"github.com/seed27495941/seckill/recipe/lock"
)

// Consul answers a blocking query at each change of what it asks for, so a watch
// of the whole line by every process would cost as many requests for each hand-over
// as there are processes. All requests are counted on their way to the server.
func TestRequestsOnTheWire(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: needs a Consul server")
	}
	few, many := requestsPerHandOver(t, 5), requestsPerHandOver(t, 40)
	t.Logf("HTTP requests for each hand-over, all processes together: %.1f with 5 waiting, %.1f with 40", few, many)
	assert.Less(t, many, few+2)
	assert.LessOrEqual(t, many, 10.0)
}

func requestsPerHandOver(t *testing.T, n int) float64 {
	t.Helper()
	cluster := servers.Shared(t, servers.Consul)
	target, err := url.Parse("http://" + strings.TrimPrefix(cluster.Endpoints()[0], "http://"))
	require.NoError(t, err)
	var requests atomic.Int64
	proxy := httputil.NewSingleHostReverseProxy(target)
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	defer transport.CloseIdleConnections()
	proxy.Transport = transport
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) } // a query given up
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		proxy.ServeHTTP(w, r)
	}))
	defer front.Close()

	root := "test-" + ulid.Make().String() + "/"
	open := func() backend.Store {
		store, err := consul.Open(consul.Config{Endpoints: []string{strings.TrimPrefix(front.URL, "http://")}, Root: root})
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, store.Close()) })
		return store
	}
	first := open()
	held, err := newLock(t, first, lock.Config{TTL: 5 * time.Minute}).Acquire(t.Context()) // no renewal comes in between
	require.NoError(t, err)
	var waiting sync.WaitGroup
	for i := range n {
		l := newLock(t, open(), lock.Config{TTL: 5 * time.Minute, Holder: fmt.Sprint(i)})
		waiting.Go(func() {
			mine, err := l.Acquire(t.Context())
			if assert.NoError(t, err) {
				assert.NoError(t, mine.Release(t.Context()))
			}
		})
		awaitLine(t, first, i+2)
	}
	quiet := requests.Load()
	for settled := false; !settled; { // they have all begun to wait
		time.Sleep(200 * time.Millisecond)
		now := requests.Load()
		settled, quiet = now == quiet, now
	}
	require.NoError(t, held.Release(t.Context()))
	waiting.Wait()
	return float64(requests.Load()-quiet) / float64(n)
}

// A store of the Consul driver follows so many prefixes and no more. The locks
// beyond work, and their holders look from time to time.
func TestMoreLocksThanWatches(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: needs a Consul server")
	}
	root := "test-" + ulid.Make().String() + "/"
	store, err := consul.Open(consul.Config{Endpoints: servers.Shared(t, servers.Consul).Endpoints(), Root: root})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, store.Close()) })
	var all []*lock.Held
	for i := range consul.MaxFollowed + 5 {
		l, err := lock.New(store, fmt.Sprint("locks/", i), lock.Config{})
		require.NoError(t, err)
		all = append(all, acquire(t, l))
	}
	beyond := all[len(all)-1]
	_, err = store.Put(t.Context(), "written", []byte("x"), beyond.Guard())
	require.NoError(t, err)
	require.NoError(t, store.Delete(t.Context(), beyond.Guard().Key))
	awaitLost(t, beyond)
	for _, held := range all[:len(all)-1] {
		require.NoError(t, held.Err())
	}
}
