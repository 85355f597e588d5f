package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/seed27495941/seckill/backend"
)

// A lease is one that this store granted.
type lease struct {
	*backend.HeldLease
	store *Store
	id    int64
}

// Lease implements backend.Store. etcd counts in seconds: a ttl is rounded up.
// The store's minimum is one and a half times its election timeout.
func (s *Store) Lease(ctx context.Context, ttl time.Duration) (backend.Lease, error) {
	if ttl <= 0 {
		return nil, fmt.Errorf("%w: lease of %v, expected a positive duration", backend.ErrInvalid, ttl)
	}
	ctx, cancel, err := s.life.Call(ctx, s.timeout)
	if err != nil {
		return nil, err
	}
	defer cancel()
	var granted *pb.LeaseGrantResponse
	var sent time.Time
	err = s.write(ctx, "lease", "", func(ctx context.Context) (err error) {
		sent = time.Now()
		granted, err = s.leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: seconds(ttl)}, callOptions...)
		return err
	})
	if err != nil {
		return nil, err
	}
	id := granted.GetID()
	held, err := backend.RunLease(s.life, backend.Grant{
		ID:     leaseName(id),
		TTL:    time.Duration(granted.GetTTL()) * time.Second,
		Sent:   sent,
		Renew:  func(ctx context.Context) error { return s.renew(ctx, id) },
		Revoke: func(ctx context.Context) error { return s.revoke(ctx, id) },
	})
	if err != nil {
		return nil, err
	}
	return &lease{HeldLease: held, store: s, id: id}, nil
}

func seconds(d time.Duration) int64 {
	n := int64(d / time.Second)
	if d%time.Second > 0 {
		n++
	}
	return n
}

// renew sends one keep-alive on a stream of its own. clientv3's KeepAliveOnce
// would repeat a failed one at once and without end; how often to try is
// RunLease's decision.
func (s *Store) renew(ctx context.Context, id int64) error {
	var resp *pb.LeaseKeepAliveResponse
	err := s.write(ctx, "renew lease", leaseName(id), func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx) // ends the stream
		defer cancel()
		stream, err := s.leases.LeaseKeepAlive(ctx, callOptions...)
		if err != nil {
			return err
		}
		if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil {
			return err
		}
		resp, err = stream.Recv()
		return err
	})
	if err != nil {
		return err
	}
	if resp.GetTTL() <= 0 {
		return backend.Failure(ctx, backend.ErrLeaseLost, "renew lease", leaseName(id), rpctypes.ErrLeaseNotFound)
	}
	return nil
}

func (s *Store) revoke(ctx context.Context, id int64) error {
	ctx, cancel, err := s.life.Call(ctx, s.timeout)
	if err != nil {
		return err
	}
	defer cancel()
	return s.write(ctx, "close lease", leaseName(id), func(ctx context.Context) error {
		_, err := s.leases.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: id}, callOptions...)
		return err
	})
}

// usable finds the store's own lease behind the one given for a Put, if it can
// still be relied on.
func (s *Store) usable(ctx context.Context, key string, given backend.Lease) (*lease, error) {
	l, ok := given.(*lease)
	if !ok || l == nil || l.store != s {
		return nil, fmt.Errorf("%w: put %q: the lease is not one of this store", backend.ErrInvalid, key)
	}
	if !l.Valid() {
		return nil, backend.Failure(ctx, backend.ErrLeaseLost, "put", key, l.Err())
	}
	return l, nil
}

// heed takes in what a Put with the lease told about it.
func (l *lease) heed(err error) {
	if errors.Is(err, backend.ErrLeaseLost) {
		l.Lose(err)
	}
}
