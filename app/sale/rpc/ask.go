package rpc

import (
	"context"
	"fmt"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/slot"
)

// NewOrder asks for units.
func NewOrder(event ulid.ULID, slot int, d ledger.Demand) *Question {
	return question(event, slot, &Question_Order{&Order{User: d.User, Request: d.Request, Quantity: d.Quantity}})
}

// NewCancel asks to give an order up.
func NewCancel(event ulid.ULID, slot int, user string, order ulid.ULID) *Question {
	return question(event, slot, &Question_Cancel{&Cancel{User: user, Order: order[:]}})
}

// NewPay asks to take a payment in.
func NewPay(event ulid.ULID, slot int, order ulid.ULID, payment string) *Question {
	return question(event, slot, &Question_Pay{&Pay{Order: order[:], Payment: payment}})
}

// NewFind asks for an order.
func NewFind(event ulid.ULID, slot int, user string, order ulid.ULID) *Question {
	return question(event, slot, &Question_Find{&Find{User: user, Order: order[:]}})
}

// NewList asks for a buyer's orders.
func NewList(event ulid.ULID, slot int, user string) *Question {
	return question(event, slot, &Question_List{&List{User: user}})
}

// NewBuyers asks who has ever been given an order: in whose time as the slot's owner, and
// from which on.
func NewBuyers(event ulid.ULID, slot int, tenure ulid.ULID, since int) *Question {
	return question(event, slot, &Question_Buyers{&Buyers{Tenure: tenure[:], Since: uint64(since)}})
}

func question(event ulid.ULID, slot int, ask isQuestion_Ask) *Question {
	return &Question{Event: event[:], Slot: uint32(slot), Ask: ask}
}

// A Decider answers for a slot: a [slot.Owner], or who stands in for one.
type Decider interface {
	Order(ctx context.Context, d ledger.Demand) (order ledger.Order, created bool, err error)
	Cancel(ctx context.Context, user string, order ulid.ULID) (ledger.Order, error)
	Pay(ctx context.Context, order ulid.ULID, payment string) (ledger.Order, error)
	Find(ctx context.Context, user string, order ulid.ULID) (ledger.Order, error)
	OrdersOf(ctx context.Context, user string) ([]ledger.Order, error)
	Buyers(ctx context.Context, tenure ulid.ULID, since int) (slot.Buyers, error)
}

// Put puts a question to a decider in this process. Errors: the decider's.
func (q *Question) Put(ctx context.Context, o Decider) (Reply, error) {
	switch ask := q.GetAsk().(type) {
	case *Question_Order:
		a := ask.Order
		order, created, err := o.Order(ctx, ledger.Demand{User: a.GetUser(), Request: a.GetRequest(), Quantity: a.GetQuantity()})
		return one(order, created, err)
	case *Question_Cancel:
		return withID(ask.Cancel.GetOrder(), func(id ulid.ULID) (Reply, error) {
			order, err := o.Cancel(ctx, ask.Cancel.GetUser(), id)
			return one(order, false, err)
		})
	case *Question_Pay:
		return withID(ask.Pay.GetOrder(), func(id ulid.ULID) (Reply, error) {
			order, err := o.Pay(ctx, id, ask.Pay.GetPayment())
			return one(order, false, err)
		})
	case *Question_Find:
		return withID(ask.Find.GetOrder(), func(id ulid.ULID) (Reply, error) {
			order, err := o.Find(ctx, ask.Find.GetUser(), id)
			return one(order, false, err)
		})
	case *Question_List:
		orders, err := o.OrdersOf(ctx, ask.List.GetUser())
		return Reply{Orders: orders}, err
	case *Question_Buyers:
		tenure, err := decodeID(ask.Buyers.GetTenure())
		if err != nil {
			return Reply{}, fmt.Errorf("%w: %w", slot.ErrUndecided, err)
		}
		buyers, err := o.Buyers(ctx, tenure, int(ask.Buyers.GetSince())) //nolint:gosec // what can't be is asked from the first on
		return Reply{Buyers: buyers}, err
	}
	return Reply{}, fmt.Errorf("%w: a question that this process does not know", slot.ErrUndecided)
}

func withID(raw []byte, f func(ulid.ULID) (Reply, error)) (Reply, error) {
	id, err := decodeID(raw)
	if err != nil {
		return Reply{}, ledger.ErrNoOrder
	}
	return f(id)
}

func one(o ledger.Order, created bool, err error) (Reply, error) {
	if o.ID.IsZero() {
		return Reply{}, err
	}
	return Reply{Orders: []ledger.Order{o}, Created: created}, err
}
