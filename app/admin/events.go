package admin

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/verify"
	"github.com/seed27495941/seckill/backend"
)

// EventsQuery asks for events.
type EventsQuery struct {
	Page
	Status string `query:"status" enum:"draft,publishing,online,offline,closing,closed,archived" doc:"Only those"`
}

// An EventList is a page of the events, the newest first.
type EventList struct {
	Events   []event.Event `json:"events" nullable:"false"`
	Problems []string      `json:"problems,omitempty" nullable:"false" doc:"Keys that can't be read, and why"`
	Next     string        `json:"next,omitempty" doc:"To be sent as after, to get the next page; left out on the last one"`
}

// A Draft is an event that is made or changed.
type Draft struct {
	// RawBody is JSON with the names that events have in the store. What it leaves out is
	// as in [event.NewDraft].
	RawBody []byte
}

// DraftInput is a draft as it is to be.
type DraftInput struct {
	EventPath
	Seen
	Draft
}

// EventSeen names an event as it was seen.
type EventSeen struct {
	EventPath
	Seen
}

// ListEvents lists the events.
func (s *Service) ListEvents(ctx context.Context, in *EventsQuery) (*Answer[EventList], error) {
	if err := fits(in); err != nil {
		return nil, err
	}
	all, faults, err := event.List(ctx, s.cfg.Store)
	if err != nil {
		return nil, s.refuse(err, "")
	}
	slices.Reverse(all)
	all = slices.DeleteFunc(all, func(e event.Event) bool {
		return in.Status != "" && string(e.Status) != in.Status || in.After != "" && e.ID.String() >= in.After
	})
	list := EventList{Events: []event.Event{}}
	for _, fault := range faults {
		list.Problems = append(list.Problems, fault.Error())
	}
	page, next := cut(in.Page, all, func(e event.Event) string { return e.ID.String() })
	list.Events, list.Next = append(list.Events, page...), next
	return answer(list), nil
}

// GetEvent finds an event.
func (s *Service) GetEvent(ctx context.Context, in *EventPath) (*Versioned[event.Event], error) {
	e, err := s.event(ctx, *in)
	if err != nil {
		return nil, err
	}
	return versioned(e), nil
}

func versioned(e event.Event) *Versioned[event.Event] {
	return &Versioned[event.Event]{etag(e.Revision), e}
}

func (s *Service) event(ctx context.Context, at EventPath) (event.Event, error) {
	id, err := at.id()
	if err != nil {
		return event.Event{}, err
	}
	e, err := event.Get(ctx, s.cfg.Store, id)
	return e, s.refuse(err, noSuchEvent)
}

// seenEvent is an event that is as it was seen, or has one of the statuses to which the
// step leads that is wanted: who repeats a request of which the outcome was not known
// finishes it.
func (s *Service) seenEvent(ctx context.Context, in EventSeen, leadsTo []record.Status) (event.Event, error) {
	if err := s.allow(ctx, access.Operator); err != nil {
		return event.Event{}, err
	}
	revision, err := in.revision()
	if err != nil {
		return event.Event{}, err
	}
	e, err := s.event(ctx, in.EventPath)
	if err == nil && e.Revision != revision && (e.Revision < revision || !slices.Contains(leadsTo, e.Status)) {
		err = stale(e.Revision)
	}
	return e, err
}

// read reads a draft.
func (d Draft) read() (record.Event, error) {
	if !bytes.HasPrefix(bytes.TrimSpace(d.RawBody), []byte("{")) {
		return record.Event{}, invalidAt("body", "expected a JSON object") // and not the YAML that files may have
	}
	e, err := event.ReadDraft("body", d.RawBody, event.NewDraft(time.Now()))
	if err == nil {
		e.Status = record.StatusDraft
		err = e.Validate()
	}
	if err != nil {
		return e, invalidAt("body", err.Error())
	}
	return e, nil
}

// Created is an answer about what was made.
type Created[T any] struct {
	ETag     string `header:"ETag"`
	Location string `header:"Location"`
	Body     T
}

