package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/seed27495941/seckill/app/sale/event"
	records "github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
)

// eventsCreate has a flag for each field of an event, named as that.
type eventsCreate struct {
	File string `placeholder:"FILE" type:"path" help:"JSON or YAML with the names that events have in the store; flags win."`

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

	Publish bool `help:"Publish it at once."`
}

// Run makes a draft and prints its ID.
func (c *eventsCreate) Run(events *eventsCommand, p *program) error {
	draft, err := c.draft(time.Now())
	if err != nil {
		return err
	}
	return withStore(p, func(ctx context.Context, s session) error {
		e, err := event.Create(ctx, s, draft)
		if err != nil {
			return err
		}
		to := events.printer()
		if !to.json {
			if err := to.line("%s", e.ID); err != nil {
				return err
			}
		}
		if c.Publish {
			draft := e.ID
			if e, err = publish(ctx, s.Store, draft); err != nil {
				return fmt.Errorf("event %s was made, but not published: %w", draft, err)
			}
		}
		if to.json {
			return to.object(e)
		}
		return nil
	})
}

// draft is what the file and the flags say.
func (c *eventsCreate) draft(now time.Time) (records.Event, error) {
	e := event.NewDraft(now)
	var err error
	if c.File != "" {
		if e, err = c.read(e); err != nil {
			return e, err
		}
	}
	set(&e.Title, c.Title)
	set(&e.Description, c.Description)
	set(&e.SKU, c.SKU)
	set(&e.Price.Minor, c.Price)
	set(&e.Price.Currency, c.Currency)
	set(&e.Total, c.Total)
	set(&e.PerUser, c.PerUser)
	set(&e.Slots, c.Slots)
	if c.PayWithin != nil {
		if *c.PayWithin%time.Second != 0 {
			return e, usageError{fmt.Errorf("--pay-within %v, expected whole seconds", *c.PayWithin)}
		}
		e.PayWithin = int64(*c.PayWithin / time.Second)
	}
	for _, t := range []struct {
		flag string
		text *string
		to   *time.Time
	}{{"--opens", c.Opens, &e.Window.Opens}, {"--closes", c.Closes, &e.Window.Closes}} {
		if t.text == nil {
			continue
		}
		if *t.to, err = event.ParseTime(*t.text, now); err != nil {
			return e, fmt.Errorf("%s: %w", t.flag, err)
		}
	}
	return e, nil
}

func set[T any](to, given *T) {
	if given != nil {
		*to = *given
	}
}

// read reads the file: not more than is known to be too much.
func (c *eventsCreate) read(base records.Event) (records.Event, error) {
	f, err := os.Open(c.File)
	if err != nil {
		return base, usageError{err}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, backend.MaxValue+1))
	if err != nil {
		return base, usageError{err}
	}
	if len(data) > backend.MaxValue {
		return base, usageError{fmt.Errorf("%s has more than %d bytes", c.File, backend.MaxValue)}
	}
	return event.ReadDraft(c.File, data, base)
}
