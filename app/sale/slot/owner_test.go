package slot_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/slot"
	"github.com/seed27495941/seckill/backend"
)

// A whole sale: many more buyers than units, none too few and none too many sold.
func TestSellsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 4, 100)
		for k := range w.owners {
			require.NoError(t, w.take(t.Context(), w.nodes[k%3], k))
		}
		var sold, refused atomic.Int64
		var buyers sync.WaitGroup
		for i := range 200 {
			buyers.Go(func() {
				err := w.insist(t.Context(), ledger.Demand{User: fmt.Sprint("u", i), Request: "1", Quantity: 1})
				switch {
				case err == nil:
					sold.Add(1)
				case assert.ErrorIs(t, err, slot.ErrSoldOut):
					refused.Add(1)
				}
			})
		}
		buyers.Wait()
		w.stop()
		assert.EqualValues(t, 100, sold.Load())
		assert.EqualValues(t, 100, refused.Load())
		assert.EqualValues(t, 100, w.read().held)
		assert.Empty(t, w.check())
	})
}

// What was cancelled is sold again, also by another slot.
func TestCancelledUnitsAreSoldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2, 1)
		for k := range w.owners {
			require.NoError(t, w.take(t.Context(), w.nodes[0], k))
		}
		users := map[int]string{}
		for i := 0; len(users) < 2; i++ {
			u := fmt.Sprint("u", i)
			users[record.SlotOf(u, 2)] = u
		}
		first, _, err := w.owner(0).Order(t.Context(), ledger.Demand{User: users[0], Request: "1", Quantity: 1})
		require.NoError(t, err)
		require.ErrorIs(t, w.insist(t.Context(), ledger.Demand{User: users[1], Request: "1", Quantity: 1}), slot.ErrSoldOut)
		_, err = w.owner(0).Cancel(t.Context(), users[0], first.ID)
		require.NoError(t, err)
		synctest.Wait()
		require.NoError(t, w.insist(t.Context(), ledger.Demand{User: users[1], Request: "2", Quantity: 1}))
		require.ErrorIs(t, w.insist(t.Context(), ledger.Demand{User: users[0], Request: "2", Quantity: 1}), slot.ErrSoldOut)
		w.stop()
		assert.Empty(t, w.check())
		assert.EqualValues(t, 1, w.read().held)
	})
}

// Two slots with one unit each can't serve an order for two between them, unless
// they hand back what they have.
func TestUnitsMeet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2, 5)
		for k := range w.owners {
			require.NoError(t, w.take(t.Context(), w.nodes[0], k))
		}
		var sold atomic.Int64
		var buyers sync.WaitGroup
		for i := range 20 {
			buyers.Go(func() {
				if w.insist(t.Context(), ledger.Demand{User: fmt.Sprint("u", i), Request: "1", Quantity: 2}) == nil {
					sold.Add(2)
				}
			})
		}
		buyers.Wait()
		assert.EqualValues(t, 4, sold.Load())
		require.NoError(t, w.insist(t.Context(), ledger.Demand{User: "one", Request: "1", Quantity: 1}), "the last unit is for those who want one")
		w.stop()
		assert.Empty(t, w.check())
		assert.EqualValues(t, 5, w.read().held)
	})
}

// An owner that was deposed without knowing it answers nobody.
func TestDeposedOwnerAnswersNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, 1, 10)
		require.NoError(t, w.take(t.Context(), w.nodes[0], 0))
		require.NoError(t, w.order(t.Context(), ledger.Demand{User: "a", Request: "1", Quantity: 1}))
		old := w.owner(0)
		require.NoError(t, w.take(t.Context(), w.nodes[1], 0))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, _, err := old.Order(ctx, ledger.Demand{User: "b", Request: "1", Quantity: 1})
		require.ErrorIs(t, err, slot.ErrUndecided)
		<-old.stopped
		require.ErrorIs(t, old.err, slot.ErrDeposed)
		require.NoError(t, w.order(t.Context(), ledger.Demand{User: "a", Request: "1", Quantity: 1}), "the new one knows the request")
		require.ErrorIs(t, w.order(t.Context(), ledger.Demand{User: "a", Request: "2", Quantity: 2}), ledger.ErrLimit, "and what the buyer has")
		w.stop()
		assert.Empty(t, w.check())
		assert.Len(t, w.acked, 1)
	})
}

