package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/seed27495941/seckill/app/sale/figures"
	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/rpc"
	"github.com/seed27495941/seckill/app/sale/slot"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var event = ulid.MustParse("01K9ZZZZZZZZZZZZZZZZZZZZZ1")

// A remote is another process, with one slot of a sale.
type remote struct {
	id     ulid.ULID
	addr   string
	server *grpc.Server
	served chan error
	board  *figures.Board
}

func serve(t *testing.T, total int64) *remote {
	t.Helper()
	store := memory.New()
	now := time.Now().Truncate(time.Millisecond)
	terms := record.Event{
		Title: "t", SKU: "s", Price: record.Price{Currency: "EUR"}, Window: record.Window{Opens: now, Closes: now.Add(time.Hour)},
		Total: total, PerUser: 2, Slots: 1, PayWithin: 3600, Status: record.StatusOnline,
	}
	_, err := backend.PutJSON(t.Context(), store, record.PoolKey(event), record.NewPool(total, 1))
	require.NoError(t, err)
	_, err = backend.PutJSON(t.Context(), store, record.SlotKey(event, 0), record.Slot{})
	require.NoError(t, err)
	r := &remote{id: ulid.Make(), served: make(chan error, 1), board: figures.NewBoard()}
	o, err := slot.Take(t.Context(), slot.Config{
		Store: store, Event: event, Incarnation: r.id, Terms: func() record.Event { return terms },
		Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ran := make(chan error, 1)
	go func() { ran <- o.Run(ctx) }()

	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r.addr, r.server = listener.Addr().String(), grpc.NewServer()
	rpc.Register(r.server, r.id, func(e ulid.ULID, k int) *slot.Owner {
		if e != event || k != 0 {
			return nil
		}
		return o
	}, r.board)
	go func() { r.served <- r.server.Serve(listener) }()
	t.Cleanup(func() {
		r.server.Stop()
		require.NoError(t, <-r.served)
		stop()
		require.NoError(t, <-ran)
		require.NoError(t, store.Close())
	})
	return r
}

func dial(addr string) (*grpc.ClientConn, error) {
	return grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

func newClient(t *testing.T) *rpc.Client {
	c := rpc.NewClient(dial)
	t.Cleanup(c.Close)
	return c
}

func order(user string, quantity int64) *rpc.Question {
	return rpc.NewOrder(event, 0, ledger.Demand{User: user, Request: "1", Quantity: quantity})
}

func TestEveryQuestion(t *testing.T) {
	r, c := serve(t, 3), newClient(t)
	ask := func(q *rpc.Question) (rpc.Reply, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		return c.Ask(ctx, r.id.String(), r.addr, q)
	}
	made, err := ask(order("ann", 2))
	require.NoError(t, err)
	assert.True(t, made.Created)
	o := made.Order()
	assert.Equal(t, "ann", o.User)
	assert.EqualValues(t, 2, o.Quantity)
	assert.Equal(t, ledger.Pending, o.Status)
	again, err := ask(order("ann", 2))
	require.NoError(t, err)
	assert.False(t, again.Created)
	assert.Equal(t, o, again.Order(), "nothing is lost on the way")

	for want, q := range map[error]*rpc.Question{
		ledger.ErrOtherUse: order("ann", 1),
		ledger.ErrLimit:    rpc.NewOrder(event, 0, ledger.Demand{User: "ann", Request: "2", Quantity: 1}),
		slot.ErrSoldOut:    order("bob", 2),
		ledger.ErrNoOrder:  rpc.NewFind(event, 0, "bob", o.ID),
		slot.ErrUndecided:  rpc.NewOrder(event, 1, ledger.Demand{User: "ann", Request: "1", Quantity: 1}),
	} {
		_, err := ask(q)
		require.ErrorIs(t, err, want)
	}
	found, err := ask(rpc.NewFind(event, 0, "ann", o.ID))
	require.NoError(t, err)
	assert.Equal(t, o, found.Order())
	listed, err := ask(rpc.NewList(event, 0, "ann"))
	require.NoError(t, err)
	assert.Equal(t, []ledger.Order{o}, listed.Orders)
	paid, err := ask(rpc.NewPay(event, 0, o.ID, "p"))
	require.NoError(t, err)
	assert.Equal(t, ledger.Paid, paid.Order().Status)
	refused, err := ask(rpc.NewCancel(event, 0, "ann", o.ID))
	require.ErrorIs(t, err, ledger.ErrPaid)
	assert.Equal(t, paid.Order(), refused.Order(), "an order comes with the refusal")
	_, err = ask(rpc.NewPay(event, 0, ulid.Make(), "p"))
	require.ErrorIs(t, err, ledger.ErrNoOrder)
}

func TestBuyers(t *testing.T) {
	r, c := serve(t, 3), newClient(t)
	ask := func(q *rpc.Question) rpc.Reply {
		reply, err := c.Ask(t.Context(), r.id.String(), r.addr, q)
		require.NoError(t, err)
		return reply
	}
	ask(order("ann", 2))
	ask(order("bob", 1))
	_, err := c.Ask(t.Context(), r.id.String(), r.addr, order("cid", 1))
	require.ErrorIs(t, err, slot.ErrSoldOut)
	all := ask(rpc.NewBuyers(event, 0, ulid.ULID{}, 0)).Buyers
	assert.Equal(t, slot.Buyers{
		Tenure: all.Tenure, SoldOut: true, PerUser: 2, Count: 2, Hashes: []uint64{record.HashOf("ann"), record.HashOf("bob")},
	}, all)
	rest := ask(rpc.NewBuyers(event, 0, all.Tenure, 1)).Buyers
	assert.Equal(t, all.Hashes[1:], rest.Hashes)
	assert.Equal(t, 1, rest.From)
}

// What no owner would say of its buyers is not believed, nor does it do any harm.
func TestNonsenseAboutBuyers(t *testing.T) {
	tenure := ulid.Make()
	for name, b := range map[string]*rpc.BuyersRecord{
		"no tenure":                {},
		"more than there are":      {Tenure: tenure[:], Count: 1, Hashes: []uint64{1, 2}},
		"beyond the end":           {Tenure: tenure[:], Count: 1, From: 2},
		"more than can be counted": {Tenure: tenure[:], Count: 1 << 63},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
			require.NoError(t, err)
			g := grpc.NewServer()
			rpc.RegisterSlotsServer(g, liar{buyers: b})
			served := make(chan error, 1)
			go func() { served <- g.Serve(l) }()
			_, err = newClient(t).Ask(t.Context(), "anybody", l.Addr().String(), rpc.NewBuyers(event, 0, tenure, 0))
			require.ErrorIs(t, err, slot.ErrUndecided)
			g.Stop()
			require.NoError(t, <-served)
		})
	}
}

// A liar says the same of all buyers.
type liar struct {
	rpc.UnimplementedSlotsServer
	buyers *rpc.BuyersRecord
}

func (l liar) Decide(stream grpc.BidiStreamingServer[rpc.Questions, rpc.Answers]) error {
	for {
		asked, err := stream.Recv()
		if err != nil {
			return nil //nolint:nilerr // who asked is gone
		}
		for _, q := range asked.GetQuestions() {
			a := &rpc.Answer{Id: q.GetId(), Verdict: rpc.Verdict_OK, Buyers: l.buyers}
			if err := stream.Send(&rpc.Answers{Answers: []*rpc.Answer{a}}); err != nil {
				return err
			}
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	r, c := serve(t, 500), newClient(t)
	var all sync.WaitGroup
	var mu sync.Mutex
	sold := 0
	for i := range 1000 {
		all.Go(func() {
			_, err := c.Ask(t.Context(), r.id.String(), r.addr, order(fmt.Sprint("u", i), 1))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				sold++
				return
			}
			assert.ErrorIs(t, err, slot.ErrSoldOut)
		})
	}
	all.Wait()
	assert.Equal(t, 500, sold)
}

// A question is for one incarnation. Another one at its address refuses.
func TestAnotherIncarnation(t *testing.T) {
	r, c := serve(t, 3), newClient(t)
	_, err := c.Ask(t.Context(), ulid.Make().String(), r.addr, order("ann", 1))
	require.ErrorIs(t, err, rpc.ErrReplaced)
	require.ErrorIs(t, err, slot.ErrUndecided)
	require.ErrorContains(t, err, r.id.String())
	_, err = c.Ask(t.Context(), r.id.String(), r.addr, order("ann", 1))
	require.NoError(t, err)
}

func TestUnreachable(t *testing.T) {
	r, c := serve(t, 3), newClient(t)
	_, err := c.Ask(t.Context(), r.id.String(), r.addr, order("ann", 1))
	require.NoError(t, err)
	r.server.Stop()
	_, err = c.Ask(t.Context(), r.id.String(), r.addr, order("bob", 1))
	require.ErrorIs(t, err, slot.ErrUndecided)
	_, err = c.Ask(t.Context(), r.id.String(), r.addr, order("bob", 1))
	require.ErrorIs(t, err, rpc.ErrUnreachable)
	require.NotErrorIs(t, err, rpc.ErrReplaced)
}

func TestClosedClient(t *testing.T) {
	r, c := serve(t, 3), rpc.NewClient(dial)
	_, err := c.Ask(t.Context(), r.id.String(), r.addr, order("ann", 1))
	require.NoError(t, err)
	c.Close()
	_, err = c.Ask(t.Context(), r.id.String(), r.addr, order("ann", 1))
	require.ErrorIs(t, err, rpc.ErrUnreachable)
}

// A peer that answers nothing does not hold anybody up.
func TestNoAnswer(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	c := newClient(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = c.Ask(ctx, "x", listener.Addr().String(), order("ann", 1))
	require.ErrorIs(t, err, slot.ErrUndecided)
}

// Only so many wait for the answers of a process. Others are told at once that they
// were not asked for.
func TestTooManyWait(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	c := newClient(t)
	ask := func(ctx context.Context) error {
		_, err := c.Ask(ctx, "x", listener.Addr().String(), order("ann", 1))
		return err
	}
	isBusy := func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		err := ask(ctx)
		if errors.Is(err, slot.ErrBusy) {
			return true
		}
		require.ErrorIs(t, err, slot.ErrUndecided)
		return false
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var waiting sync.WaitGroup
	for range 16384 {
		waiting.Go(func() {
			for ctx.Err() == nil {
				_ = ask(ctx)
			}
		})
	}
	for !isBusy() {
		require.NoError(t, ctx.Err(), "all wait")
	}
	cancel()
	waiting.Wait()
	assert.False(t, isBusy())
}

// Long answers, and many of them together, come through: a buyer who has ordered and
// cancelled often does not cut processes off from one another.
func TestManyLongLists(t *testing.T) {
	const orders, buyers = 400, 400
	r, c := serve(t, 2), newClient(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for i := range orders {
		d := ledger.Demand{User: "ann", Request: fmt.Sprint(i), Quantity: 1}
		made, err := c.Ask(ctx, r.id.String(), r.addr, rpc.NewOrder(event, 0, d))
		require.NoError(t, err)
		_, err = c.Ask(ctx, r.id.String(), r.addr, rpc.NewCancel(event, 0, "ann", made.Order().ID))
		require.NoError(t, err)
	}
	var asking sync.WaitGroup
	for range buyers {
		asking.Go(func() {
			listed, err := c.Ask(ctx, r.id.String(), r.addr, rpc.NewList(event, 0, "ann"))
			assert.NoError(t, err)
			assert.Len(t, listed.Orders, orders)
		})
	}
	asking.Wait()
}

// A machine that swallows what is sent to it is out of reach as soon as a question has
// waited for it in vain, not when the connection is given up.
func TestNobodyPicksUp(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, listener.Close()) }()
	c := newClient(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = c.Ask(ctx, ulid.Make().String(), listener.Addr().String(), order("ann", 1))
	require.ErrorIs(t, err, rpc.ErrUnreachable)
}
