package etcd_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/etcd"
)

// A relay is a proxy that understands gRPC. It passes transactions on and loses
// the first answer, as one does that resets a stream.
type relay struct {
	pb.UnimplementedKVServer
	server       pb.KVClient
	transactions atomic.Int64
}

func (r *relay) Txn(ctx context.Context, req *pb.TxnRequest) (*pb.TxnResponse, error) {
	resp, err := r.server.Txn(ctx, req)
	if r.transactions.Add(1) == 1 && err == nil {
		return nil, status.Error(codes.Canceled, "the stream was reset")
	}
	return resp, err
}

func newRelay(t *testing.T, endpoint string) (r *relay, addr string) {
	t.Helper()
	r = &relay{server: pb.NewKVClient(rawOn(t, endpoint).ActiveConnection())}
	return r, serveKV(t, r)
}

// serveKV puts a stand-in for a server's KV, and Watch if it has that, on an
// address.
func serveKV(t *testing.T, kv pb.KVServer) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	pb.RegisterKVServer(server, kv)
	if watches, ok := kv.(pb.WatchServer); ok {
		pb.RegisterWatchServer(server, watches)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-served)
	})
	return l.Addr().String()
}

// clientv3 repeats a call that was canceled by anybody but its caller. A write
// that did its work the first time then fails on its own condition.
func TestAWriteIsSentOnce(t *testing.T) {
	srv := serve(t)
	for name, open := range map[string]func(addr string) *etcd.Store{
		"Open": func(addr string) *etcd.Store { return open(t, on(addr)) },
		"New": func(addr string) *etcd.Store {
			s, err := etcd.New(rawOn(t, addr), etcd.Config{})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			return s
		},
	} {
		relay, addr := newRelay(t, srv.Endpoint())
		_, err := open(addr).Put(t.Context(), name, []byte("v"), backend.If(name, 0))
		require.ErrorIs(t, err, backend.ErrUnknown, name)
		require.NotErrorIs(t, err, backend.ErrConflict, name)
		require.EqualValues(t, 1, relay.transactions.Load(), name)
		got, err := open(srv.Endpoint()).Get(t.Context(), name)
		require.NoError(t, err)
		require.Equal(t, "v", string(got.Value), "it was applied")
	}
}

// A learner is a member that refuses what concerns all: a write, and a read that
// has to be up to date.
type learner struct{ pb.UnimplementedKVServer }

func (learner) Put(context.Context, *pb.PutRequest) (*pb.PutResponse, error) {
	return nil, rpctypes.ErrGRPCNotSupportedForLearner
}

func (learner) Range(context.Context, *pb.RangeRequest) (*pb.RangeResponse, error) {
	return nil, rpctypes.ErrGRPCNotSupportedForLearner
}

func TestALearnerAmongTheEndpoints(t *testing.T) {
	other := serveKV(t, learner{})
	s := open(t, on("http://"+other, serve(t).Endpoint()))
	for range 10 {
		rev := put(t, s, "k", "v")
		got, err := s.Get(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, rev, got.Revision)
	}
	_, err := open(t, on(other)).Put(within(t, 200*time.Millisecond), "k", nil)
	require.ErrorIs(t, err, backend.ErrUnavailable, "certainly not applied")
}

// clientv3 also repeats a call whose login is void, just as it was: a hundred
// times in three seconds.
func TestAVoidLoginIsTriedOnce(t *testing.T) {
	endpoint := withUsers(t)
	root := secure(t, endpoint)
	s := open(t, as(endpoint, "shop", "first"))
	put(t, s, "shop/k", "v")
	_, err := root.UserChangePassword(t.Context(), "shop", "first")
	require.NoError(t, err)
	put(t, s, "shop/k", "v")
	require.Contains(t, metrics(t, endpoint), `grpc_server_handled_total{grpc_code="Unauthenticated",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1`+"\n")
}

func metrics(t *testing.T, endpoint string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, endpoint+"/metrics", nil)
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(body)
}
