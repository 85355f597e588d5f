package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/seed27495941/seckill/app/admin/client"
	"github.com/seed27495941/seckill/app/sale/event"
	records "github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/dynconf/history"
)

// draftFlags have one for each field of an event, named as that.
type draftFlags struct {
	File string `placeholder:"FILE" help:"JSON or YAML with the names that events have in the store; flags win. - for the standard input."`

	Title       *string        `placeholder:"TEXT" help:"What buyers see."`
	Description *string        `placeholder:"TEXT" help:"More of that."`
	SKU         *string        `name:"sku" placeholder:"TEXT" help:"What is sold."`
	Price       *int64         `placeholder:"N" help:"Of one unit, in the currency's smallest: cents, yen."`
	Currency    *string        `placeholder:"XXX" help:"ISO 4217, as EUR."`
	Opens       *string        `placeholder:"TIME" help:"When it begins: RFC 3339, or from now on as +10m (now)."`
	Closes      *string        `placeholder:"TIME" help:"When it ends, likewise."`
	Total       *int64         `placeholder:"N" help:"Units."`
	PerUser     *int64         `placeholder:"N" help:"Units that one buyer may have (1)."`
	Slots       *int           `placeholder:"N" help:"Into which the buyers are divided, up to 256 (16)."`
	PayWithin   *time.Duration `placeholder:"TIME" help:"How long an order waits to be paid, in whole seconds (15m)."`
}

// draft is what the file and the flags say, and for the rest as base. A file says all.
func (f draftFlags) draft(base records.Event, now time.Time) (e records.Event, err error) {
	e = base
	if f.File != "" {
		text, err := readText(f.File)
		if err != nil {
			return e, err
		}
		if e, err = readDraft(f.File, text, now); err != nil {
			return e, err
		}
	}
	set(&e.Title, f.Title)
	set(&e.Description, f.Description)
	set(&e.SKU, f.SKU)
	set(&e.Price.Minor, f.Price)
	set(&e.Price.Currency, f.Currency)
	set(&e.Total, f.Total)
	set(&e.PerUser, f.PerUser)
	set(&e.Slots, f.Slots)
	if f.PayWithin != nil {
		if *f.PayWithin%time.Second != 0 {
			return e, usageError{fmt.Errorf("--pay-within %v, expected whole seconds", *f.PayWithin)}
		}
		e.PayWithin = int64(*f.PayWithin / time.Second)
	}
	return e, errors.Join(setTime("--opens", &e.Window.Opens, f.Opens, now), setTime("--closes", &e.Window.Closes, f.Closes, now))
}

func set[T any](to, given *T) {
	if given != nil {
		*to = *given
	}
}

func setTime(flag string, to *time.Time, given *string, now time.Time) (err error) {
	if given == nil {
		return nil
	}
	if *to, err = event.ParseTime(*given, now); err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	return nil
}

// readDraft reads all of a draft, not more than is known to be too much.
func readDraft(name, text string, now time.Time) (records.Event, error) {
	if len(text) > backend.MaxValue {
		return records.Event{}, usageError{fmt.Errorf("%s has more than %d bytes", name, backend.MaxValue)}
	}
	return event.ReadDraft(name, []byte(text), event.NewDraft(now))
}

type eventsCreate struct {
	draftFlags
	Publish bool `help:"Publish it at once, once that is confirmed."`
	yesFlag
}

// Run makes a draft and prints its ID.
func (c *eventsCreate) Run(events *eventsCommand, p *program) error {
	now := time.Now()
	draft, err := c.draft(event.NewDraft(now), now)
	if err != nil {
		return err
	}
	return events.run(p, events.Output, func(ctx context.Context, r remote) error {
		if c.Publish {
			if err := c.confirmPublishing(ctx, oneLine([]byte(draft.Title))); err != nil {
				return err
			}
		}
		a, err := r.Do(ctx, client.Request{Method: http.MethodPost, Path: eventsPath, Body: draft})
		if err != nil {
			return err
		}
		var made event.Event
		if err := a.Decode(&made); err != nil {
			return err
		}
		if !r.json {
			if err := r.line("%s", made.ID); err != nil {
				return err
			}
		}
		if c.Publish {
			of := eventArg{ID: eventID{made.ID}}
			if a, err = of.change(ctx, r, made, http.MethodPost, "publish", nil); err != nil {
				return fmt.Errorf("event %s was made, but not published: %w", made.ID, err)
			}
		}
		return show(r, a, func(event.Event) error { return nil })
	})
}

