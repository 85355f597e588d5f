package ledger

import (
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
)

// Refusals. They change nothing.
var (
	ErrLimit     = errors.New("the buyer's limit is reached")
	ErrNoUnits   = errors.New("not enough units here") // which says nothing about other slots
	ErrNoOrder   = errors.New("no such order")
	ErrOver      = errors.New("the order is over")                // cancelled, expired, or its payment is to be given back
	ErrPaid      = errors.New("the order is paid")                // and so can't be cancelled
	ErrOtherPaid = errors.New("another payment was taken for it") // so this one has to be given back by who sent it
	ErrOtherUse  = errors.New("the request was made before with another quantity")
)

// A Demand is what a buyer asks for.
type Demand struct {
	User     string
	Request  string
	Quantity int64
}

// Validate says what is wrong with a demand: ErrInvalid.
func (d Demand) Validate() error {
	if d.Quantity < 1 || d.Quantity > record.MaxQuantity {
		return fmt.Errorf("%w: quantity %d, expected 1 to %d", backend.ErrInvalid, d.Quantity, record.MaxQuantity)
	}
	return record.Entry{
		Kind: record.Ordered, Order: ulid.ULID{1}, At: time.UnixMilli(1), User: d.User, Request: d.Request,
		Quantity: uint32(d.Quantity), PayBy: time.UnixMilli(1),
	}.Validate()
}

// PlaceOrder decides on a demand, free being the units that are there for new
// orders. A request that was answered before gets the same order again, and no
// entry, as long as it asks for the same. Errors: ErrOtherUse, ErrLimit, ErrNoUnits, in this order.
//
// id and payBy are those of the new order, if there is to be one.
func (l *Ledger) PlaceOrder(d Demand, free int64, id ulid.ULID, now, payBy time.Time) (Order, *record.Entry, error) {
	if o := l.requests[request{d.User, d.Request}]; o != nil {
		if o.Quantity != d.Quantity {
			return Order{}, nil, ErrOtherUse
		}
		return *o, nil, nil
	}
	switch {
	case d.Quantity > l.Allowance(d.User):
		return Order{}, nil, ErrLimit
	case d.Quantity > free:
		return Order{}, nil, ErrNoUnits
	}
	return l.decide(record.Entry{
		Kind: record.Ordered, Order: id, At: now, User: d.User, Request: d.Request,
		Quantity: uint32(d.Quantity), PayBy: payBy,
	})
}

// Cancel gives an order up. One that was cancelled already is no error. Errors:
// ErrNoOrder (also if it is somebody else's), ErrPaid, ErrOver.
func (l *Ledger) Cancel(user string, id ulid.ULID, now time.Time) (Order, *record.Entry, error) {
	o := l.orders[id]
	switch {
	case o == nil || o.User != user:
		return Order{}, nil, ErrNoOrder
	case o.Status == Cancelled:
		return *o, nil, nil
	case o.Status == Paid:
		return *o, nil, ErrPaid
	case o.Status != Pending:
		return *o, nil, ErrOver
	}
	return l.decide(record.Entry{Kind: record.Cancelled, Order: id, At: now})
}

// Pay takes a payment in. One that comes when the order has expired makes it live
// again if there are free units and the buyer has not used the allowance
// otherwise; else it is to be given back, as it is when the order was cancelled.
// The same payment again is no error. Errors: ErrNoOrder, ErrOtherPaid, ErrInvalid.
func (l *Ledger) Pay(id ulid.ULID, payment string, free int64, now time.Time) (Order, *record.Entry, error) {
	o := l.orders[id]
	switch {
	case o == nil:
		return Order{}, nil, ErrNoOrder
	case payment == "":
		return Order{}, nil, fmt.Errorf("%w: a payment without a reference", backend.ErrInvalid)
	case o.Payment == payment:
		return *o, nil, nil
	case o.Payment != "":
		return *o, nil, ErrOtherPaid
	}
	e := record.Entry{Kind: record.RefundDue, Order: id, At: now, Payment: payment}
	switch {
	case o.Status == Pending:
		e.Kind = record.Paid
	case o.Status == Expired && o.Quantity <= free && o.Quantity <= l.Allowance(o.User):
		e.Kind = record.Revived
	}
	return l.decide(e)
}

// Expire ends the next order that was not paid in time, if there is one.
func (l *Ledger) Expire(now time.Time) *record.Entry {
	payBy, ok := l.NextDeadline()
	if !ok || now.Before(payBy) {
		return nil
	}
	e := record.Entry{Kind: record.Expired, Order: l.due[0].ID, At: now}
	if _, _, err := l.decide(e); err != nil {
		return nil // it was pending a moment ago
	}
	return &e
}

// decide takes in an entry that was just made.
func (l *Ledger) decide(e record.Entry) (Order, *record.Entry, error) {
	if err := e.Validate(); err != nil {
		return Order{}, nil, err
	}
	if err := l.Apply(e); err != nil {
		return Order{}, nil, err
	}
	return *l.orders[e.Order], &e, nil
}
