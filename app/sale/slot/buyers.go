package slot

import (
	"context"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/record"
)

// Buyers are those who were ever given an order in a slot, and whether others can still
// get one. Who keeps a list of them can tell newcomers that it is sold out, and asks the
// owner once for many: see package turnstile.
type Buyers struct {
	// Tenure names one owner's time, and no other's. The list is the same, but for what
	// is added at its end, as long as that is.
	Tenure ulid.ULID

	// SoldOut says that whoever is not in the list, and asks for PerUser units at most,
	// is refused: ErrSoldOut.
	SoldOut bool
	PerUser int64

	Count  int      // how long the list is
	From   int      // where Hashes begins in it
	Hashes []uint64 // record.HashOf of each; no more than maxHashes, and not to be modified
}

// maxHashes is how many hashes an answer has at most: 256 KiB.
const maxHashes = 1 << 15

// Buyers tells of a slot's buyers, as they are at some moment during the call: those
// that tenure has had since so many were told; if that is not this owner's, all. An
// answer has only so many: ask again for those that follow. Buyers whose first
// order is not in the log yet are among them. Errors: ErrUndecided, ErrBusy.
func (o *Owner) Buyers(ctx context.Context, tenure ulid.ULID, since int) (Buyers, error) {
	rep := o.do(ctx, &request{read: true, try: func(int64) (*record.Entry, reply) {
		return nil, reply{buyers: o.tellBuyers(tenure, since)}
	}})
	if rep.err != nil {
		return Buyers{}, rep.err
	}
	return *rep.buyers, nil
}

func (o *Owner) tellBuyers(tenure ulid.ULID, since int) *Buyers {
	all := o.ledger.Hashes()
	if tenure != o.tenure || since < 0 || since > len(all) {
		since = 0
	}
	return &Buyers{
		Tenure: o.tenure, SoldOut: o.isSoldOut(), PerUser: o.ledger.PerUser(),
		Count: len(all), From: since, Hashes: all[since:min(len(all), since+maxHashes)],
	}
}

// isSoldOut reports whether an order of somebody who has none would be refused for want
// of units, and for nothing else.
func (o *Owner) isSoldOut() bool {
	return o.pool.SoldOut && o.free() < 1 && mayOrder(o.terms(), o.now()) == nil
}
