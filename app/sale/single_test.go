package sale_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/seed27495941/seckill/app/sale"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/rpc"
	"github.com/seed27495941/seckill/app/sale/slot"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/registry"
)

var silent = slog.New(slog.DiscardHandler)

// A shop is a process that sells, in this one.
type shop struct {
	*sale.Desk
	id    ulid.ULID
	store *memory.Store
	stop  func()
}

// startShop starts one, which answers others at rpc.
func startShop(t *testing.T, m *memory.Server, addr, rpc string) *shop {
	t.Helper()
	store := m.Open()
	return startShopOn(t, store, store, addr, rpc)
}

// startShopOn starts one to which a store seems to be another one.
func startShopOn(t *testing.T, store *memory.Store, seeming backend.Store, addr, rpc string) *shop {
	t.Helper()
	s := &shop{id: ulid.Make(), store: store}
	r, err := registry.NewRegistration(s.store, registry.Config{
		TTL: time.Second, Node: registry.Node{Addr: addr, RPC: rpc, Incarnation: s.id.String()},
	})
	require.NoError(t, err)
	d := registry.NewDirectory(s.store, "", silent)
	s.Desk = sale.New(sale.Config{Store: seeming, Directory: d, Incarnation: s.id, Valid: r.Registered, Dial: dial, Logger: silent})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{r.Run, d.Run, s.Run} {
		running.Go(func() { assert.NoError(t, run(ctx)) })
	}
	s.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		assert.NoError(t, s.store.Close())
	})
	t.Cleanup(s.stop)
	return s
}

func publish(t testing.TB, s backend.Store, total int64, slots int) event.Event {
	t.Helper()
	now := time.Now().Truncate(time.Millisecond)
	e, err := event.Create(t.Context(), s, record.Event{
		Title: "t", SKU: "s", Price: record.Price{Currency: "EUR"},
		Window: record.Window{Opens: now, Closes: now.Add(time.Hour)},
		Total:  total, PerUser: 2, Slots: slots, PayWithin: 3600,
	})
	require.NoError(t, err)
	e, err = event.Publish(t.Context(), s, e.ID)
	require.NoError(t, err)
	return e
}

func order(t *testing.T, d *sale.Desk, e ulid.ULID, user, request string) (ledger.Order, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	o, _, err := d.Order(ctx, e, ledger.Demand{User: user, Request: request, Quantity: 1})
	return o, err
}

// A process that is listed, and was killed, loses its slots though nobody has asked
// it anything: who is next may not be whom buyers come to.
func TestKilledAndNotAsked(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	server := memory.NewServer()
	s := server.Open()
	e, gone := publish(t, s, 10, 4), ulid.Make()
	raw, err := json.Marshal(registry.Node{Addr: "10.0.0.2:8080", RPC: listener.Addr().String(), Incarnation: gone.String()})
	require.NoError(t, err)
	_, err = s.Put(t.Context(), registry.DefaultDir+"10-0-0-2-8080", raw)
	require.NoError(t, err)
	for k := range e.Slots {
		_, err = backend.PutJSON(t.Context(), s, record.SlotKey(e.ID, k), record.Slot{Owner: gone.String(), Epoch: 1})
		require.NoError(t, err)
	}
	next := startShop(t, server, "10.0.0.1:8080", "")
	require.Eventually(t, func() bool {
		for k := range e.Slots {
			entry, err := s.Get(t.Context(), record.SlotKey(e.ID, k))
			require.NoError(t, err)
			r, err := record.DecodeSlot(entry)
			require.NoError(t, err)
			if r.Owner != next.id.String() {
				return false
			}
		}
		return true
	}, 30*time.Second, 50*time.Millisecond)
	next.stop()
	require.NoError(t, s.Close())
}

