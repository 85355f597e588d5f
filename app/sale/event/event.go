// Package event is the life of a sale's event in the store: it is drafted,
// published, suspended, closed for good, and archived.
//
// Each step is a conditional write or several that can be repeated: after a crash
// in between, whoever calls the same function again finishes it. Two callers at
// once can't both succeed in what contradicts.
package event

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
)

// An Event is one as it is in the store.
type Event struct {
	ID       ulid.ULID        `json:"id"`
	Revision backend.Revision `json:"revision"`
	record.Event
}

// ErrStatus says that an event is not in a status from which the step leads.
var ErrStatus = errors.New("the event's status does not allow that")

// Create makes a draft. Errors: ErrInvalid for an event that does not validate,
// and those of [backend.Store.Put]; after ErrUnknown there may be a draft that
// nobody needs.
func Create(ctx context.Context, s backend.Store, e record.Event) (Event, error) {
	return CreateAs(ctx, s, ulid.Make(), e)
}

// CreateAs is Create with an id that was made before, for a caller who has to name it
// first. Errors: ErrConflict if there is one, and as of Create.
func CreateAs(ctx context.Context, s backend.Store, id ulid.ULID, e record.Event) (Event, error) {
	e.Status = record.StatusDraft
	return put(ctx, s, Event{ID: id, Event: e})
}

// Get reads an event. Errors: ErrNotFound, record.ErrCorrupt, and those of
// [backend.Store.Get].
func Get(ctx context.Context, s backend.Store, id ulid.ULID) (Event, error) {
	e, err := s.Get(ctx, record.EventKey(id))
	if err != nil {
		return Event{}, err
	}
	return Decode(e)
}

// Decode reads an event from its key. Errors: record.ErrCorrupt.
func Decode(e backend.Entry) (Event, error) {
	id, err := ulid.ParseStrict(strings.TrimPrefix(e.Key, record.EventsDir))
	if err != nil {
		return Event{}, fmt.Errorf("%w: %s: expected a ULID after %s", record.ErrCorrupt, e.Key, record.EventsDir)
	}
	content, err := record.DecodeEvent(e)
	return Event{ID: id, Revision: e.Revision, Event: content}, err
}

// List reads all events, the oldest first, and says of which keys it can't make
// sense. Errors: those of [backend.List].
func List(ctx context.Context, s backend.Store) (events []Event, problems []error, err error) {
	entries, _, err := backend.List(ctx, s, record.EventsDir)
	if err != nil {
		return nil, nil, err
	}
	for _, entry := range entries {
		if e, err := Decode(entry); err != nil {
			problems = append(problems, err)
		} else {
			events = append(events, e)
		}
	}
	return events, problems, nil
}

// Edit changes a draft that is as it was seen. Errors: ErrStatus if it is none any
// more, ErrConflict if somebody else has changed it, ErrInvalid.
func Edit(ctx context.Context, s backend.Store, seen Event, change func(*record.Event)) (Event, error) {
	if seen.Status != record.StatusDraft {
		return Event{}, fault(seen, record.StatusDraft)
	}
	change(&seen.Event)
	seen.Status = record.StatusDraft
	return put(ctx, s, seen)
}

// Delete deletes a draft that is as it was seen: nothing of a sale is there yet.
// Errors: ErrStatus if it is none any more, ErrConflict if somebody else has changed
// or deleted it, and the store's.
func Delete(ctx context.Context, s backend.Store, seen Event) error {
	if seen.Status != record.StatusDraft {
		return fault(seen, record.StatusDraft)
	}
	return s.Delete(ctx, record.EventKey(seen.ID), seen.unchanged())
}

// Publish makes a draft sell: it makes the pool and the slots, and then the event
// is online. One that is online is no error. Errors: ErrStatus, ErrNotFound, a
// *RoomError (ErrNoRoom) where the store tells how much room it has
// ([backend.SpaceOf]) and that is not enough, record.ErrCorrupt, and the store's,
// with ErrUnknown if the event has begun to be published; after any but ErrStatus and
// ErrNoRoom call it again.
func Publish(ctx context.Context, s backend.Store, id ulid.ULID) (Event, error) {
	return step(ctx, s, id, Event.Publish)
}

// step takes one step from where an event is.
func step(ctx context.Context, s backend.Store, id ulid.ULID, take func(Event, context.Context, backend.Store) (Event, error)) (Event, error) {
	e, err := Get(ctx, s, id)
	if err != nil {
		return Event{}, err
	}
	return take(e, ctx, s)
}

// Publish is the function of that name for an event that is as it was seen. Errors:
// ErrConflict if it has changed since, and as there.
func (e Event) Publish(ctx context.Context, s backend.Store) (Event, error) {
	var err error
	switch e.Status {
	case record.StatusOnline:
		return e, nil
	case record.StatusDraft:
		if err := e.checkRoom(ctx, s); err != nil {
			return Event{}, err
		}
		if e, err = e.become(ctx, s, record.StatusPublishing); err != nil {
			return Event{}, err
		}
	case record.StatusPublishing:
	default:
		return Event{}, fault(e, record.StatusDraft)
	}
	if err := e.furnish(ctx, s); err != nil {
		return Event{}, e.partly(err)
	}
	online, err := e.become(ctx, s, record.StatusOnline)
	return online, e.partly(err)
}

// partly is an error of a step that has begun: something was done, whatever the last
// write says of itself. That somebody else has changed the event stays a conflict.
func (e Event) partly(err error) error {
	var conflict *backend.ConflictError
	switch {
	case err == nil, errors.As(err, &conflict) && conflict.Key == record.EventKey(e.ID):
		return err
	case conflict != nil:
		return fmt.Errorf("%w: event %s is %s, repeat the step to finish it: %s", backend.ErrUnknown, e.ID, e.Status, err.Error())
	}
	return fmt.Errorf("%w: event %s is %s, repeat the step to finish it: %w", backend.ErrUnknown, e.ID, e.Status, err)
}

