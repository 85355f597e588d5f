// Package verify checks a sale by what is written of it, in the store or in an
// archive, and by nothing else. It shares the codec of the records with the engine
// and no other code, so that a mistake there does not hide itself.
package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
)

// A Rule is something that holds for every sale at every moment.
type Rule string

// The rules.
const (
	Readable    Rule = "readable"     // every record is what it must be, under its key
	Complete    Rule = "complete"     // no slot is missing, no batch between two others; a draft has nothing of this
	Epochs      Rule = "epochs"       // every batch is of an epoch that the slot has had, by the one owner it had then
	Stock       Rule = "stock"        // what orders hold, and what slots were granted, is there; what is called sold was
	Transitions Rule = "transitions"  // an order is opened once, and goes from one status to one that can follow
	Limit       Rule = "limit"        // no buyer holds more than allowed
	Requests    Rule = "requests"     // one order for each request
	Slots       Rule = "slots"        // a buyer's orders are in the buyer's slot, which their IDs name
	Acks        Rule = "acknowledged" // every order that was acknowledged is there, once
	Purged      Rule = "purged"       // of an archived sale nothing is left in the store
)

// A Violation is a rule that was broken, and where.
type Violation struct {
	Rule Rule   `json:"rule"`
	Key  string `json:"key,omitempty"`
	Text string `json:"text"`
}

func (v Violation) String() string {
	if v.Key == "" {
		return fmt.Sprintf("%s: %s", v.Rule, v.Text)
	}
	return fmt.Sprintf("%s: %s: %s", v.Rule, v.Key, v.Text)
}

// A Report is what was found.
type Report struct {
	Event    ulid.ULID        `json:"event"`
	Status   record.Status    `json:"status"`
	Revision backend.Revision `json:"revision"` // of the store, at which all was read

	Total   int64 `json:"total"`   // units there are
	Granted int64 `json:"granted"` // to slots
	Held    int64 `json:"held"`    // in orders that are pending or paid
	SoldOut bool  `json:"soldOut"`

	Batches  int            `json:"batches"`
	Orders   int            `json:"orders"`
	Statuses map[string]int `json:"statuses"` // orders by status
	Buyers   int            `json:"buyers"`   // that have ordered

	Acknowledged int `json:"acknowledged"` // orders that were looked up because somebody was told to have them

	Violations []Violation `json:"violations"`
}

// Clean reports whether every rule is kept.
func (r Report) Clean() bool { return len(r.Violations) == 0 }

// A Sale is everything that was written of one.
type Sale struct {
	ID       ulid.ULID
	Revision backend.Revision // of the store, at which it was read
	Event    backend.Entry
	Entries  []backend.Entry // what is in the sale's directory, in the order of the keys
}

// slow bounds the reading of a sale, of which there may be much.
const slow = 5 * time.Minute

// Read reads a sale at one revision. Errors: ErrNotFound where there is no event,
// those of [backend.List].
func Read(ctx context.Context, s backend.Store, event ulid.ULID) (Sale, error) {
	before, err := s.Get(ctx, record.EventKey(event))
	if err != nil {
		return Sale{}, err // before the patience for much data would be wasted on a store that is away
	}
	ctx, cancel := context.WithTimeout(ctx, slow)
	defer cancel()
	for {
		entries, revision, err := backend.List(ctx, s, record.SaleDir(event))
		if err != nil {
			return Sale{}, err
		}
		after, err := s.Get(ctx, record.EventKey(event))
		if err != nil {
			return Sale{}, err
		}
		if after.Revision == before.Revision {
			return Sale{ID: event, Revision: revision, Event: after, Entries: entries}, nil
		}
		before = after
	}
}