// When a sale is closed its orders are still there, and as they are for good. When
// it is archived they are not.
func TestOrdersOfClosedSales(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := memory.NewServer()
		s := startShop(t, server, "10.0.0.1:8080", "")
		e, open := publish(t, s.store, 10, 3), publish(t, s.store, 10, 2)
		time.Sleep(5 * time.Second)
		ctx := t.Context()
		paid, err := order(t, s.Desk, e.ID, "ann", "1")
		require.NoError(t, err)
		paid, err = s.Pay(ctx, e.ID, paid.ID, "p1")
		require.NoError(t, err)
		given, err := order(t, s.Desk, e.ID, "bob", "1")
		require.NoError(t, err)
		given, err = s.Cancel(ctx, e.ID, "bob", given.ID)
		require.NoError(t, err)
		pending, err := order(t, s.Desk, e.ID, "bob", "2")
		require.NoError(t, err)
		other, err := order(t, s.Desk, open.ID, "bob", "1")
		require.NoError(t, err)

		_, err = event.Close(ctx, s.store, e.ID)
		require.NoError(t, err)
		time.Sleep(time.Second)

		found, err := s.Find(ctx, e.ID, "ann", paid.ID)
		require.NoError(t, err)
		assert.Equal(t, paid, found)
		_, err = s.Find(ctx, e.ID, "bob", paid.ID)
		require.ErrorIs(t, err, ledger.ErrNoOrder, "somebody else's")
		all, err := s.OrdersOf(ctx, e.ID, "bob")
		require.NoError(t, err)
		assert.Equal(t, []ledger.Order{given, pending}, all)
		everywhere, err := s.OrdersOfAll(ctx, "bob")
		require.NoError(t, err)
		assert.Equal(t, []sale.EventOrders{{e.ID, []ledger.Order{given, pending}}, {open.ID, []ledger.Order{other}}}, everywhere)

		again, err := order(t, s.Desk, e.ID, "bob", "2")
		require.NoError(t, err, "it was answered before")
		assert.Equal(t, pending, again)
		_, err = order(t, s.Desk, e.ID, "bob", "3")
		require.ErrorIs(t, err, slot.ErrEnded)
		_, err = s.Cancel(ctx, e.ID, "bob", pending.ID)
		require.ErrorIs(t, err, slot.ErrEnded)
		_, err = s.Cancel(ctx, e.ID, "bob", given.ID)
		require.NoError(t, err, "it was cancelled before")
		_, err = s.Pay(ctx, e.ID, pending.ID, "p2")
		require.ErrorIs(t, err, slot.ErrEnded)
		again, err = s.Pay(ctx, e.ID, paid.ID, "p1")
		require.NoError(t, err, "it was taken before")
		assert.Equal(t, paid, again)
		_, err = s.Pay(ctx, e.ID, ulid.ULID{0: 1, 6: 200}, "p1")
		require.ErrorIs(t, err, ledger.ErrNoOrder, "of a slot that there is not")

		archive(t, s.store, e.ID)
		time.Sleep(time.Second)
		_, err = s.Find(ctx, e.ID, "ann", paid.ID)
		require.ErrorIs(t, err, sale.ErrArchived)
		_, err = s.OrdersOf(ctx, e.ID, "ann")
		require.ErrorIs(t, err, sale.ErrArchived)
		_, err = s.Pay(ctx, e.ID, pending.ID, "p2")
		require.ErrorIs(t, err, slot.ErrEnded)
		_, err = order(t, s.Desk, e.ID, "bob", "2")
		require.ErrorIs(t, err, slot.ErrEnded)
		everywhere, err = s.OrdersOfAll(ctx, "bob")
		require.NoError(t, err)
		assert.Equal(t, []sale.EventOrders{{open.ID, []ledger.Order{other}}}, everywhere)
		_, err = s.OrdersOf(ctx, ulid.Make(), "ann")
		require.ErrorIs(t, err, sale.ErrNoSale)
		s.stop()
	})
}

// A process that may not know all sales does not say that a buyer has no orders.
func TestOrdersOfSalesThatMayNotBeKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := memory.NewServer()
		s := startShop(t, server, "10.0.0.1:8080", "")
		fresh := sale.New(sale.Config{
			Store: s.store, Directory: registry.NewDirectory(s.store, "", silent), Incarnation: ulid.Make(),
			Valid: func() bool { return true }, Dial: dial, Logger: silent,
		})
		_, err := fresh.OrdersOfAll(t.Context(), "ann")
		require.ErrorIs(t, err, slot.ErrUndecided, "it has read nothing yet")

		time.Sleep(time.Second)
		all, err := s.OrdersOfAll(t.Context(), "ann")
		require.NoError(t, err)
		assert.Empty(t, all)

		s.store.Cut()
		time.Sleep(time.Minute)
		_, err = s.OrdersOfAll(t.Context(), "ann")
		require.ErrorIs(t, err, slot.ErrUndecided, "others may have begun a sale meanwhile")
		s.store.Mend() // or leaving takes its time
	})
}

