// Package frozen answers for sales that are closed. Their slots have no owners any
// more, and their logs do not change, so any process may read them: the orders stay
// readable until the sale is archived.
package frozen

import (
	"context"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/slot"
)

// A Log is what the log of a closed slot amounts to. It answers what a [slot.Owner]
// does, except that nothing can be changed any more: slot.ErrEnded. What was
// decided before is still answered with the decision. It is safe for concurrent
// use.
type Log struct{ ledger *ledger.Ledger }

// Order finds what a request was answered with before. Errors: slot.ErrEnded,
// ledger.ErrOtherUse.
func (l *Log) Order(_ context.Context, d ledger.Demand) (order ledger.Order, created bool, err error) {
	o, ok := l.ledger.Answered(d.User, d.Request)
	switch {
	case !ok:
		return ledger.Order{}, false, slot.ErrEnded
	case o.Quantity != d.Quantity:
		return ledger.Order{}, false, ledger.ErrOtherUse
	}
	return o, false, nil
}

// Cancel finds an order that was cancelled before. Errors: slot.ErrEnded,
// ledger.ErrNoOrder.
func (l *Log) Cancel(_ context.Context, user string, id ulid.ULID) (ledger.Order, error) {
	o, ok := l.ledger.Order(id)
	switch {
	case !ok || o.User != user:
		return ledger.Order{}, ledger.ErrNoOrder
	case o.Status != ledger.Cancelled:
		return o, slot.ErrEnded
	}
	return o, nil
}

// Pay finds an order that took this payment before. Any other comes too late, and
// whoever sent it has to give it back: slot.ErrEnded. Errors: ledger.ErrNoOrder
// too.
func (l *Log) Pay(_ context.Context, id ulid.ULID, payment string) (ledger.Order, error) {
	o, ok := l.ledger.Order(id)
	switch {
	case !ok:
		return ledger.Order{}, ledger.ErrNoOrder
	case o.Payment == "" || o.Payment != payment:
		return o, slot.ErrEnded
	}
	return o, nil
}

// Find finds a buyer's order, or anybody's if user is "". Errors: ledger.ErrNoOrder.
func (l *Log) Find(_ context.Context, user string, id ulid.ULID) (ledger.Order, error) {
	o, ok := l.ledger.Order(id)
	if !ok || user != "" && o.User != user {
		return ledger.Order{}, ledger.ErrNoOrder
	}
	return o, nil
}

// Buyers tells that it does not matter any more who has bought: slot.ErrEnded.
func (l *Log) Buyers(context.Context, ulid.ULID, int) (slot.Buyers, error) {
	return slot.Buyers{}, slot.ErrEnded
}

// OrdersOf lists a buyer's orders.
func (l *Log) OrdersOf(_ context.Context, user string) ([]ledger.Order, error) {
	return l.ledger.OrdersOf(user), nil
}
