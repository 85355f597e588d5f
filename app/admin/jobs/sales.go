package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/verify"
	"github.com/seed27495941/seckill/backend"
)

// sales is what a job remembers of events. Each job has its own.
type sales struct {
	*duty
	began  map[ulid.ULID]sighting  // those that somebody is changing
	later  map[ulid.ULID]postponed // those that are left alone for a while
	noted  map[string]bool         // what is in the audit log
	purged map[ulid.ULID]bool      // those of which nothing is left
}

// A sighting is of an event that somebody has begun to change.
type sighting struct {
	revision backend.Revision
	since    time.Time
}

// A postponed event could not be dealt with, and is looked at again at a time.
type postponed struct {
	until time.Time
	why   error
}

// postpone is how long: looking costs, and failing is recorded.
const postpone = 5 * time.Minute

// A waiting says why an event is not dealt with yet, though nothing is wrong with it.
type waiting struct{ why string }

func (w *waiting) Error() string { return w.why }

// each is a job that does something to every event that needs it, and says whether it
// has. Of what can't be read, or fails, the rest is done nevertheless.
func (d *duty) each(do func(*sales, context.Context, event.Event, *result) (did bool, err error)) func(context.Context) (result, error) {
	s := &sales{duty: d, began: map[ulid.ULID]sighting{}, later: map[ulid.ULID]postponed{}, noted: map[string]bool{}, purged: map[ulid.ULID]bool{}}
	return func(ctx context.Context) (came result, err error) {
		events, problems, err := event.List(ctx, s.store)
		if err != nil {
			return came, err
		}
		did := 0
		var waits []error
		for _, e := range events {
			done, err := s.once(ctx, e, &came, do)
			var wait *waiting
			switch {
			case ctx.Err() != nil || errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrUnknown):
				return came, err // not the event's fault
			case errors.As(err, &wait):
				waits = append(waits, fmt.Errorf("event %s waits: %w", e.ID, err))
			case err != nil:
				problems = append(problems, fmt.Errorf("event %s: %w", e.ID, err))
			case done:
				did++
			}
		}
		came.text = fmt.Sprintf("did something for %d of %d events", did, len(events))
		if len(waits) > 0 {
			came.text += "\n" + errors.Join(waits...).Error()
		}
		came.problems = errors.Join(problems...)
		return came, nil
	}
}

// once deals with an event, unless that is postponed.
func (s *sales) once(ctx context.Context, e event.Event, came *result, do func(*sales, context.Context, event.Event, *result) (bool, error)) (bool, error) {
	if p, ok := s.later[e.ID]; ok && time.Now().Before(p.until) {
		came.soonest(p.until)
		return false, p.why
	}
	delete(s.later, e.ID)
	did, err := do(s, ctx, e, came)
	if err != nil {
		p := postponed{time.Now().Add(postpone), err}
		s.later[e.ID] = p
		came.soonest(p.until)
	}
	return did, err
}

// abandoned reports whether an event has been as it is for so long that nobody can be at
// it.
func (s *sales) abandoned(e event.Event, came *result) bool {
	seen, ok := s.began[e.ID]
	if !ok || seen.revision != e.Revision {
		seen = sighting{e.Revision, time.Now()}
		s.began[e.ID] = seen
	}
	return came.due(seen.since.Add(s.Settle))
}

// step makes an event another status, on the record.
func (s *sales) step(ctx context.Context, name string, e event.Event, do func(context.Context, backend.Store, ulid.ULID) (event.Event, error)) (bool, error) {
	err := s.audit.Do(ctx, s.action(name, e.ID.String()), status{e.Status}, func(ctx context.Context) (any, error) {
		e, err := do(ctx, s.store, e.ID)
		return status{e.Status}, err
	})
	return err == nil, err
}

// A status is what the audit log has of an event that a job changes: the rest stays.
type status struct {
	Status record.Status `json:"status,omitempty"`
}

// publish finishes what a crash has interrupted.
func (s *sales) publish(ctx context.Context, e event.Event, came *result) (bool, error) {
	if e.Status != record.StatusPublishing || !s.abandoned(e, came) {
		return false, nil
	}
	return s.step(ctx, "event.publish", e, event.Publish)
}

// past is how long ago a window may have opened or closed to be noted: what nobody has
// noted by then stays so, and what was pruned is not noted again.
const past = 24 * time.Hour

// windows notes when windows open and close. Owners apply them by themselves.
func (s *sales) windows(ctx context.Context, e event.Event, came *result) (did bool, err error) {
	if e.Status == record.StatusDraft || e.Status == record.StatusPublishing {
		return false, nil
	}
	for _, edge := range []struct {
		name string
		at   time.Time
	}{{"event.opened", e.Window.Opens}, {"event.ended", e.Window.Closes}} {
		isNew := time.Since(edge.at) < min(past, s.Retention.Keep)
		closedBefore := e.Status.IsOver() && time.Now().Before(edge.at) // by hand
		key := edge.name + e.ID.String()
		if !isNew || closedBefore || s.noted[key] || !came.due(edge.at) {
			continue
		}
		wrote, err := s.audit.NoteOnce(ctx, s.action(edge.name, e.ID.String()), edge.at)
		if err != nil {
			return did, err
		}
		s.noted[key] = true
		did = did || wrote
	}
	return did, nil
}

// grace is how long after the last deadline a sale is closed: for payments that are on
// their way, and clocks that differ.
const grace = 10 * time.Minute

// over is when a sale can be closed, unless orders have a longer deadline than the
// event says.
func over(e event.Event) time.Time {
	return e.Window.Closes.Add(time.Duration(e.PayWithin)*time.Second + grace)
}

// close closes sales that are over, and finishes what a crash has interrupted.
func (s *sales) close(ctx context.Context, e event.Event, came *result) (bool, error) {
	switch e.Status {
	case record.StatusClosing:
		if !s.abandoned(e, came) {
			return false, nil
		}
	case record.StatusOnline, record.StatusOffline:
		if !came.due(over(e)) {
			return false, nil
		}
		if err := s.settled(ctx, e); err != nil {
			return false, err
		}
	case record.StatusDraft, record.StatusPublishing, record.StatusClosed, record.StatusArchived:
		return false, nil
	}
	return s.step(ctx, "event.close", e, event.Close)
}

// settled says why a sale that is over can't be closed: an order that is pending could
// never be paid then, and may have a longer deadline than its event says, by the cluster
// config. A sale that breaks a rule is left to people.
func (s *sales) settled(ctx context.Context, e event.Event) error {
	report, err := verify.Check(ctx, s.store, e.ID, nil)
	switch {
	case err != nil:
		return err
	case !report.Clean():
		return fmt.Errorf("not closed, for it breaks the rules: %d violations, the first: %s", len(report.Violations), report.Violations[0])
	case report.Statuses["pending"] > 0:
		return &waiting{fmt.Sprintf("it is over, and %d orders are pending: while a node serves it they are paid or expire", report.Statuses["pending"])}
	}
	return nil
}
