package etcd_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/etcd"
)

// deadAddr is an address that refuses connections.
func deadAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

func TestNothingLeftForARefusedPort(t *testing.T) {
	s := open(t, on(deadAddr(t)))
	ctx := within(t, 300*time.Millisecond)
	_, err := s.Put(ctx, "k", []byte("v"))
	require.ErrorIs(t, err, backend.ErrUnavailable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, backend.ErrUnknown)
	require.ErrorContains(t, err, "connection refused", "the error tells why")

	_, err = s.Put(ctx, "k", []byte("v"), backend.If("k", 0))
	require.ErrorIs(t, err, backend.ErrUnavailable, "the context had ended before")
	_, err = s.Lease(within(t, 100*time.Millisecond), time.Second)
	require.ErrorIs(t, err, backend.ErrUnavailable)
	require.ErrorIs(t, s.Delete(within(t, 100*time.Millisecond), "k"), backend.ErrUnavailable)
	_, err = s.Get(within(t, 100*time.Millisecond), "k")
	require.ErrorIs(t, err, backend.ErrUnavailable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, _, err = backend.List(within(t, 300*time.Millisecond), s, "dir/")
	require.ErrorIs(t, err, backend.ErrUnavailable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "connection refused")
}

func TestRequestTimeoutWithoutADeadline(t *testing.T) {
	cfg := on(deadAddr(t))
	cfg.RequestTimeout = 100 * time.Millisecond
	_, err := open(t, cfg).Put(context.WithoutCancel(t.Context()), "k", nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, backend.ErrUnavailable)
}

func TestTheCauseOfACanceledContextIsInTheError(t *testing.T) {
	s := open(t, on(deadAddr(t)))
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(gone) })
	_, err := s.Put(ctx, "k", nil)
	require.ErrorIs(t, err, gone)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, backend.ErrUnavailable)
}

func TestSentToAServerThatHangs(t *testing.T) {
	p := newProxy(t, serve(t).Endpoint())
	s := open(t, on(p.addr()))
	put(t, s, "k", "v")
	p.freeze(true)
	_, err := s.Put(within(t, 300*time.Millisecond), "k", []byte("w"))
	require.ErrorIs(t, err, backend.ErrUnknown)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, backend.ErrUnavailable)
	require.ErrorIs(t, s.Delete(within(t, 100*time.Millisecond), "k"), backend.ErrUnknown)
	_, err = s.Get(within(t, 100*time.Millisecond), "k")
	require.ErrorIs(t, err, backend.ErrUnavailable, "a read changes nothing")
}

func TestTheReplyIsLost(t *testing.T) {
	srv := serve(t)
	p := newProxy(t, srv.Endpoint())
	s := open(t, on(p.addr()))
	other := open(t, on(srv.Endpoint()))
	rev := put(t, s, "k", "v")

	p.muted.Store(true)
	done := make(chan error, 1)
	go func() {
		_, err := s.Put(t.Context(), "k", []byte("w"), backend.If("k", rev))
		done <- err
	}()
	require.Eventually(t, func() bool {
		got, err := other.Get(t.Context(), "k")
		return err == nil && string(got.Value) == "w"
	}, patience, 10*time.Millisecond)
	p.cut()
	p.muted.Store(false)
	err := <-done
	require.ErrorIs(t, err, backend.ErrUnknown, "it was applied")
	require.NotErrorIs(t, err, backend.ErrUnavailable)

	put(t, s, "k", "x") // the store has recovered
}

func TestWithoutATrackerNothingIsCertain(t *testing.T) {
	dead := deadAddr(t)
	for name, c := range map[string]struct {
		options []grpc.DialOption
		want    error
	}{
		"without": {nil, backend.ErrUnknown},
		"with":    {[]grpc.DialOption{etcd.TrackSends()}, backend.ErrUnavailable},
	} {
		s, err := etcd.New(raw(t, clientv3.Config{Endpoints: []string{dead}, DialOptions: c.options}), etcd.Config{})
		require.NoError(t, err)
		_, err = s.Put(within(t, 200*time.Millisecond), "k", nil)
		assert.ErrorIs(t, err, c.want, name)
		require.NoError(t, s.Close())
	}
}

// Endpoints that are down at the start are no reason to fail, and neither is
// that failure remembered.
func TestTheServerMayComeLater(t *testing.T) {
	p := newProxy(t, deadAddr(t))
	s := open(t, on(p.addr()))
	w := watch(t, s, "")
	_, err := s.Get(within(t, 100*time.Millisecond), "k")
	require.ErrorIs(t, err, backend.ErrUnavailable)

	p.retarget(serve(t).Endpoint())
	require.True(t, w.next().Snapshot)
	put(t, s, "k", "v")
	require.Equal(t, []string{"k"}, keys(w.next().Puts))
}

func TestADeadEndpointAmongOthers(t *testing.T) {
	s := open(t, on(deadAddr(t), serve(t).Endpoint()[len("http://"):]))
	for range 10 {
		put(t, s, "k", "v")
	}
	require.Equal(t, []string{"k"}, keys(watch(t, s, "").next().Puts))
}
