// Package peer is how processes of one cluster talk to each other: gRPC, with
// certificates at both ends if there are any.
package peer

import (
	"context"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/seed27495941/seckill/backend/credential"
)

// A connection that says nothing is asked whether it is alive this often, and
// given this long to say so: a process that is stopped, or a machine that is gone,
// closes nothing.
const (
	askAfter  = 5 * time.Second
	aliveness = 3 * time.Second
)

// NewServer makes a server for other processes to ask. With TLS they have to show
// a certificate of its CA. Errors name the file at fault.
func NewServer(t credential.TLS) (*grpc.Server, error) {
	identity := insecure.NewCredentials()
	if t.Enabled() {
		config, err := t.PeerConfig()
		if err != nil {
			return nil, err
		}
		identity = credentials.NewTLS(config)
	}
	return grpc.NewServer(
		grpc.Creds(identity),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: askAfter, Timeout: aliveness}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: askAfter / 2, PermitWithoutStream: true}),
	), nil
}

// NewDialer makes what connects to another process's address. Connections are made
// when they are used first. Errors name the file at fault.
func NewDialer(t credential.TLS) (func(addr string) (*grpc.ClientConn, error), error) {
	identity := insecure.NewCredentials()
	if t.Enabled() {
		config, err := t.Config()
		if err != nil {
			return nil, err
		}
		identity = credentials.NewTLS(config)
	}
	return func(addr string) (*grpc.ClientConn, error) {
		// Whatever proxy the environment names, it is not for neighbours.
		return grpc.NewClient("passthrough:///"+addr,
			grpc.WithTransportCredentials(identity),
			grpc.WithNoProxy(),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: askAfter, Timeout: aliveness}),
		)
	}, nil
}

// Serve answers other processes until ctx ends; then it cuts them off and returns
// nil. They ask again, elsewhere. It takes the listener over.
func Serve(ctx context.Context, s *grpc.Server, listener net.Listener) error {
	defer context.AfterFunc(ctx, s.Stop)()
	return s.Serve(listener)
}
