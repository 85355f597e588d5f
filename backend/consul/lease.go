package consul

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"strings"
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
		s.withdraw(ctx, grant.ID)
		return nil, err
	}
	return &lease{HeldLease: held, store: s}, nil
}

// withdraw ends a session that nobody holds, because the store was closed while it
// was granted. If that fails it expires.
func (s *Store) withdraw(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	_, _ = s.client.Session().Destroy(id, (&api.WriteOptions{}).WithContext(ctx))
	s.release() // as Close did, before this needed a connection
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
	switch {
	case sessionUnknown(err, id):
		return backend.Failure(ctx, backend.ErrLeaseLost, "renew", id, err)
	case err == nil && len(sessions) == 0:
		err = errors.New("the answer has no session in it")
	}
	if err != nil {
		return readFailure(ctx, "renew", id, err)
	}
	if err := differs(sessions[0], ttl); err != nil {
		return backend.Failure(ctx, backend.ErrLeaseLost, "renew", id, err)
	}
	return nil
}

// sessionUnknown reports whether Consul says that there is no such session. Any
// other 404 is that of a proxy or of somebody else behind the address.
func sessionUnknown(err error, id string) bool {
	var status api.StatusError
	return errors.As(err, &status) && status.Code == http.StatusNotFound &&
		strings.Contains(status.Body, fmt.Sprintf("Session id '%s' not found", id))
}

// differs tells why a session is not what was granted. With a shorter TTL the
// holder's clock would outlive it, without one or with another behaviour its
// keys would outlive the holder.
func differs(session *api.SessionEntry, ttl time.Duration) error {
	if now, err := time.ParseDuration(session.TTL); err != nil || now < ttl {
		return fmt.Errorf("its TTL is %q, it was %v", session.TTL, ttl)
	}
	if session.Behavior != api.SessionBehaviorDelete {
		return fmt.Errorf("its behavior is %q, it was %q", session.Behavior, api.SessionBehaviorDelete)
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
