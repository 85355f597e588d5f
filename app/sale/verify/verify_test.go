package verify_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/verify"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
)

var (
	event = ulid.MustParse("01K9ZZZZZZZZZZZZZZZZZZZZZ1")
	owner = ulid.MustParse("01K9ZZZZZZZZZZZZZZZZZZZZZ2")
	noon  = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
)

// A sale as it can be written by hand.
type sale struct {
	*testing.T
	store backend.Store
	event record.Event
	pool  record.Pool
	slots []record.Slot
}

// newSale is one with two slots, in epoch 2 each, that were granted all there is.
func newSale(t *testing.T) *sale {
	t.Helper()
	s := &sale{T: t, store: memory.New(), event: record.Event{
		Title: "Phone", SKU: "phone-1", Price: record.Price{Minor: 19900, Currency: "EUR"},
		Window: record.Window{Opens: noon, Closes: noon.Add(time.Hour)},
		Total:  10, PerUser: 2, Slots: 2, PayWithin: 900, Status: record.StatusOnline,
	}, pool: record.NewPool(10, 2)}
	s.pool.Granted = []int64{4, 6}
	for range 2 {
		s.slots = append(s.slots, record.Slot{Owner: owner.String(), Epoch: 2})
	}
	return s
}

func (s *sale) put(key string, v any) {
	s.Helper()
	raw, err := json.Marshal(v)
	require.NoError(s, err)
	s.raw(key, raw)
}

func (s *sale) raw(key string, value []byte) {
	s.Helper()
	_, err := s.store.Put(s.Context(), key, value)
	require.NoError(s, err)
}

func (s *sale) batch(slot int, epoch, seq uint64, entries ...record.Entry) {
	s.Helper()
	s.batchBy(owner, slot, epoch, seq, entries...)
}

func (s *sale) batchBy(owner ulid.ULID, slot int, epoch, seq uint64, entries ...record.Entry) {
	s.Helper()
	b := record.Batch{Event: event, Slot: slot, Place: record.Place{Epoch: epoch, Seq: seq}, Owner: owner, Entries: entries}
	value, err := b.Encode()
	require.NoError(s, err)
	s.raw(record.LogKey(event, slot, b.Place), value)
}

func (s *sale) check(acked ...ulid.ULID) verify.Report {
	s.Helper()
	s.put(record.EventKey(event), s.event)
	s.put(record.PoolKey(event), s.pool)
	for k, slot := range s.slots {
		s.put(record.SlotKey(event, k), slot)
	}
	r, err := verify.Check(s.Context(), s.store, event, acked)
	require.NoError(s, err)
	return r
}

// id is that of an order of slot 0, or of slot 1 from 128 on.
func id(n byte) (u ulid.ULID) {
	u[0], u[6], u[15] = 1, n>>7, n
	return u
}

// buyer is the n-th of those who belong to a slot.
func buyer(slot, n int) string {
	for i := 0; ; i++ {
		user := fmt.Sprint("u", i)
		if record.SlotOf(user, 2) != slot {
			continue
		}
		if n--; n < 0 {
			return user
		}
	}
}

func ordered(n byte, user string, quantity uint32) record.Entry {
	return record.Entry{Kind: record.Ordered, Order: id(n), At: noon, User: user, Request: fmt.Sprint("r", n), Quantity: quantity, PayBy: noon}
}

func later(kind record.Kind, n byte) record.Entry {
	e := record.Entry{Kind: kind, Order: id(n), At: noon}
	if kind != record.Cancelled && kind != record.Expired {
		e.Payment = "p"
	}
	return e
}

func TestCleanSale(t *testing.T) {
	s := newSale(t)
	s.batch(0, 1, 1, ordered(1, buyer(0, 0), 2), ordered(2, buyer(0, 1), 1))
	s.batch(0, 1, 2, later(record.Paid, 1), later(record.Expired, 2))
	s.batch(0, 2, 1, later(record.Revived, 2))
	s.batch(1, 2, 1, ordered(131, buyer(1, 0), 2), later(record.Cancelled, 131), later(record.RefundDue, 131), ordered(132, buyer(1, 0), 2))
	r := s.check(id(131), id(1), id(131))
	assert.Empty(t, r.Violations)
	assert.True(t, r.Clean())
	r.Revision = 0
	assert.Equal(t, verify.Report{
		Event: event, Status: record.StatusOnline, Total: 10, Granted: 10, Held: 5,
		Batches: 4, Orders: 4, Statuses: map[string]int{"paid": 2, "refund_due": 1, "pending": 1}, Buyers: 3, Acknowledged: 2,
		Violations: []verify.Violation{},
	}, r)
}

// Owners say that all of a slot's units are in orders, and take that back when one was
// cancelled: a moment after it is in the log.
func TestSoldOutAMomentAgo(t *testing.T) {
	s := newSale(t)
	s.pool = record.Pool{Total: 10, Granted: []int64{2, 0}, Empty: []bool{true, true}, Scarce: true}
	s.batch(0, 2, 1, ordered(1, buyer(0, 0), 2), later(record.Cancelled, 1))
	assert.Empty(t, s.check().Violations)
}

