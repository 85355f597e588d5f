// Package sale sells: it finds the owner of the slot that a buyer belongs to, in
// this process or another, and has it decide. Packages slot and keeper say how, and
// docs/sale.md has the whole protocol.
package sale

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/seed27495941/seckill/app/sale/figures"
	"github.com/seed27495941/seckill/app/sale/frozen"
	"github.com/seed27495941/seckill/app/sale/keeper"
	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/rpc"
	"github.com/seed27495941/seckill/app/sale/slot"
	"github.com/seed27495941/seckill/app/sale/turnstile"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/registry"
)

// ErrNoSale says that this process knows of no such sale.
var ErrNoSale = errors.New("there is no such sale")

// ErrArchived says that a sale is over, and its orders are not in the store any
// more.
var ErrArchived = frozen.ErrArchived

// retryPause is how long a question waits for a slot to move, before it is put
// again to whoever is said to own it.
const retryPause = 100 * time.Millisecond

// A Config says what a desk works with.
type Config struct {
	Store       backend.Store
	Directory   *registry.Directory // somebody has to run it
	Incarnation ulid.ULID           // under which this process is registered; one that is not owns no slots, and only looks on

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
	frozen *frozen.Reader
	room   room

	turnstiles *turnstile.Turnstiles
	passing    atomic.Int64 // requests that wait there

	reading   sync.Mutex                        // of addresses
	addresses atomic.Pointer[map[string]string] // by incarnation

	refused  *figures.Counter
	board    *figures.Board
	current  atomic.Pointer[map[ulid.ULID]Figures]
	watchers watchers
}

// New makes a desk. It is told of the directory's changes for as long as that
// runs, so it should live as long.
func New(cfg Config) *Desk {
	d := &Desk{
		cfg:    cfg,
		keeper: keeper.New(keeper.Config{Store: cfg.Store, Directory: cfg.Directory, Incarnation: cfg.Incarnation, Logger: cfg.Logger}),
		client: rpc.NewClient(cfg.Dial),
		frozen: frozen.NewReader(cfg.Store),
		board:  figures.NewBoard(),
	}
	d.turnstiles = turnstile.New(d.buyers)
	d.refused = figures.NewCounter(d.isOpen)
	d.current.Store(&map[ulid.ULID]Figures{})
	cfg.Directory.Subscribe(func(registry.Change) { d.readAddresses() })
	d.readAddresses()
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
	}, d.board)
}

// Run owns the slots that fall to this process until ctx ends; then it releases
// them and returns nil.
func (d *Desk) Run(ctx context.Context) error {
	defer d.client.Close()
	defer d.turnstiles.Close()
	defer d.board.Close()
	var background sync.WaitGroup
	defer background.Wait()
	background.Go(func() { d.tidy(ctx) })
	background.Go(func() { d.follow(ctx) })
	background.Go(func() { d.count(ctx) })
	return d.keeper.Run(ctx)
}

// Known is closed when the desk has found the sales that are open. Before that every
// sale is one that it does not know.
func (d *Desk) Known() <-chan struct{} { return d.keeper.Known() }

// Yield waits until this process has handed its slots over, or nobody stays to
// whom it could, or ctx ends. It is for a process that has said in the registry that it
// is draining, and runs on.
//
// succeeded says that somebody is there to have them for sure, whom this process may not
// see in the registry yet: without it, it would be gone before it has seen the other.
func (d *Desk) Yield(ctx context.Context, succeeded bool) {
	yielded := d.keeper.Yielded
	if succeeded {
		yielded = func() bool { return !d.keeper.OwnsAny() }
	}
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !yielded() {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// SetPayWithin has orders that are made from now on wait so long to be paid, in whole
// seconds, where this process decides; 0: as long as their event says. Orders that exist
// keep their deadline.
func (d *Desk) SetPayWithin(t time.Duration) { d.keeper.SetPayWithin(t) }

// SetWaiting bounds how many requests wait in this process for the decision of one slot,
// slot.DefaultWaiting at first: as many for the owner that is here to look at them, as
// many for units, as many for an owner while there is none that can be asked. Four times as
// many may wait for an owner in all slots together, and as many again to hear that it is
// sold out. More are refused: slot.ErrBusy. Those who wait already stay. n is at least 1.
func (d *Desk) SetWaiting(n int) { d.keeper.SetWaiting(n) }

// tidy ends the streams to processes that are gone, and forgets the buyers of sales
// that are over.
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
		d.turnstiles.Keep(func(event ulid.ULID) bool {
			_, open := d.keeper.Slots(event)
			return open
		})
	}
}

