// Package ledger is what the log of one slot amounts to: its orders, what each
// buyer has, which requests were answered. It is in memory and does not know the
// store; it belongs to one goroutine.
//
// The owner of a slot decides by asking a ledger (PlaceOrder, Cancel, Pay,
// Expire), which answers with an entry for the log and has already taken it in.
// Replaying the log with Apply gives the same ledger again. There is no way back:
// an owner that can't write what it has decided drops the whole ledger.
package ledger

import (
	"container/heap"
	"fmt"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/record"
)

// A Status is how an order stands.
type Status string

// The statuses.
const (
	Pending   Status = "pending"    // its units are held until it is paid, cancelled or expired
	Paid      Status = "paid"       // for good
	Cancelled Status = "cancelled"  // by the buyer
	Expired   Status = "expired"    // not paid in time
	RefundDue Status = "refund_due" // paid when it was over, and there were no units: the money goes back
)

// Holds reports whether an order of this status has its units.
func (s Status) Holds() bool { return s == Pending || s == Paid }

// An Order is what became of an accepted request.
type Order struct {
	ID       ulid.ULID
	User     string
	Request  string
	Quantity int64
	At       time.Time
	PayBy    time.Time
	Status   Status
	Changed  time.Time // when it got this status
	Payment  string    // the reference of the payment service, "" before there is one
}

// A Ledger is the state of one slot. Make one with New.
type Ledger struct {
	perUser  int64
	held     int64
	orders   map[ulid.ULID]*Order
	requests map[request]*Order
	buyers   map[string]*buyer
	due      deadlines
	hashes   []uint64 // of the buyers; never changed but by adding
}

// A request is named by its buyer.
type request struct{ user, id string }

type buyer struct {
	held   int64
	orders []*Order
}

// New makes an empty ledger. perUser is how many units a buyer may hold.
func New(perUser int64) *Ledger {
	return &Ledger{
		perUser:  perUser,
		orders:   map[ulid.ULID]*Order{},
		requests: map[request]*Order{},
		buyers:   map[string]*buyer{},
	}
}

// Held is how many units orders have, all together.
func (l *Ledger) Held() int64 { return l.held }

// Len is how many orders there are, of whatever status.
func (l *Ledger) Len() int { return len(l.orders) }

// Order finds an order.
func (l *Ledger) Order(id ulid.ULID) (Order, bool) {
	o, ok := l.orders[id]
	if !ok {
		return Order{}, false
	}
	return *o, true
}

// Answered finds the order that a request was answered with before.
func (l *Ledger) Answered(user, id string) (Order, bool) {
	o, ok := l.requests[request{user, id}]
	if !ok {
		return Order{}, false
	}
	return *o, true
}

// OrdersOf lists a buyer's orders, in the order of the log.
func (l *Ledger) OrdersOf(user string) []Order {
	b := l.buyers[user]
	if b == nil {
		return nil
	}
	orders := make([]Order, 0, len(b.orders))
	for _, o := range b.orders {
		orders = append(orders, *o)
	}
	return orders
}

// Hashes are those of all buyers who ever had an order, of whatever status, in the
// order in which they got their first. They are shared, and not to be modified; more
// buyers do not change what was returned.
func (l *Ledger) Hashes() []uint64 { return slices.Clip(l.hashes) }

// PerUser is how many units a buyer may hold.
func (l *Ledger) PerUser() int64 { return l.perUser }

// Allowance is how many more units a buyer may have. Orders that were cancelled or
// have expired do not count.
func (l *Ledger) Allowance(user string) int64 {
	if b := l.buyers[user]; b != nil {
		return max(l.perUser-b.held, 0)
	}
	return l.perUser
}

// NextDeadline is when the next pending order expires, false if none is pending.
func (l *Ledger) NextDeadline() (time.Time, bool) {
	for len(l.due) > 0 {
		if l.due[0].Status == Pending {
			return l.due[0].PayBy, true
		}
		heap.Pop(&l.due)
	}
	return time.Time{}, false
}

// Apply takes in an entry of the log. An entry that can't follow what was applied
// before is record.ErrCorrupt, and the ledger is as it was.
//
// What Apply does not refuse is more than a buyer's limit: that the limit was kept
// is for those to see who check the log.
func (l *Ledger) Apply(e record.Entry) error {
	if fault := l.apply(e); fault != "" {
		return fmt.Errorf("%w: entry %s of order %s: %s", record.ErrCorrupt, e.Kind, e.Order, fault)
	}
	return nil
}

func (l *Ledger) apply(e record.Entry) (fault string) {
	if e.Kind == record.Ordered {
		return l.open(e)
	}
	o := l.orders[e.Order]
	if o == nil {
		return "there is no such order"
	}
	next, from := transition(e.Kind)
	if !slices.Contains(from, o.Status) {
		return fmt.Sprintf("it is %s, expected one of %q", o.Status, from)
	}
	l.move(o, next, e)
	return ""
}

func (l *Ledger) open(e record.Entry) (fault string) {
	if _, ok := l.orders[e.Order]; ok {
		return "there is such an order already"
	}
	named := request{e.User, e.Request}
	if before := l.requests[named]; before != nil {
		return fmt.Sprintf("request %q was answered with order %s already", e.Request, before.ID)
	}
	o := &Order{
		ID: e.Order, User: e.User, Request: e.Request, Quantity: int64(e.Quantity),
		At: e.At, PayBy: e.PayBy, Status: Pending, Changed: e.At,
	}
	b := l.buyers[e.User]
	if b == nil {
		b = &buyer{}
		l.buyers[e.User] = b
		l.hashes = append(l.hashes, record.HashOf(e.User))
	}
	b.orders = append(b.orders, o)
	l.orders[o.ID], l.requests[named] = o, o
	l.hold(o, 1)
	heap.Push(&l.due, o)
	return ""
}

// transition is what an entry makes of an order, and of which.
func transition(k record.Kind) (next Status, from []Status) {
	switch k {
	case record.Paid:
		return Paid, []Status{Pending}
	case record.Cancelled:
		return Cancelled, []Status{Pending}
	case record.Expired:
		return Expired, []Status{Pending}
	case record.Revived:
		return Paid, []Status{Expired}
	case record.RefundDue:
		return RefundDue, []Status{Expired, Cancelled}
	case record.Ordered:
	}
	return "", nil
}

func (l *Ledger) move(o *Order, next Status, e record.Entry) {
	switch {
	case o.Status.Holds() && !next.Holds():
		l.hold(o, -1)
	case !o.Status.Holds() && next.Holds():
		l.hold(o, 1)
	}
	o.Status, o.Changed = next, e.At
	if e.Payment != "" {
		o.Payment = e.Payment
	}
}

// hold takes an order's units, or gives them back with sign -1.
func (l *Ledger) hold(o *Order, sign int64) {
	l.held += sign * o.Quantity
	l.buyers[o.User].held += sign * o.Quantity
}

// deadlines is a heap of orders, the next to expire first.
type deadlines []*Order

func (d deadlines) Len() int { return len(d) }
func (d deadlines) Less(i, j int) bool {
	if !d[i].PayBy.Equal(d[j].PayBy) {
		return d[i].PayBy.Before(d[j].PayBy)
	}
	return d[i].ID.Compare(d[j].ID) < 0
}
func (d deadlines) Swap(i, j int) { d[i], d[j] = d[j], d[i] }
func (d *deadlines) Push(x any)   { o, _ := x.(*Order); *d = append(*d, o) }
func (d *deadlines) Pop() any {
	last := len(*d) - 1
	o := (*d)[last]
	*d = (*d)[:last]
	return o
}
