package election

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
	"github.com/seed27495941/seckill/recipe/internal/run"
	"github.com/seed27495941/seckill/recipe/lock"
)

// A Term is the time of one leader. [Term.Resign] has to be called when it is to
// end, also after it was lost. It is safe for concurrent use.
type Term struct {
	election    *Election
	held        *lock.Held
	since       time.Time
	proclaiming chan struct{} // holds a token while Proclaim is at work
}

// Token is the term's number, the fencing token: greater than that of every term
// before.
func (t *Term) Token() backend.Revision { return t.held.Token() }

// Guard makes a write depend on the term: it holds as long as the term lasts, and
// never again after. It takes up one of the write's conditions.
func (t *Term) Guard() backend.Condition { return t.held.Guard() }

// Lost is closed when the term can't be relied on any more; see [lock.Held.Lost].
func (t *Term) Lost() <-chan struct{} { return t.held.Lost() }

// Err is nil until Lost is closed. Then it says why; see [lock.Held.Err].
func (t *Term) Err() error { return t.held.Err() }

// Proclaim makes the record say another value. An outcome that is not known is
// found out, by reading the record and trying again, until ctx ends.
//
// Errors: ErrConflict or ErrLeaseLost when the term is over, ErrInvalid,
// ErrTooLarge, ErrDenied, ErrFull, ErrUnavailable, ErrClosed, and ErrUnknown when
// ctx ends first: the record may come to say this value then, until the next
// Proclaim.
func (t *Term) Proclaim(ctx context.Context, value string) error {
	if err := t.election.check(value); err != nil {
		return err
	}
	select {
	case t.proclaiming <- struct{}{}:
		defer func() { <-t.proclaiming }()
	case <-ctx.Done():
		return backend.Failure(ctx, backend.ErrUnavailable, "proclaim", t.election.leader, nil)
	}
	return t.settle(ctx, value)
}

// settle writes until the outcome is known. Once a write was lost on its way, a
// later attempt that certainly did nothing says nothing about that one.
func (t *Term) settle(ctx context.Context, value string) error {
	loop := retry.New(t.election.log, "proclaim")
	var unknown error
	for {
		err := t.write(ctx, value)
		if errors.Is(err, backend.ErrUnknown) {
			unknown = err
		}
		switch {
		case unknown == nil, err == nil, errors.Is(err, backend.ErrConflict), errors.Is(err, backend.ErrLeaseLost):
			return err // the guard of a term that is over refuses the lost write as well
		case ctx.Err() != nil || t.Err() != nil || errors.Is(err, backend.ErrDenied) || errors.Is(err, backend.ErrFull):
			return backend.Failure(ctx, backend.ErrUnknown, "proclaim", t.election.leader, unknown)
		}
		retry.Sleep(ctx, loop.Failed(err))
	}
}

// write puts the record, under the guard, on the lease of the candidate's key, and
// on the condition that the record is as it was just read: a write of this term
// that is still on its way can't undo a later one.
func (t *Term) write(ctx context.Context, value string) error {
	e := t.election
	record, err := json.Marshal(Leader{ID: e.id, Term: t.Token(), Value: value, Since: t.since})
	if err != nil {
		return err
	}
	_, err = backend.Modify(ctx, e.store, e.leader, func(backend.Entry) ([]byte, error) { return record, nil },
		backend.WithLease(t.held.Lease()), t.Guard())
	return err
}

// Resign ends the term: the record and the place in line vanish, and the next
// candidate leads. It can be repeated; after a failure it tries again. When it
// fails the term is still over for this process, and for the others when the lease
// has expired.
func (t *Term) Resign(ctx context.Context) error { return t.held.Release(ctx) }

func (t *Term) giveUp(ctx context.Context) {
	ctx, cancel := run.Farewell(ctx)
	defer cancel()
	if err := t.Resign(ctx); err != nil {
		t.election.log.Warn("not resigned, the lease will expire", "term", uint64(t.Token()), "error", err)
	}
}
