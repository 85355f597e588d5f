package frozen_test

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/frozen"
	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/slot"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A counter counts how often a log was read, each taking a moment.
type counter struct {
	backend.Store
	logs atomic.Int64
}

func (c *counter) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	if strings.Contains(prefix, "/log/") {
		c.logs.Add(1)
		time.Sleep(10 * time.Millisecond)
	}
	return c.Store.WatchPrefix(ctx, prefix)
}

// sold is an event with two orders in each of its slots, open still.
func sold(t *testing.T, s backend.Store, slots int) event.Event {
	t.Helper()
	now := time.Now().Truncate(time.Millisecond)
	e, err := event.Create(t.Context(), s, record.Event{
		Title: "t", SKU: "s", Price: record.Price{Currency: "EUR"},
		Window: record.Window{Opens: now, Closes: now.Add(time.Hour)},
		Total:  100, PerUser: 2, Slots: slots, PayWithin: 3600,
	})
	require.NoError(t, err)
	e, err = event.Publish(t.Context(), s, e.ID)
	require.NoError(t, err)
	for k := range slots {
		o, err := slot.Take(t.Context(), slot.Config{
			Store: s, Event: e.ID, Slot: k, Incarnation: ulid.Make(),
			Terms: func() record.Event { return e.Event }, Logger: slog.New(slog.DiscardHandler),
		})
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- o.Run(ctx) }()
		for i := range 2 {
			_, _, err := o.Order(ctx, ledger.Demand{User: "ann", Request: fmt.Sprint(i), Quantity: 1})
			require.NoError(t, err)
		}
		stop()
		require.NoError(t, <-ran)
	}
	return e
}

func count(t *testing.T, r *frozen.Reader, e ulid.ULID, k int) int {
	t.Helper()
	l, err := r.Log(t.Context(), e, k)
	require.NoError(t, err)
	orders, err := l.OrdersOf(t.Context(), "ann")
	require.NoError(t, err)
	return len(orders)
}

// A log is read once for all who ask, and again only when others have taken its place.
func TestKeepsWhatWasAskedForLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &counter{Store: memory.New()}
		e := sold(t, s, 3)
		_, err := event.Close(t.Context(), s, e.ID)
		require.NoError(t, err)
		s.logs.Store(0)
		r := frozen.NewSmall(frozen.NewReader(s), 4)
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() { assert.Equal(t, 2, count(t, r, e.ID, 0)) })
		}
		all.Wait()
		assert.EqualValues(t, 1, s.logs.Load(), "one has read it for all")
		count(t, r, e.ID, 1)
		count(t, r, e.ID, 0)
		assert.EqualValues(t, 2, s.logs.Load())
		count(t, r, e.ID, 2)
		count(t, r, e.ID, 0)
		assert.EqualValues(t, 3, s.logs.Load(), "the other one has made place")
		count(t, r, e.ID, 1)
		assert.EqualValues(t, 4, s.logs.Load())
	})
}

// One who gives up does not spoil it for the others.
func TestOneGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &counter{Store: memory.New()}
		e := sold(t, s, 1)
		_, err := event.Close(t.Context(), s, e.ID)
		require.NoError(t, err)
		r := frozen.NewReader(s)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		var first sync.WaitGroup
		first.Go(func() {
			_, err := r.Log(ctx, e.ID, 0)
			assert.ErrorIs(t, err, slot.ErrUndecided)
		})
		time.Sleep(time.Millisecond)
		assert.Equal(t, 2, count(t, r, e.ID, 0))
		first.Wait()
	})
}

// What may still grow is not read, nor what may be gone in part.
func TestOnlyClosedSales(t *testing.T) {
	s := memory.New()
	e := sold(t, s, 2)
	r := frozen.NewReader(s)
	_, err := r.Log(t.Context(), e.ID, 0)
	require.ErrorIs(t, err, slot.ErrOpen)
	e, err = event.Close(t.Context(), s, e.ID)
	require.NoError(t, err)
	e.Status = record.StatusArchived
	_, err = backend.PutJSON(t.Context(), s, record.EventKey(e.ID), e.Event)
	require.NoError(t, err)
	_, err = r.Log(t.Context(), e.ID, 0)
	require.ErrorIs(t, err, frozen.ErrArchived, "whatever is still there")
	require.NoError(t, s.Delete(t.Context(), record.SlotKey(e.ID, 1)))
	_, err = r.Log(t.Context(), e.ID, 1)
	require.ErrorIs(t, err, frozen.ErrArchived)
}

func TestStoreIsAway(t *testing.T) {
	s := memory.New()
	e := sold(t, s, 1)
	_, err := event.Close(t.Context(), s, e.ID)
	require.NoError(t, err)
	r := frozen.NewReader(s)
	s.Cut()
	_, err = r.Log(t.Context(), e.ID, 0)
	require.ErrorIs(t, err, slot.ErrUndecided)
	s.Mend()
	assert.Equal(t, 2, count(t, r, e.ID, 0), "a failure is not kept")
}