// archive sets the status and deletes the sale.
func archive(t *testing.T, s backend.Store, id ulid.ULID) {
	t.Helper()
	e, err := event.Get(t.Context(), s, id)
	require.NoError(t, err)
	e.Status = record.StatusArchived
	_, err = backend.PutJSON(t.Context(), s, record.EventKey(id), e.Event, backend.If(record.EventKey(id), e.Revision))
	require.NoError(t, err)
	entries, _, err := backend.List(t.Context(), s, record.SaleDir(id))
	require.NoError(t, err)
	for _, x := range entries {
		require.NoError(t, s.Delete(t.Context(), x.Key))
	}
}

// While a slot has no owner that can be asked, so many wait for one, and the rest
// are told at once. Nobody's place is lost by that.
func TestFloodWhileNobodyOwnsTheSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := memory.NewServer()
		s := startShop(t, server, "10.0.0.1:8080", "")
		e := publish(t, s.store, 10, 1)
		time.Sleep(5 * time.Second)
		hold, release := holdSlot(t, server, e.ID, "")
		var busy, undecided atomic.Int64
		flood := func(n int) {
			var buyers sync.WaitGroup
			for i := range n {
				buyers.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
					defer cancel()
					begun := time.Now()
					_, _, err := s.Order(ctx, e.ID, ledger.Demand{User: fmt.Sprint("u", i), Request: "1", Quantity: 1})
					if assert.Error(t, err); time.Since(begun) == 0 {
						assert.ErrorIs(t, err, slot.ErrBusy)
						busy.Add(1)
					} else {
						assert.ErrorIs(t, err, slot.ErrUndecided)
						undecided.Add(1)
					}
				})
			}
			buyers.Wait()
		}
		hold()
		time.Sleep(time.Second)
		flood(5000)
		assert.EqualValues(t, 4096, undecided.Load())
		assert.EqualValues(t, 5000-4096, busy.Load())
		flood(4096)
		assert.EqualValues(t, 2*4096, undecided.Load(), "all places are free again")
		release()
		time.Sleep(5 * time.Second)
		_, err := order(t, s.Desk, e.ID, "ann", "1")
		require.NoError(t, err)
		s.stop()
	})
}

// holdSlot makes a process the owner of a slot that is registered and answers
// nobody, until release.
func holdSlot(t *testing.T, m *memory.Server, e ulid.ULID, rpc string) (hold, release func()) {
	t.Helper()
	s, id := m.Open(), ulid.Make()
	r, err := registry.NewRegistration(s, registry.Config{
		TTL: time.Second, Node: registry.Node{Addr: "10.0.0.2:8080", RPC: rpc, Incarnation: id.String()},
	})
	require.NoError(t, err)
	stop := stores.Start(t, r.Run)
	hold = func() {
		_, err := backend.Modify(t.Context(), s, record.SlotKey(e, 0), func(entry backend.Entry) ([]byte, error) {
			was, err := record.DecodeSlot(entry)
			require.NoError(t, err)
			return record.Slot{Owner: id.String(), Epoch: was.Epoch + 1}.Encode()
		})
		require.NoError(t, err)
	}
	return hold, func() { require.NoError(t, stop()) }
}