// Order asks for units of a sale. ctx bounds how long an answer is waited for;
// created is false if the request was answered before. Errors: ErrNoSale, and those
// of [slot.Owner.Order]: slot.ErrEnded also when the sale is closed or archived, then
// for new requests only as long as the old ones are in the store. After
// slot.ErrUndecided the same request can be made again and gets the one true answer.
func (d *Desk) Order(ctx context.Context, event ulid.ULID, demand ledger.Demand) (order ledger.Order, created bool, err error) {
	if err := demand.Validate(); err != nil {
		return ledger.Order{}, false, err
	}
	if err := d.pass(ctx, event, demand); err != nil {
		return ledger.Order{}, false, err
	}
	r, err := d.askUser(ctx, event, demand.User, func(k int) *rpc.Question { return rpc.NewOrder(event, k, demand) })
	return r.Order(), r.Created, changing(err)
}

// pass refuses a demand at the turnstile of its slot, if the sale seems to be sold out.
// nil: the owner has to be asked.
func (d *Desk) pass(ctx context.Context, event ulid.ULID, demand ledger.Demand) error {
	slots, soldOut := d.soldOut(event)
	if !soldOut {
		return nil
	}
	k := record.SlotOf(demand.User, slots)
	defer d.passing.Add(-1)
	if d.passing.Add(1) > int64(all*d.keeper.Waiting()) {
		return slot.ErrBusy
	}
	return d.turnstiles.Pass(ctx, event, k, demand.User, demand.Quantity)
}

// buyers asks the owner of a slot who has ever got an order there. Where there is none any
// more the log need not be read for that: who comes does.
func (d *Desk) buyers(ctx context.Context, event ulid.ULID, k int, tenure ulid.ULID, since int) (slot.Buyers, error) {
	at, err := d.place(event, k)
	switch {
	case err != nil:
		return slot.Buyers{}, err
	case at.Closed:
		return slot.Buyers{}, slot.ErrEnded
	}
	reply, err := d.put(ctx, at, rpc.NewBuyers(event, k, tenure, since))
	return reply.Buyers, err
}

// Cancel gives an order up. Errors: ErrNoSale, those of [slot.Owner.Cancel], and
// slot.ErrEnded when the sale is closed or archived.
func (d *Desk) Cancel(ctx context.Context, event ulid.ULID, user string, order ulid.ULID) (ledger.Order, error) {
	r, err := d.askUser(ctx, event, user, func(k int) *rpc.Question { return rpc.NewCancel(event, k, user, order) })
	return r.Order(), changing(err)
}

// Pay takes a payment in. Errors: ErrNoSale, those of [slot.Owner.Pay], and
// slot.ErrEnded when the sale is closed or archived: then the payment was not taken,
// and whoever sent it has to give it back.
func (d *Desk) Pay(ctx context.Context, event, order ulid.ULID, payment string) (ledger.Order, error) {
	k := slot.Of(order)
	r, err := d.ask(ctx, event, k, func() *rpc.Question { return rpc.NewPay(event, k, order, payment) })
	return r.Order(), changing(err)
}

