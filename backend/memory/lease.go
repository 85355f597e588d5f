package memory

import (
	"context"
	"fmt"
	"time"

	"github.com/seed27495941/seckill/backend"
)

// A lease knows its store, so that another store's is told apart.
type lease struct {
	*backend.HeldLease
	store *Store
}

// Lease implements [backend.Store]. The TTL is raised to [MinTTL]; above
// [MaxTTL] it is refused.
func (s *Store) Lease(ctx context.Context, ttl time.Duration) (backend.Lease, error) {
	if ttl <= 0 || ttl > MaxTTL {
		return nil, fmt.Errorf("%w: a lease of %v, expected one from %v to %v", backend.ErrInvalid, ttl, MinTTL, MaxTTL)
	}
	grant := backend.Grant{TTL: max(ttl, MinTTL), Sent: time.Now()}
	err := s.call(ctx, backend.ErrUnknown, "lease", "", func() error {
		grant.ID = s.server.grant(grant.TTL)
		return nil
	})
	if err != nil {
		return nil, err
	}
	grant.Renew = func(ctx context.Context) error { return s.ofLease(ctx, "renew lease", grant.ID, s.server.renew) }
	grant.Revoke = func(ctx context.Context) error { return s.ofLease(ctx, "revoke lease", grant.ID, s.server.revoke) }
	held, err := backend.RunLease(s.life, grant)
	if err != nil {
		return nil, err
	}
	return &lease{HeldLease: held, store: s}, nil
}

// ofLease runs a request about one lease; f reports whether there is one.
func (s *Store) ofLease(ctx context.Context, op, id string, f func(id string) bool) error {
	return s.call(ctx, backend.ErrUnknown, op, id, func() error {
		if !f(id) {
			return fmt.Errorf("%s %q: %w", op, id, backend.ErrLeaseLost)
		}
		return nil
	})
}
