package console

import (
	"net/http"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/export"
)

type ordersPage struct {
	Event, Buyer, Order, Status string
	Events                      []event.Event
	Statuses                    []string
	Orders                      []export.Order
	Asked                       bool
	Formats                     []export.Format
}

func (p *page) orders() error {
	query := p.r.URL.Query()
	o := ordersPage{
		Event: query.Get("event"), Buyer: query.Get("buyer"), Order: query.Get("order"), Status: query.Get("status"),
		Statuses: []string{"pending", "paid", "cancelled", "expired", "refund_due"},
		Formats:  []export.Format{export.CSV, export.NDJSON},
	}
	events, err := p.cfg.Service.ListEvents(p.ctx, &admin.EventsQuery{Page: admin.Page{Limit: 200}})
	if err != nil {
		return err
	}
	o.Events = events.Body.Events
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
