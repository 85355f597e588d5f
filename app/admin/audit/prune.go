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

// Retention is how much of the log is kept. Of refusals that were only noted ([Log.Note])
// a tenth of Max is, and they are not counted among the others: whoever is refused all the
// time displaces nothing of what was done.
type Retention struct {
	Keep time.Duration // records are deleted when they are older
	Max  int           // or when there are so many newer ones
}

func (r Retention) maxRefusals() int { return max(r.Max/10, 1) }

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
	p, err := l.plan(ctx, buckets, keep)
	if err != nil || p.Records == 0 {
		return Pruned{}, err
	}
	return p.Pruned, l.Do(ctx, a, nil, func(ctx context.Context) (any, error) {
		return p.Pruned, l.delete(ctx, buckets, p)
	})
}

// A written record is one at the revision of its first key that is there.
type written struct {
	id       ulid.ULID
	revision backend.Revision
	refusal  bool // which was only noted
}

// A plan is what is to go: all records up to the last of their sort, refusals no later than
// others; and of those that are dated in the future, by a clock that was wrong, all that
// were written before all that stay.
type plan struct {
	Pruned
	refusal, other cut
	now            ulid.ULID // after it is the future
}

// A cut is where records of a sort part.
type cut struct {
	last written          // that goes
	kept backend.Revision // the lowest of those that stay and are rightly dated, 0 if none does
}

func (p *plan) cut(r written) *cut {
	if r.refusal {
		return &p.refusal
	}
	return &p.other
}

func (p *plan) takes(r written) bool {
	c := p.cut(r)
	switch {
	case !p.isFuture(r):
		return r.id.Compare(c.last.id) <= 0
	case c.kept == 0:
		return r.revision < c.last.revision
	}
	return c.last.revision > 0 && r.revision < c.kept
}

func (p *plan) isFuture(r written) bool { return r.id.Compare(p.now) >= 0 }

// end has a record go, with all that are older.
func (p *plan) end(r written) {
	if !r.refusal && !p.takes(r) {
		p.other.last = r
	}
	if p.refusal.last.id.Compare(r.id) < 0 {
		p.refusal.last = r
	}
}

// keep has a record stay.
func (p *plan) keep(r written) {
	if c := p.cut(r); c.kept == 0 || r.revision < c.kept {
		c.kept = r.revision
	}
}

// count counts a record that is to go.
func (p *plan) count(r written) {
	at := r.id.Timestamp().UTC()
	if p.Records == 0 || at.Before(p.First) {
		p.First = at
	}
	if p.Records == 0 || at.After(p.Last) {
		p.Last = at
	}
	p.Records++
}

// plan finds what is to go. Records of the future do not count as newer ones: whatever
// wrote them, none that is rightly dated goes for it.
func (l *Log) plan(ctx context.Context, buckets []bucket, keep Retention) (*plan, error) {
	p := &plan{now: firstOf(time.Now().Add(ahead))}
	oldest := firstOf(time.Now().Add(-keep.Keep))
	room := map[bool]int{false: keep.Max, true: keep.maxRefusals()} // by whether it is for refusals
	var future []written
	for _, b := range slices.Backward(buckets) {
		records, err := l.records(ctx, b)
		if err != nil {
			return nil, err
		}
		for _, r := range slices.Backward(records) {
			switch {
			case p.isFuture(r):
				future = append(future, r)
			case room[r.refusal] > 0 && r.id.Compare(oldest) >= 0 && !p.takes(r):
				room[r.refusal]--
				p.keep(r)
			default:
				p.end(r)
				p.count(r)
			}
		}
	}
	for _, r := range future {
		if p.takes(r) {
			p.count(r)
		}
	}
	return p, nil
}

// records lists those of a bucket, also those of which only the outcome is left.
func (l *Log) records(ctx context.Context, b bucket) ([]written, error) {
	entries, _, err := backend.List(ctx, l.store, dir+b.name)
	var all []written
	for _, e := range entries {
		id, _, err := parseKey(e.Key)
		if err != nil || len(all) > 0 && all[len(all)-1].id == id {
			continue
		}
		noted, err := decode[Ending](e)
		all = append(all, written{id, e.Revision, err == nil && noted.Outcome == Refused})
	}
	return all, err
}

// delete deletes what is to go.
func (l *Log) delete(ctx context.Context, buckets []bucket, p *plan) error {
	for _, b := range buckets {
		if b.first.Compare(p.refusal.last.id) > 0 && b.name < bucketOf(p.now) {
			continue
		}
		left, err := l.empty(ctx, b, p)
		if err == nil && left == 0 && (b.name < bucketOf(p.refusal.last.id) || b.name > bucketOf(p.now)) {
			err = l.unlist(ctx, b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// empty deletes the records of a bucket that are to go, and says how many are left.
func (l *Log) empty(ctx context.Context, b bucket, p *plan) (left int, err error) {
	records, err := l.records(ctx, b)
	if err != nil {
		return 0, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, r := range records {
		if !p.takes(r) {
			left++
			continue
		}
		group.Go(func() error {
			if err := l.store.Delete(ctx, recordKey(r.id)); err != nil {
				return err
			}
			return l.store.Delete(ctx, outcomeKey(r.id))
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
	if records, err := l.records(ctx, b); err != nil || len(records) == 0 {
		return err
	}
	_, err := l.enlist(ctx, b.entry.Key)
	return err
}
