// Package export lists the orders of a sale, as they stand, for people and their
// spreadsheets. It only reads, one slot after the other, so that no more is in
// memory than the log of one.
package export

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
)

// An Order is one row. Times are in UTC, in whole milliseconds.
type Order struct {
	ID        string        `json:"id"` // public
	Slot      int           `json:"slot"`
	User      string        `json:"user"`
	RequestID string        `json:"request_id"`
	Quantity  int64         `json:"quantity"`
	Status    ledger.Status `json:"status"`
	OrderedAt time.Time     `json:"ordered_at"`
	PayBy     time.Time     `json:"pay_by"`
	ChangedAt time.Time     `json:"changed_at"` // when it got this status
	Payment   string        `json:"payment"`    // the payment service's reference, "" if there is none
}

// ErrNotThere says that an event's orders are not in the store: it was never
// published, or it was archived.
var ErrNotThere = errors.New("the store has no orders of the event")

// slow bounds the reading of a slot, of which there may be much.
const slow = time.Minute

// Orders hands the orders of a sale to each, slot after slot, in each slot in the
// order in which they were decided. A slot is as it is when its turn comes; an
// order that is made later, or in a slot before, is left out.
//
// Errors: backend.ErrNotFound where there is no event, ErrNotThere, what each
// returns, record.ErrCorrupt for a log that can't be read, those of
// [backend.List].
func Orders(ctx context.Context, s backend.Store, e event.Event, each func(slot int, orders []Order) error) error {
	return Range(ctx, s, e, 0, e.Slots, each)
}

// Range is Orders of the slots from first on, before end.
func Range(ctx context.Context, s backend.Store, e event.Event, first, end int, each func(slot int, orders []Order) error) error {
	switch e.Status {
	case record.StatusDraft, record.StatusArchived:
		return fmt.Errorf("%w: event %s is %s", ErrNotThere, e.ID, e.Status)
	case record.StatusPublishing, record.StatusOnline, record.StatusOffline, record.StatusClosing, record.StatusClosed:
	}
	for k := first; k < min(end, e.Slots); k++ {
		entries, err := list(ctx, s, record.LogDir(e.ID, k))
		if err != nil {
			return err
		}
		orders, err := Slot(e.ID, k, entries)
		if err != nil {
			return err
		}
		if err := each(k, orders); err != nil {
			return err
		}
	}
	return unchanged(ctx, s, e)
}

// unchanged sees that a sale was not purged while it was read.
func unchanged(ctx context.Context, s backend.Store, e event.Event) error {
	now, err := event.Get(ctx, s, e.ID)
	if err == nil && now.Status == record.StatusArchived {
		err = fmt.Errorf("%w: event %s was archived meanwhile", ErrNotThere, e.ID)
	}
	return err
}

func list(ctx context.Context, s backend.Store, dir string) ([]backend.Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, slow)
	defer cancel()
	entries, _, err := backend.List(ctx, s, dir)
	return entries, err
}

// Slot is what the log of a slot amounts to, its entries in the order of their keys.
// Errors: record.ErrCorrupt.
func Slot(event ulid.ULID, k int, entries []backend.Entry) ([]Order, error) {
	l := ledger.New(record.MaxTotal) // the limit decided long ago
	var ids []ulid.ULID
	var last record.Place
	for _, e := range entries {
		at, err := record.ParseLogKey(event, k, e.Key)
		if err != nil || !at.Follows(last) {
			return nil, fmt.Errorf("%w: %s comes after %s", record.ErrCorrupt, e.Key, last)
		}
		last = at
		b, err := record.DecodeBatch(event, k, at, e.Value)
		if err != nil {
			return nil, err
		}
		for _, entry := range b.Entries {
			if err := l.Apply(entry); err != nil {
				return nil, fmt.Errorf("%s: %w", e.Key, err)
			}
			if entry.Kind == record.Ordered {
				ids = append(ids, entry.Order)
			}
		}
	}
	orders := make([]Order, 0, len(ids))
	for _, id := range ids {
		o, _ := l.Order(id)
		orders = append(orders, Order{
			ID: record.PublicID(event, id), Slot: k, User: o.User, RequestID: o.Request, Quantity: o.Quantity, Status: o.Status,
			OrderedAt: o.At, PayBy: o.PayBy, ChangedAt: o.Changed, Payment: o.Payment,
		})
	}
	return orders, nil
}
