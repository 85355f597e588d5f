package boltstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/seed27495941/seckill/backend"
)

// The bounds of a lease's TTL.
const (
	MinTTL = time.Second
	MaxTTL = 24 * time.Hour
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
	id, ttl, sent := rand.Text(), max(ttl, MinTTL), time.Now()
	_, err := s.write(ctx, "lease", id, func(t *txn) error {
		s.file.arm(id, ttl) // before the commit, whose outcome may stay open
		return t.grant(id, ttl)
	})
	if err != nil {
		return nil, err
	}
	held, err := backend.RunLease(s.life, backend.Grant{
		ID: id, TTL: ttl, Sent: sent,
		Renew: func(ctx context.Context) error {
			return s.do(ctx, s.file.turn, "renew lease", id, func() error { return s.file.renew(id, ttl) })
		},
		Revoke: func(ctx context.Context) error {
			return s.do(ctx, s.file.turn, "revoke lease", id, func() error { return s.file.end(id) })
		},
	})
	if err != nil {
		return nil, err
	}
	return &lease{HeldLease: held, store: s}, nil
}

// own checks that a lease, if there is one, is of this store and lasts.
func (s *Store) own(l backend.Lease) (*lease, error) {
	if l == nil {
		return nil, nil
	}
	own, ok := l.(*lease)
	if !ok || own.store != s {
		return nil, fmt.Errorf("%w: lease %s is not of this store", backend.ErrInvalid, l.ID())
	}
	if !own.Valid() {
		return nil, fmt.Errorf("%w: lease %s: %w", backend.ErrLeaseLost, l.ID(), own.Err())
	}
	return own, nil
}

// renew starts a lease's time again. It writes nothing: a file that is opened
// again gives every lease its whole TTL. The caller has the turn.
func (f *File) renew(id string, ttl time.Duration) error {
	if err := f.view(func(t *txn) error { return t.granted(id) }); err != nil {
		return err
	}
	if !f.expiry[id].Stop() { // it has fired, and expire waits for its turn
		return fmt.Errorf("%w: not renewed within its TTL of %v", backend.ErrLeaseLost, ttl)
	}
	f.expiry[id].Reset(ttl)
	return nil
}

// arm makes a lease expire after a time. Whether there is such a lease in the
// file is asked then. The caller has the turn.
func (f *File) arm(id string, after time.Duration) {
	f.expiry[id] = time.AfterFunc(after, func() {
		_ = f.life.Go(func(ctx context.Context) { f.expire(ctx, id) }) // a closed file does not
	})
}

// expire ends a lease whose time has passed. What fails is tried again.
func (f *File) expire(ctx context.Context, id string) {
	_ = f.do(ctx, f.turn, "expire lease", id, func() error {
		err := f.end(id)
		if err != nil && !errors.Is(err, backend.ErrLeaseLost) {
			f.arm(id, time.Second)
		}
		return err
	})
}

// end removes a lease and its keys. The caller has the turn.
func (f *File) end(id string) error {
	_, err := f.commit(func(t *txn) error { return t.revoke(id) })
	if timer, ok := f.expiry[id]; ok && (err == nil || errors.Is(err, backend.ErrLeaseLost)) {
		timer.Stop()
		delete(f.expiry, id)
	}
	return err
}