// Each rule is broken by itself, and named.
func TestViolations(t *testing.T) {
	ann, bob := buyer(0, 0), buyer(0, 1)
	for name, c := range map[string]struct {
		rule  verify.Rule
		spoil func(s *sale)
		acked []ulid.ULID
	}{
		"an event that can't be read": {verify.Readable, func(s *sale) { s.event.Total = -1 }, nil},
		"a pool that grants too much": {verify.Readable, func(s *sale) { s.pool.Granted[0] = 5 }, nil},
		"a pool of other slots":       {verify.Complete, func(s *sale) { s.pool = record.NewPool(10, 3) }, nil},
		"a key that is none":          {verify.Readable, func(s *sale) { s.raw(record.SaleDir(event)+"more", nil) }, nil},
		"a slot too many":             {verify.Readable, func(s *sale) { s.put(record.SlotKey(event, 2), record.Slot{}) }, nil},
		"a slot too few":              {verify.Complete, func(s *sale) { s.slots = s.slots[:1] }, nil},
		"an open slot of a closed sale": {verify.Complete, func(s *sale) {
			s.event.Status = record.StatusClosed
			s.slots[0] = record.Slot{Owner: record.Closed, Epoch: 3}
		}, nil},
		"a batch that is cut off": {verify.Readable, func(s *sale) { s.raw(record.LogKey(event, 0, record.Place{Epoch: 1, Seq: 1}), []byte("SB\x01")) }, nil},
		"a key that is no place":  {verify.Readable, func(s *sale) { s.raw(record.LogDir(event, 0)+"1-1", nil) }, nil},
		"a missing batch":         {verify.Complete, func(s *sale) { s.batch(0, 1, 2, ordered(1, ann, 1)) }, nil},
		"an epoch to come":        {verify.Epochs, func(s *sale) { s.batch(0, 3, 1, ordered(1, ann, 1)) }, nil},
		"an epoch that closing took": {verify.Epochs, func(s *sale) {
			s.event.Status = record.StatusClosed
			s.slots = []record.Slot{{Owner: record.Closed, Epoch: 2}, {Owner: record.Closed, Epoch: 1}}
			s.batch(0, 2, 1, ordered(1, ann, 1))
		}, nil},
		"a batch of somebody else": {verify.Epochs, func(s *sale) {
			s.slots[0].Owner = id(9).String()
			s.batch(0, 2, 1, ordered(1, ann, 1))
		}, nil},
		"two owners in an epoch": {verify.Epochs, func(s *sale) {
			s.batch(0, 1, 1, ordered(1, ann, 1))
			s.batchBy(id(9), 0, 1, 2, later(record.Paid, 1))
		}, nil},
		"more than is for sale": {verify.Stock, func(s *sale) { s.event.Total = 9 }, nil},
		"sold out with units that were in no order": {verify.Stock, func(s *sale) {
			s.pool.Scarce, s.pool.SoldOut, s.pool.Empty = true, true, []bool{true, true}
			s.batch(0, 1, 1, ordered(1, ann, 2), ordered(2, bob, 1))
		}, nil},
		"a draft that has sold": {verify.Complete, func(s *sale) {
			s.event.Status = record.StatusDraft
			s.batch(0, 1, 1, ordered(1, ann, 1))
		}, nil},
		"more than was granted": {verify.Stock, func(s *sale) { s.pool.Granted = []int64{1, 6}; s.batch(0, 1, 1, ordered(1, ann, 2)) }, nil},
		"the same order twice":  {verify.Transitions, func(s *sale) { s.batch(0, 1, 1, ordered(1, ann, 1), ordered(1, ann, 1)) }, nil},
		"paid out of nothing":   {verify.Transitions, func(s *sale) { s.batch(0, 1, 1, later(record.Paid, 1)) }, nil},
		"cancelled when paid":   {verify.Transitions, func(s *sale) { s.batch(0, 1, 1, ordered(1, ann, 1), later(record.Paid, 1), later(record.Cancelled, 1)) }, nil},
		"more than the limit":   {verify.Limit, func(s *sale) { s.batch(0, 1, 1, ordered(1, ann, 2), ordered(2, ann, 1)) }, nil},
		"two orders for a request": {verify.Requests, func(s *sale) {
			a, b := ordered(1, ann, 1), ordered(2, ann, 1)
			b.Request = a.Request
			s.batch(0, 1, 1, a, b)
		}, nil},
		"a buyer of another slot":  {verify.Slots, func(s *sale) { s.batch(1, 1, 1, ordered(129, bob, 1)) }, nil},
		"an order of another slot": {verify.Slots, func(s *sale) { s.batch(0, 1, 1, ordered(129, bob, 1)) }, nil},
		"sold while it is published": {verify.Complete, func(s *sale) {
			s.event.Status = record.StatusPublishing
			s.batch(0, 1, 1, ordered(1, ann, 1))
		}, nil},
		"an order that was lost": {verify.Acks, func(*sale) {}, []ulid.ULID{id(9)}},
	} {
		s := newSale(t)
		c.spoil(s)
		r := s.check(c.acked...)
		rules := map[verify.Rule]bool{}
		for _, v := range r.Violations {
			rules[v.Rule] = true
			assert.NotEmpty(t, v.Text)
		}
		assert.True(t, rules[c.rule], "%s: %v", name, r.Violations)
		assert.False(t, r.Clean())
	}
}

