package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/seed27495941/seckill/backend"
)

// Errors of a call, besides backend.ErrInvalid for what makes no sense.
var (
	// ErrRefused says that the process can't use the content of a source.
	ErrRefused = errors.New("refused")

	// ErrReplaced says that another process is at the address: the one that was meant is
	// gone.
	ErrReplaced = errors.New("another process is there by now")

	// ErrUnreachable says that no answer came. What was asked may have been done.
	ErrUnreachable = errors.New("can't be reached")
)

// A Process is one that can be told something. It is safe for concurrent use.
type Process struct {
	conn        *grpc.ClientConn
	incarnation string
}

// Dial prepares to talk to one incarnation of a process, by a connection to its
// address that the result owns. Nothing is sent yet.
func Dial(dial func(addr string) (*grpc.ClientConn, error), addr, incarnation string) (*Process, error) {
	conn, err := dial(addr)
	if err != nil {
		return nil, err
	}
	return &Process{conn, incarnation}, nil
}

// Close ends the connection.
func (p *Process) Close() error { return p.conn.Close() }

// Push puts a config in force for as long as lasts, 0 for the node's own choice, and
// returns when that ends and the config's hash. Errors: backend.ErrInvalid, ErrReplaced,
// ErrUnreachable.
func (p *Process) Push(ctx context.Context, config []byte, lasts time.Duration, author, comment string) (until time.Time, hash string, err error) {
	r, err := NewControlClient(p.conn).Push(p.meant(ctx), &PushRequest{Config: config, Lasts: lasts.Milliseconds(), Author: author, Comment: comment})
	return time.UnixMilli(r.GetUntil()), r.GetHash(), failure(err)
}

// Clear ends what was pushed; false if nothing was. Errors: ErrReplaced,
// ErrUnreachable.
func (p *Process) Clear(ctx context.Context) (had bool, err error) {
	r, err := NewControlClient(p.conn).Clear(p.meant(ctx), &ClearRequest{})
	return r.GetHad(), failure(err)
}

// Reload has a source loaded again. Errors: backend.ErrInvalid if there is no such
// source, ErrRefused, ErrReplaced, ErrUnreachable.
func (p *Process) Reload(ctx context.Context, source string) error {
	_, err := NewControlClient(p.conn).Reload(p.meant(ctx), &ReloadRequest{Source: source})
	return failure(err)
}

func (p *Process) meant(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, incarnationKey, p.incarnation)
}

// failure is what an error of gRPC's means.
func failure(err error) error {
	if err == nil {
		return nil
	}
	class := ErrUnreachable
	switch status.Code(err) {
	case codes.InvalidArgument:
		class = backend.ErrInvalid
	case codes.Aborted:
		class = ErrRefused
	case codes.FailedPrecondition:
		class = ErrReplaced
	}
	return fmt.Errorf("%w: %s", class, status.Convert(err).Message())
}
