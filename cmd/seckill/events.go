package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/event"
	records "github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
)

type eventsCommand struct {
	Create  eventsCreate  `cmd:"" help:"Make a draft."`
	Publish eventsPublish `cmd:"" help:"Have a draft sell."`
	Suspend eventsSuspend `cmd:"" help:"Stop selling for now; orders are paid and cancelled as before."`
	Resume  eventsResume  `cmd:"" help:"Sell again."`
	Close   eventsClose   `cmd:"" help:"End a sale for good: nothing is written to it any more."`
	List    eventsList    `cmd:"" help:"List all events, the oldest first."`
	Show    eventsShow    `cmd:"" help:"Show an event, and what is left of its units."`
	Archive eventsArchive `cmd:"" help:"Keep a closed sale in files, and delete it from the store."`

	Output string `enum:"text,json" default:"text" help:"text, or json: one object a line."`
}

// Help is shown by seckill events --help.
func (*eventsCommand) Help() string {
	return `A sale from its beginning to its end:

    seckill events create --title=Phone --sku=phone-1 --price=19900 --currency=EUR --total=500 --opens=+10m --closes=+70m
    seckill events publish 01K9ZZZZZZZZZZZZZZZZZZZZZ1
    seckill events close 01K9ZZZZZZZZZZZZZZZZZZZZZ1
    seckill events archive 01K9ZZZZZZZZZZZZZZZZZZZZZ1 --dir=/var/lib/seckill/archive --purge

Each step can be repeated: after a failure that finishes it. A step that the event's status does not allow exits with 3.`
}

func (c *eventsCommand) printer() printer { return printer{json: c.Output == "json", to: os.Stdout} }

// An eventID is an argument that names an event.
type eventID struct{ ulid.ULID }

// UnmarshalText reads an ID strictly, which the ID's own does not.
func (id *eventID) UnmarshalText(text []byte) (err error) {
	if id.ULID, err = ulid.ParseStrict(string(text)); err != nil || id.IsZero() {
		return fmt.Errorf("event %.40q, expected an ID of 26 characters as 'seckill events list' shows them", text)
	}
	return nil
}

// step runs one step of an event's life, and prints where that leads.
func (c *eventsCommand) step(p *program, id eventID, step func(context.Context, backend.Store, ulid.ULID) (event.Event, error)) error {
	return withStore(p, func(ctx context.Context, s session) error {
		e, err := step(ctx, s.Store, id.ULID)
		if err != nil {
			return about(id.ULID, err)
		}
		return c.changed(e)
	})
}

// about says in words that there is no such event.
func about(id ulid.ULID, err error) error {
	if errors.Is(err, backend.ErrNotFound) {
		return fmt.Errorf("there is no event %s: %w", id, err)
	}
	return err
}

func (c *eventsCommand) changed(e event.Event) error {
	to := c.printer()
	if to.json {
		return to.object(e)
	}
	return to.line("%s %s", e.ID, e.Status)
}

type eventsPublish struct {
	ID eventID `arg:"" help:"The event."`
}

// Run publishes an event.
func (c *eventsPublish) Run(events *eventsCommand, p *program) error {
	return events.step(p, c.ID, publish)
}

// publish says so where nobody knows whether the store has room.
func publish(ctx context.Context, s backend.Store, id ulid.ULID) (event.Event, error) {
	if _, err := backend.SpaceOf(ctx, s); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		fmt.Fprintln(os.Stderr, "seckill: warning: whether the store has room for the sale's log is not known:", err)
	}
	return event.Publish(ctx, s, id)
}

type eventsSuspend struct {
	ID eventID `arg:"" help:"The event."`
}

// Run suspends an event.
func (c *eventsSuspend) Run(events *eventsCommand, p *program) error {
	return events.step(p, c.ID, event.Suspend)
}

type eventsResume struct {
	ID eventID `arg:"" help:"The event."`
}

// Run resumes an event.
func (c *eventsResume) Run(events *eventsCommand, p *program) error {
	return events.step(p, c.ID, event.Resume)
}

type eventsClose struct {
	ID eventID `arg:"" help:"The event."`
}

// Run closes an event.
func (c *eventsClose) Run(events *eventsCommand, p *program) error {
	return events.step(p, c.ID, event.Close)
}

type eventsList struct{}

