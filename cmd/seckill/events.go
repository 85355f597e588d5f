package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/admin/client"
	"github.com/seed27495941/seckill/app/sale/event"
	records "github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
)

const eventsPath = "/v1/events"

type eventsCommand struct {
	Create  eventsCreate  `cmd:"" help:"Make a draft."`
	Edit    eventsEdit    `cmd:"" help:"Change a draft: by flags, by a file, or in an editor."`
	Delete  eventsDelete  `cmd:"" help:"Delete a draft."`
	Publish eventsPublish `cmd:"" help:"Have a draft sell."`
	Suspend eventsSuspend `cmd:"" help:"Stop selling for now; orders are paid and cancelled as before."`
	Resume  eventsResume  `cmd:"" help:"Sell again."`
	Close   eventsClose   `cmd:"" help:"End a sale for good: nothing is written to it any more."`
	List    eventsList    `cmd:"" help:"List the events, the newest first."`
	Show    eventsShow    `cmd:"" help:"Show an event and, of an open sale, how it stands."`

	remoteFlags
	outputFlag
}

// Help is shown by seckill events --help.
func (*eventsCommand) Help() string {
	return `A sale from its beginning to its end:

    seckill login
    seckill events create --title=Phone --sku=phone-1 --price=19900 --currency=EUR --total=500 --opens=+10m --closes=+70m
    seckill events publish 01K9ZZZZZZZZZZZZZZZZZZZZZ1
    seckill events show 01K9ZZZZZZZZZZZZZZZZZZZZZ1
    seckill events close 01K9ZZZZZZZZZZZZZZZZZZZZZ1

Each step can be repeated: after a failure that finishes it. A step that the event's status does not allow exits with 3, and so does one on
an event that somebody else has changed meanwhile. What becomes of a closed sale: 'seckill archive'.`
}

// An eventID is an argument that names an event.
type eventID struct{ ulid.ULID }

// UnmarshalText reads an ID strictly, which the ID's own does not.
func (id *eventID) UnmarshalText(text []byte) (err error) {
	if id.ULID, err = ulid.ParseStrict(string(text)); err != nil || id.IsZero() {
		return fmt.Errorf("event %.40q, expected an ID of 26 characters as 'seckill events list' shows them", text)
	}
	return nil
}

// eventArg names an event, and how it was seen.
type eventArg struct {
	ID         eventID `arg:"" help:"The event."`
	IfRevision uint64  `placeholder:"N" help:"Only if this is the event's revision, as 'seckill events show' has it. Without it, as it is now."`
}

func eventPath(id eventID, part ...string) string {
	return client.Path(append([]string{"v1", "events", id.String()}, part...)...)
}

// get reads the event.
func (c eventArg) get(ctx context.Context, r remote) (e event.Event, err error) {
	a, err := r.get(ctx, eventPath(c.ID), nil)
	if err == nil {
		err = a.Decode(&e)
	}
	return e, err
}

// change does something with the event, if it is as it was seen.
func (c eventArg) change(ctx context.Context, r remote, seen event.Event, method, step string, body any) (client.Answer, error) {
	path := eventPath(c.ID)
	if step != "" {
		path = eventPath(c.ID, step)
	}
	etag := client.ETag(cmp.Or(backend.Revision(c.IfRevision), seen.Revision))
	return r.Do(ctx, client.Request{Method: method, Path: path, IfMatch: etag, Body: body})
}

// step takes a step of an event's life, if sure says so, and prints where that leads.
func (c *eventsCommand) step(p *program, of eventArg, step string, sure func(context.Context, event.Event) error) error {
	return c.run(p, c.Output, func(ctx context.Context, r remote) error {
		e, err := of.get(ctx, r)
		if err != nil {
			return err
		}
		if err := sure(ctx, e); err != nil {
			return err
		}
		a, err := of.change(ctx, r, e, http.MethodPost, step, nil)
		if err != nil {
			return err
		}
		return showStatus(r, a)
	})
}

