package etcd

import (
	"context"
	"math"
	"math/rand/v2"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/seed27495941/seckill/backend"
)

// callOptions of every call. Waiting for a connection lets a call live through
// a server's restart, and makes the last connection error part of its own.
// Requests are within the contract's limits; a response may be as large as a
// page of values is.
var callOptions = []grpc.CallOption{
	grpc.WaitForReady(true),
	grpc.MaxCallSendMsgSize(2 << 20),
	grpc.MaxCallRecvMsgSize(math.MaxInt32),
}

// logins is how often a call is tried while the server wants a newer login.
// Users and roles that change all the time can outdate one more than once.
const logins = 3

// try makes one call, logging in before it where that is needed. call must
// not do anything twice that the server refused.
func (s *Store) try(ctx context.Context, call func(ctx context.Context) error) *fault {
	for n := 1; ; n++ {
		f, token := s.fly(ctx, call)
		if f == nil {
			return nil
		}
		if !staleLogin(f.err) || n == logins {
			return f
		}
		if s.login != nil {
			s.login.reject(token)
		}
	}
}

// fly makes one attempt and tells which token it carried. A member that has no
// leader refuses it at once, instead of letting it run into its deadline.
func (s *Store) fly(ctx context.Context, call func(ctx context.Context) error) (*fault, string) {
	token, err := s.token(ctx)
	if err != nil {
		return &fault{err: err}, token
	}
	var f flight
	err = call(clientv3.WithRequireLeader(withFlight(withToken(ctx, token), &f)))
	if f.seen.Load() {
		s.tracked.Store(true)
	}
	if err == nil {
		return nil, token
	}
	return &fault{err: err, sent: f.left.Load() || !s.tracked.Load()}, token
}

func (s *Store) token(ctx context.Context) (string, error) {
	if s.login == nil {
		return "", nil
	}
	return s.login.current(ctx)
}

// read makes a call that changes nothing, and repeats it while the trouble is
// of a passing kind. op and key are for the error.
func (s *Store) read(ctx context.Context, op, key string, call func(ctx context.Context) error) error {
	for b := (backoff{}); ; {
		f := s.try(ctx, call)
		if f == nil {
			return nil
		}
		if ctx.Err() != nil || refusal(f.err) != nil || !passing(f.err) || !b.wait(ctx) {
			return backend.Failure(ctx, f.class(false), op, key, f.err)
		}
	}
}

// write makes a call that changes something. It is repeated only when a member
// certainly did nothing, because it is waiting for a leader or is a learner.
func (s *Store) write(ctx context.Context, op, key string, call func(ctx context.Context) error) error {
	for b := (backoff{}); ; {
		f := s.try(ctx, call)
		if f == nil {
			return nil
		}
		if !unfit(f.err) || !b.wait(ctx) {
			return f.failure(ctx, op, key)
		}
	}
}

// A backoff spaces out attempts: 50ms, doubled up to 5s, each shortened by a
// random part so that clients do not come back in step.
type backoff struct{ attempts int }

const (
	backoffFirst = 50 * time.Millisecond
	backoffMost  = 5 * time.Second
)

func (b *backoff) next() time.Duration {
	d := min(backoffFirst<<min(b.attempts, 10), backoffMost)
	b.attempts++
	return d/2 + rand.N(d/2)
}

// wait returns false if ctx ended first.
func (b *backoff) wait(ctx context.Context) bool {
	timer := time.NewTimer(b.next())
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
