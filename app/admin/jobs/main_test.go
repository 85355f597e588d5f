package jobs_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/admin/audit"
	"github.com/seed27495941/seckill/app/admin/jobs"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/slot"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
)

func TestMain(m *testing.M) { stores.Main(m, stores.Roles{"admin": admin}) }

const (
	slots     = 2
	payWithin = 15 * time.Minute
	grace     = 10 * time.Minute
)

func config(s backend.Store, id string) jobs.Config {
	return jobs.Config{Store: s, Audit: audit.New(s, audit.Options{}), ID: id, Retention: audit.DefaultRetention()}
}

// run runs an admin's part, until stop is called or the test ends.
func run(t *testing.T, cfg jobs.Config) (stop func() error) {
	t.Helper()
	r, err := jobs.New(cfg)
	require.NoError(t, err)
	return stores.Start(t, r.Run)
}

// create makes a draft that sells from a time on, for an hour.
func create(t *testing.T, s backend.Store, opens time.Time) event.Event {
	t.Helper()
	opens = opens.Truncate(time.Millisecond)
	e, err := event.Create(t.Context(), s, record.Event{
		Title: "Phone", SKU: "phone-1", Price: record.Price{Minor: 19900, Currency: "EUR"},
		Window: record.Window{Opens: opens, Closes: opens.Add(time.Hour)},
		Total:  100, PerUser: 2, Slots: slots, PayWithin: int64(payWithin / time.Second),
	})
	require.NoError(t, err)
	return e
}

func publish(t *testing.T, s backend.Store, opens time.Time) event.Event {
	t.Helper()
	e, err := event.Publish(t.Context(), s, create(t, s, opens).ID)
	require.NoError(t, err)
	return e
}

// serve owns the slots of a sale. Its window is open, and orders may be paid for so
// long, whatever the event says.
func serve(t *testing.T, s backend.Store, e event.Event, payWithin time.Duration) (owners [slots]*slot.Owner, stop func()) {
	t.Helper()
	terms := e.Event
	terms.Window = record.Window{Opens: time.Now().Add(-time.Hour), Closes: time.Now().Add(time.Hour)}
	terms.PayWithin = int64(payWithin / time.Second)
	var stops []func() error
	for k := range slots {
		o, err := slot.Take(t.Context(), slot.Config{
			Store: s, Event: e.ID, Slot: k, Incarnation: ulid.Make(),
			Terms: func() record.Event { return terms }, Logger: slog.New(slog.DiscardHandler),
		})
		require.NoError(t, err)
		owners[k] = o
		stops = append(stops, stores.Start(t, o.Run))
	}
	return owners, func() {
		for _, stop := range stops {
			_ = stop()
		}
	}
}

// sell has so many buyers order.
func sell(t *testing.T, owners [slots]*slot.Owner, buyers int) (orders []ledger.Order) {
	t.Helper()
	for n := range buyers {
		user := fmt.Sprint("buyer-", n)
		order, _, err := owners[record.SlotOf(user, slots)].Order(t.Context(), ledger.Demand{User: user, Request: "1", Quantity: 1})
		require.NoError(t, err)
		orders = append(orders, order)
	}
	return orders
}

func get(t *testing.T, s backend.Store, id ulid.ULID) event.Event {
	t.Helper()
	e, err := event.Get(t.Context(), s, id)
	require.NoError(t, err)
	return e
}

func statusOf(t *testing.T, s backend.Store, name string) jobs.Status {
	t.Helper()
	all, unreadable, err := jobs.Statuses(t.Context(), s)
	require.NoError(t, err)
	require.Empty(t, unreadable)
	for _, status := range all {
		if status.Name == name {
			return status
		}
	}
	return jobs.Status{}
}

// recorded lists the records of an action on a target, the newest first.
func recorded(t *testing.T, s backend.Store, action, target string) []audit.Record {
	t.Helper()
	p, err := audit.New(s, audit.Options{}).Page(t.Context(), audit.Query{Action: action, Target: target})
	require.NoError(t, err)
	require.Zero(t, p.Next)
	require.Empty(t, p.Unreadable)
	return p.Records
}

func count(records []audit.Record, outcome audit.Outcome) (n int) {
	for _, r := range records {
		if r.Outcome == outcome {
			n++
		}
	}
	return n
}

func keys(t *testing.T, s backend.Store, prefix string) (keys []string) {
	t.Helper()
	entries, _, err := backend.List(t.Context(), s, prefix)
	require.NoError(t, err)
	for _, e := range entries {
		keys = append(keys, e.Key)
	}
	return keys
}

// A gate stands around every write that is made through it.
type gate struct {
	backend.Store
	before func(key string, conds []backend.Condition) error // what it returns replaces the write, unless that is nil
	after  func(key string, err error)                       // nil: nothing
	stray  bool                                              // writes are made also when nobody waits for them any more
}

func (g gate) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (rev backend.Revision, err error) {
	resolved, err := backend.ResolvePut(key, value, opts...)
	if err != nil {
		return 0, err
	}
	err = g.write(ctx, key, resolved.Conditions, func(ctx context.Context) error {
		rev, err = g.Store.Put(ctx, key, value, opts...)
		return err
	})
	return rev, err
}

func (g gate) Delete(ctx context.Context, key string, conds ...backend.Condition) error {
	return g.write(ctx, key, conds, func(ctx context.Context) error { return g.Store.Delete(ctx, key, conds...) })
}

func (g gate) write(ctx context.Context, key string, conds []backend.Condition, write func(context.Context) error) error {
	if err := g.before(key, conds); err != nil {
		return err
	}
	if g.stray {
		ctx = context.WithoutCancel(ctx)
	}
	err := write(ctx)
	if g.after != nil {
		g.after(key, err)
	}
	return err
}