// CreateEvent makes a draft.
func (s *Service) CreateEvent(ctx context.Context, in *Draft) (*Created[event.Event], error) {
	if err := s.allow(ctx, access.Operator); err != nil {
		return nil, err
	}
	draft, err := in.read()
	if err != nil {
		return nil, err
	}
	id := ulid.Make()
	e, err := do(ctx, s, deed{access.Operator, "event.create", id.String()}, nil, "", func(ctx context.Context) (event.Event, error) {
		return event.CreateAs(ctx, s.cfg.Store, id, draft)
	})
	if err != nil {
		return nil, err
	}
	return &Created[event.Event]{etag(e.Revision), "/v1/events/" + e.ID.String(), e}, nil
}

// EditEvent changes a draft: all of it is as in says.
func (s *Service) EditEvent(ctx context.Context, in *DraftInput) (*Versioned[event.Event], error) {
	if err := s.allow(ctx, access.Operator); err != nil {
		return nil, err
	}
	draft, err := in.read()
	if err != nil {
		return nil, err
	}
	return s.step(ctx, "event.edit", EventSeen{in.EventPath, in.Seen}, func(e event.Event, ctx context.Context, store backend.Store) (event.Event, error) {
		return event.Edit(ctx, store, e, func(to *record.Event) { *to = draft })
	})
}

// DeleteEvent deletes a draft.
func (s *Service) DeleteEvent(ctx context.Context, in *EventSeen) (*struct{}, error) {
	_, err := s.step(ctx, "event.delete", *in, func(e event.Event, ctx context.Context, store backend.Store) (event.Event, error) {
		return event.Event{}, event.Delete(ctx, store, e)
	})
	return nil, err
}

// PublishEvent has a draft sell. It can be repeated as it is after a failure: what has
// begun to be published is finished.
func (s *Service) PublishEvent(ctx context.Context, in *EventSeen) (*Versioned[event.Event], error) {
	return s.step(ctx, "event.publish", *in, event.Event.Publish, record.StatusPublishing, record.StatusOnline)
}

// SuspendEvent stops a sale for now: orders are paid and cancelled as before.
func (s *Service) SuspendEvent(ctx context.Context, in *EventSeen) (*Versioned[event.Event], error) {
	return s.step(ctx, "event.suspend", *in, event.Event.Suspend)
}

// ResumeEvent goes on with a sale.
func (s *Service) ResumeEvent(ctx context.Context, in *EventSeen) (*Versioned[event.Event], error) {
	return s.step(ctx, "event.resume", *in, event.Event.Resume)
}

// CloseEvent ends a sale for good. It can be repeated after a failure, as PublishEvent.
func (s *Service) CloseEvent(ctx context.Context, in *EventSeen) (*Versioned[event.Event], error) {
	return s.step(ctx, "event.close", *in, event.Event.Close, record.StatusClosing, record.StatusClosed)
}

// step takes one step from where an event was seen. One that takes several writes names
// the statuses to which it leads: in those others may have taken it a part of the way, or
// all of it, which is as good.
func (s *Service) step(ctx context.Context, name string, in EventSeen, take func(event.Event, context.Context, backend.Store) (event.Event, error), leadsTo ...record.Status) (*Versioned[event.Event], error) {
	e, err := s.seenEvent(ctx, in, leadsTo)
	if err != nil {
		return nil, err
	}
	now, err := do(ctx, s, deed{access.Operator, name, in.ID}, e, noSuchEvent, func(ctx context.Context) (event.Event, error) {
		now, err := take(e, ctx, s.cfg.Store)
		for errors.Is(err, backend.ErrConflict) {
			other, failed := event.Get(ctx, s.cfg.Store, e.ID)
			if failed != nil || !slices.Contains(leadsTo, other.Status) {
				break
			}
			now, err = take(other, ctx, s.cfg.Store)
		}
		return now, err
	})
	if err != nil {
		return nil, err
	}
	return versioned(now), nil
}

// A Verification is what was found about a sale.
type Verification verify.Report

// VerifyEvent holds a sale against its rules, by what the store has of it.
func (s *Service) VerifyEvent(ctx context.Context, in *EventPath) (*Answer[Verification], error) {
	if err := s.allow(ctx, access.Operator); err != nil {
		return nil, err
	}
	id, err := in.id()
	if err != nil {
		return nil, err
	}
	end, err := s.turn()
	if err != nil {
		return nil, err
	}
	defer end()
	report, err := verify.Check(ctx, s.cfg.Store, id, nil)
	if err != nil {
		return nil, s.refuse(err, noSuchEvent)
	}
	return answer(Verification(report)), nil
}
