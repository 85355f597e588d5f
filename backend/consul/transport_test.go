package consul_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/consul"
	"github.com/seed27495941/seckill/conformance/servers"
)

// The answer to a write is lost. Whoever sent it to the next endpoint would do it twice.
func TestAWriteIsSentToOneEndpoint(t *testing.T) {
	shared := shared(t)
	first, next := newProxy(t, shared.Node(0).Endpoint()), newProxy(t, shared.Node(0).Endpoint())
	cfg := consul.Config{Endpoints: []string{first.addr(), next.addr()}, Root: root()}
	direct := open(t, consul.Config{Endpoints: shared.Endpoints(), Root: cfg.Root})
	rev := put(t, direct, "deleted", "")
	first.drop(true)
	for what, write := range map[string]func(s *consul.Store) error{
		"put":     func(s *consul.Store) error { return second(s.Put(t.Context(), "k", []byte("v"))) },
		"put, if": func(s *consul.Store) error { return second(s.Put(t.Context(), "once", nil, backend.If("once", 0))) },
		"delete":  func(s *consul.Store) error { return s.Delete(t.Context(), "deleted", backend.If("deleted", rev)) },
		"lease":   func(s *consul.Store) error { return second(s.Lease(t.Context(), time.Second)) },
	} {
		err := write(open(t, cfg))
		require.ErrorIs(t, err, backend.ErrUnknown, what)
		require.NotErrorIs(t, err, backend.ErrConflict, what)
		require.Zero(t, next.connections(), what)
	}
	for _, key := range []string{"k", "once"} {
		get(t, direct, key) // it was applied
	}
	_, err := direct.Get(t.Context(), "deleted")
	require.ErrorIs(t, err, backend.ErrNotFound)
}

// A refusal says nothing against the endpoint that it comes from, whatever its status.
func TestARefusalIsNoReasonToLeave(t *testing.T) {
	t.Parallel()
	c := own(t, servers.Config{SessionTTLMin: 10 * time.Second})
	other := newProxy(t, c.Node(0).Endpoint())
	s := open(t, consul.Config{Endpoints: []string{c.Node(0).Endpoint(), other.addr()}})
	l := newLease(t, s, time.Second) // refused, and asked for again
	require.Equal(t, 10*time.Second, l.TTL())
	_, err := s.Lease(t.Context(), 25*time.Hour)
	require.ErrorIs(t, err, backend.ErrInvalid)
	put(t, s, "k", "v", backend.WithLease(l))
	require.Zero(t, other.connections())
}

// What shows that an endpoint does not work for the moment makes the next call go to another.
func TestABadEndpointIsLeft(t *testing.T) {
	shared := shared(t)
	for text, status := range map[string]int{
		"No cluster leader":                        500,
		"rpc error making call: No cluster leader": 500,
		"No known Consul servers":                  500,
		"rpc error getting client: failed to get conn: dial tcp 10.0.0.1:8300: connect: connection refused": 500,
		"raft apply failed: leadership lost while committing log":                                           500,
		"rpc error making call: EOF": 500,
		"bad gateway":                502,
		"upstream connect error":     503,
		"gateway timeout":            504,
	} {
		bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, text, status) }))
		s := open(t, consul.Config{Endpoints: []string{bad.URL, shared.Node(0).URL()}, Root: root()})
		_, err := s.Put(t.Context(), "k", nil)
		require.ErrorContains(t, err, text)
		put(t, s, "k", "")
		bad.Close()
	}
}

// An answer that stops in the middle must not freeze a watch for longer than it may be stale, which is as long as the watchdog.
func TestAnAnswerStopsInTheMiddle(t *testing.T) {
	t.Parallel()
	shared := shared(t)
	dir := root()
	writer := open(t, consul.Config{Endpoints: shared.Endpoints(), Root: dir})
	put(t, writer, "k", "1")

	p, q := newProxy(t, shared.Node(0).Endpoint()), newProxy(t, shared.Node(0).Endpoint())
	client, err := api.NewClient(&api.Config{Address: q.addr()})
	require.NoError(t, err)
	theirs, err := consul.New(client, consul.Options{Root: dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, theirs.Close()) })
	withNext := follow(t, open(t, consul.Config{Endpoints: []string{p.addr(), shared.Node(0).Endpoint()}, Root: dir}), "")
	withoutNext := follow(t, theirs, "")
	for _, f := range []*follower{withNext, withoutNext} {
		require.True(t, f.next().Snapshot)
	}
	rev := put(t, writer, "k", "2")
	for _, f := range []*follower{withNext, withoutNext} {
		require.Equal(t, rev, f.next().Revision, "it is followed")
	}

	p.stall(true)
	q.stall(true)
	rev = put(t, writer, "k", "3")
	<-q.stalled
	q.stall(false)
	require.Equal(t, rev, withNext.next().Revision, "the endpoint is left for the next one")
	require.Equal(t, rev, withoutNext.next().Revision, "it is tried again")
}

// Consul ends a connection that was opened and not used for 10s, as a burst leaves behind. A write that meets the end would be open.
func TestSpareConnections(t *testing.T) {
	t.Parallel()
	p := newProxy(t, shared(t).Node(0).Endpoint())
	s := open(t, consul.Config{Endpoints: []string{p.addr()}, Root: root()})
	var burst errgroup.Group
	for range 100 {
		burst.Go(func() error { return second(s.Put(t.Context(), "k", nil)) })
	}
	require.NoError(t, burst.Wait())
	eventually(t, "nobody needs them any more", func() bool { present, _ := p.idle(); return present == 0 })
	_, hungUp := p.idle()
	require.Zero(t, hungUp)
}

// What a header can't carry is told as what it is, and not as trouble on the way.
func TestATokenThatNoHeaderCarries(t *testing.T) {
	const broken = "hunter2\nhunter3"
	_, err := consul.Open(consul.Config{Endpoints: []string{nobody}, Token: broken})
	require.ErrorContains(t, err, "consul: token: the secret has the character U+000A, which an HTTP header can't carry")
	require.NotContains(t, err.Error(), "hunter")

	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(broken), 0o600))
	_, err = consul.Open(consul.Config{Endpoints: []string{nobody}, TokenFile: file})
	require.ErrorContains(t, err, "consul: token: the secret in "+file+" has the character U+000A")

	require.NoError(t, os.WriteFile(file, []byte("first"), 0o600))
	s := open(t, consul.Config{Endpoints: shared(t).Endpoints(), TokenFile: file, Root: root()})
	put(t, s, "k", "")
	require.NoError(t, os.WriteFile(file, []byte(broken), 0o600))
	eventually(t, "the file is read again", func() bool { _, err = s.Put(t.Context(), "k", nil); return err != nil })
	require.ErrorIs(t, err, backend.ErrUnavailable)
	require.NotErrorIs(t, err, backend.ErrUnknown)
	require.ErrorContains(t, err, file+" has the character U+000A")
	require.NotContains(t, err.Error(), "hunter")
	require.NoError(t, os.WriteFile(file, []byte("second"), 0o600))
	eventually(t, "the file is mended", func() bool { _, err := s.Put(t.Context(), "k", nil); return err == nil })
}
