package etcd

import (
	"context"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"
)

// TrackSends lets the driver see whether a request left, for those who bring
// their own client to [New]: give it to clientv3.Config.DialOptions. Without
// it every write that fails on the way is backend.ErrUnknown, even if no
// server was ever reached. It costs nothing worth mentioning and can be shared.
func TrackSends() grpc.DialOption { return grpc.WithStatsHandler(sendTracker{}) }

// A flight is one attempt at a call, as the transport sees it.
type flight struct {
	seen atomic.Bool // the transport was asked to send it
	left atomic.Bool // its request left, wholly or in part
}

type flightKey struct{}

func withFlight(ctx context.Context, f *flight) context.Context {
	return context.WithValue(ctx, flightKey{}, f)
}

func flightOf(ctx context.Context) *flight {
	f, _ := ctx.Value(flightKey{}).(*flight)
	return f
}

// sendTracker notes on a call's flight what becomes of it. gRPC reports the
// payload in the goroutine of the call, before it waits for the reply, so all
// is noted when the call returns.
type sendTracker struct{}

func (sendTracker) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	// A client that logs in by itself does so in the context of the call.
	if strings.HasPrefix(info.FullMethodName, "/etcdserverpb.Auth/") {
		return withFlight(ctx, nil)
	}
	if f := flightOf(ctx); f != nil {
		f.seen.Store(true)
	}
	return ctx
}

func (sendTracker) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.OutPayload); !ok {
		return
	}
	if f := flightOf(ctx); f != nil {
		f.left.Store(true)
	}
}

func (sendTracker) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (sendTracker) HandleConn(context.Context, stats.ConnStats) {}
