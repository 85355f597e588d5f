package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed27495941/seckill/backend"
)

// reach asks for a key, which the store must answer from a majority of its
// servers. Whether the answer is a refusal is not the question yet.
func (e *examination) reach(ctx context.Context) backend.Finding {
	begun := time.Now()
	_, err := e.store.Get(ctx, e.probe)
	took := round(time.Since(begun))
	switch {
	case err == nil, errors.Is(err, backend.ErrNotFound):
		return fine("a read is answered in %v", took)
	case errors.Is(err, backend.ErrDenied):
		return fine("a read is refused in %v", took)
	}
	e.blocked = "the store does not answer"
	return bad(connection(err.Error()), "%v", err)
}

// failed is the finding of a check that ended with an error. rule is what
// grants the right, if that is what was missing.
func (e *examination) failed(err error, rule string) backend.Finding {
	switch {
	case errors.Is(err, backend.ErrDenied):
		return bad(rule, "%v", err)
	case errors.Is(err, backend.ErrFull):
		return bad(e.advice.full, "%v", err)
	}
	return bad("", "%v", err)
}

// rightLease asks for the lease that the probe is to hang on.
func (e *examination) rightLease(ctx context.Context) backend.Finding {
	lease, err := e.store.Lease(ctx, probeTTL)
	if err != nil {
		return e.failed(err, e.advice.leases)
	}
	e.lease = lease
	return fine("granted for %v", lease.TTL())
}

const noLease = "it takes a lease, and there is none"

func (e *examination) rightPutWithLease(ctx context.Context) backend.Finding {
	if e.lease == nil {
		return untried(noLease)
	}
	rev, err := e.store.Put(ctx, e.probe, nil, backend.WithLease(e.lease))
	if err != nil {
		return e.failed(err, e.advice.keys)
	}
	e.written = rev
	return fine("written at revision %d", rev)
}

// rightPutIf first makes a write whose condition does not hold: if the rights
// are there, that is a conflict, and nothing is written. So it can be tried
// without a lease.
func (e *examination) rightPutIf(ctx context.Context) backend.Finding {
	_, err := e.store.Put(ctx, e.probe, nil, backend.If(e.other, 1))
	switch {
	case err == nil:
		return bad("", "a write was made although its condition did not hold")
	case !errors.Is(err, backend.ErrConflict):
		return e.failed(err, e.advice.keys)
	case e.lease == nil:
		return fine("refused where the condition does not hold")
	}
	rev, err := e.store.Put(ctx, e.probe, nil, backend.If(e.other, 0), backend.WithLease(e.lease))
	if err != nil {
		return e.failed(err, e.advice.keys)
	}
	e.written = rev
	return fine("refused where the condition does not hold, written where it does")
}

// rightGet reads what was written, or what is not there.
func (e *examination) rightGet(ctx context.Context) backend.Finding {
	got, err := e.store.Get(ctx, e.probe)
	switch {
	case err != nil && !errors.Is(err, backend.ErrNotFound):
		return e.failed(err, e.advice.keys)
	case got.Revision != e.written:
		return bad("", "revision %d was written, and revision %d is read: is there a cache in between?", e.written, got.Revision)
	case e.written == 0:
		return fine("an absent key is answered")
	}
	return fine("what was written is read")
}

// rightWatch follows the whole root, as the process does, and waits for a write
// of its own to come along.
func (e *examination) rightWatch(ctx context.Context) backend.Finding {
	before := e.foreignCount()
	begun := time.Now()
	seen := "" // once there was a snapshot
	for u, err := range e.store.WatchPrefix(ctx, "") {
		switch {
		case ctx.Err() != nil && seen == "":
			return bad("", "no snapshot within %v", e.bound)
		case ctx.Err() != nil:
			return bad("", "%s, but no word of a write within %v", seen, e.bound)
		case err != nil:
			return e.failed(err, e.advice.keys)
		case seen != "" && e.tells(u):
			return fine("%s, a write seen after %v", seen, round(time.Since(begun)))
		case seen != "":
			continue
		}
		left := e.foreignCount() - before
		e.foreign = &left
		seen = fmt.Sprintf("a snapshot with %d keys of others after %v", len(slices.DeleteFunc(u.Puts, e.ours)), round(time.Since(begun)))
		if e.written == 0 {
			return fine("%s; nothing could be written for it to see", seen)
		}
		begun = time.Now()
		if e.written, err = e.store.Put(ctx, e.probe, nil, backend.WithLease(e.lease)); err != nil {
			return e.failed(err, e.advice.keys)
		}
	}
	return bad("", "the watch ended without a word")
}

// tells reports whether an update has the last write of the probe.
func (e *examination) tells(u backend.Update) bool {
	return slices.ContainsFunc(u.Puts, func(p backend.Entry) bool { return e.ours(p) && p.Revision >= e.written })
}

func (e *examination) ours(p backend.Entry) bool { return p.Key == e.probe }

// foreignCount is what the driver has counted so far; 0 if it counts nothing.
func (e *examination) foreignCount() uint64 {
	if counter, ok := e.store.(interface{ ForeignKeys() uint64 }); ok {
		return counter.ForeignKeys()
	}
	return 0
}

// rightDelete deletes the probe, or nothing: that takes the same right.
func (e *examination) rightDelete(ctx context.Context) backend.Finding {
	if err := e.store.Delete(ctx, e.probe); err != nil {
		return e.failed(err, e.advice.keys)
	}
	if e.written == 0 {
		return fine("deleting an absent key is allowed")
	}
	return fine("deleted")
}