func showStatus(r remote, a client.Answer) error {
	return show(r, a, func(e event.Event) error { return r.line("%s %s", e.ID, e.Status) })
}

// unasked is for steps that lead back.
func unasked(context.Context, event.Event) error { return nil }

type eventsPublish struct {
	eventArg
	yesFlag
}

// Run publishes an event.
func (c *eventsPublish) Run(events *eventsCommand, p *program) error {
	return events.step(p, c.eventArg, "publish", func(ctx context.Context, e event.Event) error {
		return c.confirmPublishing(ctx, called(e))
	})
}

func (f yesFlag) confirmPublishing(ctx context.Context, what string) error {
	return f.confirm(ctx, fmt.Sprintf("Publish %s, which can't be changed then", what))
}

type eventsSuspend struct{ eventArg }

// Run suspends an event.
func (c *eventsSuspend) Run(events *eventsCommand, p *program) error {
	return events.step(p, c.eventArg, "suspend", unasked)
}

type eventsResume struct{ eventArg }

// Run resumes an event.
func (c *eventsResume) Run(events *eventsCommand, p *program) error {
	return events.step(p, c.eventArg, "resume", unasked)
}

type eventsClose struct {
	eventArg
	yesFlag
}

// Run closes an event.
func (c *eventsClose) Run(events *eventsCommand, p *program) error {
	return events.step(p, c.eventArg, "close", func(ctx context.Context, e event.Event) error {
		return c.confirm(ctx, fmt.Sprintf("End the sale of %s for good, with orders that are not paid left so", called(e)))
	})
}

// called is an event as people know it.
func called(e event.Event) string { return fmt.Sprintf("%s (%s)", e.ID, oneLine([]byte(e.Title))) }

type eventsDelete struct {
	eventArg
	yesFlag
}

// Run deletes a draft.
func (c *eventsDelete) Run(events *eventsCommand, p *program) error {
	return events.run(p, events.Output, func(ctx context.Context, r remote) error {
		e, err := c.get(ctx, r)
		if err != nil {
			return err
		}
		if err := c.confirm(ctx, "Delete the draft "+called(e)); err != nil {
			return err
		}
		a, err := c.change(ctx, r, e, http.MethodDelete, "", nil)
		if err != nil {
			return err
		}
		return r.said(a, "%s deleted", e.ID)
	})
}

type eventsList struct {
	Status string `enum:",draft,publishing,online,offline,closing,closed,archived" default:"" help:"Only those: draft, publishing, online, offline, closing, closed or archived."`
	pageFlags
}

