package sale_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net"
	"strings"
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
	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/rpc"
	"github.com/seed27495941/seckill/app/sale/slot"
	"github.com/seed27495941/seckill/app/sale/verify"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/registry"
)

// openStall starts a process that sells, in this one: listed, and answering others.
func openStall(t testing.TB, s backend.Store, addr string, opts ...grpc.ServerOption) *sale.Desk {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	id := ulid.Make()
	r, err := registry.NewRegistration(s, registry.Config{
		TTL: 10 * time.Second, Node: registry.Node{Addr: addr, RPC: listener.Addr().String(), Incarnation: id.String()},
	})
	require.NoError(t, err)
	d := registry.NewDirectory(s, "", silent)
	desk := sale.New(sale.Config{Store: s, Directory: d, Incarnation: id, Valid: r.Registered, Dial: dial, Logger: silent})
	g := grpc.NewServer(opts...)
	desk.Serve(g)
	stores.Start(t, r.Run)
	stores.Start(t, d.Run)
	stores.Start(t, desk.Run)
	stores.Start(t, func(ctx context.Context) error {
		defer context.AfterFunc(ctx, g.Stop)()
		return g.Serve(listener)
	})
	return desk
}

// While all is sold, and units come back and are sold again, and slots change owners who
// are not told: who has an order hears of it again at each process, whatever comes
// before and after.
func TestRepetitionsWhenAllIsSold(t *testing.T) {
	stores.EachServer(t, func(t *testing.T, space stores.Space) {
		const total, crowd = 8, 100
		s := space.Open(t)
		e := publish(t, s, total, 4)
		var desks []*sale.Desk
		for i := range 3 {
			desks = append(desks, openStall(t, space.Open(t), fmt.Sprintf("10.0.0.%d:8080", i+1)))
		}
		c := &customers{event: e.ID, desks: desks}
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		var all sync.WaitGroup
		for range crowd {
			all.Go(func() {
				for ctx.Err() == nil {
					c.shop(t, ulid.Make().String()) //nolint:contextcheck // who has come gets an answer
				}
			})
		}
		stores.Wait(t, "many are told that it is sold out", func() bool { return c.refused.Load() > 100 })
		for i := range 6 { // somebody takes slots, and does nothing with them
			_, err := slot.Take(t.Context(), slot.Config{
				Store: s, Event: e.ID, Slot: i % e.Slots, Incarnation: ulid.Make(), Logger: silent,
				Terms: func() record.Event { return e.Event },
			})
			require.NoError(t, err)
			refused, repeated := c.refused.Load(), c.repeated.Load()
			stores.Wait(t, "it goes on", func() bool { return c.refused.Load() > refused+20 && c.repeated.Load() > repeated+5 })
		}
		leave()
		all.Wait()
		t.Logf("%d orders, %d times told again; %d times sold out", len(c.acked), c.repeated.Load(), c.refused.Load())
		report, err := verify.Check(t.Context(), s, e.ID, c.acked)
		require.NoError(t, err)
		assert.Empty(t, report.Violations)
	})
}

// customers are those of a sale.
type customers struct {
	event             ulid.ULID
	desks             []*sale.Desk
	refused, repeated atomic.Int64

	mu    sync.Mutex
	acked []ulid.ULID
}

// shop is one customer, who makes one request again and again, at any process. When
// it is clear what became of it, an order is given back.
func (c *customers) shop(t *testing.T, user string) {
	var had ledger.Order
	for n := 0; n < 6; {
		o, err := c.ask(t, user)
		switch {
		case err == nil && had.ID.IsZero():
			had = o
			c.mu.Lock()
			c.acked = append(c.acked, o.ID)
			c.mu.Unlock()
		case err == nil:
			assert.Equal(t, had.ID, o.ID, "another order for the same request")
			c.repeated.Add(1)
		case errors.Is(err, slot.ErrUndecided), errors.Is(err, slot.ErrBusy), errors.Is(err, sale.ErrNoSale):
			n-- // nothing was said
		case assert.ErrorIs(t, err, slot.ErrSoldOut):
			assert.True(t, had.ID.IsZero(), "sold out, after order %s", had.ID)
			c.refused.Add(1)
		}
		if n++; n == 4 && !had.ID.IsZero() {
			c.giveBack(t, had) // the request has its order all the same
		}
		time.Sleep(rand.N(30 * time.Millisecond))
	}
	if !had.ID.IsZero() {
		c.giveBack(t, had) // it may have come late; if nobody did, there would soon be nothing to sell
	}
}

func (c *customers) giveBack(t *testing.T, o ledger.Order) {
	for {
		_, err := c.desk().Cancel(t.Context(), c.event, o.User, o.ID)
		switch {
		case err == nil:
			return
		case errors.Is(err, slot.ErrUndecided), errors.Is(err, slot.ErrBusy), errors.Is(err, sale.ErrNoSale):
			time.Sleep(rand.N(30 * time.Millisecond))
		default:
			assert.NoError(t, err)
			return
		}
	}
}

