package etcd

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed27495941/seckill/backend"
)

var _ backend.Spacious = (*Store)(nil)

var errQuotaUntold = errors.New("etcd before 3.6 does not tell its quota")

// Space implements backend.Spacious: the database of the member that has the
// least left, of those that answer. Errors: backend.ErrUnavailable if none tells,
// or if it is older than 3.6 and does not tell its quota; backend.ErrClosed.
func (s *Store) Space(ctx context.Context) (backend.Space, error) {
	ctx, cancel, err := s.life.Call(ctx, s.timeout)
	if err != nil {
		return backend.Space{}, err
	}
	defer cancel()
	d := &diagnosis{store: s}
	found := d.endpoints(ctx)
	r, ok := d.tightest()
	switch {
	case !ok:
		return backend.Space{}, backend.Failure(ctx, backend.ErrUnavailable, "space", "", fmt.Errorf("no status of any endpoint, %s", found.Found))
	case r.guessed:
		return backend.Space{}, backend.Failure(ctx, backend.ErrUnavailable, "space", "", errQuotaUntold)
	}
	return backend.Space{Quota: max(r.quota, 0), Used: r.size, InUse: r.inUse}, nil
}
