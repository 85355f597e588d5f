package etcd

import (
	"context"
	"errors"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/seed27495941/seckill/backend/credential"
)

// A login keeps the token of a user. clientv3 could do so for a fixed
// password; this one follows a password that changes in its file, never blocks
// opening the store, and lets a server switch authentication on and off.
type login struct {
	user     string
	password *credential.Source
	server   pb.AuthClient
	turn     chan struct{} // holds a token while somebody logs in

	rotates bool // the password is in a file, which somebody may be changing

	mu      sync.Mutex
	token   string
	fresh   bool      // token can be used; an empty one if the server wants none
	worked  bool      // the server has taken a password of this user before
	refused time.Time // since when it does not; zero: it does
}

// rotation is how long a password may be changed at the server before it is
// changed in its file, without the watches of the store being denied.
const rotation = 30 * time.Second

func newLogin(user string, password *credential.Source, rotates bool, conn grpc.ClientConnInterface) *login {
	return &login{
		user:     user,
		password: password,
		rotates:  rotates,
		server:   pb.NewAuthClient(conn),
		turn:     make(chan struct{}, 1),
	}
}

// current returns the token, logging in if there is none. Those who wait for
// the same login share it.
func (l *login) current(ctx context.Context) (string, error) {
	if token, ok := l.have(); ok {
		return token, nil
	}
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if token, ok := l.have(); ok {
		return token, nil
	}
	token, err := l.authenticate(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		l.token, l.fresh, l.worked, l.refused = token, true, true, time.Time{}
	case errors.Is(rpctypes.Error(err), rpctypes.ErrAuthFailed) && l.refused.IsZero():
		l.refused = time.Now()
	}
	return token, err
}

// rotating reports whether the password is refused because it is probably just
// being changed. A login of nobody is not.
func (l *login) rotating() bool {
	if l == nil || !l.rotates {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.worked && !l.refused.IsZero() && time.Since(l.refused) < rotation
}

// reject says that the server did not take a token. If it is still the current
// one the next call logs in.
func (l *login) reject(token string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.token == token {
		l.fresh = false
	}
}

func (l *login) have() (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.token, l.fresh
}

func (l *login) authenticate(ctx context.Context) (string, error) {
	resp, err := l.server.Authenticate(ctx, &pb.AuthenticateRequest{
		Name:     l.user,
		Password: l.password.Get().Reveal(),
	}, callOptions...)
	if errors.Is(rpctypes.Error(err), rpctypes.ErrAuthNotEnabled) {
		return "", nil
	}
	return resp.GetToken(), err
}

// withToken makes a call carry a token.
func withToken(ctx context.Context, token string) context.Context {
	if token == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, rpctypes.TokenFieldNameGRPC, token)
}
