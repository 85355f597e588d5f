package control

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/seed27495941/seckill/app/node"
	"github.com/seed27495941/seckill/backend"
)

// incarnationKey names whom a call is for, in its metadata.
const incarnationKey = "incarnation"

// Sources are what can be loaded again, by name. A function loads its source now and
// returns why it was refused; it may be called by many at once.
type Sources map[string]func(context.Context) error

// Register makes a gRPC server answer operators for a node. self is the process's
// incarnation. Sources may not change once the server serves.
func Register(s grpc.ServiceRegistrar, self ulid.ULID, n *node.Node, sources Sources) {
	RegisterControlServer(s, &server{self: self.String(), node: n, sources: sources})
}

type server struct {
	UnimplementedControlServer
	self    string
	node    *node.Node
	sources Sources
}

// isMeant says whether a call is for this incarnation.
func (s *server) isMeant(ctx context.Context) error {
	meant := metadata.ValueFromIncomingContext(ctx, incarnationKey)
	if len(meant) != 1 || meant[0] != s.self {
		return status.Errorf(codes.FailedPrecondition, "this is process %s, meant was %q", s.self, meant)
	}
	return nil
}

// Push implements ControlServer.
func (s *server) Push(ctx context.Context, r *PushRequest) (*PushReply, error) {
	if err := s.isMeant(ctx); err != nil {
		return nil, err
	}
	o := node.Override{Value: string(r.GetConfig()), Author: r.GetAuthor(), Comment: r.GetComment()}
	if caller, ok := peer.FromContext(ctx); ok {
		o.From = caller.Addr.String()
	}
	o, err := s.node.Push(o, milliseconds(r.GetLasts()))
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, reason(err))
	}
	return &PushReply{Until: o.Until.UnixMilli(), Hash: o.Hash}, nil
}

// milliseconds is a time of n of them; of so many that it can't be told, one that is
// too long as well.
func milliseconds(n int64) time.Duration {
	most := int64(2 * node.MaxOverride / time.Millisecond)
	return time.Duration(max(-most, min(n, most))) * time.Millisecond
}

// reason is an error without the word for its class, which has a code.
func reason(err error) string {
	return strings.TrimPrefix(err.Error(), backend.ErrInvalid.Error()+": ")
}

// Clear implements ControlServer.
func (s *server) Clear(ctx context.Context, _ *ClearRequest) (*ClearReply, error) {
	if err := s.isMeant(ctx); err != nil {
		return nil, err
	}
	return &ClearReply{Had: s.node.Clear()}, nil
}

// Reload implements ControlServer.
func (s *server) Reload(ctx context.Context, r *ReloadRequest) (*ReloadReply, error) {
	if err := s.isMeant(ctx); err != nil {
		return nil, err
	}
	reload, ok := s.sources[r.GetSource()]
	if !ok {
		return nil, status.Errorf(codes.InvalidArgument, "source %.40q: expected %s", r.GetSource(), s.known())
	}
	err := reload(ctx)
	switch {
	case err == nil:
		return &ReloadReply{}, nil
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	return nil, status.Error(codes.Aborted, err.Error())
}

// known names the sources that there are.
func (s *server) known() string {
	if len(s.sources) == 0 {
		return "none, this process has nothing to load again"
	}
	return fmt.Sprintf("one of %s", strings.Join(slices.Sorted(maps.Keys(s.sources)), ", "))
}
