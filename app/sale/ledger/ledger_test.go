package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

const window = time.Minute

func id(n int) (u ulid.ULID) {
	u[0], u[14], u[15] = 1, byte(n>>8), byte(n)
	return u
}

func place(t *testing.T, l *ledger.Ledger, n int, user string, quantity int64) ledger.Order {
	t.Helper()
	o, e, err := l.PlaceOrder(ledger.Demand{User: user, Request: fmt.Sprint(n), Quantity: quantity}, 1000, id(n), noon, noon.Add(window))
	require.NoError(t, err)
	require.NotNil(t, e)
	return o
}

func TestPlaceOrder(t *testing.T) {
	l := ledger.New(3)
	o := place(t, l, 1, "ann", 2)
	assert.Equal(t, ledger.Order{
		ID: id(1), User: "ann", Request: "1", Quantity: 2, At: noon, PayBy: noon.Add(window), Status: ledger.Pending, Changed: noon,
	}, o)
	assert.EqualValues(t, 2, l.Held())
	assert.EqualValues(t, 1, l.Allowance("ann"))
	assert.EqualValues(t, 3, l.Allowance("bob"))

	again, e, err := l.PlaceOrder(ledger.Demand{User: "ann", Request: "1", Quantity: 2}, 0, id(2), noon, noon)
	require.NoError(t, err)
	assert.Nil(t, e, "nothing to write")
	assert.Equal(t, o, again)

	for want, d := range map[error]ledger.Demand{
		ledger.ErrOtherUse: {User: "ann", Request: "1", Quantity: 1},
		ledger.ErrLimit:    {User: "ann", Request: "2", Quantity: 2},
		ledger.ErrNoUnits:  {User: "bob", Request: "1", Quantity: 2},
	} {
		_, e, err := l.PlaceOrder(d, 1, id(3), noon, noon.Add(window))
		require.ErrorIs(t, err, want)
		assert.Nil(t, e)
	}
	assert.EqualValues(t, 2, l.Held(), "a refusal changes nothing")
	assert.Equal(t, []ledger.Order{o}, l.OrdersOf("ann"))
	assert.Empty(t, l.OrdersOf("bob"))
}

func TestCancel(t *testing.T) {
	l := ledger.New(3)
	place(t, l, 1, "ann", 2)
	_, _, err := l.Cancel("bob", id(1), noon)
	require.ErrorIs(t, err, ledger.ErrNoOrder, "it is not his")
	o, e, err := l.Cancel("ann", id(1), noon.Add(1e9))
	require.NoError(t, err)
	require.NotNil(t, e)
	assert.Equal(t, ledger.Cancelled, o.Status)
	assert.Zero(t, l.Held())
	assert.EqualValues(t, 3, l.Allowance("ann"))
	_, e, err = l.Cancel("ann", id(1), noon.Add(2e9))
	require.NoError(t, err)
	assert.Nil(t, e, "it is")

	place(t, l, 2, "ann", 1)
	_, _, err = l.Pay(id(2), "p", 0, noon)
	require.NoError(t, err)
	_, _, err = l.Cancel("ann", id(2), noon)
	require.ErrorIs(t, err, ledger.ErrPaid)
	assert.EqualValues(t, 1, l.Held())
}

func TestPay(t *testing.T) {
	l := ledger.New(3)
	place(t, l, 1, "ann", 2)
	_, _, err := l.Pay(id(1), "", 0, noon)
	require.ErrorIs(t, err, backend.ErrInvalid)
	o, e, err := l.Pay(id(1), "p1", 0, noon)
	require.NoError(t, err)
	require.NotNil(t, e)
	assert.Equal(t, ledger.Paid, o.Status)
	_, e, err = l.Pay(id(1), "p1", 0, noon)
	require.NoError(t, err)
	assert.Nil(t, e, "a callback that comes twice")
	_, _, err = l.Pay(id(1), "p2", 0, noon)
	require.ErrorIs(t, err, ledger.ErrOtherPaid)
	_, _, err = l.Pay(id(9), "p2", 0, noon)
	require.ErrorIs(t, err, ledger.ErrNoOrder)
	assert.Nil(t, l.Expire(noon.Add(time.Hour)), "what is paid does not expire")
}

// A payment that comes too late takes units only if there are any, and within the
// buyer's limit. Nothing is sold twice for it.
func TestLatePayment(t *testing.T) {
	for name, c := range map[string]struct {
		free int64
		more bool // the buyer has used the allowance again
		want ledger.Status
	}{
		"units left":    {2, false, ledger.Paid},
		"too few units": {1, false, ledger.RefundDue},
		"over limit":    {2, true, ledger.RefundDue},
	} {
		l := ledger.New(3)
		place(t, l, 1, "ann", 2)
		require.Nil(t, l.Expire(noon.Add(window-1)))
		e := l.Expire(noon.Add(window))
		require.NotNil(t, e, name)
		require.Equal(t, record.Expired, e.Kind)
		require.Zero(t, l.Held())
		if c.more {
			place(t, l, 2, "ann", 2)
		}
		before := l.Held()
		o, _, err := l.Pay(id(1), "p", c.free, noon.Add(time.Hour))
		require.NoError(t, err)
		assert.Equal(t, c.want, o.Status, name)
		if c.want == ledger.Paid {
			before += 2
		}
		assert.Equal(t, before, l.Held(), name)
	}
	l := ledger.New(3)
	place(t, l, 1, "ann", 2)
	_, _, err := l.Cancel("ann", id(1), noon)
	require.NoError(t, err)
	o, _, err := l.Pay(id(1), "p", 100, noon)
	require.NoError(t, err)
	assert.Equal(t, ledger.RefundDue, o.Status, "who cancelled does not want it")
}

