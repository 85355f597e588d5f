package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/verify"
	"github.com/seed27495941/seckill/backend"
)

// sales is what a job remembers of events. Each job has its own.
type sales struct {
	*duty
	log    *slog.Logger
	began  map[ulid.ULID]sighting   // those that somebody is changing
	later  map[ulid.ULID]*postponed // those that are left alone for a while
	noted  map[string]bool          // what is in the audit log
	purged map[ulid.ULID]bool       // those of which nothing is left
}

// A sighting is of an event that somebody has begun to change.
type sighting struct {
	revision backend.Revision
	since    time.Time
}

// A postponed event could not be dealt with, and is looked at again at a time.
type postponed struct {
	until  time.Time
	why    error
	failed int // times in a row
	pause  *backoff.ExponentialBackOff
}

// look is how long a sale that waits is left alone: looking costs.
const look = 5 * time.Minute

// A waiting says why an event is not dealt with yet, though nothing is wrong with it.
type waiting struct{ why string }

func (w *waiting) Error() string { return w.why }

// long is how much of a round one event gets: twice what the reading of a sale may take.
const long = 10 * time.Minute

var errLong = fmt.Errorf("it was not done after %v", long)

// A step does something to an event, if that is needed, and says whether it has.
type step func(*sales, context.Context, event.Event, *result) (did bool, err error)

// each is a job that takes a step with every event. Of what can't be read, or fails, the
// rest is done nevertheless.
func (d *duty) each(name string, take step) func(context.Context) (result, error) {
	s := &sales{duty: d, log: d.log.With("job", name), began: map[ulid.ULID]sighting{}, later: map[ulid.ULID]*postponed{}, noted: map[string]bool{}, purged: map[ulid.ULID]bool{}}
	return func(ctx context.Context) (came result, err error) {
		events, unreadable, err := s.events.read(ctx, s.store)
		if err != nil {
			return came, err
		}
		problems := slices.Clone(unreadable)
		did, failed := 0, 0
		var waits []error
		for _, e := range events {
			done, err := s.once(ctx, e, &came, take)
			var wait *waiting
			switch {
			case errors.Is(err, errHopeless):
				came.problems = errors.Join(problems...)
				return came, err
			case errors.As(err, &wait):
				waits = append(waits, fmt.Errorf("event %s waits: %w", e.ID, err))
			case err != nil:
				failed++
				problems = append(problems, fmt.Errorf("event %s: %w", e.ID, err))
			case done:
				did++
			}
		}
		came.text = fmt.Sprintf("did something for %d of %d events", did, len(events))
		if failed > 0 {
			came.text += fmt.Sprintf(", failed for %d", failed)
		}
		if len(waits) > 0 {
			came.text += "\n" + errors.Join(waits...).Error()
		}
		came.problems = errors.Join(problems...)
		return came, nil
	}
}

var errHopeless = errors.New("no event can be dealt with")

// isHopeless reports whether an error is not its event's fault, so that the others need
// not be tried: the term is over, the store does not answer what is asked of it next,
// either, or the directory of archives is held up by another event.
func (s *sales) isHopeless(ctx context.Context, err error) bool {
	switch {
	case ctx.Err() != nil || errors.Is(err, errHeldUp):
		return true
	case !isTrouble(err) && !errors.Is(err, backend.ErrConflict):
		return false
	}
	// Not all errors say that the term is over: a step that has begun and is refused says
	// only that it was not finished.
	held, err := s.store.Get(ctx, s.guard.Key)
	return err != nil || held.Revision != s.guard.Revision
}

func isTrouble(err error) bool {
	return errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrUnknown) || errors.Is(err, backend.ErrClosed)
}

