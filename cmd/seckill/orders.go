package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/admin/client"
	"github.com/seed27495941/seckill/app/sale/export"
)

type ordersCommand struct {
	List   ordersList   `cmd:"" help:"Search orders: of an event, of a buyer, or one by its id."`
	Export ordersExport `cmd:"" help:"Write the orders of a sale, as they stand, as CSV or NDJSON."`

	remoteFlags
}

type ordersList struct {
	Event  string `placeholder:"ID" help:"Those of this event."`
	Buyer  string `placeholder:"ID" help:"Those of this buyer: of all events, or of --event."`
	Order  string `placeholder:"ID" help:"The one with this public id."`
	Status string `enum:",pending,paid,cancelled,expired,refund_due" default:"" help:"Only those: pending, paid, cancelled, expired or refund_due."`
	pageFlags
	outputFlag
}

// Help is shown by seckill orders list --help.
func (*ordersList) Help() string {
	return `It reads the sales' logs, which have every order that anybody was told of. What was archived is not among them.

    seckill orders list --buyer=alice`
}

// Run lists orders.
func (c *ordersList) Run(orders *ordersCommand, p *program) error {
	q := c.query()
	for name, value := range map[string]string{"event": c.Event, "buyer": c.Buyer, "order": c.Order, "status": c.Status} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return orders.run(p, c.outputFlag.Output, func(ctx context.Context, r remote) error {
		a, err := r.Do(ctx, client.Request{Method: http.MethodGet, Path: "/v1/orders", Query: q, Slow: true})
		if err != nil {
			return err
		}
		return show(r, a, func(list admin.OrderList) error {
			var rows [][]string
			for _, o := range list.Orders {
				rows = append(rows, []string{
					o.ID, o.User, number(o.Quantity), string(o.Status), moment(o.OrderedAt), moment(o.PayBy), moment(o.ChangedAt), o.Payment,
				})
			}
			defer r.more(list.Next)
			return r.table("ID BUYER UNITS STATUS ORDERED PAY-BY CHANGED PAYMENT", rows)
		})
	})
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
apostrophe in front, so that no spreadsheet takes it for a formula. If the export is cut off that is an error, and no file is left.

    seckill orders export --event=01K9ZZZZZZZZZZZZZZZZZZZZZ1 --output=orders.csv`
}

// mediaTypes are those that exports come as.
var mediaTypes = map[export.Format]string{export.CSV: "text/csv", export.NDJSON: "application/x-ndjson"}

// Run writes the orders of an event.
func (c *ordersExport) Run(orders *ordersCommand, p *program) error {
	return orders.run(p, "", func(ctx context.Context, r remote) error {
		write := func(to io.Writer) error { return c.write(ctx, r, to) }
		if c.Output == "" {
			return write(os.Stdout)
		}
		err := export.File(c.Output, write)
		if pathError := (*os.PathError)(nil); errors.As(err, &pathError) && pathError.Op == "open" {
			return usageError{err} // a disk that is full is none
		}
		return err
	})
}

func (c *ordersExport) write(ctx context.Context, r remote, to io.Writer) error {
	request := client.Request{Method: http.MethodGet, Path: eventPath(c.Event, "orders"), Query: url.Values{"format": {c.Format}}}
	return r.Stream(ctx, request, mediaTypes[export.Format(c.Format)], func(from io.Reader) error {
		_, err := io.Copy(to, from)
		return err
	})
}