func (c *customers) ask(t *testing.T, user string) (ledger.Order, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	o, _, err := c.desk().Order(ctx, c.event, ledger.Demand{User: user, Request: "1", Quantity: 1})
	return o, err
}

func (c *customers) desk() *sale.Desk { return c.desks[rand.IntN(len(c.desks))] }

// A process that is not upgraded yet does not know what it is asked at the turnstile. Who
// comes is told what it decides, as ever.
func TestOwnerThatDoesNotKnowTurnstiles(t *testing.T) {
	server := memory.NewServer()
	var asked atomic.Int64
	old := openStall(t, server.Open(), "10.0.0.1:8080", grpc.StreamInterceptor(
		func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			return handler(srv, &oldStream{stream, &asked})
		}))
	e := publish(t, server.Open(), 2, 1)
	c := &customers{event: e.ID, desks: []*sale.Desk{old}}
	had := map[string]ledger.Order{}
	stores.Wait(t, "all is sold", func() bool {
		user := ulid.Make().String()
		o, err := c.ask(t, user)
		if err == nil {
			had[user] = o
		}
		return old.SoldOut(e.ID)
	})
	// It is not listed, so that the other one keeps the slot.
	d := registry.NewDirectory(server.Open(), "", silent)
	upgraded := sale.New(sale.Config{
		Store: server.Open(), Directory: d, Incarnation: ulid.Make(), Valid: func() bool { return true }, Dial: dial, Logger: silent,
	})
	stores.Start(t, d.Run)
	stores.Start(t, upgraded.Run)
	stores.Wait(t, "the other process sees it", func() bool { return upgraded.SoldOut(e.ID) })
	c.desks = []*sale.Desk{upgraded}
	for range 3 {
		_, err := c.ask(t, ulid.Make().String())
		require.ErrorIs(t, err, slot.ErrSoldOut)
		for user, o := range had {
			again, err := c.ask(t, user)
			require.NoError(t, err)
			assert.Equal(t, o.ID, again.ID)
		}
	}
	assert.Len(t, had, 2)
	assert.Positive(t, asked.Load())
}

// oldStream leaves out of questions what is not known to it.
type oldStream struct {
	grpc.ServerStream
	asked *atomic.Int64
}

func (s *oldStream) RecvMsg(m any) error {
	err := s.ServerStream.RecvMsg(m)
	if all, ok := m.(*rpc.Questions); ok {
		for _, q := range all.GetQuestions() {
			if q.GetBuyers() != nil {
				q.Ask = nil
				s.asked.Add(1)
			}
		}
	}
	return err
}

// When a sale that is sold out is being closed nobody waits at the turnstile for its log
// to be read, which may take longer than one waits there: whoever comes reads it, or
// waits for that.
func TestTurnstileOfSaleThatIsClosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.NewServer().Open()
		s := startShopOn(t, store, &longLogs{store}, "10.0.0.1:8080", "")
		e := publish(t, s.store, 1, 1)
		time.Sleep(5 * time.Second)
		had, err := order(t, s.Desk, e.ID, "ann", "1")
		require.NoError(t, err)
		_, err = order(t, s.Desk, e.ID, "bob", "1")
		require.ErrorIs(t, err, slot.ErrSoldOut)
		for _, x := range []struct { // whoever closed it has died in the middle
			key   string
			value any
		}{
			{record.EventKey(e.ID), func() record.Event { e.Status = record.StatusClosing; return e.Event }()},
			{record.SlotKey(e.ID, 0), record.Slot{Owner: record.Closed, Epoch: 10}},
		} {
			_, err = backend.PutJSON(t.Context(), s.store, x.key, x.value)
			require.NoError(t, err)
		}
		time.Sleep(time.Second)
		require.True(t, s.SoldOut(e.ID))
		begun := time.Now()
		_, err = order(t, s.Desk, e.ID, "cid", "1")
		require.ErrorIs(t, err, slot.ErrEnded)
		assert.Equal(t, logTime, time.Since(begun))
		again, err := order(t, s.Desk, e.ID, "ann", "1")
		require.NoError(t, err)
		assert.Equal(t, had, again)
		s.stop()
	})
}

// logTime is how long it takes to read a long log.
const logTime = 800 * time.Millisecond

// longLogs takes its time to read them.
type longLogs struct{ backend.Store }

func (l *longLogs) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		if strings.Contains(prefix, "/log/") {
			select {
			case <-time.After(logTime):
			case <-ctx.Done():
				return
			}
		}
		l.Store.WatchPrefix(ctx, prefix)(yield)
	}
}

