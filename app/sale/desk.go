// Package sale sells: it finds the owner of the slot that a buyer belongs to, in
// this process or another, and has it decide. Packages slot and keeper say how, and
// docs/sale.md has the whole protocol.
package sale

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/grpc"

	"github.com/seed27495941/seckill/app/sale/keeper"
	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/rpc"
	"github.com/seed27495941/seckill/app/sale/slot"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/registry"
)

// ErrNoSale says that this process knows of no such sale that is open.
var ErrNoSale = errors.New("there is no such sale, or it is over")

// retryPause is how long a question waits for a slot to move, before it is put
// again to whoever is said to own it.
const retryPause = 100 * time.Millisecond

// A Config says what a desk works with.
type Config struct {
	Store       backend.Store
	Directory   *registry.Directory // somebody has to run it
	Incarnation ulid.ULID           // under which this process is registered

	// Valid reports whether this process's own lease is. While it is not, this
	// process decides nothing and refuses nothing: what it knows may be old. It
	// still passes questions on to others.
	Valid func() bool

	// Dial makes the connection to another process's node-to-node address.
	Dial func(addr string) (*grpc.ClientConn, error)

	Logger *slog.Logger
}

// A Desk takes buyers' questions. It has to be Run, and is safe for concurrent
// use.
type Desk struct {
	cfg    Config
	keeper *keeper.Keeper
	client *rpc.Client
}

// New makes a desk. It is told of the directory's changes for as long as that
// runs, so it should live as long.
func New(cfg Config) *Desk {
	d := &Desk{
		cfg:    cfg,
		keeper: keeper.New(keeper.Config{Store: cfg.Store, Directory: cfg.Directory, Incarnation: cfg.Incarnation, Logger: cfg.Logger}),
		client: rpc.NewClient(cfg.Dial),
	}
	return d
}

// Serve has a gRPC server answer other processes' questions.
func (d *Desk) Serve(s grpc.ServiceRegistrar) {
	rpc.Register(s, d.cfg.Incarnation, func(event ulid.ULID, k int) *slot.Owner {
		if !d.cfg.Valid() {
			return nil
		}
		at, _ := d.keeper.Find(event, k)
		return at.Owner
	})
}

// Run owns the slots that fall to this process until ctx ends; then it releases
// them and returns nil.
func (d *Desk) Run(ctx context.Context) error {
	defer d.client.Close()
	var tidying sync.WaitGroup
	defer tidying.Wait()
	tidying.Go(func() { d.tidy(ctx) })
	return d.keeper.Run(ctx)
}

