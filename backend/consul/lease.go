package consul

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/seed27495941/seckill/backend"
)

// sessionName is what operators see in the list of sessions.
const sessionName = "backend lease"

// A lease is a session, and knows which Store made it.
type lease struct {
	*backend.HeldLease
	store *Store
}

// Lease implements [backend.Store].
func (s *Store) Lease(ctx context.Context, ttl time.Duration) (backend.Lease, error) {
	if ttl <= 0 {
		return nil, fmt.Errorf("%w: a lease of %v, expected a positive duration", backend.ErrInvalid, ttl)
	}
	call, cancel, err := s.life.Call(ctx, s.timeout)
	if err != nil {
		return nil, err
	}
	defer cancel()
	grant, err := s.grant(call, roundUp(ttl))
	if err != nil {
		return nil, err
	}
	held, err := backend.RunLease(s.life, grant)
	if err != nil {
		return nil, err // closed meanwhile: the session expires
	}
	return &lease{HeldLease: held, store: s}, nil
}

// roundUp makes a TTL whole milliseconds, which is all that a session needs,
// unless it is so long that it would overflow and be refused anyway.
func roundUp(ttl time.Duration) time.Duration {
	whole := ttl.Truncate(time.Millisecond)
	if whole == ttl || whole > math.MaxInt64-time.Millisecond {
		return ttl
	}
	return whole + time.Millisecond
}

// own finds this store's lease in the option of a Put.
func (s *Store) own(l backend.Lease) (*lease, error) {
	if l == nil {
		return nil, nil //nolint:nilnil // no lease was asked for
	}
	held, ok := l.(*lease)
	if !ok || held == nil || held.store != s {
		return nil, fmt.Errorf("%w: the lease is one of another store", backend.ErrInvalid)
	}
	return held, nil
}

// grant makes a session. What TTLs Consul takes is a setting of the server that
// it tells only in a refusal, so one that is too short is asked for again.
func (s *Store) grant(ctx context.Context, ttl time.Duration) (backend.Grant, error) {
	id, sent, err := s.createSession(ctx, ttl)
	if low, high, ok := ttlLimits(err); ok {
		if ttl >= low {
			return backend.Grant{}, fmt.Errorf("%w: a lease of %v, Consul allows at most %v", backend.ErrInvalid, ttl, high)
		}
		ttl = low
		id, sent, err = s.createSession(ctx, ttl)
	}
	if err != nil {
		return backend.Grant{}, err
	}
	return backend.Grant{
		ID:     id,
		TTL:    ttl,
		Sent:   sent,
		Renew:  func(ctx context.Context) error { return s.renew(ctx, id, ttl) },
		Revoke: func(ctx context.Context) error { return s.destroy(ctx, id) },
	}, nil
}

func (s *Store) createSession(ctx context.Context, ttl time.Duration) (id string, sent time.Time, err error) {
	sending, x := s.trace(ctx)
	sent = time.Now()
	id, _, err = s.client.Session().CreateNoChecks(&api.SessionEntry{
		Name:      sessionName,
		TTL:       ttl.String(),
		Behavior:  api.SessionBehaviorDelete,
		LockDelay: lockDelay,
	}, (&api.WriteOptions{}).WithContext(sending))
	if err != nil {
		err = writeFailure(ctx, x, "lease", "", err)
	}
	return id, sent, err
}

var limitsTold = regexp.MustCompile(`must be between \[([^=\]]+)=([^=\]]+)\]`)

// ttlLimits reads the limits that a refusal of a session's TTL names.
func ttlLimits(err error) (low, high time.Duration, ok bool) {
	if err == nil {
		return 0, 0, false
	}
	m := limitsTold.FindStringSubmatch(err.Error())
	if m == nil {
		return 0, 0, false
	}
	low, errLow := time.ParseDuration(m[1])
	high, errHigh := time.ParseDuration(m[2])
	return low, high, errLow == nil && errHigh == nil
}

func (s *Store) renew(ctx context.Context, id string, ttl time.Duration) error {
	var sessions []*api.SessionEntry
	// Not Session.Renew, which drops the text of a failure.
	_, err := s.client.Raw().Write("/v1/session/renew/"+id, nil, &sessions, (&api.WriteOptions{}).WithContext(ctx))
	var status api.StatusError
	switch {
	case errors.As(err, &status) && status.Code == http.StatusNotFound, err == nil && len(sessions) == 0:
		return backend.Failure(ctx, backend.ErrLeaseLost, "renew", id, err)
	case err != nil:
		return readFailure(ctx, "renew", id, err)
	}
	if now, err := time.ParseDuration(sessions[0].TTL); err == nil && now < ttl {
		// The holder's clock would outlive the session.
		return backend.Failure(ctx, backend.ErrLeaseLost, "renew", id, fmt.Errorf("its TTL became %v, it was %v", now, ttl))
	}
	return nil
}

// destroy ends a session, one that is no more included.
func (s *Store) destroy(ctx context.Context, id string) error {
	ctx, cancel, err := s.life.Call(ctx, s.timeout)
	if err != nil {
		return err
	}
	defer cancel()
	sending, x := s.trace(ctx)
	if _, err := s.client.Session().Destroy(id, (&api.WriteOptions{}).WithContext(sending)); err != nil {
		return writeFailure(ctx, x, "close lease", id, err)
	}
	return nil
}