// What is sold in one process is seen in all, without asking the store.
func TestFigures(t *testing.T) {
	server := memory.NewServer()
	var shops []*shop
	for i := range 2 {
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		s := startShop(t, server, fmt.Sprintf("10.0.0.%d:8080", i+1), listener.Addr().String())
		g := grpc.NewServer()
		s.Serve(g)
		served := make(chan error, 1)
		go func() { served <- g.Serve(listener) }()
		t.Cleanup(func() {
			s.stop()
			g.Stop()
			assert.NoError(t, <-served)
		})
		shops = append(shops, s)
	}
	const total = 200 // enough that slots have some in stock
	e := publish(t, shops[0].store, total, 8)
	_, ok := shops[0].Figures(ulid.Make())
	assert.False(t, ok)
	var told atomic.Int64
	stop := shops[0].Subscribe(e.ID, func() { told.Add(1) })
	defer stop()
	stores.Wait(t, "both have slots", func() bool {
		f, ok := shops[0].Figures(e.ID)
		if !ok {
			return false
		}
		owners := map[string]int{}
		for _, s := range f.Slots {
			owners[s.Owner]++
		}
		return owners[""] == 0 && len(owners) == 2
	})
	agree := func(held int64, soldOut bool) {
		t.Helper()
		for _, s := range shops {
			stores.Wait(t, fmt.Sprint(held, " units are seen to be sold"), func() bool {
				f, ok := s.Figures(e.ID)
				return ok && f.Held == held && f.Remaining == total-held && f.SoldOut == soldOut && s.SoldOut(e.ID) == soldOut
			})
		}
	}
	agree(0, false)
	for i := range 12 {
		_, err := order(t, shops[i%2].Desk, e.ID, fmt.Sprint("u", i), "1")
		require.NoError(t, err)
	}
	agree(12, false)
	var one ledger.Order
	for i := range total - 12 {
		o, err := order(t, shops[i%2].Desk, e.ID, fmt.Sprint("v", i), "1")
		require.NoError(t, err)
		one = o
	}
	_, err := order(t, shops[0].Desk, e.ID, "late", "1")
	require.ErrorIs(t, err, slot.ErrSoldOut)
	agree(total, true)
	_, err = shops[0].Cancel(t.Context(), e.ID, one.User, one.ID)
	require.NoError(t, err)
	agree(total-1, false)
	assert.Positive(t, told.Load())

	shops[1].stop() // what it has sold is not forgotten
	stores.Wait(t, "the other one has all slots", func() bool {
		f, _ := shops[0].Figures(e.ID)
		for _, s := range f.Slots {
			if s.Owner != shops[0].id.String() {
				return false
			}
		}
		return f.Held == total-1
	})
}

// A forgetful process owns slots, does not know what became of the first order that it is
// asked for, and then is too busy.
type forgetful struct {
	rpc.UnimplementedSlotsServer
	orders, others atomic.Int64
}

func (f *forgetful) Decide(stream grpc.BidiStreamingServer[rpc.Questions, rpc.Answers]) error {
	for {
		asked, err := stream.Recv()
		if err != nil {
			return nil //nolint:nilerr // who asked is gone
		}
		for _, q := range asked.GetQuestions() {
			a := &rpc.Answer{Id: q.GetId(), Verdict: rpc.Verdict_NO_ORDER}
			switch {
			case q.GetOrder() == nil:
				f.others.Add(1)
			case f.orders.Add(1) == 1:
				a.Verdict = rpc.Verdict_UNDECIDED
			default:
				a.Verdict = rpc.Verdict_BUSY
			}
			if err := stream.Send(&rpc.Answers{Answers: []*rpc.Answer{a}}); err != nil {
				return err
			}
		}
	}
}

// "Busy" says that nothing was done: not after an earlier try whose outcome is not known.
func TestBusyAfterAnUnknownOutcome(t *testing.T) {
	server, other := memory.NewServer(), &forgetful{}
	g := grpc.NewServer()
	rpc.RegisterSlotsServer(g, other)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	stores.Start(t, func(ctx context.Context) error {
		defer context.AfterFunc(ctx, g.Stop)()
		return g.Serve(l)
	})
	s := startShop(t, server, "10.0.0.1:8080", "")
	e := publish(t, s.store, 10, 1)
	hold, release := holdSlot(t, server, e.ID, l.Addr().String())
	stores.Wait(t, "the slot to be the other's", func() bool {
		hold()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _ = s.Find(ctx, e.ID, "ann", ulid.Make())
		return other.others.Load() > 0
	})
	_, err = order(t, s.Desk, e.ID, "ann", "1")
	require.ErrorIs(t, err, slot.ErrUndecided)
	require.NotErrorIs(t, err, slot.ErrBusy)
	assert.EqualValues(t, 2, other.orders.Load())
	s.stop()
	release()
}