type eventsEdit struct {
	eventArg
	draftFlags
	yesFlag
}

// Help is shown by seckill events edit --help.
func (*eventsEdit) Help() string {
	return `Flags change what they name. A file says all: what it leaves out is as in a new draft. So what it changes is shown before it is asked
whether that is meant; where nobody can be asked, --if-revision says which revision was seen, or --yes that it replaces whatever is there.

Without any of them the draft comes up in the editor of $VISUAL or $EDITOR, else vi; what can't be used is edited again, and if it can't be
saved, because somebody else was faster, say, the text stays in a file, which is named.`
}

// Run changes a draft.
func (c *eventsEdit) Run(events *eventsCommand, p *program) error {
	if c.draftFlags == (draftFlags{}) {
		return c.byHand(events, p)
	}
	return events.run(p, events.Output, func(ctx context.Context, r remote) error {
		seen, err := c.get(ctx, r)
		if err != nil {
			return err
		}
		draft, err := c.draft(seen.Event, time.Now())
		if err != nil {
			return err
		}
		if err := c.replaces(ctx, seen, draft); err != nil {
			return err
		}
		return c.save(ctx, r, seen, draft)
	})
}

// replaces has somebody look at what a file changes that was not said to be made from the
// draft as it was seen.
func (c *eventsEdit) replaces(ctx context.Context, seen event.Event, draft records.Event) error {
	switch {
	case c.File == "", c.IfRevision != 0, c.Yes:
		return nil
	case !isTerminal(os.Stdin):
		return unseen(fmt.Sprintf("revision %d is there", seen.Revision), seen.Revision)
	}
	from, err := draftText(seen.Event)
	if err != nil {
		return err
	}
	to, err := draftText(draft)
	if err != nil {
		return err
	}
	diff, err := history.DiffText(fmt.Sprintf("draft, revision %d", seen.Revision), []byte(from), c.File, []byte(to))
	if err != nil {
		return err
	}
	fmt.Fprint(os.Stderr, legible(diff))
	return c.confirm(ctx, "Have the draft so")
}

// byHand has somebody edit the draft.
func (c *eventsEdit) byHand(events *eventsCommand, p *program) error {
	var seen event.Event
	err := events.run(p, events.Output, func(ctx context.Context, r remote) (err error) {
		seen, err = c.get(ctx, r)
		return err
	})
	if err != nil {
		return err
	}
	text, err := draftText(seen.Event)
	if err != nil {
		return err
	}
	return editUntil("seckill-event-*.json", text, func(text string) error {
		draft, err := readDraft("the draft", text, time.Now())
		if err != nil {
			return err
		}
		return events.run(p, events.Output, func(ctx context.Context, r remote) error { return c.save(ctx, r, seen, draft) })
	})
}

// draftText is a draft for people to edit: without a status, which it is not to have.
func draftText(e records.Event) (string, error) {
	text, err := json.Marshal(e)
	if err != nil {
		return "", err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return "", err
	}
	delete(fields, "status")
	text, err = json.MarshalIndent(fields, "", "  ")
	return string(text) + "\n", err
}

func (c *eventsEdit) save(ctx context.Context, r remote, seen event.Event, draft records.Event) error {
	draft.Status = "" // that of a draft is not said
	a, err := c.change(ctx, r, seen, http.MethodPut, "", draft)
	if err != nil {
		return err
	}
	return showStatus(r, a)
}