// Check reads a sale and holds it against the rules, as [Sale.Check] does. It may be
// called while the sale goes on, if nobody is told anything meanwhile that acked has
// and the reading may not: the sale is read at one revision. Errors: those of
// [Read].
func Check(ctx context.Context, s backend.Store, event ulid.ULID, acked []ulid.ULID) (Report, error) {
	sale, err := Read(ctx, s, event)
	if err != nil {
		return Report{}, err
	}
	return sale.Check(acked), nil
}

// Check holds a sale against the rules. acked are orders that were acknowledged to
// buyers, if anybody has written that down.
//
// Of a sale that was archived, the rule is that nothing is left of it. Until whoever
// archived it has finished, that is violated, and acknowledged orders, which are in
// the archive, violate Acks: they have to be held against that.
func (s Sale) Check(acked []ulid.ULID) Report {
	c := &checker{
		report:   Report{Event: s.ID, Revision: s.Revision, Statuses: map[string]int{}, Violations: []Violation{}},
		orders:   map[ulid.ULID]*order{},
		buyers:   map[string]int64{},
		requests: map[request]ulid.ULID{},
	}
	var err error
	if c.event, err = record.DecodeEvent(s.Event); err != nil {
		c.violate(Readable, s.Event.Key, "%v", err)
		return c.report
	}
	c.report.Status, c.report.Total = c.event.Status, c.event.Total
	if c.event.Status == record.StatusArchived {
		c.archived(s.Entries, acked)
		return c.report
	}
	c.sale(s.Entries)
	c.acknowledged(acked)
	return c.report
}

type checker struct {
	report   Report
	event    record.Event
	pool     *record.Pool
	slots    map[int]record.Slot
	held     map[int]int64 // by slot
	peak     map[int]int64 // the most that was held in it
	orders   map[ulid.ULID]*order
	buyers   map[string]int64 // units held
	requests map[request]ulid.ULID
}

type order struct {
	user     string
	quantity int64
	status   string
	slot     int
}

type request struct{ user, id string }

func (c *checker) violate(rule Rule, key, format string, args ...any) {
	c.report.Violations = append(c.report.Violations, Violation{rule, key, fmt.Sprintf(format, args...)})
}

// sale checks everything under a sale's directory.
func (c *checker) sale(entries []backend.Entry) {
	logs := map[int][]backend.Entry{}
	c.slots, c.held, c.peak = map[int]record.Slot{}, map[int]int64{}, map[int]int64{}
	dir := record.SaleDir(c.report.Event)
	for _, e := range entries {
		kind, rest, _ := strings.Cut(strings.TrimPrefix(e.Key, dir), "/")
		var k int
		switch {
		case e.Key == dir+"pool":
			c.readPool(e)
		case kind == "slots" && c.number(rest, &k):
			c.readSlot(e, k)
		case kind == "log" && c.number(rest[:max(strings.IndexByte(rest, '/'), 0)], &k):
			logs[k] = append(logs[k], e)
		default:
			c.violate(Readable, e.Key, "there is no such key in a sale")
		}
	}
	for _, k := range slices.Sorted(maps.Keys(logs)) {
		c.log(k, logs[k])
	}
	switch c.event.Status {
	case record.StatusDraft:
		if len(entries) > 0 {
			c.violate(Complete, entries[0].Key, "the event is a draft, of which there is no sale yet: it and %d more keys", len(entries)-1)
		}
	case record.StatusPublishing: // some of it may be there
		if len(logs) > 0 {
			c.violate(Complete, record.SaleDir(c.report.Event)+"log/", "%d slots have a log, while the event is being published", len(logs))
		}
	case record.StatusOnline, record.StatusOffline, record.StatusClosing, record.StatusClosed, record.StatusArchived:
		c.furniture()
	}
	c.sums()
}

// number reads a slot's number.
func (c *checker) number(text string, k *int) bool {
	_, err := fmt.Sscanf(text, "%d", k)
	return err == nil && text == fmt.Sprint(*k) && *k >= 0 && *k < c.event.Slots
}