// How long orders wait to be paid is what is set when they are made.
func TestPayWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := memory.NewServer()
		s := startShop(t, server, "10.0.0.1:8080", "")
		e := publish(t, s.store, 10, 1)
		time.Sleep(5 * time.Second)
		var all []ulid.ULID
		waits := func(user string) (ledger.Order, time.Duration) {
			o, err := order(t, s.Desk, e.ID, user, "1")
			require.NoError(t, err)
			all = append(all, o.ID)
			return o, o.PayBy.Sub(o.At)
		}
		before, d := waits("ann")
		assert.Equal(t, time.Hour, d, "as the event says")
		s.SetPayWithin(time.Minute)
		short, d := waits("bob")
		assert.Equal(t, time.Minute, d)
		again, _ := waits("ann")
		assert.Equal(t, before, again, "orders keep their deadline")
		s.SetPayWithin(0)
		_, d = waits("cid")
		assert.Equal(t, time.Hour, d)

		status := func(o ledger.Order) ledger.Status {
			now, err := s.Find(t.Context(), e.ID, o.User, o.ID)
			require.NoError(t, err)
			return now.Status
		}
		time.Sleep(59 * time.Second)
		assert.Equal(t, ledger.Pending, status(short))
		time.Sleep(2 * time.Second)
		assert.Equal(t, ledger.Expired, status(short))
		assert.Equal(t, ledger.Pending, status(before))
		time.Sleep(time.Hour)
		assert.Equal(t, ledger.Expired, status(before))
		report, err := verify.Check(t.Context(), s.store, e.ID, all)
		require.NoError(t, err)
		assert.Empty(t, report.Violations)
		s.stop()
	})
}

// How many wait for an owner can be changed, and those who wait already stay.
func TestSetWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := memory.NewServer()
		s := startShop(t, server, "10.0.0.1:8080", "")
		e := publish(t, s.store, 10, 1)
		time.Sleep(5 * time.Second)
		hold, release := holdSlot(t, server, e.ID, "")
		hold()
		time.Sleep(time.Second)
		var busy, undecided atomic.Int64
		var buyers sync.WaitGroup
		come := func(n int) {
			for i := range n {
				buyers.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
					defer cancel()
					_, _, err := s.Order(ctx, e.ID, ledger.Demand{User: fmt.Sprint("u", i), Request: "1", Quantity: 1})
					if errors.Is(err, slot.ErrBusy) {
						busy.Add(1)
						return
					}
					assert.ErrorIs(t, err, slot.ErrUndecided)
					undecided.Add(1)
				})
			}
			synctest.Wait()
		}
		s.SetWaiting(100)
		come(150)
		assert.EqualValues(t, 50, busy.Load())
		s.SetWaiting(120)
		come(30)
		assert.EqualValues(t, 60, busy.Load())
		s.SetWaiting(10)
		come(1)
		assert.EqualValues(t, 61, busy.Load())
		buyers.Wait()
		assert.EqualValues(t, 120, undecided.Load(), "nobody was sent away who was there")
		release()
		s.stop()
	})
}

// So many may wait at the turnstiles, again when others have left.
func TestHowManyWaitAtTurnstiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.NewServer().Open()
		seeming := &silentSlots{Store: store}
		s := startShopOn(t, store, seeming, "10.0.0.1:8080", "")
		e := publish(t, s.store, 1, 1)
		time.Sleep(5 * time.Second)
		_, err := order(t, s.Desk, e.ID, "ann", "1")
		require.NoError(t, err)
		_, err = order(t, s.Desk, e.ID, "bob", "1")
		require.ErrorIs(t, err, slot.ErrSoldOut)
		time.Sleep(time.Second)
		require.True(t, s.SoldOut(e.ID))

		var busy atomic.Int64
		var buyers sync.WaitGroup
		come := func(n int) {
			for i := range n {
				buyers.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
					defer cancel()
					_, _, err := s.Order(ctx, e.ID, ledger.Demand{User: fmt.Sprint("u", i), Request: "1", Quantity: 1})
					if errors.Is(err, slot.ErrBusy) {
						busy.Add(1)
						return
					}
					assert.ErrorIs(t, err, slot.ErrUndecided)
				})
			}
			synctest.Wait()
		}
		s.SetWaiting(10)
		seeming.silent.Store(true)
		come(45)
		assert.EqualValues(t, 5, busy.Load(), "four times as many as for one slot")
		buyers.Wait()
		come(40)
		assert.EqualValues(t, 5, busy.Load(), "the others have left")
		s.SetWaiting(11)
		come(5)
		assert.EqualValues(t, 6, busy.Load())
		buyers.Wait()
		seeming.silent.Store(false)
		_, err = order(t, s.Desk, e.ID, "cid", "1")
		require.ErrorIs(t, err, slot.ErrSoldOut)
		s.stop()
	})
}

// silentSlots does not answer about slots while it is silent.
type silentSlots struct {
	backend.Store
	silent atomic.Bool
}

func (s *silentSlots) Get(ctx context.Context, key string) (backend.Entry, error) {
	for strings.Contains(key, "/slots/") && s.silent.Load() && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	return s.Store.Get(ctx, key)
}
