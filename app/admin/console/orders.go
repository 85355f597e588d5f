package console

import (
	"net/http"
	"slices"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/export"
)

type ordersPage struct {
	Event, Buyer, Order, Status string
	Events                      []choice // the newest, and the one that is asked for
	Statuses                    []string
	Orders                      []export.Order
	Asked                       bool
	Formats                     []export.Format
}

// A choice is an event that can be asked for.
type choice struct{ ID, Name string }

func nameOf(e event.Event) string { return e.Title + " (" + string(e.Status) + ")" }

// choices are the newest events, and the one that is asked for, whatever it is: else the
// form would not ask for it the next time.
func (p *page) choices(asked string) (events []choice, err error) {
	list, err := p.cfg.Service.ListEvents(p.ctx, &admin.EventsQuery{Page: admin.Page{Limit: 200}})
	if err != nil {
		return nil, err
	}
	for _, e := range list.Body.Events {
		events = append(events, choice{e.ID.String(), nameOf(e)})
	}
	if asked == "" || slices.ContainsFunc(events, func(c choice) bool { return c.ID == asked }) {
		return events, nil
	}
	name := asked
	if e, err := p.cfg.Service.GetEvent(p.ctx, &admin.EventPath{ID: asked}); err == nil {
		name = nameOf(e.Body)
	}
	return append(events, choice{asked, name}), nil
}

func (p *page) orders() error {
	query := p.r.URL.Query()
	o := ordersPage{
		Event: query.Get("event"), Buyer: query.Get("buyer"), Order: query.Get("order"), Status: query.Get("status"),
		Statuses: []string{"pending", "paid", "cancelled", "expired", "refund_due"},
		Formats:  []export.Format{export.CSV, export.NDJSON},
	}
	var err error
	if o.Events, err = p.choices(o.Event); err != nil {
		return err
	}
	if o.Asked = o.Event+o.Buyer+o.Order != ""; !o.Asked {
		return p.show(http.StatusOK, "orders", "Orders", o)
	}
	found, err := p.cfg.Service.FindOrders(p.ctx, &admin.OrdersQuery{
		Page: p.after(), Event: o.Event, Buyer: o.Buyer, Order: o.Order, Status: o.Status,
	})
	if err != nil {
		problem := p.problem(err)
		if problem.Status == http.StatusForbidden {
			return problem
		}
		return p.show(problem.Status, "orders", "Orders", o, troubled(problem))
	}
	o.Orders = found.Body.Orders
	return p.show(http.StatusOK, "orders", "Orders", o, p.more(found.Body.Next))
}