// Yield waits until this process has handed its slots over, or nobody stays to
// whom it could, or ctx ends. It is for a process that has said in the registry that it
// is draining, and runs on.
func (d *Desk) Yield(ctx context.Context) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !d.keeper.Yielded() {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// tidy ends the streams to processes that are gone.
func (d *Desk) tidy(ctx context.Context) {
	ticker := time.NewTicker(10 * time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		here := map[string]bool{}
		for _, n := range d.cfg.Directory.Nodes() {
			here[n.Incarnation] = true
		}
		d.client.Keep(here)
	}
}

// Order asks for units of a sale. ctx bounds how long an answer is waited for;
// created is false if the request was answered before. Errors: ErrNoSale, and those
// of [slot.Owner.Order]. After slot.ErrUndecided the same request can be made again
// and gets the one true answer.
func (d *Desk) Order(ctx context.Context, event ulid.ULID, demand ledger.Demand) (order ledger.Order, created bool, err error) {
	if err := demand.Validate(); err != nil {
		return ledger.Order{}, false, err
	}
	r, err := d.askUser(ctx, event, demand.User, func(k int) *rpc.Question { return rpc.NewOrder(event, k, demand) })
	return r.Order(), r.Created, err
}

// Cancel gives an order up. Errors: ErrNoSale, those of [slot.Owner.Cancel].
func (d *Desk) Cancel(ctx context.Context, event ulid.ULID, user string, order ulid.ULID) (ledger.Order, error) {
	r, err := d.askUser(ctx, event, user, func(k int) *rpc.Question { return rpc.NewCancel(event, k, user, order) })
	return r.Order(), err
}

// Pay takes a payment in. Errors: ErrNoSale, those of [slot.Owner.Pay].
func (d *Desk) Pay(ctx context.Context, event, order ulid.ULID, payment string) (ledger.Order, error) {
	k := slot.Of(order)
	r, err := d.ask(ctx, event, k, func() *rpc.Question { return rpc.NewPay(event, k, order, payment) })
	return r.Order(), err
}

// Find finds a buyer's order. Errors: ErrNoSale, those of [slot.Owner.Find].
func (d *Desk) Find(ctx context.Context, event ulid.ULID, user string, order ulid.ULID) (ledger.Order, error) {
	r, err := d.askUser(ctx, event, user, func(k int) *rpc.Question { return rpc.NewFind(event, k, user, order) })
	return r.Order(), err
}

// OrdersOf lists a buyer's orders of a sale. Errors: ErrNoSale, those of
// [slot.Owner.OrdersOf].
func (d *Desk) OrdersOf(ctx context.Context, event ulid.ULID, user string) ([]ledger.Order, error) {
	r, err := d.askUser(ctx, event, user, func(k int) *rpc.Question { return rpc.NewList(event, k, user) })
	return r.Orders, err
}

func (d *Desk) askUser(ctx context.Context, event ulid.ULID, user string, ask func(k int) *rpc.Question) (rpc.Reply, error) {
	slots, ok := d.keeper.Slots(event)
	switch {
	case !ok && !d.cfg.Valid():
		return rpc.Reply{}, errOutOfPlace
	case !ok:
		return rpc.Reply{}, ErrNoSale
	}
	k := record.SlotOf(user, slots)
	return d.ask(ctx, event, k, func() *rpc.Question { return ask(k) })
}

// ask puts a question to whoever owns the slot, until it is decided or ctx ends.
// Every question can be put more than once.
func (d *Desk) ask(ctx context.Context, event ulid.ULID, k int, question func() *rpc.Question) (rpc.Reply, error) {
	for {
		at, ok := d.keeper.Find(event, k)
		switch {
		case (!ok || at.Owner != nil) && !d.cfg.Valid():
			return rpc.Reply{}, errOutOfPlace
		case !ok:
			return rpc.Reply{}, ErrNoSale
		}
		reply, err := d.put(ctx, at, question())
		if !errors.Is(err, slot.ErrUndecided) || ctx.Err() != nil {
			return reply, err
		}
		timer := time.NewTimer(retryPause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return rpc.Reply{}, fmt.Errorf("%w: %w", err, context.Cause(ctx))
		case <-at.Moved:
		case <-timer.C:
		}
		timer.Stop()
	}
}

var errOutOfPlace = fmt.Errorf("this process has lost its place in the cluster: %w", slot.ErrUndecided)

var errNoOwner = fmt.Errorf("the slot has no owner at present: %w", slot.ErrUndecided)

func (d *Desk) put(ctx context.Context, at keeper.Place, q *rpc.Question) (rpc.Reply, error) {
	if at.Owner != nil {
		return q.Put(ctx, at.Owner)
	}
	addr := d.address(at.Remote)
	if addr == "" {
		return rpc.Reply{}, errNoOwner
	}
	reply, err := d.client.Ask(ctx, at.Remote, addr, q)
	switch {
	case errors.Is(err, rpc.ErrUnreachable), errors.Is(err, rpc.ErrReplaced):
		d.keeper.Suspect(at.Remote)
	case !errors.Is(err, slot.ErrUndecided):
		d.keeper.Trust(at.Remote)
	}
	return reply, err
}

// address is where a process answers others, "" if it is not listed.
func (d *Desk) address(incarnation string) string {
	for _, n := range d.cfg.Directory.Nodes() {
		if incarnation != "" && n.Incarnation == incarnation {
			return n.RPC
		}
	}
	return ""
}
