package consul_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/consul"
	"github.com/seed27495941/seckill/conformance/servers"
)

const nobody = "127.0.0.1:1" // where no server listens

// Opening needs no server, and what can't be sent was certainly not applied.
func TestNobodyThere(t *testing.T) {
	s := open(t, consul.Config{Endpoints: []string{nobody, "127.0.0.1:2"}})
	_, err := s.Put(t.Context(), "k", nil)
	require.ErrorIs(t, err, backend.ErrUnavailable)
	require.NotErrorIs(t, err, backend.ErrUnknown)
	require.ErrorIs(t, s.Delete(t.Context(), "k"), backend.ErrUnavailable)
	_, err = s.Get(t.Context(), "k")
	require.ErrorIs(t, err, backend.ErrUnavailable)
	_, err = s.Lease(t.Context(), time.Second)
	require.ErrorIs(t, err, backend.ErrUnavailable)

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, _, err = backend.List(ctx, s, "")
	require.ErrorIs(t, err, backend.ErrUnavailable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "refused", "the error tells why")
}

// A call whose context has ended sends nothing.
func TestEndedContext(t *testing.T) {
	s, _ := here(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Put(ctx, "k", nil)
	require.ErrorIs(t, err, backend.ErrUnavailable)
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Get(ctx, "k")
	require.ErrorIs(t, err, backend.ErrUnavailable)
	require.ErrorIs(t, err, context.Canceled)
}

// A server that takes a request and never answers: a write is open, a read is not. Without a deadline the request timeout ends both.
func TestPausedServer(t *testing.T) {
	t.Parallel()
	c := own(t, servers.Config{})
	s := open(t, consul.Config{Endpoints: c.Endpoints(), RequestTimeout: 300 * time.Millisecond})
	put(t, s, "k", "")
	require.NoError(t, c.Node(0).Pause(t.Context()))
	_, err := s.Put(t.Context(), "k", nil)
	require.ErrorIs(t, err, backend.ErrUnknown)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, s.Delete(t.Context(), "other"), backend.ErrUnknown)
	_, err = s.Get(t.Context(), "k")
	require.ErrorIs(t, err, backend.ErrUnavailable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, _, err = backend.List(ctx, s, "")
	require.ErrorIs(t, err, backend.ErrUnavailable)
	require.NoError(t, c.Node(0).Resume(t.Context()))
	get(t, s, "k")
}

// The answer is lost on its way: the outcome is unknown, and the write is there.
func TestLostReply(t *testing.T) {
	shared := shared(t)
	p := newProxy(t, shared.Node(0).Endpoint())
	dir := root()
	s := open(t, consul.Config{Endpoints: []string{p.addr(), nobody}, Root: dir, RequestTimeout: time.Second})
	direct := open(t, consul.Config{Endpoints: shared.Endpoints(), Root: dir})
	p.drop(true)
	_, err := s.Put(t.Context(), "k", []byte("2"))
	require.ErrorIs(t, err, backend.ErrUnknown)
	require.NotErrorIs(t, err, backend.ErrUnavailable)
	require.Equal(t, "2", string(get(t, direct, "k").Value))
	_, err = s.Get(t.Context(), "k")
	require.ErrorIs(t, err, backend.ErrUnavailable)
	require.NotErrorIs(t, err, backend.ErrUnknown)
	p.drop(false)
	eventually(t, "it works again", func() bool { _, err := s.Get(t.Context(), "k"); return err == nil })
}

// A connection that was cut while idle is no failure of the next write.
func TestIdleConnectionCut(t *testing.T) {
	p := newProxy(t, shared(t).Node(0).Endpoint())
	s := open(t, consul.Config{Endpoints: []string{p.addr()}, Root: root()})
	for range 20 {
		put(t, s, "k", "1")
		p.cut()
		// The transport needs a moment to see the end of the connection; a write in that moment is open, as it should be.
		eventually(t, "a write after the cut", func() bool {
			_, err := s.Put(t.Context(), "k", []byte("2"))
			if err != nil {
				require.ErrorIs(t, err, backend.ErrUnknown)
			}
			return err == nil
		})
	}
}

func TestEndpoints(t *testing.T) {
	shared := shared(t)
	var stuck atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		stuck.Add(1)
		_, _ = io.Copy(io.Discard, r.Body) // only then the server sees the client go
		<-r.Context().Done()
	}))
	defer server.Close()
	s := open(t, consul.Config{
		Endpoints:      []string{nobody, shared.Node(0).URL(), server.URL},
		Root:           root(),
		RequestTimeout: 500 * time.Millisecond,
	})
	put(t, s, "k", "the first has nobody, the second is asked at once")
	put(t, s, "k", "and remembered")

	late := open(t, consul.Config{
		Endpoints:      []string{server.URL, shared.Node(0).URL()},
		Root:           root(),
		RequestTimeout: 100 * time.Millisecond,
	})
	_, err := late.Put(t.Context(), "k", nil)
	require.ErrorIs(t, err, backend.ErrUnknown, "a write that was sent is not sent to another")
	late2 := open(t, consul.Config{Endpoints: []string{server.URL, shared.Node(0).URL()}, Root: root()})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = late2.Get(ctx, "k")
	require.ErrorIs(t, err, backend.ErrUnavailable)
	for _, s := range []*consul.Store{late, late2} {
		ctx, cancel := context.WithTimeout(t.Context(), watchdog)
		_, err = s.Put(ctx, "k", nil)
		cancel()
		require.NoError(t, err, "the next call goes to the next endpoint")
	}
	require.EqualValues(t, 2, stuck.Load())
}

