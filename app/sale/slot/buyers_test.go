package slot_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/slot"
	"github.com/seed27495941/seckill/backend"
)

func hashes(users ...string) (all []uint64) {
	for _, u := range users {
		all = append(all, record.HashOf(u))
	}
	return all
}

func TestBuyers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, 1, 2)
		require.NoError(t, w.take(t.Context(), w.nodes[0], 0))
		ask := func(tenure ulid.ULID, since int) slot.Buyers {
			b, err := w.owner(0).Buyers(t.Context(), tenure, since)
			require.NoError(t, err)
			return b
		}
		order := func(user, request string) error {
			return w.order(t.Context(), ledger.Demand{User: user, Request: request, Quantity: 1})
		}
		none := ask(ulid.ULID{}, 0)
		assert.Equal(t, slot.Buyers{Tenure: none.Tenure, PerUser: 2}, none)
		require.NoError(t, order("ann", "1"))
		require.NoError(t, order("bob", "1"))
		assert.False(t, ask(none.Tenure, 0).SoldOut, "nobody was told so yet")
		require.ErrorIs(t, order("cid", "1"), slot.ErrSoldOut)
		assert.Equal(t, slot.Buyers{
			Tenure: none.Tenure, SoldOut: true, PerUser: 2, Count: 2, From: 1, Hashes: hashes("bob"),
		}, ask(none.Tenure, 1))
		assert.Equal(t, hashes("ann", "bob"), ask(ulid.Make(), 1).Hashes, "of another owner's list")
		assert.Equal(t, hashes("ann", "bob"), ask(none.Tenure, 3).Hashes)
		assert.Equal(t, hashes("ann", "bob"), ask(none.Tenure, -1).Hashes)

		w.status(record.StatusOffline)
		assert.False(t, ask(none.Tenure, 2).SoldOut, "who comes is told something else")
		w.status(record.StatusOnline)
		assert.True(t, ask(none.Tenure, 2).SoldOut)
		orders, err := w.owner(0).OrdersOf(t.Context(), "ann")
		require.NoError(t, err)
		_, err = w.owner(0).Cancel(t.Context(), "ann", orders[0].ID)
		require.NoError(t, err)
		b := ask(none.Tenure, 0)
		assert.False(t, b.SoldOut)
		assert.Equal(t, hashes("ann", "bob"), b.Hashes, "who has cancelled has an order all the same")
		require.NoError(t, order("cid", "2"))
		require.NoError(t, w.take(t.Context(), w.nodes[1], 0))
		b = ask(none.Tenure, 3)
		assert.NotEqual(t, none.Tenure, b.Tenure)
		assert.ElementsMatch(t, hashes("ann", "bob", "cid"), b.Hashes, "the next owner knows them all")
		w.stop()
	})
}

// status changes the event's.
func (w *world) status(s record.Status) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.terms.Status = s
}

// One whose first order is being written is among the buyers. An owner that was deposed
// tells nothing.
func TestBuyersOfABatchOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, 1, 10)
		var behind sync.WaitGroup
		w.nodes[0].store = &flaky{Store: w.nodes[0].store, behind: &behind} // writes take their time
		require.NoError(t, w.take(t.Context(), w.nodes[0], 0))
		require.NoError(t, w.order(t.Context(), ledger.Demand{User: "ann", Request: "1", Quantity: 1}))
		var ordering sync.WaitGroup
		ordering.Go(func() {
			assert.NoError(t, w.order(t.Context(), ledger.Demand{User: "bob", Request: "1", Quantity: 1}))
		})
		time.Sleep(trip / 2)
		assert.EqualValues(t, 1, w.read().held)
		b, err := w.owner(0).Buyers(t.Context(), ulid.ULID{}, 0)
		require.NoError(t, err)
		assert.Equal(t, hashes("ann", "bob"), b.Hashes)
		ordering.Wait()

		old := w.owner(0)
		require.NoError(t, w.take(t.Context(), w.nodes[1], 0))
		_, err = old.Buyers(t.Context(), ulid.ULID{}, 0)
		require.ErrorIs(t, err, slot.ErrUndecided)
		w.stop()
	})
}

// What is given back is there for others at once, though the pool is still marked.
func TestBuyersWhenUnitsComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, 1)
		var behind sync.WaitGroup
		w.nodes[0].store = &flaky{Store: w.nodes[0].store, behind: &behind} // writes take their time
		require.NoError(t, w.take(t.Context(), w.nodes[0], 0))
		require.NoError(t, w.order(t.Context(), ledger.Demand{User: "ann", Request: "1", Quantity: 1}))
		require.ErrorIs(t, w.order(t.Context(), ledger.Demand{User: "bob", Request: "1", Quantity: 1}), slot.ErrSoldOut)
		orders, err := w.owner(0).OrdersOf(t.Context(), "ann")
		require.NoError(t, err)
		var cancelling sync.WaitGroup
		cancelling.Go(func() {
			_, err := w.owner(0).Cancel(t.Context(), "ann", orders[0].ID)
			assert.NoError(t, err)
		})
		time.Sleep(trip / 2)
		b, err := w.owner(0).Buyers(t.Context(), ulid.ULID{}, 0)
		require.NoError(t, err)
		assert.False(t, b.SoldOut)
		cancelling.Wait()
		w.stop()
	})
}