// An owner that was deposed without knowing it does not say what was, even when it
// has nothing to write.
func TestDeposedOwnerDoesNotTellOldNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, 1, 10)
		require.NoError(t, w.take(t.Context(), w.nodes[0], 0))
		old := w.owner(0)
		o, _, err := old.Order(t.Context(), ledger.Demand{User: "a", Request: "1", Quantity: 1})
		require.NoError(t, err)
		found, err := old.Find(t.Context(), "a", o.ID)
		require.NoError(t, err)
		assert.Equal(t, o, found)
		require.NoError(t, w.take(t.Context(), w.nodes[1], 0))
		_, err = w.owner(0).Cancel(t.Context(), "a", o.ID)
		require.NoError(t, err)
		_, err = old.Find(t.Context(), "a", o.ID)
		require.ErrorIs(t, err, slot.ErrUndecided)
		_, err = old.OrdersOf(t.Context(), "a")
		require.ErrorIs(t, err, slot.ErrUndecided)
		<-old.stopped
		require.ErrorIs(t, old.err, slot.ErrDeposed)
		found, err = w.owner(0).Find(t.Context(), "a", o.ID)
		require.NoError(t, err)
		assert.Equal(t, ledger.Cancelled, found.Status)
		w.stop()
		assert.Empty(t, w.check())
	})
}

// An owner that was deposed without knowing it does not refuse what its successor has
// granted: not the payment of an order, nor the request that it was made for.
func TestDeposedOwnerRefusesNothing(t *testing.T) {
	ask := map[string]func(ctx context.Context, old *slot.Owner, o ledger.Order) error{
		"pay": func(ctx context.Context, old *slot.Owner, o ledger.Order) error {
			_, err := old.Pay(ctx, o.ID, "p")
			return err
		},
		"cancel": func(ctx context.Context, old *slot.Owner, o ledger.Order) error {
			_, err := old.Cancel(ctx, "b", o.ID)
			return err
		},
		"sold out": func(ctx context.Context, old *slot.Owner, o ledger.Order) error {
			_, _, err := old.Order(ctx, ledger.Demand{User: "b", Request: "1", Quantity: 1})
			return err
		},
	}
	for name, ask := range ask {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2, 1, 2)
				require.NoError(t, w.take(t.Context(), w.nodes[0], 0))
				require.NoError(t, w.order(t.Context(), ledger.Demand{User: "a", Request: "1", Quantity: 1}))
				old := w.owner(0)
				require.NoError(t, w.take(t.Context(), w.nodes[1], 0))
				o, _, err := w.owner(0).Order(t.Context(), ledger.Demand{User: "b", Request: "1", Quantity: 1})
				require.NoError(t, err)
				require.ErrorIs(t, w.order(t.Context(), ledger.Demand{User: "c", Request: "1", Quantity: 1}), slot.ErrSoldOut)
				require.ErrorIs(t, ask(t.Context(), old.Owner, o), slot.ErrUndecided)
				<-old.stopped
				require.ErrorIs(t, old.err, slot.ErrDeposed)
				w.stop()
			})
		})
	}
}

// However many are refused, the store is asked some times a second whether it is for
// this owner to refuse them.
func TestRefusalsAreConfirmedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, 1)
		store := &counted{Store: w.nodes[0].store}
		w.nodes[0].store = store
		require.NoError(t, w.take(t.Context(), w.nodes[0], 0))
		require.NoError(t, w.order(t.Context(), ledger.Demand{User: "a", Request: "1", Quantity: 1}))
		require.ErrorIs(t, w.order(t.Context(), ledger.Demand{User: "b", Request: "1", Quantity: 1}), slot.ErrSoldOut)
		before := store.gets.Load()
		var refused sync.WaitGroup
		for i := range 1000 {
			refused.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				_, _, err := w.owner(0).Order(t.Context(), ledger.Demand{User: "b", Request: "1", Quantity: 1})
				assert.ErrorIs(t, err, slot.ErrSoldOut)
			})
		}
		refused.Wait()
		assert.InDelta(t, 1000/50, store.gets.Load()-before, 2)
		w.stop()
	})
}

// However many read, the store is asked some times a second; and one who reads
// alone does not wait.
func TestReadsAreConfirmedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, 10)
		store := &counted{Store: w.nodes[0].store}
		w.nodes[0].store = store
		require.NoError(t, w.take(t.Context(), w.nodes[0], 0))
		before, begun := store.gets.Load(), time.Now()
		_, err := w.owner(0).OrdersOf(t.Context(), "a")
		require.NoError(t, err)
		assert.Zero(t, time.Since(begun))
		assert.EqualValues(t, 1, store.gets.Load()-before)
		var readers sync.WaitGroup
		for i := range 1000 {
			readers.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				_, err := w.owner(0).OrdersOf(t.Context(), "a")
				assert.NoError(t, err)
			})
		}
		readers.Wait()
		assert.LessOrEqual(t, store.gets.Load()-before, int64(1+1000/50+1))
		w.stop()
	})
}

