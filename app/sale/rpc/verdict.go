package rpc

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/slot"
)

// verdicts are the errors that an owner answers with.
var verdicts = map[Verdict]error{
	Verdict_UNDECIDED:   slot.ErrUndecided,
	Verdict_BUSY:        slot.ErrBusy,
	Verdict_SOLD_OUT:    slot.ErrSoldOut,
	Verdict_NOT_STARTED: slot.ErrNotStarted,
	Verdict_ENDED:       slot.ErrEnded,
	Verdict_OFFLINE:     slot.ErrOffline,
	Verdict_LIMIT:       ledger.ErrLimit,
	Verdict_OTHER_USE:   ledger.ErrOtherUse,
	Verdict_NO_ORDER:    ledger.ErrNoOrder,
	Verdict_OVER:        ledger.ErrOver,
	Verdict_PAID:        ledger.ErrPaid,
	Verdict_OTHER_PAID:  ledger.ErrOtherPaid,
}

// verdictOf is Verdict_UNDECIDED for an error that is none of an owner's answers.
func verdictOf(err error) Verdict {
	if err == nil {
		return Verdict_OK
	}
	for v, known := range verdicts {
		if errors.Is(err, known) {
			return v
		}
	}
	return Verdict_UNDECIDED
}

// err is what a verdict means, nil for OK.
func (v Verdict) err() error {
	if v == Verdict_OK {
		return nil
	}
	if err, ok := verdicts[v]; ok {
		return err
	}
	return fmt.Errorf("%w: verdict %d, which this process does not know", slot.ErrUndecided, v)
}

// A Reply is what an owner answered.
type Reply struct {
	Orders  []ledger.Order
	Created bool
	Buyers  slot.Buyers // if it was asked for them
}

// Order is the reply's one order, the zero Order if there is none.
func (r Reply) Order() ledger.Order {
	if len(r.Orders) == 0 {
		return ledger.Order{}
	}
	return r.Orders[0]
}

func encodeOrder(o ledger.Order) *OrderRecord {
	return &OrderRecord{
		Id: o.ID[:], User: o.User, Request: o.Request, Quantity: o.Quantity,
		At: o.At.UnixMilli(), PayBy: o.PayBy.UnixMilli(),
		Status: string(o.Status), Changed: o.Changed.UnixMilli(), Payment: o.Payment,
	}
}

func decodeOrder(r *OrderRecord) (ledger.Order, error) {
	id, err := decodeID(r.GetId())
	return ledger.Order{
		ID: id, User: r.GetUser(), Request: r.GetRequest(), Quantity: r.GetQuantity(),
		At: time.UnixMilli(r.GetAt()).UTC(), PayBy: time.UnixMilli(r.GetPayBy()).UTC(),
		Status: ledger.Status(r.GetStatus()), Changed: time.UnixMilli(r.GetChanged()).UTC(), Payment: r.GetPayment(),
	}, err
}

func encodeBuyers(b slot.Buyers) *BuyersRecord {
	if b.Tenure.IsZero() {
		return nil
	}
	return &BuyersRecord{
		Tenure: b.Tenure[:], SoldOut: b.SoldOut, PerUser: b.PerUser,
		Count: uint64(b.Count), From: uint64(b.From), Hashes: b.Hashes,
	}
}

func decodeBuyers(r *BuyersRecord) (slot.Buyers, error) {
	if r == nil {
		return slot.Buyers{}, nil
	}
	tenure, err := decodeID(r.GetTenure())
	if err != nil {
		return slot.Buyers{}, err
	}
	if from, told := r.GetFrom(), uint64(len(r.GetHashes())); r.GetCount() > math.MaxInt || from > r.GetCount() || told > r.GetCount()-from {
		return slot.Buyers{}, fmt.Errorf("%d buyers from number %d on, of %d", told, from, r.GetCount())
	}
	return slot.Buyers{
		Tenure: tenure, SoldOut: r.GetSoldOut(), PerUser: r.GetPerUser(),
		Count: int(r.GetCount()), From: int(r.GetFrom()), Hashes: r.GetHashes(),
	}, nil
}

func decodeID(raw []byte) (id ulid.ULID, err error) {
	if len(raw) != len(id) {
		return id, fmt.Errorf("an ID of %d bytes, expected %d", len(raw), len(id))
	}
	copy(id[:], raw)
	return id, nil
}

func decodeReply(a *Answer) (Reply, error) {
	r := Reply{Created: a.GetCreated()}
	for _, encoded := range a.GetOrders() {
		o, err := decodeOrder(encoded)
		if err != nil {
			return Reply{}, fmt.Errorf("%w: %w", slot.ErrUndecided, err)
		}
		r.Orders = append(r.Orders, o)
	}
	var err error
	if r.Buyers, err = decodeBuyers(a.GetBuyers()); err != nil {
		return Reply{}, fmt.Errorf("%w: %w", slot.ErrUndecided, err)
	}
	return r, a.GetVerdict().err()
}