// changing is the error of a request that would change something: it does not matter
// to it whether what can't be changed any more is still there.
func changing(err error) error {
	if errors.Is(err, ErrArchived) {
		return slot.ErrEnded
	}
	return err
}

// Find finds a buyer's order, as it is at some moment during the call, whichever
// process answers; of a closed sale too. Errors: ErrNoSale, ErrArchived,
// record.ErrCorrupt, those of [slot.Owner.Find].
func (d *Desk) Find(ctx context.Context, event ulid.ULID, user string, order ulid.ULID) (ledger.Order, error) {
	if user == "" {
		return ledger.Order{}, ledger.ErrNoOrder // nobody has one
	}
	r, err := d.askUser(ctx, event, user, func(k int) *rpc.Question { return rpc.NewFind(event, k, user, order) })
	return r.Order(), err
}

// Lookup finds an order, whose ever it is, as Find does: it is not for buyers.
func (d *Desk) Lookup(ctx context.Context, event, order ulid.ULID) (ledger.Order, error) {
	k := slot.Of(order)
	r, err := d.ask(ctx, event, k, func() *rpc.Question { return rpc.NewFind(event, k, "", order) })
	return r.Order(), err
}

// OrdersOf lists a buyer's orders of a sale, as Find finds one. Errors: ErrNoSale,
// ErrArchived, record.ErrCorrupt, those of [slot.Owner.OrdersOf].
func (d *Desk) OrdersOf(ctx context.Context, event ulid.ULID, user string) ([]ledger.Order, error) {
	r, err := d.askUser(ctx, event, user, func(k int) *rpc.Question { return rpc.NewList(event, k, user) })
	return r.Orders, err
}

// EventOrders are a buyer's orders of one sale.
type EventOrders struct {
	Event  ulid.ULID
	Orders []ledger.Order
}

// maxAsking is how many sales are asked at the same time for one buyer.
const maxAsking = 8

// OrdersOfAll lists a buyer's orders of all sales that this process knows and that
// are not archived, the oldest sale first. With an error, those of a sale or more are
// missing; it is slot.ErrUndecided where this process may not know all sales.
func (d *Desk) OrdersOfAll(ctx context.Context, user string) ([]EventOrders, error) {
	if !d.cfg.Valid() || !d.keeper.Synced() {
		return nil, errOutOfPlace
	}
	events := d.keeper.Events()
	found, faults := make([]EventOrders, len(events)), make([]error, len(events))
	var asking errgroup.Group
	asking.SetLimit(maxAsking)
	for i, e := range events {
		asking.Go(func() error {
			orders, err := d.OrdersOf(ctx, e.ID, user)
			if !errors.Is(err, ErrNoSale) && !errors.Is(err, ErrArchived) {
				found[i], faults[i] = EventOrders{e.ID, orders}, err
			}
			return nil
		})
	}
	_ = asking.Wait() // what went wrong is in faults
	found = slices.DeleteFunc(found, func(o EventOrders) bool { return len(o.Orders) == 0 })
	return found, errors.Join(faults...)
}

func (d *Desk) askUser(ctx context.Context, event ulid.ULID, user string, ask func(k int) *rpc.Question) (rpc.Reply, error) {
	slots, ok := d.keeper.Slots(event)
	if !ok {
		e, ok := d.keeper.Event(event)
		if !ok {
			return rpc.Reply{}, d.noSale()
		}
		slots = e.Slots
	}
	k := record.SlotOf(user, slots)
	return d.ask(ctx, event, k, func() *rpc.Question { return ask(k) })
}

