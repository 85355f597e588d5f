package record

import (
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/backend"
)

// The limits of what a buyer sends, in bytes of UTF-8.
const (
	MaxUser    = 128
	MaxRequest = 64
	MaxPayment = 128
)

// MaxQuantity is how many units one order may have.
const MaxQuantity = 1 << 20

// A Kind says what an entry tells.
type Kind byte

// The kinds. Their numbers are in the store and never change.
const (
	Ordered   Kind = 1 // units are held for a buyer, to be paid
	Paid      Kind = 2
	Cancelled Kind = 3 // by the buyer; the units return
	Expired   Kind = 4 // not paid in time; the units return
	Revived   Kind = 5 // paid after it expired, and there were units to hold again
	RefundDue Kind = 6 // paid after it expired, and there were none
)

var kindNames = map[Kind]string{
	Ordered: "ordered", Paid: "paid", Cancelled: "cancelled", Expired: "expired", Revived: "revived", RefundDue: "refund_due",
}

func (k Kind) String() string {
	if name, ok := kindNames[k]; ok {
		return name
	}
	return fmt.Sprintf("kind %d", byte(k))
}

// An Entry is one decision about an order.
type Entry struct {
	Kind  Kind
	Order ulid.ULID
	At    time.Time // by the owner's clock, in whole milliseconds

	// Of Ordered only:
	User     string
	Request  string // the buyer's name for the request: one order for each
	Quantity uint32
	PayBy    time.Time // in whole milliseconds

	// Payment is the reference of the payment service, of Paid, Revived and
	// RefundDue only.
	Payment string
}

// Validate says what is wrong with an entry: ErrInvalid.
func (e Entry) Validate() error {
	if fault := e.fault(); fault != "" {
		return fmt.Errorf("%w: entry %s of order %s: %s", backend.ErrInvalid, e.Kind, e.Order, fault)
	}
	return nil
}

func (e Entry) fault() string {
	if _, ok := kindNames[e.Kind]; !ok {
		return "expected a kind from 1 to 6"
	}
	if e.Order.IsZero() {
		return "no order"
	}
	if !isTime(e.At) {
		return fmt.Sprintf("time %v: expected %s", e.At, times)
	}
	if fault := e.orderFault(); fault != "" {
		return fault
	}
	switch e.Kind {
	case Paid, Revived, RefundDue:
		return textFault("payment", e.Payment, MaxPayment)
	default:
		if e.Payment != "" {
			return "a payment, where there is none"
		}
		return ""
	}
}

// orderFault is about what only Ordered has.
func (e Entry) orderFault() string {
	if e.Kind != Ordered {
		if e.User != "" || e.Request != "" || e.Quantity != 0 || !e.PayBy.IsZero() {
			return "what only an order has: user, request, quantity or deadline"
		}
		return ""
	}
	if fault := textFault("user", e.User, MaxUser); fault != "" {
		return fault
	}
	if fault := textFault("request", e.Request, MaxRequest); fault != "" {
		return fault
	}
	if e.Quantity == 0 || e.Quantity > MaxQuantity {
		return fmt.Sprintf("quantity %d: expected 1 to %d", e.Quantity, MaxQuantity)
	}
	if !isTime(e.PayBy) {
		return fmt.Sprintf("deadline %v: expected %s", e.PayBy, times)
	}
	return ""
}

func textFault(what, s string, most int) string {
	switch {
	case s == "":
		return "no " + what
	case len(s) > most:
		return fmt.Sprintf("%s has %d bytes, at most %d are allowed", what, len(s), most)
	case !utf8.ValidString(s):
		return what + " is not valid UTF-8"
	}
	return ""
}

// times are what a record can tell of: what comes later RFC 3339, and so JSON, can't.
const times = "whole milliseconds from 1970 to the end of the year 9999, in UTC"

func isTime(t time.Time) bool {
	ms := t.UnixMilli()
	return ms > 0 && t.Equal(time.UnixMilli(ms)) && t.UTC().Year() <= 9999
}