func TestExpireInOrder(t *testing.T) {
	l := ledger.New(3)
	for n, after := range []time.Duration{3, 1, 2} {
		_, _, err := l.PlaceOrder(ledger.Demand{User: "ann", Request: fmt.Sprint(n), Quantity: 1}, 9, id(n+1), noon, noon.Add(after*time.Second))
		require.NoError(t, err)
	}
	_, _, err := l.Pay(id(2), "p", 0, noon)
	require.NoError(t, err)
	at, ok := l.NextDeadline()
	require.True(t, ok)
	assert.Equal(t, noon.Add(2*time.Second), at, "the first is paid")
	var expired []ulid.ULID
	for e := l.Expire(noon.Add(time.Hour)); e != nil; e = l.Expire(noon.Add(time.Hour)) {
		expired = append(expired, e.Order)
	}
	assert.Equal(t, []ulid.ULID{id(3), id(1)}, expired)
	_, ok = l.NextDeadline()
	assert.False(t, ok)
}

// A log that can't have come about is refused, and leaves the ledger as it was.
func TestApplyRefuses(t *testing.T) {
	l := ledger.New(1)
	place(t, l, 1, "ann", 1)
	place(t, l, 2, "bob", 1)
	_, _, err := l.Pay(id(1), "p", 0, noon)
	require.NoError(t, err)
	for name, e := range map[string]record.Entry{
		"order twice":     {Kind: record.Ordered, Order: id(1), At: noon, User: "cat", Request: "r", Quantity: 1, PayBy: noon},
		"request twice":   {Kind: record.Ordered, Order: id(3), At: noon, User: "ann", Request: "1", Quantity: 1, PayBy: noon},
		"no such order":   {Kind: record.Paid, Order: id(3), At: noon, Payment: "p"},
		"paid twice":      {Kind: record.Paid, Order: id(1), At: noon, Payment: "p"},
		"cancelled, paid": {Kind: record.Cancelled, Order: id(1), At: noon},
		"expired, paid":   {Kind: record.Expired, Order: id(1), At: noon},
		"revived, paid":   {Kind: record.Revived, Order: id(1), At: noon, Payment: "p"},
		"refund, pending": {Kind: record.RefundDue, Order: id(2), At: noon, Payment: "p"},
		"no kind":         {Order: id(2), At: noon},
	} {
		require.ErrorIs(t, l.Apply(e), record.ErrCorrupt, name)
		assert.EqualValues(t, 2, l.Held(), name)
		assert.Equal(t, 2, l.Len(), name)
	}
}

// Whatever is asked in whatever order: replaying the log gives the same ledger,
// nobody gets more than the limit or than there is, and what is held is what the
// orders say.
func TestReplay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const perUser, total = 3, 12
		users := []string{"ann", "bob", "cat"}
		l, now, next := ledger.New(perUser), noon, 1
		var log []record.Entry
		take := func(e *record.Entry) {
			if e != nil {
				log = append(log, *e)
			}
		}
		user := rapid.SampledFrom(users)
		order := func() ulid.ULID { return id(rapid.IntRange(1, next).Draw(t, "order")) }
		t.Repeat(map[string]func(*rapid.T){
			"order": func(t *rapid.T) {
				d := ledger.Demand{
					User:     user.Draw(t, "user"),
					Request:  rapid.SampledFrom([]string{"1", "2", "3", "4", "5"}).Draw(t, "request"),
					Quantity: rapid.Int64Range(1, 4).Draw(t, "quantity"),
				}
				_, e, _ := l.PlaceOrder(d, total-l.Held(), id(next), now, now.Add(window))
				if e != nil {
					next++
				}
				take(e)
			},
			"cancel": func(t *rapid.T) {
				_, e, _ := l.Cancel(user.Draw(t, "user"), order(), now)
				take(e)
			},
			"pay": func(t *rapid.T) {
				_, e, _ := l.Pay(order(), rapid.SampledFrom([]string{"p", "q"}).Draw(t, "payment"), total-l.Held(), now)
				take(e)
			},
			"wait": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 90).Draw(t, "seconds")) * time.Second)
				for e := l.Expire(now); e != nil; e = l.Expire(now) {
					take(e)
				}
			},
			"": func(t *rapid.T) {
				again := ledger.New(perUser)
				for _, e := range log {
					require.NoError(t, again.Apply(e))
				}
				held := int64(0)
				for _, u := range users {
					mine := int64(0)
					for _, o := range l.OrdersOf(u) {
						if o.Status.Holds() {
							mine += o.Quantity
						}
						same, ok := l.Answered(u, o.Request)
						require.True(t, ok)
						require.Equal(t, o, same)
					}
					require.LessOrEqual(t, mine, int64(perUser))
					require.Equal(t, perUser-mine, l.Allowance(u))
					require.Equal(t, l.OrdersOf(u), again.OrdersOf(u))
					held += mine
				}
				require.Equal(t, held, l.Held())
				require.LessOrEqual(t, held, int64(total))
				require.Equal(t, l.Held(), again.Held())
				at, ok := l.NextDeadline()
				atAgain, okAgain := again.NextDeadline()
				require.Equal(t, ok, okAgain)
				require.True(t, at.Equal(atAgain))
			},
		})
	})
}
