package main

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/export"
	"github.com/seed27495941/seckill/backend"
)

type ordersCommand struct {
	Export ordersExport `cmd:"" help:"Write the orders of a sale, as they stand, as CSV or NDJSON."`
}

type ordersExport struct {
	Event  eventID `required:"" placeholder:"ID" help:"The event. It may be on sale, or closed; what was archived has them in its archive."`
	Format string  `enum:"csv,ndjson" default:"csv" help:"csv, or ndjson: a JSON object a line."`
	Output string  `placeholder:"FILE" type:"path" help:"Where to, instead of the standard output. The file is there in full or not at all, and may be read by its owner only."`
}

// Help is shown by seckill orders export --help.
func (*ordersExport) Help() string {
	return `The columns are id, slot, user, request_id, quantity, status, ordered_at, pay_by, changed_at and payment; more may be added at
the end. In CSV a user, request or payment that begins with = + - @ ' (also as wide characters), a tab or the end of a line has an
apostrophe in front, so that no spreadsheet takes it for a formula.

    seckill orders export --event=01K9ZZZZZZZZZZZZZZZZZZZZZ1 --output=orders.csv`
}

// Run writes the orders of an event.
func (c *ordersExport) Run(p *program) error {
	return withStore(p, func(ctx context.Context, s session) error {
		e, err := event.Get(ctx, s, c.Event.ULID)
		if err != nil {
			return about(c.Event.ULID, err)
		}
		if c.Output == "" {
			return c.write(ctx, s, e, os.Stdout, bar{})
		}
		bar := progress(e.Slots, "slots")
		defer bar.end()
		err = export.File(c.Output, func(to io.Writer) error { return c.write(ctx, s, e, to, bar) })
		if pathError := (*os.PathError)(nil); errors.As(err, &pathError) && pathError.Op == "open" {
			return usageError{err} // a disk that is full is none
		}
		return err
	})
}

func (c *ordersExport) write(ctx context.Context, s backend.Store, e event.Event, to io.Writer, bar bar) error {
	w, err := export.NewWriter(to, export.Format(c.Format))
	if err != nil {
		return err
	}
	err = export.Orders(ctx, s, e, func(_ int, orders []export.Order) error {
		bar.step()
		return w.Write(orders)
	})
	if err != nil {
		return err
	}
	return w.Flush()
}