// A long list comes in parts.
func TestManyBuyers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const buyers = 33_000 // more than 1<<15
		w := newWorld(t, 1, 1, buyers)
		w.most = func() int { return buyers }
		require.NoError(t, w.take(t.Context(), w.nodes[0], 0))
		var ordering sync.WaitGroup
		for i := range buyers {
			ordering.Go(func() {
				_, _, err := w.owner(0).Order(t.Context(), ledger.Demand{User: fmt.Sprint("u", i), Request: "1", Quantity: 1})
				assert.NoError(t, err)
			})
		}
		ordering.Wait()
		first, err := w.owner(0).Buyers(t.Context(), ulid.ULID{}, 0)
		require.NoError(t, err)
		assert.Len(t, first.Hashes, 1<<15)
		assert.Equal(t, buyers, first.Count)
		rest, err := w.owner(0).Buyers(t.Context(), first.Tenure, 1<<15)
		require.NoError(t, err)
		all := map[uint64]bool{}
		for _, h := range append(first.Hashes[:len(first.Hashes):len(first.Hashes)], rest.Hashes...) {
			all[h] = true
		}
		assert.Len(t, all, buyers)
		w.stop()
	})
}

// How many may wait can be changed at any time, also to more than the queue takes. Nobody
// loses a place by it.
func TestHowManyMayWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var most, busy, decided atomic.Int64
		most.Store(5000)
		w := newWorld(t, 1, 1, 10_000)
		w.most = func() int { return int(most.Load()) }
		store := &still{Store: w.nodes[0].store, begun: make(chan struct{}), goOn: make(chan struct{})}
		w.nodes[0].store = store
		require.NoError(t, w.take(t.Context(), w.nodes[0], 0))
		owner := w.owner(0)
		var waiting sync.WaitGroup
		come := func(n int) {
			for range n {
				waiting.Go(func() {
					_, err := owner.Find(t.Context(), "", ulid.Make())
					if err == slot.ErrBusy { //nolint:errorlint // it is that, and nothing else
						busy.Add(1)
						return
					}
					assert.ErrorIs(t, err, ledger.ErrNoOrder)
					decided.Add(1)
				})
			}
			synctest.Wait()
		}
		store.hold.Store(true)
		come(1) // its confirmation does not come
		<-store.begun
		come(4096) // they wait for the next one
		assert.Zero(t, busy.Load())
		most.Store(5)
		come(8)
		assert.EqualValues(t, 3, busy.Load(), "so many more than may wait to be looked at")
		most.Store(5000)
		come(4995)
		assert.EqualValues(t, 3, busy.Load())
		come(1)
		assert.EqualValues(t, 4, busy.Load())
		most.Store(1)
		come(10)
		assert.EqualValues(t, 14, busy.Load())
		store.hold.Store(false)
		close(store.goOn)
		waiting.Wait()
		assert.EqualValues(t, 1+4096+5000, decided.Load())
		w.stop()
	})
}

// Who gives up before there is room in the queue leaves a place for others.
func TestPlacesOfThoseWhoGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var busy atomic.Int64
		w := newWorld(t, 1, 1, 10)
		w.most = func() int { return 5000 }
		store := &still{Store: w.nodes[0].store, begun: make(chan struct{}), goOn: make(chan struct{})}
		w.nodes[0].store = store
		require.NoError(t, w.take(t.Context(), w.nodes[0], 0))
		owner := w.owner(0)
		var waiting sync.WaitGroup
		come := func(ctx context.Context, n int) {
			for range n {
				waiting.Go(func() {
					if _, err := owner.OrdersOf(ctx, "ann"); err == slot.ErrBusy { //nolint:errorlint // it is that, and nothing else
						busy.Add(1)
					}
				})
			}
			synctest.Wait()
		}
		store.hold.Store(true)
		come(t.Context(), 1)
		<-store.begun
		come(t.Context(), 4096) // they were looked at, and wait for the next confirmation
		come(t.Context(), 4096) // the queue is full
		ctx, leave := context.WithCancel(t.Context())
		come(ctx, 904)
		assert.Zero(t, busy.Load())
		come(ctx, 1)
		assert.EqualValues(t, 1, busy.Load())
		leave()
		synctest.Wait()
		come(t.Context(), 904)
		assert.EqualValues(t, 1, busy.Load())
		store.hold.Store(false)
		close(store.goOn)
		waiting.Wait()
		w.stop()
	})
}

// How many wait for units can be changed too.
func TestHowManyMayWaitForUnits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var most, busy atomic.Int64
		w := newWorld(t, 1, 2, 1)
		w.most = func() int { return int(most.Load()) }
		pool := record.NewPool(1, 2)
		pool.Granted[1] = 1 // to a slot without an owner: nobody knows whether it is sold
		w.put(record.PoolKey(event), pool)
		require.NoError(t, w.take(t.Context(), w.nodes[0], 0))
		ctx, leave := context.WithCancel(t.Context())
		var waiting sync.WaitGroup
		come := func(n int) {
			for i := range n {
				waiting.Go(func() {
					_, _, err := w.owner(0).Order(ctx, ledger.Demand{User: fmt.Sprint("u", i), Request: "1", Quantity: 1})
					if err == slot.ErrBusy { //nolint:errorlint // it is that, and nothing else
						busy.Add(1)
						return
					}
					assert.ErrorIs(t, err, slot.ErrUndecided)
				})
				synctest.Wait()
			}
		}
		for _, x := range []struct{ most, come, busy int64 }{{3, 5, 2}, {5, 4, 4}, {1, 3, 7}} {
			most.Store(x.most)
			come(int(x.come))
			assert.Equal(t, x.busy, busy.Load())
		}
		leave()
		waiting.Wait()
		w.stop()
	})
}

// still holds back answers about the slot's record.
type still struct {
	backend.Store
	hold        atomic.Bool
	begun, goOn chan struct{}
}

func (s *still) Get(ctx context.Context, key string) (backend.Entry, error) {
	if s.hold.Load() {
		s.begun <- struct{}{}
		<-s.goOn
	}
	return s.Store.Get(ctx, key)
}