// An owner that is not let follow the pool asks for it about once a second, and sells.
func TestPoolIsNotToBeFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, 10)
		store := &blind{Store: w.nodes[0].store}
		w.nodes[0].store = store
		require.NoError(t, w.take(t.Context(), w.nodes[0], 0))
		require.NoError(t, w.order(t.Context(), ledger.Demand{User: "a", Request: "1", Quantity: 1}))
		time.Sleep(10 * time.Second)
		assert.InDelta(t, 11, store.watches.Load(), 1)
		w.stop()
	})
}

// blind is a store in which the pool can be read, but not followed.
type blind struct {
	backend.Store
	watches atomic.Int64
}

func (b *blind) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	if prefix != record.PoolKey(event) {
		return b.Store.WatchPrefix(ctx, prefix)
	}
	b.watches.Add(1)
	return func(yield func(backend.Update, error) bool) { yield(backend.Update{}, backend.ErrDenied) }
}

// counted counts what is asked of a store.
type counted struct {
	backend.Store
	gets atomic.Int64
}

func (c *counted) Get(ctx context.Context, key string) (backend.Entry, error) {
	c.gets.Add(1)
	return c.Store.Get(ctx, key)
}

func TestExpiresAndPaysLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, 2)
		w.payWithin(time.Minute)
		require.NoError(t, w.take(t.Context(), w.nodes[0], 0))
		o, created, err := w.owner(0).Order(t.Context(), ledger.Demand{User: "a", Request: "1", Quantity: 2})
		require.NoError(t, err)
		require.True(t, created)
		require.ErrorIs(t, w.order(t.Context(), ledger.Demand{User: "b", Request: "1", Quantity: 1}), slot.ErrSoldOut)
		time.Sleep(2 * time.Minute)
		got, err := w.owner(0).Find(t.Context(), "a", o.ID)
		require.NoError(t, err)
		assert.Equal(t, ledger.Expired, got.Status)
		got, err = w.owner(0).Pay(t.Context(), o.ID, "p1")
		require.NoError(t, err)
		assert.Equal(t, ledger.Paid, got.Status, "there were units")

		o2, _, err := w.owner(0).Order(t.Context(), ledger.Demand{User: "b", Request: "2", Quantity: 1})
		require.ErrorIs(t, err, slot.ErrSoldOut, o2)
		w.stop()
		assert.Empty(t, w.check())
	})
}

// Those who wait for units that may never come stand in nobody's way: not in that of
// those who need none, nor in that of the next ones when they have given up.
func TestWaitingForUnitsHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2, 2)
		w.put(record.PoolKey(event), record.Pool{Total: 2, Granted: []int64{0, 1}, Empty: make([]bool, 2)})
		require.NoError(t, w.take(t.Context(), w.nodes[0], 0)) // the other slot, with a unit, has no owner
		var users []string
		for i := 0; len(users) < 5001; i++ {
			if u := fmt.Sprint("u", i); record.SlotOf(u, 2) == 0 {
				users = append(users, u)
			}
		}
		first := users[0]
		require.NoError(t, w.order(t.Context(), ledger.Demand{User: first, Request: "1", Quantity: 1}))
		var waiting sync.WaitGroup
		var busy atomic.Int64
		for _, u := range users[1:] {
			waiting.Go(func() {
				err := w.order(t.Context(), ledger.Demand{User: u, Request: "1", Quantity: 1})
				if errors.Is(err, slot.ErrBusy) {
					busy.Add(1)
					return
				}
				assert.ErrorIs(t, err, slot.ErrUndecided)
			})
		}
		time.Sleep(time.Second)
		orders, err := w.owner(0).OrdersOf(t.Context(), first)
		require.NoError(t, err)
		require.Len(t, orders, 1)
		waiting.Wait()
		assert.EqualValues(t, 5000-4096, busy.Load(), "more than can wait are told so")

		time.Sleep(time.Second)
		require.ErrorIs(t, w.order(t.Context(), ledger.Demand{User: users[1], Request: "1", Quantity: 2}), slot.ErrUndecided)
		_, err = w.owner(0).Cancel(t.Context(), first, orders[0].ID)
		require.NoError(t, err)
		require.NoError(t, w.order(t.Context(), ledger.Demand{User: users[2], Request: "1", Quantity: 1}))
		w.stop()
		assert.Empty(t, w.check())
	})
}
