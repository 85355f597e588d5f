package slot_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/require"

	saleevent "github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/slot"
	"github.com/seed27495941/seckill/app/sale/turnstile"
	"github.com/seed27495941/seckill/app/sale/verify"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
)

var silent = slog.New(slog.DiscardHandler)

var event = ulid.MustParse("01K9ZZZZZZZZZZZZZZZZZZZZZ1")

// A world is one sale on a memory server, with processes that can be cut off and
// killed.
type world struct {
	testing.TB
	server *memory.Server
	store  *memory.Store // sees everything
	terms  record.Event
	nodes  []*process
	most   func() int // may wait, nil: as many as by default

	mu     sync.Mutex
	owners []*owned // the last of each slot
	former []*owned
	acked  map[ulid.ULID]ledger.Order
	paid   []ulid.ULID
	faults []string

	final  bool  // nothing is ever given back: who is told "sold out" must be told the truth
	purged *book // what the log said when the sale was closed, nil: it is not
}

type process struct {
	store backend.Store
	id    ulid.ULID

	turnstiles *turnstile.Turnstiles // nil: none
}

func (w *world) process() *process { return &process{store: w.server.Open(), id: ulid.Make()} }

type owned struct {
	*slot.Owner
	slot    int
	kill    context.CancelFunc
	stopped chan struct{}
	err     error
}

func newWorld(t testing.TB, nodes, slots int, total int64) *world {
	t.Helper()
	w := &world{TB: t, server: memory.NewServer(), owners: make([]*owned, slots), acked: map[ulid.ULID]ledger.Order{}}
	w.store = w.server.Open()
	now := time.Now().Truncate(time.Millisecond)
	w.terms = record.Event{
		Title: "t", SKU: "s", Price: record.Price{Currency: "EUR"},
		Window: record.Window{Opens: now, Closes: now.Add(24 * time.Hour)},
		Total:  total, PerUser: 2, Slots: slots, PayWithin: 3600, Status: record.StatusOnline,
	}
	w.put(record.EventKey(event), w.terms)
	w.put(record.PoolKey(event), record.NewPool(total, slots))
	for k := range slots {
		w.put(record.SlotKey(event, k), record.Slot{})
	}
	for range nodes {
		w.nodes = append(w.nodes, w.process())
	}
	return w
}

func (w *world) put(key string, v any) {
	raw, err := json.Marshal(v)
	require.NoError(w, err)
	_, err = w.store.Put(context.Background(), key, raw)
	require.NoError(w, err)
}

// take has a process take a slot, once; the former owner goes on until it notices.
func (w *world) take(ctx context.Context, node *process, k int) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	o, err := slot.Take(ctx, slot.Config{
		Store: node.store, Event: event, Slot: k, Incarnation: node.id, Logger: silent,
		Terms: w.current, Waiting: w.most,
	})
	if err != nil {
		if errors.Is(err, record.ErrCorrupt) {
			w.blame("take slot %d: %v", k, err)
		}
		return err
	}
	run, kill := context.WithCancel(context.WithoutCancel(ctx))
	own := &owned{Owner: o, slot: k, kill: kill, stopped: make(chan struct{})}
	go func() {
		defer close(own.stopped)
		own.err = o.Run(run)
		if errors.Is(own.err, record.ErrCorrupt) {
			w.blame("slot %d: %v", k, own.err)
		}
	}()
	w.mu.Lock()
	defer w.mu.Unlock()
	if before := w.owners[k]; before != nil {
		w.former = append(w.former, before)
	}
	w.owners[k] = own
	return nil
}

// current is the event as it is now.
func (w *world) current() record.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.terms
}

// payWithin changes how long orders wait for their payment.
func (w *world) payWithin(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.terms.PayWithin = int64(d / time.Second)
}

func (w *world) owner(k int) *owned {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.owners[k]
}

