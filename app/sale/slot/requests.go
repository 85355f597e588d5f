package slot

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
)

// Order asks for units. created is false if the request was answered before: the
// order is the same as then.
//
// Errors: ErrSoldOut, ErrNotStarted, ErrEnded, ErrOffline, ErrUndecided, ErrBusy,
// ledger.ErrLimit, ledger.ErrOtherUse, backend.ErrInvalid.
func (o *Owner) Order(ctx context.Context, d ledger.Demand) (order ledger.Order, created bool, err error) {
	if err := d.Validate(); err != nil {
		return ledger.Order{}, false, err
	}
	rep := o.do(ctx, &request{
		need:   func() int64 { return d.Quantity },
		try:    func(free int64) (*record.Entry, reply) { return o.place(d, free) },
		refuse: func() (*record.Entry, reply) { return nil, reply{err: ErrSoldOut} },
	})
	return rep.order, rep.created, rep.err
}

func (o *Owner) place(d ledger.Demand, free int64) (*record.Entry, reply) {
	now, terms := o.now(), o.terms()
	if _, before := o.ledger.Answered(d.User, d.Request); !before {
		if err := mayOrder(terms, now); err != nil {
			return nil, reply{err: err}
		}
	}
	id, err := newOrderID(now, o.slot)
	if err != nil {
		return nil, reply{err: err}
	}
	order, e, err := o.ledger.PlaceOrder(d, free, id, now, now.Add(time.Duration(terms.PayWithin)*time.Second))
	return e, reply{order: order, created: e != nil, err: err}
}

func mayOrder(terms record.Event, now time.Time) error {
	switch {
	case terms.Status.IsOver() || !now.Before(terms.Window.Closes):
		return ErrEnded
	case terms.Status != record.StatusOnline:
		return ErrOffline
	case now.Before(terms.Window.Opens):
		return ErrNotStarted
	}
	return nil
}

// newOrderID makes an ID whose entropy begins with the slot, so that who knows the
// event and the order knows whom to ask.
func newOrderID(now time.Time, slot int) (ulid.ULID, error) {
	id, err := ulid.New(ulid.Timestamp(now), rand.Reader)
	id[6] = byte(slot)
	return id, err
}

// Of tells which slot an order belongs to.
func Of(order ulid.ULID) int { return int(order[6]) }

// Cancel gives an order up. Errors: ErrUndecided, ErrBusy, ledger.ErrNoOrder,
// ledger.ErrPaid, ledger.ErrOver.
func (o *Owner) Cancel(ctx context.Context, user string, id ulid.ULID) (ledger.Order, error) {
	rep := o.do(ctx, &request{try: func(int64) (*record.Entry, reply) {
		order, e, err := o.ledger.Cancel(user, id, o.now())
		return e, reply{order: order, err: err}
	}})
	return rep.order, rep.err
}

// Pay takes a payment in. One that comes too late gets units if there are any left
// in the sale. Errors: ErrUndecided, ErrBusy, ledger.ErrNoOrder,
// ledger.ErrOtherPaid.
func (o *Owner) Pay(ctx context.Context, id ulid.ULID, payment string) (ledger.Order, error) {
	pay := func(free int64) (*record.Entry, reply) {
		order, e, err := o.ledger.Pay(id, payment, free, o.now())
		return e, reply{order: order, err: err}
	}
	r := &request{
		need: func() int64 { return o.late(id, payment) },
		try: func(free int64) (*record.Entry, reply) {
			if need := o.late(id, payment); need > free {
				return nil, reply{err: ledger.ErrNoUnits}
			}
			return pay(free)
		},
		refuse: func() (*record.Entry, reply) { return pay(0) },
	}
	rep := o.do(ctx, r)
	return rep.order, rep.err
}

// late is how many units a payment needs because its order has expired. It is
// Run's own.
func (o *Owner) late(id ulid.ULID, payment string) int64 {
	order, ok := o.ledger.Order(id)
	if !ok || order.Status != ledger.Expired || order.Payment != "" || payment == "" || order.Quantity > o.ledger.Allowance(order.User) {
		return 0
	}
	return order.Quantity
}

// Find finds a buyer's order, or anybody's if user is "", as it is at some moment
// during the call: also one that was made or changed by another owner just before.
// Errors: ErrUndecided, ErrBusy, ledger.ErrNoOrder.
func (o *Owner) Find(ctx context.Context, user string, id ulid.ULID) (ledger.Order, error) {
	rep := o.do(ctx, &request{read: true, try: func(int64) (*record.Entry, reply) {
		order, ok := o.ledger.Order(id)
		if !ok || user != "" && order.User != user {
			return nil, reply{err: ledger.ErrNoOrder}
		}
		return nil, reply{order: order}
	}})
	return rep.order, rep.err
}

// OrdersOf lists a buyer's orders, as they are at some moment during the call.
// Errors: ErrUndecided, ErrBusy.
func (o *Owner) OrdersOf(ctx context.Context, user string) ([]ledger.Order, error) {
	rep := o.do(ctx, &request{read: true, try: func(int64) (*record.Entry, reply) {
		return nil, reply{orders: o.ledger.OrdersOf(user)}
	}})
	return rep.orders, rep.err
}
