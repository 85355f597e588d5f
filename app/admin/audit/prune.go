package audit

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	"github.com/seed27495941/seckill/backend"
)

// Retention is how much of the log is kept.
type Retention struct {
	Keep time.Duration // records are deleted when they are older
	Max  int           // or when there are so many newer ones
}

// DefaultRetention is 90 days, and 100,000 records.
func DefaultRetention() Retention { return Retention{Keep: 90 * 24 * time.Hour, Max: 100_000} }

// Validate says what is wrong with a retention: ErrInvalid.
func (r Retention) Validate() error {
	if r.Keep <= 0 || r.Max < 1 {
		return fmt.Errorf("%w: audit: keep records for %v, at most %d: expected more than nothing", backend.ErrInvalid, r.Keep, r.Max)
	}
	return nil
}

// Pruned is what was deleted of the log, or is to be.
type Pruned struct {
	Records int       `json:"records"`
	First   time.Time `json:"first"` // of them
	Last    time.Time `json:"last"`
}

// atOnce is how many keys are deleted at a time.
const atOnce = 16

// Prune deletes the oldest records, as an action that is recorded like all others,
// unless there is nothing to delete. What was interrupted is finished by calling it
// again. Errors: ErrInvalid, those of [Log.Do] and of the store.
func (l *Log) Prune(ctx context.Context, a Action, keep Retention) (Pruned, error) {
	if err := keep.Validate(); err != nil {
		return Pruned{}, err
	}
	buckets, err := l.buckets(ctx)
	if err != nil {
		return Pruned{}, err
	}
	plan, last, err := l.plan(ctx, buckets, keep)
	if err != nil || plan.Records == 0 {
		return Pruned{}, err
	}
	return plan, l.Do(ctx, a, nil, func(ctx context.Context) (any, error) {
		return plan, l.delete(ctx, buckets, last)
	})
}

// plan finds what is to go: all records up to the last.
func (l *Log) plan(ctx context.Context, buckets []bucket, keep Retention) (plan Pruned, last ulid.ULID, err error) {
	oldest := firstOf(time.Now().Add(-keep.Keep))
	kept := 0
	for _, b := range slices.Backward(buckets) {
		ids, err := l.ids(ctx, b)
		if err != nil {
			return plan, last, err
		}
		for _, id := range slices.Backward(ids) {
			if kept < keep.Max && id.Compare(oldest) >= 0 {
				kept++
				continue
			}
			if plan.Records == 0 {
				last, plan.Last = id, id.Timestamp().UTC()
			}
			plan.Records++
			plan.First = id.Timestamp().UTC()
		}
	}
	return plan, last, nil
}

// ids lists the records of a bucket, also those of which only the outcome is left.
func (l *Log) ids(ctx context.Context, b bucket) ([]ulid.ULID, error) {
	entries, _, err := backend.List(ctx, l.store, dir+b.name)
	var ids []ulid.ULID
	for _, e := range entries {
		if id, _, err := parseKey(e.Key); err == nil {
			ids = append(ids, id)
		}
	}
	return slices.Compact(ids), err
}

// delete deletes all records up to the last.
func (l *Log) delete(ctx context.Context, buckets []bucket, last ulid.ULID) error {
	for _, b := range buckets {
		if b.first.Compare(last) > 0 {
			break
		}
		left, err := l.empty(ctx, b, last)
		if err == nil && left == 0 && b.name < bucketOf(last) {
			err = l.unlist(ctx, b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// empty deletes the records of a bucket up to the last, and says how many are left.
func (l *Log) empty(ctx context.Context, b bucket, last ulid.ULID) (left int, err error) {
	ids, err := l.ids(ctx, b)
	if err != nil {
		return 0, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, id := range ids {
		if id.Compare(last) > 0 {
			left++
			continue
		}
		group.Go(func() error {
			if err := l.store.Delete(ctx, recordKey(id)); err != nil {
				return err
			}
			return l.store.Delete(ctx, outcomeKey(id))
		})
	}
	return left, group.Wait()
}

// unlist takes a bucket off the list that is empty. Whoever writes to it still does so
// on the condition that it is listed: either that is seen here, or lists it again.
func (l *Log) unlist(ctx context.Context, b bucket) error {
	if err := l.store.Delete(ctx, b.entry.Key, backend.If(b.entry.Key, b.entry.Revision)); err != nil {
		return err
	}
	if ids, err := l.ids(ctx, b); err != nil || len(ids) == 0 {
		return err
	}
	_, err := l.enlist(ctx, b.entry.Key)
	return err
}