// blame takes note of something that must not happen.
func (w *world) blame(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

// order asks once. An answer that is an order is remembered as acknowledged.
func (w *world) order(ctx context.Context, d ledger.Demand) error {
	o := w.owner(record.SlotOf(d.User, len(w.owners)))
	if o == nil {
		return slot.ErrUndecided
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	order, _, err := o.Order(ctx, d)
	if errors.Is(err, slot.ErrSoldOut) {
		w.doubtSoldOut(d) //nolint:contextcheck // reads what is inside the process
	}
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acked[order.ID] = order
	return nil
}

func undecided(err error) bool {
	return errors.Is(err, slot.ErrUndecided) || errors.Is(err, slot.ErrBusy)
}

// insist asks until there is an answer, or for a minute.
func (w *world) insist(ctx context.Context, d ledger.Demand) error {
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		err := w.order(ctx, d)
		if !undecided(err) || ctx.Err() != nil || time.Since(begun) > time.Minute {
			return err
		}
	}
}

// ownersOf are those that a slot has had, and has.
func (w *world) ownersOf(k int) (owners []*owned) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range append(slices.Clone(w.former), w.owners...) {
		if o != nil && o.slot == k {
			owners = append(owners, o)
		}
	}
	return owners
}

// ackedOf are the orders that a buyer was told to have, and whether they were said to
// be paid.
func (w *world) ackedOf(user string) (acked, paid map[ulid.ULID]bool) {
	acked, paid = map[ulid.ULID]bool{}, map[ulid.ULID]bool{}
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, o := range w.acked {
		if o.User == user {
			acked[id], paid[id] = true, slices.Contains(w.paid, id)
		}
	}
	return acked, paid
}

// openTurnstiles gives a process turnstiles that ask the owners of a slot in turn, those
// that were deposed too. Some answers get lost.
func (w *world) openTurnstiles(n *process, change func(turnstile.Ask) turnstile.Ask) {
	var asked atomic.Int64
	n.turnstiles = turnstile.New(change(func(ctx context.Context, _ ulid.ULID, k int, tenure ulid.ULID, since int) (slot.Buyers, error) {
		owners := w.ownersOf(k)
		if len(owners) == 0 {
			return slot.Buyers{}, slot.ErrUndecided
		}
		number := int(asked.Add(1))
		buyers, err := owners[number%len(owners)].Buyers(ctx, tenure, since)
		time.Sleep(trip)
		if number%5 == 0 {
			return slot.Buyers{}, slot.ErrUndecided
		}
		return buyers, err
	}))
}

// pass is a request that comes to a process which believes that it is sold out. Who is
// told so then had no order before, and could get none.
func (w *world) pass(ctx context.Context, n *process, d ledger.Demand) {
	acked, _ := w.ackedOf(d.User)
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	err := n.turnstiles.Pass(ctx, event, record.SlotOf(d.User, len(w.owners)), d.User, d.Quantity)
	if !errors.Is(err, slot.ErrSoldOut) {
		return
	}
	for id := range acked {
		w.blame("%v was told that it is sold out, and before that to have order %s", d, id)
	}
	w.doubtSoldOut(d) //nolint:contextcheck // reads what is inside the process
}

// doubtSoldOut is about somebody who was told that a sale is sold out.
func (w *world) doubtSoldOut(d ledger.Demand) {
	if left := w.terms.Total - w.read().held; w.final && left >= d.Quantity && w.closedWith() == nil {
		w.blame("%v was told that it is sold out, with %d units left", d, left)
	}
}

// look lists a buyer's orders at an owner, of those the slot has had. If it answers
// then with all that was acknowledged before, and as it is.
func (w *world) look(ctx context.Context, user string, which int) {
	acked, paid := w.ackedOf(user)
	owners := w.ownersOf(record.SlotOf(user, len(w.owners)))
	if len(owners) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	orders, err := owners[which%len(owners)].OrdersOf(ctx, user)
	if err != nil {
		return
	}
	for _, o := range orders {
		if paid[o.ID] && o.Status != ledger.Paid {
			w.blame("order %s was said to be paid, and then to be %s", o.ID, o.Status)
		}
		delete(acked, o.ID)
	}
	for id := range acked {
		w.blame("order %s was acknowledged, and is not in the list of %s", id, user)
	}
}

// purge closes the sale, and deletes it as archiving does. Processes that are told
// nothing of it go on as if it were open.
func (w *world) purge(ctx context.Context) {
	if w.closedWith() != nil {
		return
	}
	e, err := saleevent.Close(ctx, w.store, event)
	require.NoError(w, err)
	for _, fault := range w.check() { //nolint:contextcheck // reads what is inside the process
		w.blame("when it was closed: %s", fault)
	}
	b := w.read() //nolint:contextcheck // as above
	w.mu.Lock()
	w.purged = &b
	w.mu.Unlock()
	e.Status = record.StatusArchived
	w.put(record.EventKey(event), e.Event) //nolint:contextcheck // as above
	entries, _, err := backend.List(ctx, w.store, record.SaleDir(event))
	require.NoError(w, err)
	for _, x := range entries {
		require.NoError(w, w.store.Delete(ctx, x.Key))
	}
}