// furnish makes the pool and the slots where they are missing. Every write has
// the condition that the event is still as it was, so none can land later.
func (e Event) furnish(ctx context.Context, s backend.Store) error {
	if err := e.makeOnce(ctx, s, record.PoolKey(e.ID), record.NewPool(e.Total, e.Slots)); err != nil {
		return err
	}
	for k := range e.Slots {
		if err := e.makeOnce(ctx, s, record.SlotKey(e.ID, k), record.Slot{}); err != nil {
			return err
		}
	}
	return nil
}

func (e Event) makeOnce(ctx context.Context, s backend.Store, key string, v any) error {
	_, err := backend.PutJSON(ctx, s, key, v, backend.If(key, 0), e.unchanged())
	var conflict *backend.ConflictError
	if errors.As(err, &conflict) && conflict.Key == key {
		return nil // it is there
	}
	return err
}

// Suspend takes an event offline, Resume brings it online again. What is so
// already is no error. Errors: ErrStatus, ErrConflict, and the store's.
func Suspend(ctx context.Context, s backend.Store, id ulid.ULID) (Event, error) {
	return step(ctx, s, id, Event.Suspend)
}

// Resume is described at [Suspend].
func Resume(ctx context.Context, s backend.Store, id ulid.ULID) (Event, error) {
	return step(ctx, s, id, Event.Resume)
}

// Suspend is the function of that name for an event that is as it was seen.
func (e Event) Suspend(ctx context.Context, s backend.Store) (Event, error) {
	return e.move(ctx, s, record.StatusOnline, record.StatusOffline)
}

// Resume is the function of that name for an event that is as it was seen.
func (e Event) Resume(ctx context.Context, s backend.Store) (Event, error) {
	return e.move(ctx, s, record.StatusOffline, record.StatusOnline)
}

func (e Event) move(ctx context.Context, s backend.Store, from, to record.Status) (Event, error) {
	switch {
	case e.Status == to:
		return e, nil
	case e.Status != from:
		return Event{}, fault(e, from)
	}
	return e.become(ctx, s, to)
}

// Close ends a sale for good: it takes every slot from its owner, after which
// nothing is written to the logs any more. Units that are in orders not yet paid
// stay as they are. A closed one is no error. Errors: ErrStatus for a draft or an
// archived one, and the store's, with ErrUnknown if the event has begun to be closed;
// then call it again.
func Close(ctx context.Context, s backend.Store, id ulid.ULID) (Event, error) {
	return step(ctx, s, id, Event.Close)
}

// Close is the function of that name for an event that is as it was seen. Errors:
// ErrConflict if it has changed since, and as there.
func (e Event) Close(ctx context.Context, s backend.Store) (Event, error) {
	var err error
	switch e.Status {
	case record.StatusClosed:
		return e, nil
	case record.StatusOnline, record.StatusOffline:
		if e, err = e.become(ctx, s, record.StatusClosing); err != nil {
			return Event{}, err
		}
	case record.StatusClosing:
	default:
		return Event{}, fault(e, record.StatusOnline)
	}
	for k := range e.Slots {
		if err := e.closeSlot(ctx, s, k); err != nil {
			return Event{}, e.partly(err)
		}
	}
	closed, err := e.become(ctx, s, record.StatusClosed)
	return closed, e.partly(err)
}

// closeSlot takes a slot away. Owners that take it meanwhile make it begin again.
func (e Event) closeSlot(ctx context.Context, s backend.Store, k int) error {
	_, err := backend.Modify(ctx, s, record.SlotKey(e.ID, k), func(entry backend.Entry) ([]byte, error) {
		if entry.Revision == 0 {
			return nil, fmt.Errorf("%w: %s is missing", record.ErrCorrupt, entry.Key)
		}
		was, err := record.DecodeSlot(entry)
		switch {
		case err != nil:
			return nil, err
		case was.Owner == record.Closed:
			return nil, errIsClosed
		}
		return record.Slot{Owner: record.Closed, Epoch: was.Epoch + 1}.Encode()
	})
	if errors.Is(err, errIsClosed) {
		return nil
	}
	return err
}

var errIsClosed = errors.New("the slot is closed")

// Archive makes a closed event a tombstone, of which the sale may be deleted: whoever
// calls it has that elsewhere. The event must be as it was seen. Errors: ErrStatus,
// ErrConflict, and the store's; after ErrUnknown read the event again.
func Archive(ctx context.Context, s backend.Store, seen Event) (Event, error) {
	if seen.Status != record.StatusClosed {
		return Event{}, fault(seen, record.StatusClosed)
	}
	return seen.become(ctx, s, record.StatusArchived)
}

// unchanged is the condition that the event is as it was read.
func (e Event) unchanged() backend.Condition {
	return backend.If(record.EventKey(e.ID), e.Revision)
}

// become changes the status.
func (e Event) become(ctx context.Context, s backend.Store, status record.Status) (Event, error) {
	e.Status = status
	return put(ctx, s, e)
}

// put writes an event on the condition that it is as it was read.
func put(ctx context.Context, s backend.Store, e Event) (Event, error) {
	if err := e.Validate(); err != nil {
		return Event{}, err
	}
	rev, err := backend.PutJSON(ctx, s, record.EventKey(e.ID), e.Event, e.unchanged())
	if err != nil {
		return Event{}, err
	}
	e.Revision = rev
	return e, nil
}

func fault(e Event, wanted ...record.Status) error {
	return fmt.Errorf("%w: event %s is %s, expected one of %q", ErrStatus, e.ID, e.Status, slices.Clip(wanted))
}