// once deals with an event, unless that is postponed.
func (s *sales) once(ctx context.Context, e event.Event, came *result, take step) (bool, error) {
	was := s.later[e.ID]
	if was != nil && time.Now().Before(was.until) {
		came.soonest(was.until)
		return false, was.why
	}
	// Without a deadline, so that each call to a store that is away ends as soon as ever.
	working, cancel := context.WithCancelCause(ctx)
	defer time.AfterFunc(long, func() { cancel(errLong) }).Stop()
	defer cancel(nil)
	did, err := take(s, working, e, came)
	if err == nil {
		delete(s.later, e.ID)
		return did, nil
	}
	if errors.Is(context.Cause(working), errLong) {
		err = fmt.Errorf("%w: %w", errLong, err)
	}
	if s.isHopeless(ctx, err) {
		return false, fmt.Errorf("%w: %w", errHopeless, err)
	}
	s.postpone(e, was, err)
	came.soonest(s.later[e.ID].until)
	return false, err
}

// postpone leaves an event alone: the longer, the more often it has failed, for each
// attempt may be recorded.
func (s *sales) postpone(e event.Event, was *postponed, why error) {
	p := &postponed{why: why}
	s.later[e.ID] = p
	var wait *waiting
	if errors.As(why, &wait) {
		p.until = time.Now().Add(look)
		return
	}
	p.pause = pauses(time.Minute, rarely)
	if was != nil && was.pause != nil {
		p.pause, p.failed = was.pause, was.failed
	}
	p.failed++
	p.until = time.Now().Add(p.pause.NextBackOff())
	s.log.Warn("an event could not be dealt with, and will be again", "event", e.ID.String(), "error", why, "failures", p.failed, "next", p.until.UTC())
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

// step makes an event another status, on the record. One that is not as it was listed is
// left to the next run.
func (s *sales) step(ctx context.Context, name string, e event.Event, take func(event.Event, context.Context, backend.Store) (event.Event, error)) (bool, error) {
	defer s.events.forget()
	if now, err := event.Get(ctx, s.store, e.ID); err != nil || now.Revision != e.Revision {
		return false, err
	}
	err := s.audit.Do(ctx, s.action(name, e.ID.String()), status{e.Status}, func(ctx context.Context) (any, error) {
		e, err := take(e, ctx, s.store)
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
	return s.step(ctx, "event.publish", e, event.Event.Publish)
}

// past is how long ago a window may have opened or closed to be noted: what nobody has
// noted by then stays so, and what was pruned is not noted again.
const past = 24 * time.Hour

// windows notes when windows open and close: of sales that are seen to be open in theirs,
// and no others. Owners apply windows by themselves.
func (s *sales) windows(ctx context.Context, e event.Event, came *result) (did bool, err error) {
	if e.Status != record.StatusOnline && e.Status != record.StatusOffline || !came.due(e.Window.Opens) {
		return false, nil
	}
	if came.due(e.Window.Closes) {
		return s.note(ctx, eventEnded, e, e.Window.Closes, s.hasOpened)
	}
	return s.note(ctx, eventOpened, e, e.Window.Opens, s.isOpen)
}

const (
	eventOpened = "event.opened"
	eventEnded  = "event.ended"
)

func (s *sales) isOpen(_ context.Context, e event.Event) (bool, error) {
	return e.Status == record.StatusOnline, nil
}

// hasOpened reports whether it was noted that a sale's window opened.
func (s *sales) hasOpened(ctx context.Context, e event.Event) (bool, error) {
	return s.audit.Noted(ctx, s.action(eventOpened, e.ID.String()), e.Window.Opens)
}

// note notes that something has happened to an event at a time, if it has, and that is
// not long ago.
func (s *sales) note(ctx context.Context, name string, e event.Event, at time.Time, has func(context.Context, event.Event) (bool, error)) (bool, error) {
	key := name + e.ID.String()
	if s.noted[key] || time.Since(at) >= min(past, s.Retention.Keep) {
		return false, nil
	}
	if has, err := has(ctx, e); err != nil || !has {
		return false, err
	}
	wrote, err := s.audit.NoteOnce(ctx, s.action(name, e.ID.String()), at)
	s.noted[key] = err == nil
	return wrote, err
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
	return s.step(ctx, "event.close", e, event.Event.Close)
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
