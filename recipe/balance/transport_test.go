package balance_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/balance"
	"github.com/seed27495941/seckill/recipe/registry"
)

// list puts the nodes at some addresses on the list of a new store.
func list(t *testing.T, addrs ...string) *balance.Cluster {
	t.Helper()
	space := stores.NewMemory()
	for i, addr := range addrs {
		space.Put(t, fmt.Sprintf("nodes/%d", i), fmt.Sprintf(`{"addr":%q}`, addr))
	}
	c, _ := follow(t, space.Open(t))
	return c
}

// newClient makes a client for the cluster "api".
func newClient(t *testing.T, base http.RoundTripper, c *balance.Cluster) *http.Client {
	t.Helper()
	tr, err := balance.NewTransport(base, balance.RoundRobin, map[string]*balance.Cluster{"api": c})
	require.NoError(t, err)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

func newBase(t *testing.T) *http.Transport {
	t.Helper()
	base := &http.Transport{}
	t.Cleanup(base.CloseIdleConnections)
	return base
}

func serveHTTP(t *testing.T, f http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// nobody is an address where nobody listens.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

func do(t *testing.T, client *http.Client, method, url, body string, header ...string) (int, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	if len(header) > 0 {
		req.Header.Set(header[0], "1")
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode, string(text), nil
}

func TestTransportSpreadsRequests(t *testing.T) {
	echo := func(name string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, name, " ", r.Host, r.URL.Path) }
	}
	client := newClient(t, newBase(t), list(t, serveHTTP(t, echo("a")), serveHTTP(t, echo("b"))))
	seen := map[string]int{}
	for range 10 {
		_, text, err := do(t, client, http.MethodGet, "http://api/v1/x", "")
		require.NoError(t, err)
		seen[text]++
	}
	assert.Equal(t, map[string]int{"a api/v1/x": 5, "b api/v1/x": 5}, seen, "the Host is the cluster's name")

	elsewhere := serveHTTP(t, echo("elsewhere"))
	_, text, err := do(t, client, http.MethodGet, "http://"+elsewhere+"/", "")
	require.NoError(t, err)
	assert.Equal(t, "elsewhere "+elsewhere+"/", text)
}

func TestTransportFollowsRedirects(t *testing.T) {
	elsewhere := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "elsewhere") })
	client := newClient(t, newBase(t), list(t, serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/relative":
			http.Redirect(w, r, "/here", http.StatusFound)
		case "/away":
			http.Redirect(w, r, "http://"+elsewhere, http.StatusFound)
		default:
			fmt.Fprint(w, r.URL.Path)
		}
	})))
	for path, want := range map[string]string{"/relative": "/here", "/away": "elsewhere"} {
		_, text, err := do(t, client, http.MethodGet, "http://api"+path, "")
		require.NoError(t, err)
		assert.Equal(t, want, text)
	}
}

// Where nobody listens nothing was sent: any request goes elsewhere, its body
// too.
func TestTransportGoesOnWhereNobodyListens(t *testing.T) {
	var got atomic.Int64
	alive := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got.Add(1)
		fmt.Fprint(w, string(body))
	})
	client := newClient(t, newBase(t), list(t, nobody(t), alive, nobody(t)))
	for i := range 30 {
		_, text, err := do(t, client, http.MethodPost, "http://api/", fmt.Sprint(i))
		require.NoError(t, err)
		assert.Equal(t, fmt.Sprint(i), text)
	}
	assert.Equal(t, int64(30), got.Load())
	tr, ok := client.Transport.(*balance.Transport)
	require.True(t, ok)

	// A body that can't be brought back is not sent twice.
	failed := false
	for range 3 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://api/", io.NopCloser(strings.NewReader("x")))
		require.NoError(t, err)
		resp, err := tr.RoundTrip(req)
		if err != nil {
			failed = true
			continue
		}
		require.NoError(t, resp.Body.Close())
	}
	assert.True(t, failed)
}