func (c *checker) readPool(e backend.Entry) {
	p, err := record.DecodePool(e)
	switch {
	case errors.Is(err, record.ErrCorrupt):
		c.violate(Readable, e.Key, "%v", err)
		return
	case len(p.Granted) != c.event.Slots:
		c.violate(Complete, e.Key, "it has %d slots, the event has %d", len(p.Granted), c.event.Slots)
		return
	}
	c.pool, c.report.SoldOut, c.report.Total = &p, p.SoldOut, p.Total
	c.report.Granted = p.Total - p.Free()
	if p.Total > c.event.Total {
		c.violate(Stock, e.Key, "it has %d units, the event has %d", p.Total, c.event.Total)
	}
}

func (c *checker) readSlot(e backend.Entry, k int) {
	s, err := record.DecodeSlot(e)
	if err != nil {
		c.violate(Readable, e.Key, "%v", err)
		return
	}
	c.slots[k] = s
	if c.event.Status == record.StatusClosed && s.Owner != record.Closed {
		c.violate(Complete, e.Key, "the sale is closed, the slot is not: %q may write to its log", s.Owner)
	}
}

// log checks the log of a slot. Its entries come in the order of their keys.
func (c *checker) log(k int, entries []backend.Entry) {
	var last record.Place
	owners := map[uint64]string{} // by epoch
	if slot, ok := c.slots[k]; ok && slot.Owner != record.Nobody {
		owners[slot.Epoch] = slot.Owner
	}
	for _, e := range entries {
		at, err := record.ParseLogKey(c.report.Event, k, e.Key)
		if err != nil {
			c.violate(Readable, e.Key, "%v", err)
			continue
		}
		if next := at.Seq == 1 && at.Epoch > last.Epoch || at.Epoch == last.Epoch && at.Seq == last.Seq+1; !next {
			c.violate(Complete, e.Key, "it comes after %s: batches are missing", last)
		}
		last = at
		if slot, ok := c.slots[k]; ok && at.Epoch > slot.Epoch {
			c.violate(Epochs, e.Key, "the slot is in epoch %d", slot.Epoch)
		}
		b, err := record.DecodeBatch(c.report.Event, k, at, e.Value)
		if err != nil {
			c.violate(Readable, e.Key, "%v", err)
			continue
		}
		if owner, ok := owners[at.Epoch]; ok && owner != b.Owner.String() {
			c.violate(Epochs, e.Key, "it is by %s, the epoch has the owner %s", b.Owner, owner)
		}
		owners[at.Epoch] = b.Owner.String()
		c.report.Batches++
		for _, entry := range b.Entries {
			c.entry(e.Key, k, entry)
		}
	}
}

// follows are the statuses after which an entry may come.
var follows = map[record.Kind]struct {
	after []string
	next  string
}{
	record.Ordered:   {[]string{""}, "pending"},
	record.Paid:      {[]string{"pending"}, "paid"},
	record.Cancelled: {[]string{"pending"}, "cancelled"},
	record.Expired:   {[]string{"pending"}, "expired"},
	record.Revived:   {[]string{"expired"}, "paid"},
	record.RefundDue: {[]string{"expired", "cancelled"}, "refund_due"},
}

func holds(status string) bool { return status == "pending" || status == "paid" }

func (c *checker) entry(key string, k int, e record.Entry) {
	o := c.orders[e.Order]
	if o == nil {
		o = &order{user: e.User, quantity: int64(e.Quantity), slot: k}
		c.orders[e.Order] = o
	}
	rule := follows[e.Kind]
	if !slices.Contains(rule.after, o.status) {
		c.violate(Transitions, key, "order %s is %q and becomes %s", e.Order, o.status, e.Kind)
	}
	if o.slot != k {
		c.violate(Transitions, key, "order %s was opened in slot %d", e.Order, o.slot)
	}
	if e.Kind == record.Ordered {
		c.opened(key, k, e)
	}
	before := holds(o.status)
	o.status = rule.next
	switch after := holds(o.status); {
	case after && !before:
		c.hold(key, k, o, o.quantity)
	case before && !after:
		c.hold(key, k, o, -o.quantity)
	}
}