// An endpoint without a leader is left for another that may have one.
func TestEndpointWithoutLeader(t *testing.T) {
	bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "No cluster leader", http.StatusInternalServerError)
	}))
	defer bad.Close()
	s := open(t, consul.Config{Endpoints: []string{bad.URL, shared(t).Node(0).URL()}, Root: root()})
	_, err := s.Put(t.Context(), "k", nil)
	require.ErrorIs(t, err, backend.ErrUnavailable)
	put(t, s, "k", "")
}

// What the server's refusals mean for a write.
func TestRefusals(t *testing.T) {
	const rolledBack = `{"Results":null,"Errors":[{"OpIndex":0,"What":%q}]}`
	for _, c := range []struct {
		status int
		body   string
		want   error
	}{
		{500, "No cluster leader", backend.ErrUnavailable},
		{500, "rpc error making call: No cluster leader", backend.ErrUnavailable},
		{500, "raft apply failed: node is not the leader", backend.ErrUnavailable},
		{500, "raft apply failed: leadership lost while committing log", backend.ErrUnknown},
		{500, "rpc error getting client: failed to get conn: dial tcp 10.0.0.1:8300: connect: connection refused", backend.ErrUnavailable},
		{500, "No known Consul servers", backend.ErrUnavailable},
		{500, "rpc error making call: EOF", backend.ErrUnknown},
		{500, "write raft.db: no space left on device", backend.ErrFull},
		{503, "rate limit exceeded for operation that can only be performed by the leader, try again later", backend.ErrUnavailable},
		{503, "upstream connect error", backend.ErrUnknown},
		{502, "bad gateway", backend.ErrUnknown},
		{429, "Your IP is issuing too many concurrent connections, please rate limit your calls", backend.ErrUnavailable},
		{413, "Request body(600000 bytes) too large, max size: 524288 bytes", backend.ErrTooLarge},
		{403, "Permission denied: token lacks permission", backend.ErrDenied},
		{403, "ACL not found", backend.ErrDenied},
		{401, "who are you", backend.ErrDenied},
		{400, "Failed to parse body", backend.ErrUnavailable},
		{301, "", backend.ErrUnavailable},
		{409, fmt.Sprintf(rolledBack, "Permission denied: token lacks permission 'key:write'"), backend.ErrDenied},
		{409, fmt.Sprintf(rolledBack, "failed kvs lookup: what?"), backend.ErrUnavailable},
		{409, fmt.Sprintf(rolledBack, "failed index check for key \"k\", current modify index 7 != 5"), backend.ErrConflict},
		{409, fmt.Sprintf(rolledBack, "failed to check index, key \"k\" doesn't exist"), backend.ErrConflict},
		{409, "no JSON", backend.ErrUnknown},
		{409, fmt.Sprintf(rolledBack, `failed index check for key "Permission denied", current modify index 7 != 5`), backend.ErrConflict},
		{202, "", backend.ErrUnknown}, // a proxy's, which may have passed the write on
		{408, "", backend.ErrUnknown},
		{499, "", backend.ErrUnknown},
		{200, "{", backend.ErrUnknown},
		{200, `{"Results":[]}`, backend.ErrUnknown},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(c.status)
			fmt.Fprint(w, c.body)
		}))
		s := open(t, consul.Config{Endpoints: []string{server.URL}})
		rev, err := s.Put(t.Context(), "k", nil, backend.If("k", 5))
		assert.Zero(t, rev)
		assert.ErrorIs(t, err, c.want, "%d %s: %v", c.status, c.body, err)
		for _, class := range []error{backend.ErrUnavailable, backend.ErrUnknown, backend.ErrDenied, backend.ErrConflict} {
			assert.Equal(t, errors.Is(c.want, class), errors.Is(err, class), "%d %s is %v", c.status, c.body, class)
		}
		_, err = s.Get(t.Context(), "k")
		assert.Error(t, err)
		assert.NotErrorIs(t, err, backend.ErrUnknown)
		assert.NotErrorIs(t, err, backend.ErrNotFound)
		server.Close()
	}
}

// A server that is no Consul answers 404 to everything. That is no proof that keys are absent.
func TestNotConsul(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	s := open(t, consul.Config{Endpoints: []string{server.URL}})
	_, err := s.Get(t.Context(), "k")
	require.ErrorIs(t, err, backend.ErrUnavailable)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, _, err = backend.List(ctx, s, "")
	require.ErrorIs(t, err, backend.ErrUnavailable)
}

// Behind the same address there may suddenly be another cluster: with a smaller index, or with a greater one.
func TestAnotherCluster(t *testing.T) {
	t.Parallel()
	one, other := own(t, servers.Config{}), own(t, servers.Config{})
	p := newProxy(t, one.Node(0).Endpoint())
	s := open(t, consul.Config{Endpoints: []string{p.addr()}})
	atOne := open(t, consul.Config{Endpoints: one.Endpoints()})
	atOther := open(t, consul.Config{Endpoints: other.Endpoints()})

	put(t, atOther, "dir/both", "other")
	put(t, atOther, "dir/other", "")
	var high backend.Revision
	for range 100 {
		high = put(t, atOne, "dir/both", "one")
	}
	require.Greater(t, high, put(t, atOther, "dir/last", ""))
	f := follow(t, s, "dir/")
	require.Equal(t, high, f.next().Revision)

	p.to(other.Node(0).Endpoint())
	u := f.next()
	require.True(t, u.Snapshot)
	require.Less(t, u.Revision, high)
	require.Equal(t, []string{"dir/both", "dir/last", "dir/other"}, keys(f.state.Entries()))
	rev := put(t, atOther, "dir/other", "2")
	for f.state.Revision() != rev {
		f.next()
	}

	p.to(one.Node(0).Endpoint())
	f.next()
	require.Equal(t, []string{"dir/both"}, keys(f.state.Entries()))
	e, _ := f.state.Get("dir/both")
	require.Equal(t, "one", string(e.Value))
}