func TestNoSuchEvent(t *testing.T) {
	_, err := verify.Check(t.Context(), memory.New(), event, nil)
	require.ErrorIs(t, err, backend.ErrNotFound)
}

// Of an archived sale nothing must be left.
func TestArchivedSale(t *testing.T) {
	s := newSale(t)
	s.event.Status = record.StatusArchived
	s.put(record.EventKey(event), s.event)
	check := func(acked ...ulid.ULID) verify.Report {
		r, err := verify.Check(t.Context(), s.store, event, acked)
		require.NoError(t, err)
		return r
	}
	r := check()
	assert.True(t, r.Clean(), r.Violations)
	assert.Equal(t, record.StatusArchived, r.Status)
	r = check(id(1))
	require.Len(t, r.Violations, 1, "what is not there to be looked at is not taken for good")
	assert.Equal(t, verify.Acks, r.Violations[0].Rule)
	s.batch(0, 1, 1, ordered(1, buyer(0, 0), 2))
	r = check()
	require.Len(t, r.Violations, 1)
	assert.Equal(t, verify.Purged, r.Violations[0].Rule)
}

// changing is a store in which the event is closed while the sale is read.
type changing struct {
	backend.Store
	change func()
}

func (c *changing) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		for u, err := range c.Store.WatchPrefix(ctx, prefix) {
			if c.change != nil {
				c.change()
				c.change = nil
			}
			if !yield(u, err) {
				return
			}
		}
	}
}

func TestASaleThatChangesWhileItIsRead(t *testing.T) {
	s := newSale(t)
	require.True(t, s.check().Clean())
	store := &changing{s.store, func() {
		s.event.Status = record.StatusClosed
		for k := range s.slots {
			s.slots[k] = record.Slot{Owner: record.Closed, Epoch: 3}
		}
		s.check()
	}}
	r, err := verify.Check(t.Context(), store, event, nil)
	require.NoError(t, err)
	assert.Equal(t, record.StatusClosed, r.Status)
	assert.Empty(t, r.Violations, "slots as they were before the event was closed are not held against it")
}

func TestAll(t *testing.T) {
	s := newSale(t)
	s.check()
	other := ulid.MustParse("01K9ZZZZZZZZZZZZZZZZZZZZZ3")
	gone := ulid.MustParse("01K9ZZZZZZZZZZZZZZZZZZZZZ4")
	s.event.Status = record.StatusDraft
	s.put(record.EventKey(other), s.event)
	s.put(record.EventsDir+"x", s.event)
	reports, err := verify.All(t.Context(), s.store, verify.Acknowledgements{event: {id(1)}, gone: {id(2)}})
	require.NoError(t, err)
	require.Len(t, reports, 4)
	assert.Equal(t, event, reports[0].Event)
	assert.Equal(t, 1, reports[0].Acknowledged)
	assert.Equal(t, verify.Acks, reports[0].Violations[0].Rule)
	assert.Equal(t, other, reports[1].Event)
	assert.True(t, reports[1].Clean())
	assert.Equal(t, verify.Readable, reports[2].Violations[0].Rule)
	assert.Equal(t, gone, reports[3].Event)
	assert.Equal(t, verify.Acks, reports[3].Violations[0].Rule)
}

func TestReadAcks(t *testing.T) {
	a, b := record.PublicID(event, id(1)), record.PublicID(event, id(2))
	acks, err := verify.ReadAcks(strings.NewReader(a + "\n\n " + b + "\r\n" + `{"id":"` + record.PublicID(owner, id(3)) + `","status":"paid"}`))
	require.NoError(t, err)
	assert.Equal(t, verify.Acknowledgements{event: {id(1), id(2)}, owner: {id(3)}}, acks)

	_, err = verify.ReadAcks(strings.NewReader(a + "\nsold\n{\n" + strings.ToLower(b) + "\n" + `{"order":1}` + "\n" + a + "-\n"))
	require.ErrorIs(t, err, backend.ErrInvalid)
	for _, line := range []string{"line 2: ", "line 3: ", "line 4: ", "line 5: ", "line 6: "} {
		require.ErrorContains(t, err, line)
	}
	assert.NotContains(t, err.Error(), "line 1: ")
	_, err = verify.ReadAcks(strings.NewReader(a + "\n" + strings.Repeat("x", 100_000)))
	require.ErrorIs(t, err, backend.ErrInvalid)
	require.ErrorContains(t, err, "line 2 has more than")
	_, err = verify.ReadAcks(strings.NewReader(strings.Repeat("x\n", 1000)))
	assert.Len(t, strings.Split(err.Error(), "\n"), 10, "the first are enough")
}