// ask puts a question to whoever owns the slot, until it is decided or ctx ends.
// Every question can be put more than once. Only so many wait for a slot that has no
// owner at present; others are refused: slot.ErrBusy.
func (d *Desk) ask(ctx context.Context, event ulid.ULID, k int, question func() *rpc.Question) (rpc.Reply, error) {
	reply, moved, err := d.try(ctx, event, k, question())
	if !mayTryAgain(ctx, err) {
		return reply, err
	}
	if !d.room.enter(event, k, d.keeper.Waiting()) {
		return rpc.Reply{}, crowded(err)
	}
	defer d.room.leave(event, k)
	asked := false
	for mayTryAgain(ctx, err) {
		asked = asked || !errors.Is(err, errNoOwner)
		timer := time.NewTimer(retryPause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return rpc.Reply{}, fmt.Errorf("%w: %w", err, context.Cause(ctx))
		case <-moved:
		case <-timer.C:
		}
		timer.Stop()
		reply, moved, err = d.try(ctx, event, k, question())
	}
	if asked && errors.Is(err, slot.ErrBusy) {
		return rpc.Reply{}, errAskedBefore
	}
	return reply, err
}

func mayTryAgain(ctx context.Context, err error) bool {
	return errors.Is(err, slot.ErrUndecided) && !errors.Is(err, errOutOfPlace) && ctx.Err() == nil
}

// try puts a question once. moved is closed when the slot may be decided elsewhere;
// nil: nobody tells.
func (d *Desk) try(ctx context.Context, event ulid.ULID, k int, q *rpc.Question) (reply rpc.Reply, moved <-chan struct{}, err error) {
	at, err := d.place(event, k)
	if err != nil {
		return rpc.Reply{}, nil, err
	}
	reply, err = d.put(ctx, at, q)
	return reply, at.Moved, err
}

// errAskedBefore is that nothing was done this time, which says nothing about the
// time before.
var errAskedBefore = fmt.Errorf("too many requests are waiting: %w", slot.ErrUndecided)

var errOutOfPlace = fmt.Errorf("this process has lost its place in the cluster: %w", slot.ErrUndecided)

// place is where an event's slot is decided. Errors: ErrNoSale, ErrArchived,
// errOutOfPlace, ledger.ErrNoOrder for a slot that there is not.
func (d *Desk) place(event ulid.ULID, k int) (keeper.Place, error) {
	at, ok := d.keeper.Find(event, k)
	switch {
	case ok && at.Owner != nil && !d.cfg.Valid():
		return keeper.Place{}, errOutOfPlace
	case ok:
		return at, nil
	}
	e, ok := d.keeper.Event(event)
	switch {
	case !ok || e.Status == record.StatusDraft || e.Status == record.StatusPublishing:
		return keeper.Place{}, d.noSale()
	case e.Status == record.StatusArchived:
		return keeper.Place{}, ErrArchived
	case k >= e.Slots:
		return keeper.Place{}, ledger.ErrNoOrder
	}
	return keeper.Place{Closed: e.Status == record.StatusClosed}, nil // else: it is about to be kept
}

// noSale is the answer about a sale that this process knows nothing of.
func (d *Desk) noSale() error {
	if !d.cfg.Valid() {
		return errOutOfPlace
	}
	return ErrNoSale
}

var errNoOwner = fmt.Errorf("the slot has no owner at present: %w", slot.ErrUndecided)

func (d *Desk) put(ctx context.Context, at keeper.Place, q *rpc.Question) (rpc.Reply, error) {
	switch {
	case at.Owner != nil:
		return q.Put(ctx, at.Owner)
	case at.Closed:
		l, err := d.frozen.Log(ctx, ulid.ULID(q.GetEvent()), int(q.GetSlot()))
		if err != nil {
			return rpc.Reply{}, err
		}
		return q.Put(ctx, l)
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
func (d *Desk) address(incarnation string) string { return (*d.addresses.Load())[incarnation] }

// readAddresses takes note of where processes answer others.
func (d *Desk) readAddresses() {
	d.reading.Lock()
	defer d.reading.Unlock()
	addresses := map[string]string{}
	for _, n := range d.cfg.Directory.Nodes() {
		if n.Incarnation != "" {
			addresses[n.Incarnation] = n.RPC
		}
	}
	d.addresses.Store(&addresses)
}