func (c *checker) opened(key string, k int, e record.Entry) {
	if want := record.SlotOf(e.User, c.event.Slots); want != k {
		c.violate(Slots, key, "order %s is by %q, who belongs to slot %d", e.Order, e.User, want)
	}
	if looked := int(e.Order[6]); looked != k { // where it is looked up
		c.violate(Slots, key, "order %s names slot %d: nobody will find it", e.Order, looked)
	}
	named := request{e.User, e.Request}
	if before, ok := c.requests[named]; ok {
		c.violate(Requests, key, "request %q of %q has the orders %s and %s", e.Request, e.User, before, e.Order)
	}
	c.requests[named] = e.Order
}

// hold counts units, and sees that there are not too many at any moment.
func (c *checker) hold(key string, k int, o *order, units int64) {
	c.held[k] += units
	c.peak[k] = max(c.peak[k], c.held[k])
	c.buyers[o.user] += units
	if c.buyers[o.user] > c.event.PerUser && units > 0 {
		c.violate(Limit, key, "%q holds %d units, %d are allowed", o.user, c.buyers[o.user], c.event.PerUser)
	}
}

// furniture: a sale that was published has its pool and all its slots.
func (c *checker) furniture() {
	if c.pool == nil {
		c.violate(Complete, record.PoolKey(c.report.Event), "there is no readable pool")
	}
	for k := range c.event.Slots {
		if _, ok := c.slots[k]; !ok {
			c.violate(Complete, record.SlotKey(c.report.Event, k), "there is no readable slot")
		}
	}
}

// sums holds slots and orders against the stock.
func (c *checker) sums() {
	for _, k := range slices.Sorted(maps.Keys(c.held)) {
		c.report.Held += c.held[k]
		if c.pool != nil && c.held[k] > c.pool.Granted[k] {
			c.violate(Stock, record.LogDir(c.report.Event, k), "%d units in orders, %d were granted", c.held[k], c.pool.Granted[k])
		}
	}
	c.empty()
	if c.report.Held > c.report.Total {
		c.violate(Stock, "", "%d units in orders, there are %d", c.report.Held, c.report.Total)
	}
	for _, o := range c.orders {
		c.report.Orders++
		c.report.Statuses[o.status]++
	}
	c.report.Buyers = len(c.buyers)
}

// empty holds against the log that all of a slot's units are in orders, of which the
// sale's being sold out is made. That is said some time after they were, and taken
// back some time after one was cancelled or expired.
func (c *checker) empty() {
	if c.pool == nil {
		return
	}
	for k, empty := range c.pool.Empty {
		if empty && c.peak[k] < c.pool.Granted[k] {
			c.violate(Stock, record.LogDir(c.report.Event, k), "the slot is said to have no units left: it was granted %d, never more than %d were in orders", c.pool.Granted[k], c.peak[k])
		}
	}
}

// archived checks what has taken the place of a sale.
func (c *checker) archived(left []backend.Entry, acked []ulid.ULID) {
	if len(left) > 0 {
		c.violate(Purged, left[0].Key, "it and %d more keys are left of a sale that was archived: purge it again", len(left)-1)
	}
	if len(acked) > 0 {
		c.violate(Acks, "", "%d orders were acknowledged; the sale was archived: hold them against its archive", len(acked))
	}
}

func (c *checker) acknowledged(acked []ulid.ULID) {
	acked = slices.Clone(acked)
	slices.SortFunc(acked, ulid.ULID.Compare)
	acked = slices.Compact(acked) // a buyer who asked again was told again
	c.report.Acknowledged = len(acked)
	for _, id := range acked {
		if c.orders[id] == nil {
			c.violate(Acks, "", "order %s was acknowledged and is not in the log", id)
		}
	}
}
