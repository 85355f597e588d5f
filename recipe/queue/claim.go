package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
)

// A claim says who works on an item. It is of the item with that revision only:
// when an ID is used again, what is left of its former claims says nothing.
type claim struct {
	Item      backend.Revision `json:"item"`
	Attempt   int              `json:"attempt"`            // from 1
	By        string           `json:"by,omitempty"`       // the consumer; none: it was given back …
	NotBefore time.Time        `json:"notBefore,omitzero"` // … until then
}

// same compares times as such, not how they are written.
func (c claim) same(d claim) bool {
	return c.Item == d.Item && c.Attempt == d.Attempt && c.By == d.By && c.NotBefore.Equal(d.NotBefore)
}

// insist repeats a conditioned write until its outcome is known. *doubt says, and
// keeps, that an earlier try may have been applied; then a conflict may be due to
// that, and any trouble is a reason to go on, since giving up would leave the
// outcome open. When ctx ends in doubt the error is ErrUnknown.
func insist(ctx context.Context, loop *retry.Loop, doubt *bool, write func() error) error {
	for {
		err := write()
		if errors.Is(err, backend.ErrUnknown) {
			*doubt = true
		}
		switch {
		case err == nil, errors.Is(err, backend.ErrConflict), retry.Final(err), !*doubt:
			return err
		}
		retry.Sleep(ctx, loop.Failed(err))
		if ctx.Err() == nil {
			continue
		}
		if errors.Is(err, backend.ErrUnknown) {
			return err
		}
		return fmt.Errorf("%w: %w", backend.ErrUnknown, err)
	}
}

// putClaim writes a claim under conditions.
func (q *Queue) putClaim(ctx context.Context, shard int, id string, made claim, conds []backend.Condition) (backend.Revision, error) {
	opts := make([]backend.PutOption, len(conds))
	for i, cond := range conds {
		opts[i] = cond
	}
	return backend.PutJSON(ctx, q.store, q.claimKey(shard, id), made, opts...)
}

// deleteClaim deletes a claim after its item is gone. A conflict says that it is
// gone too, or the ID in use again: then the claim stays until the next one
// replaces it, because consumers may count on seeing it.
func (q *Queue) deleteClaim(ctx context.Context, shard int, id string, claimed backend.Revision) error {
	key := q.claimKey(shard, id)
	err := q.store.Delete(ctx, key, backend.If(key, claimed), backend.If(q.itemKey(shard, id), 0))
	if errors.Is(err, backend.ErrConflict) {
		return nil
	}
	return err
}
