package record

import (
	"math"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/backend"
)

// A Size is what entries take in the store.
type Size struct {
	Keys  int64 // how many batches they are in
	Bytes int64 // of the keys, as far as they are below the root, and of the values
}

// MaxUnitSize is what one unit can come to take in a log, in a sale of small orders
// in a quiet hour. All of it is as large as it can be: an order has one unit; user,
// request and payment have their full length; each entry is a batch of its own, as
// where nobody else asks meanwhile. And everything that happens to an order happens,
// twice: the unit is ordered, expires, and the late payment has to be given back;
// ordered again, expires, and is paid late.
//
// There is no limit to how often buyers can order and cancel. But each time takes a
// deadline or a request of its own, and no sale is known to average more than this.
func MaxUnitSize() Size {
	var size Size
	for _, kind := range []Kind{Ordered, Expired, RefundDue, Ordered, Expired, Revived} {
		size.Keys++
		size.Bytes += aloneSize(maxEntry(kind))
	}
	return size
}

// maxEntry is as large as one of its kind can be.
func maxEntry(kind Kind) Entry {
	at := time.UnixMilli(1 << 42) // in 2109: the numbers have no more digits until then
	e := Entry{Kind: kind, Order: ulid.ULID{1}, At: at}
	switch kind {
	case Ordered:
		e.User, e.Request = strings.Repeat("u", MaxUser), strings.Repeat("r", MaxRequest)
		e.Quantity, e.PayBy = 1, at
	case Paid, Revived, RefundDue:
		e.Payment = strings.Repeat("p", MaxPayment)
	case Cancelled, Expired:
	}
	return e
}

// aloneSize is that of an entry in a batch of its own, with its key.
func aloneSize(e Entry) int64 {
	b := Batch{
		Event: ulid.ULID{1}, Slot: MaxSlots - 1, Place: Place{Epoch: math.MaxUint32, Seq: math.MaxUint32},
		Owner: ulid.ULID{1}, Entries: []Entry{e},
	}
	value, err := b.Encode()
	if err != nil {
		return backend.MaxValue // which no batch is: it is made above
	}
	return int64(len(LogKey(b.Event, b.Slot, b.Place)) + len(value))
}
