package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
)

// ErrRefused says of what was wanted that it is not allowed.
var ErrRefused = errors.New("refused")

// Options are optional.
type Options struct {
	// Refusals are errors that mean Refused, besides ErrRefused and those with which a
	// store refuses.
	Refusals []error

	Logger *slog.Logger // nil: silent
}

// A Log is the audit log of a store. It is safe for concurrent use. Use one in a
// process: its records are in order then.
type Log struct {
	store    backend.Store
	refusals []error
	log      *slog.Logger
	shared   *shared
}

// shared is what a log has in common with those made by With.
type shared struct {
	ids *maker

	mu     sync.Mutex
	bucket backend.Condition // the last one that was written to, which is there
}

// New makes the log of a store; nothing is sent.
func New(s backend.Store, o Options) *Log {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	refusals := append([]error{ErrRefused, backend.ErrConflict, backend.ErrInvalid, backend.ErrNotFound, backend.ErrTooLarge}, o.Refusals...)
	return &Log{store: s, refusals: refusals, log: o.Logger, shared: &shared{ids: newMaker()}}
}

// With is the same log, written through another store: one that adds conditions to
// each write, for example. An outcome is then written on them, too.
func (l *Log) With(s backend.Store) *Log {
	through := *l
	through.store = s
	return &through
}

// patience bounds the writing of a record, which is tried until then.
const patience = 5 * time.Second

// Do records an action, does it, and records what came of it. before is what is there
// now, after what is there then, nil if that does not matter: see [Value]. Of a change
// that failed after is not recorded.
//
// The error is that of change. If the action can't be recorded change is not called,
// and the error is the store's, but never ErrUnknown: nothing was changed. If the outcome
// can't be recorded that is logged, and the record stays as Begun.
func (l *Log) Do(ctx context.Context, a Action, before any, change func(context.Context) (after any, err error)) error {
	r, err := l.begin(ctx, a, before)
	if err != nil {
		return err
	}
	after, err := change(ctx)
	if err != nil {
		after = nil // it is not so
	}
	l.end(ctx, r, after, err)
	return err
}

// Note records an action that needs no change, or that was not allowed to make one: a
// login, a refusal. The error is its outcome, nil for Done. Errors: as of [Log.Do].
func (l *Log) Note(ctx context.Context, a Action, came error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := l.record(l.shared.ids.next(), a, nil)
	if err != nil {
		return err
	}
	r.Ending = l.ending(nil, came)
	_, err = l.add(ctx, r)
	return certain(ctx, a, err)
}

// NoteOnce records that something has happened at a time, once, whoever calls it
// how often: that action on that target at that millisecond. It reports whether this call
// has. Errors: as of [Log.Do].
func (l *Log) NoteOnce(ctx context.Context, a Action, at time.Time) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := l.record(idOf(at, a.Name, a.Target), a, nil)
	if err != nil {
		return false, err
	}
	r.Ending = l.ending(nil, nil)
	_, err = l.add(ctx, r)
	var conflict *backend.ConflictError
	if errors.As(err, &conflict) && conflict.Key == recordKey(r.ID) {
		return false, nil
	}
	return err == nil, certain(ctx, a, err)
}