// A connection that broke may have carried the request: only what may be done
// twice is sent again.
func TestTransportRepeatsWhatMayBeDoneTwice(t *testing.T) {
	var asked atomic.Int64
	cut := func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		conn, _, err := http.NewResponseController(w).Hijack()
		if assert.NoError(t, err) {
			_ = conn.Close()
		}
	}
	cluster := list(t, serveHTTP(t, cut), serveHTTP(t, cut), serveHTTP(t, cut), serveHTTP(t, cut))
	base := newBase(t)
	base.DisableKeepAlives = true // else net/http retries by itself
	client := newClient(t, base, cluster)
	for _, c := range []struct {
		method string
		header []string
		want   int64
	}{
		{http.MethodGet, nil, 3},
		{http.MethodPut, nil, 3},
		{http.MethodDelete, nil, 3},
		{http.MethodPost, nil, 1},
		{http.MethodPatch, nil, 1},
		{http.MethodPost, []string{"Idempotency-Key"}, 3},
	} {
		asked.Store(0)
		_, _, err := do(t, client, c.method, "http://api/", "x", c.header...)
		require.Error(t, err)
		assert.ErrorContains(t, err, "node ", "it says where")
		assert.Equal(t, c.want, asked.Load(), "%s %v", c.method, c.header)
	}
}

func TestTransportGivesUpWithTheCaller(t *testing.T) {
	var asked atomic.Int64
	release := make(chan struct{})
	hang := func(http.ResponseWriter, *http.Request) { asked.Add(1); <-release }
	client := newClient(t, newBase(t), list(t, serveHTTP(t, hang), serveHTTP(t, hang)))
	t.Cleanup(func() { close(release) })
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for asked.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://api/", http.NoBody)
	require.NoError(t, err)
	_, err = client.Do(req) //nolint:bodyclose // there is none
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, int64(1), asked.Load())
}

func TestTransportAnswersAreAnswers(t *testing.T) {
	var asked atomic.Int64
	client := newClient(t, newBase(t), list(t, serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
	})))
	code, _, err := do(t, client, http.MethodGet, "http://api/", "")
	require.NoError(t, err)
	assert.Equal(t, http.StatusServiceUnavailable, code)
	assert.Equal(t, int64(1), asked.Load())
}

func TestTransportWithoutNodes(t *testing.T) {
	client := newClient(t, newBase(t), list(t))
	_, _, err := do(t, client, http.MethodPost, "http://api/", "x")
	require.ErrorIs(t, err, balance.ErrNoEndpoint)

	// Not knowing is not knowing that there are none.
	unheard := balance.NewCluster(registry.NewDirectory(stores.NewMemory().Open(t), "", nil), balance.Config{})
	client = newClient(t, newBase(t), unheard)
	client.Timeout = 50 * time.Millisecond
	_, _, err = do(t, client, http.MethodGet, "http://api/", "")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorContains(t, err, "not known yet")

	_, err = balance.NewTransport(nil, "best", map[string]*balance.Cluster{"api": unheard})
	require.ErrorIs(t, err, backend.ErrInvalid)
}

// While an answer is being read its request is under way; how long that takes
// is not the node's response time.
func TestTransportMeasures(t *testing.T) {
	c := list(t, "10.0.0.1:80")
	content := &closing{Reader: strings.NewReader("abc")}
	tr, err := balance.NewTransport(roundTrip(func(r *http.Request) (*http.Response, error) {
		assert.Equal(t, "10.0.0.1:80", r.URL.Host)
		return &http.Response{StatusCode: http.StatusOK, Body: content, Request: r}, nil
	}), balance.PeakEWMA, map[string]*balance.Cluster{"api": c})
	require.NoError(t, err)
	pending := func() int64 { return tr.Loads("api")[0].Pending }
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://api/", http.NoBody)
	require.NoError(t, err)
	resp, err := tr.RoundTrip(req)
	require.NoError(t, err)
	assert.Same(t, req, resp.Request)
	assert.Equal(t, int64(1), pending())
	_, err = io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Zero(t, pending())
	require.NoError(t, resp.Body.Close())
	assert.Zero(t, pending(), "counted once")
	assert.True(t, content.closed)
}