// closedWith is what the log said when the sale was closed, nil if it is not.
func (w *world) closedWith() *book {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.purged
}

// checkPurged says what is wrong with a sale that was purged.
func (w *world) checkPurged(ctx context.Context) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	faults := w.faults
	for id := range w.acked {
		if w.purged.log[id] != 1 {
			faults = append(faults, fmt.Sprintf("order %s of a sale that was purged", id))
		}
	}
	entries, _, err := backend.List(ctx, w.store, record.SaleDir(event))
	require.NoError(w, err)
	for _, e := range entries {
		faults = append(faults, "a key of a sale that was purged: "+e.Key)
	}
	return faults
}

// stop ends all owners in good order.
func (w *world) stop() {
	for _, n := range w.nodes {
		if n.turnstiles != nil {
			n.turnstiles.Close()
		}
	}
	for _, o := range append(w.former, w.owners...) {
		if o != nil {
			o.kill()
			<-o.stopped
		}
	}
}

// A book is what the log of a sale says, read without the ledger.
type book struct {
	held   int64
	orders map[ulid.ULID]int64 // units held by each
	log    map[ulid.ULID]int   // how often each was ordered
	users  map[string]int64
	asked  map[string]int // by user and request
}

func (w *world) read() book {
	entries, _, err := backend.List(context.Background(), w.store, record.SaleDir(event)+"log/")
	require.NoError(w, err)
	b := book{orders: map[ulid.ULID]int64{}, log: map[ulid.ULID]int{}, users: map[string]int64{}, asked: map[string]int{}}
	owner, quantity := map[ulid.ULID]string{}, map[ulid.ULID]int64{}
	for _, e := range entries {
		var k int
		_, err := fmt.Sscanf(e.Key[len(record.SaleDir(event)+"log/"):], "%d/", &k)
		require.NoError(w, err)
		at, err := record.ParseLogKey(event, k, e.Key)
		require.NoError(w, err)
		batch, err := record.DecodeBatch(event, k, at, e.Value)
		require.NoError(w, err)
		for _, x := range batch.Entries {
			switch x.Kind {
			case record.Ordered:
				owner[x.Order], quantity[x.Order] = x.User, int64(x.Quantity)
				b.orders[x.Order] = int64(x.Quantity)
				b.log[x.Order]++
				b.asked[x.User+"/"+x.Request]++
			case record.Cancelled, record.Expired:
				b.orders[x.Order] = 0
			case record.Revived:
				b.orders[x.Order] = quantity[x.Order]
			case record.Paid, record.RefundDue:
			}
		}
	}
	for id, n := range b.orders {
		b.held += n
		b.users[owner[id]] += n
	}
	return b
}

// check says what is wrong with a sale.
func (w *world) check() []string {
	w.mu.Lock()
	faults := append([]string{}, w.faults...)
	acked := maps.Clone(w.acked) // a sale that is purged goes on meanwhile
	w.mu.Unlock()
	b := w.read()
	say := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	if b.held > w.terms.Total {
		say("oversold: %d units in orders, there are %d", b.held, w.terms.Total)
	}
	for id := range acked {
		if b.log[id] != 1 {
			say("acknowledged order %s is in the log %d times", id, b.log[id])
		}
	}
	for _, id := range w.paid {
		if b.orders[id] == 0 {
			say("order %s was said to be paid, and has no units", id)
		}
	}
	for user, n := range b.users {
		if n > w.terms.PerUser {
			say("%s has %d units, the limit is %d", user, n, w.terms.PerUser)
		}
	}
	for name, n := range b.asked {
		if n != 1 {
			say("request %s has %d orders", name, n)
		}
	}
	var ids []ulid.ULID
	for id := range acked {
		ids = append(ids, id)
	}
	report, err := verify.Check(context.Background(), w.store, event, ids)
	require.NoError(w, err)
	for _, v := range report.Violations {
		say("%s", v)
	}
	if report.Held != b.held {
		say("the checker has %d units in orders, the log %d", report.Held, b.held)
	}
	return faults
}