// Run lists events, and what is among them and is none.
func (*eventsList) Run(events *eventsCommand, p *program) error {
	return withStore(p, func(ctx context.Context, s session) error {
		list, problems, err := event.List(ctx, s)
		if err != nil {
			return err
		}
		to := events.printer()
		if to.json {
			return to.eventObjects(list, problems)
		}
		return to.eventTable(list, problems)
	})
}

func (p printer) eventObjects(list []event.Event, problems []error) error {
	for _, e := range list {
		if err := p.object(e); err != nil {
			return err
		}
	}
	for _, problem := range problems {
		err := p.object(struct {
			Problem string `json:"problem"`
		}{problem.Error()})
		if err != nil {
			return err
		}
	}
	return nil
}

func (p printer) eventTable(list []event.Event, problems []error) error {
	table := tabwriter.NewWriter(p.to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tSTATUS\tTOTAL\tPER USER\tOPENS\tCLOSES\tTITLE")
	for _, e := range list {
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%s\t%s\t%s\n", e.ID, e.Status, e.Total, e.PerUser,
			e.Window.Opens.Format(time.RFC3339), e.Window.Closes.Format(time.RFC3339), oneLine([]byte(e.Title)))
	}
	err := table.Flush()
	for _, problem := range problems {
		err = errors.Join(err, p.line("problem: %s", oneLine([]byte(problem.Error()))))
	}
	return err
}

type eventsShow struct {
	ID eventID `arg:"" help:"The event."`
}

// Run shows an event with its pool.
func (c *eventsShow) Run(events *eventsCommand, p *program) error {
	return withStore(p, func(ctx context.Context, s session) error {
		e, err := event.Get(ctx, s, c.ID.ULID)
		if err != nil {
			return about(c.ID.ULID, err)
		}
		pool, err := readPool(ctx, s, e.ID)
		if err != nil {
			return err
		}
		to := events.printer()
		if to.json {
			return to.object(struct {
				event.Event
				Pool *records.Pool `json:"pool,omitempty"`
			}{e, pool})
		}
		return showEvent(to.to, e, pool)
	})
}

// readPool reads a sale's pool, nil if there is none.
func readPool(ctx context.Context, s backend.Store, id ulid.ULID) (*records.Pool, error) {
	entry, err := s.Get(ctx, records.PoolKey(id))
	if errors.Is(err, backend.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	pool, err := records.DecodePool(entry)
	return &pool, err
}

func showEvent(to io.Writer, e event.Event, pool *records.Pool) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(table, name+"\t"+format+"\n", args...) }
	row("id", "%s", e.ID)
	row("status", "%s", e.Status)
	row("title", "%s", oneLine([]byte(e.Title)))
	if e.Description != "" {
		row("description", "%s", oneLine([]byte(e.Description)))
	}
	row("sku", "%s", oneLine([]byte(e.SKU)))
	row("price", "%d %s, in its smallest unit", e.Price.Minor, e.Price.Currency)
	row("opens", "%s", e.Window.Opens.Format(time.RFC3339))
	row("closes", "%s", e.Window.Closes.Format(time.RFC3339))
	row("total", "%d", e.Total)
	row("per user", "%d", e.PerUser)
	row("slots", "%d", e.Slots)
	row("pay within", "%v", time.Duration(e.PayWithin)*time.Second)
	if pool != nil {
		row("units", "%d with the slots, %d not granted yet%s", pool.Total-pool.Free(), pool.Free(), map[bool]string{true: ": sold out"}[pool.SoldOut])
	}
	row("revision", "%d", e.Revision)
	return table.Flush()
}

// confirm asks somebody at a terminal, until ctx ends: a signal ends the program, and
// with it whoever still waits for an answer.
func confirm(ctx context.Context, terminal io.Reader, question string) (bool, error) {
	fmt.Fprint(os.Stderr, question+" Type yes to go on: ")
	type answer struct {
		line string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		line, err := bufio.NewReader(terminal).ReadString('\n')
		answers <- answer{line, err}
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(os.Stderr)
		return false, fmt.Errorf("not confirmed: %w", ctx.Err())
	case a := <-answers:
		if a.err != nil {
			return false, fmt.Errorf("not confirmed: %w", a.err)
		}
		return strings.TrimSpace(a.line) == "yes", nil
	}
}