// Noted reports whether NoteOnce has recorded that, and it was not pruned since. Errors:
// those of [backend.Store.Get].
func (l *Log) Noted(ctx context.Context, a Action, at time.Time) (bool, error) {
	_, err := l.store.Get(ctx, recordKey(idOf(at, a.Name, a.Target)))
	if errors.Is(err, backend.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (l *Log) record(id ulid.ULID, a Action, before any) (Record, error) {
	r := Record{ID: id, Time: ulid.Time(id.Time()).UTC(), Action: a.bounded(), Before: valueOf(before)}
	return r, a.Validate()
}

// A begun record is there, at a revision.
type begun struct {
	Record
	revision backend.Revision
}

func (l *Log) begin(ctx context.Context, a Action, before any) (begun, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := l.record(l.shared.ids.next(), a, before)
	if err != nil {
		return begun{}, err
	}
	revision, err := l.add(ctx, r)
	return begun{r, revision}, certain(ctx, a, err)
}

// certain says of an action that was not recorded that it was not done, whatever
// became of the record.
func certain(ctx context.Context, a Action, err error) error {
	if errors.Is(err, backend.ErrUnknown) {
		err = backend.Failure(ctx, backend.ErrUnavailable, "record", a.Name, errors.New(err.Error()))
	}
	if err != nil {
		return fmt.Errorf("audit: %s was not done, it could not be recorded: %w", a.Name, err)
	}
	return nil
}

// end writes the outcome, also for a caller who does not wait any more.
func (l *Log) end(ctx context.Context, r begun, after any, came error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if _, err := l.put(ctx, outcomeKey(r.ID), l.ending(after, came), backend.If(recordKey(r.ID), r.revision)); err != nil {
		l.log.Error("the outcome of an action is not in the audit log", "action", r.Name, "target", r.Target, "id", r.ID.String(), "came", came, "error", err)
	}
}

// maxError bounds the text of an error, in bytes.
const maxError = 4 << 10

func (l *Log) ending(after any, came error) Ending {
	e := Ending{Outcome: l.outcome(came), After: valueOf(after), Ended: time.Now().UTC().Truncate(time.Millisecond)}
	if came != nil {
		e.Error = clip(came.Error(), maxError)
	}
	return e
}

func (l *Log) outcome(came error) Outcome {
	isUnavailable := errors.Is(came, backend.ErrUnavailable)
	switch {
	case came == nil:
		return Done
	case errors.Is(came, backend.ErrUnknown):
		return Unknown
	case !isUnavailable && (errors.Is(came, context.DeadlineExceeded) || errors.Is(came, context.Canceled)):
		return Unknown
	}
	for _, refusal := range l.refusals {
		if !isUnavailable && errors.Is(came, refusal) {
			return Refused
		}
	}
	return Failed
}

// add puts a record, on the condition that its bucket is listed. Errors: ErrConflict on
// the record's key if it is there, the store's.
func (l *Log) add(ctx context.Context, r Record) (backend.Revision, error) {
	for {
		listed, err := l.list(ctx, bucketOf(r.ID))
		if err != nil {
			return 0, err
		}
		revision, err := l.put(ctx, recordKey(r.ID), r, listed)
		var conflict *backend.ConflictError
		if !errors.As(err, &conflict) || conflict.Key != listed.Key {
			return revision, err
		}
		l.remember(backend.Condition{}) // it was pruned meanwhile
	}
}

// list makes sure that readers find a bucket. The condition is that they do.
func (l *Log) list(ctx context.Context, bucket string) (backend.Condition, error) {
	key := bucketsDir + bucket
	if listed := l.remembered(); listed.Key == key {
		return listed, nil
	}
	listed, err := l.enlist(ctx, key)
	if err == nil {
		l.remember(listed)
	}
	return listed, err
}

func (l *Log) enlist(ctx context.Context, key string) (backend.Condition, error) {
	revision, err := l.put(ctx, key, struct{}{})
	var conflict *backend.ConflictError
	if errors.As(err, &conflict) && conflict.Key == key {
		var e backend.Entry
		e, err = l.store.Get(ctx, key)
		revision = e.Revision
	}
	return backend.If(key, revision), err
}

func (l *Log) remembered() backend.Condition {
	l.shared.mu.Lock()
	defer l.shared.mu.Unlock()
	return l.shared.bucket
}

func (l *Log) remember(bucket backend.Condition) {
	l.shared.mu.Lock()
	defer l.shared.mu.Unlock()
	l.shared.bucket = bucket
}

// put puts a key that is not there, and tries until ctx ends. Once a write was lost on
// its way a key that is there is taken for ours: only the bucket's has other authors,
// and with those it does not matter.
func (l *Log) put(ctx context.Context, key string, v any, conds ...backend.Condition) (backend.Revision, error) {
	opts := []backend.PutOption{backend.If(key, 0)}
	for _, c := range conds {
		opts = append(opts, c)
	}
	pause := backoff.ExponentialBackOff{InitialInterval: 20 * time.Millisecond, MaxInterval: time.Second, Multiplier: 2, RandomizationFactor: 0.5}
	var unknown error
	for {
		revision, err := backend.PutJSON(ctx, l.store, key, v, opts...)
		var conflict *backend.ConflictError
		switch {
		case errors.Is(err, backend.ErrUnknown):
			unknown = err
		case errors.Is(err, backend.ErrUnavailable):
			if unknown != nil {
				err = unknown // this attempt says nothing of that one
			}
		case unknown != nil && errors.As(err, &conflict) && conflict.Key == key:
			e, err := l.store.Get(ctx, key)
			return e.Revision, err
		default:
			return revision, err
		}
		if !retry.Sleep(ctx, pause.NextBackOff()) {
			return 0, err
		}
	}
}