type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error { c.closed = true; return nil }

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// An HTTP node is an API process as it should be: it says that it is about to
// stop, finishes what it has begun, and leaves the list.
type httpNode struct {
	server *http.Server
	addr   string
	reg    *registry.Registration
	leave  func() error
}

func startHTTP(t *testing.T, s backend.Store, addr string) *httpNode {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	n := &httpNode{addr: l.Addr().String(), server: &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Millisecond) // work
			fmt.Fprint(w, r.URL.Path)
		}),
	}}
	served := make(chan struct{})
	go func() { defer close(served); _ = n.server.Serve(l) }()
	t.Cleanup(func() { _ = n.server.Close(); <-served })
	n.reg, n.leave = register(t, s, registry.Node{Addr: n.addr})
	return n
}

func (n *httpNode) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, n.reg.Update(func(n *registry.Node) { n.Draining = true }))
	require.NoError(t, n.server.Shutdown(t.Context()))
	require.NoError(t, n.leave())
}

// everywhere runs f on each store, with real time on memory too: for tests that
// use the network.
func everywhere(t *testing.T, f func(t *testing.T, s stores.Space)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) { f(t, stores.NewMemory()) })
	stores.EachServer(t, f)
}

func TestHTTPLosesNothingWhileNodesAreRolled(t *testing.T) {
	everywhere(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		nodes := []*httpNode{startHTTP(t, store, "127.0.0.1:0"), startHTTP(t, store, "127.0.0.1:0"), startHTTP(t, store, "127.0.0.1:0")}
		c, _ := follow(t, s.Open(t))
		stores.Wait(t, "all nodes", func() bool { return len(c.Status().Endpoints) == 3 })
		client := newClient(t, newBase(t), c)

		var done atomic.Int64
		var failed sync.Map
		stop := stores.Start(t, func(ctx context.Context) error {
			var senders sync.WaitGroup
			for range 4 {
				senders.Go(func() {
					for ctx.Err() == nil {
						//nolint:contextcheck // a request under way is finished
						if _, text, err := do(t, client, http.MethodGet, "http://api/v1", ""); err != nil || text != "/v1" {
							failed.Store(fmt.Sprint(text, err), true)
						}
						done.Add(1)
					}
				})
			}
			senders.Wait()
			return nil
		})
		for i, n := range nodes {
			n.stop(t)
			stores.Wait(t, "left", func() bool { return len(c.Status().Endpoints) == 2 })
			nodes[i] = startHTTP(t, store, n.addr)
			stores.Wait(t, "back", func() bool { return len(c.Status().Endpoints) == 3 })
			was := done.Load()
			stores.Wait(t, "requests", func() bool { return done.Load() > was+30 })
		}
		require.NoError(t, stop())
		failed.Range(func(what, _ any) bool { t.Errorf("lost: %s", what); return true })
		t.Logf("%d requests", done.Load())
	})
}

var errRead = errors.New("read error")

// A body that breaks off says something about the node.
func TestTransportSeesBrokenBodies(t *testing.T) {
	c := list(t, "10.0.0.1:80")
	tr, err := balance.NewTransport(roundTrip(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(broken{}), Request: r}, nil
	}), balance.PeakEWMA, map[string]*balance.Cluster{"api": c})
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://api/", http.NoBody)
	require.NoError(t, err)
	resp, err := tr.RoundTrip(req)
	require.NoError(t, err)
	_, err = io.ReadAll(resp.Body)
	require.ErrorIs(t, err, errRead)
	require.NoError(t, resp.Body.Close())
	assert.InDelta(t, time.Second, tr.Loads("api")[0].Latency, float64(100*time.Millisecond))
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errRead }