// Run lists events, and warns of what is among them and is none.
func (c *eventsList) Run(events *eventsCommand, p *program) error {
	q := c.query()
	if c.Status != "" {
		q.Set("status", c.Status)
	}
	return events.run(p, events.Output, func(ctx context.Context, r remote) error {
		a, err := r.get(ctx, eventsPath, q)
		if err != nil {
			return err
		}
		return show(r, a, func(list admin.EventList) error {
			var rows [][]string
			for _, e := range list.Events {
				rows = append(rows, []string{
					e.ID.String(), string(e.Status), number(e.Total), number(e.PerUser), moment(e.Window.Opens), moment(e.Window.Closes), e.Title,
				})
			}
			defer r.more(list.Next)
			r.problems(list.Problems)
			return r.table("ID STATUS TOTAL PER-USER OPENS CLOSES TITLE", rows)
		})
	})
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

type eventsShow struct {
	ID eventID `arg:"" help:"The event."`
}

// Run shows an event with its figures.
func (c *eventsShow) Run(events *eventsCommand, p *program) error {
	return events.run(p, events.Output, func(ctx context.Context, r remote) error {
		a, err := r.get(ctx, eventPath(c.ID), nil)
		if err != nil {
			return err
		}
		var e event.Event
		if err := a.Decode(&e); err != nil {
			return err
		}
		f, err := figuresOf(ctx, r, e)
		if err != nil {
			return err
		}
		if r.json {
			return withFigures(r, a, f)
		}
		return errors.Join(r.event(e), r.figures(f))
	})
}

// figuresOf asks how a sale stands. The answer is empty if it is not open, or nobody has
// told yet.
func figuresOf(ctx context.Context, r remote, e event.Event) (client.Answer, error) {
	switch e.Status {
	case records.StatusOnline, records.StatusOffline, records.StatusClosing:
	case records.StatusDraft, records.StatusPublishing, records.StatusClosed, records.StatusArchived:
		return client.Answer{}, nil
	}
	a, err := r.get(ctx, eventPath(eventID{e.ID}, "figures"), nil)
	var refusal *client.Error
	if errors.As(err, &refusal) && (refusal.Code == "not_live" || refusal.Code == "unavailable") {
		r.problems([]string{"there are no figures: " + refusal.Error()})
		return client.Answer{}, nil
	}
	return a, err
}

// withFigures prints what the API says of an event, and its figures as one more field.
func withFigures(r remote, event, figures client.Answer) error {
	var fields map[string]json.RawMessage
	if err := event.Decode(&fields); err != nil {
		return err
	}
	if len(figures.Body) > 0 {
		fields["figures"] = figures.Body
	}
	return r.object(fields)
}

func (r remote) event(e event.Event) error {
	rows := [][]string{{"status", string(e.Status)}, {"title", e.Title}}
	if e.Description != "" {
		rows = append(rows, []string{"description", e.Description})
	}
	rows = append(rows, [][]string{
		{"sku", e.SKU},
		{"price", fmt.Sprintf("%d %s, in its smallest unit", e.Price.Minor, e.Price.Currency)},
		{"opens", moment(e.Window.Opens)},
		{"closes", moment(e.Window.Closes)},
		{"total", number(e.Total)},
		{"per user", number(e.PerUser)},
		{"slots", strconv.Itoa(e.Slots)},
		{"pay within", (time.Duration(e.PayWithin) * time.Second).String()},
		{"revision", strconv.FormatUint(uint64(e.Revision), 10)},
	}...)
	return r.table("event "+e.ID.String(), rows)
}

// figures shows how an open sale stands, if there is anything to show.
func (r remote) figures(a client.Answer) error {
	if len(a.Body) == 0 {
		return nil
	}
	var f struct {
		admin.Live
		Refusals map[string]int64 `json:"refusals"`
	}
	if err := a.Decode(&f); err != nil {
		return err
	}
	out := ""
	if f.SoldOut {
		out = ", sold out"
	}
	ordered := fmt.Sprintf("%d of %d units, %d left%s, %.1f a second", f.Held, f.Total, f.Remaining, out, f.UnitsPerSecond)
	if f.AtMost() {
		ordered = fmt.Sprintf("at most %d of %d units, at least %d left; not every slot's owner has been heard", f.Held, f.Total, f.Remaining)
	}
	err := r.line("\nordered: %s", ordered)
	if len(f.Refusals) > 0 {
		var reasons []string
		for _, reason := range slices.Sorted(maps.Keys(f.Refusals)) {
			reasons = append(reasons, fmt.Sprintf("%d %s", f.Refusals[reason], oneLine([]byte(reason))))
		}
		err = errors.Join(err, r.line("refused: %s", strings.Join(reasons, ", ")))
	}
	var rows [][]string
	for _, s := range f.Slots {
		held := "-"
		if !s.At.IsZero() {
			held = number(s.Held)
		}
		rows = append(rows, []string{
			strconv.Itoa(s.Slot), cmp.Or(s.Node, s.Owner), strconv.FormatUint(s.Epoch, 10), number(s.Granted), held, moment(s.At),
		})
	}
	return errors.Join(err, r.line(""), r.table("SLOT OWNER EPOCH GRANTED HELD TOLD", rows))
}
