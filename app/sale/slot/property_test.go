package slot_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"
	"pgregory.net/rapid"

	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/slot"
	"github.com/seed27495941/seckill/backend"
)

// A fault is what becomes of one write of a process.
type fault int

const (
	refused   fault = iota // it certainly was not made
	lost                   // the request was lost, the process can't know
	unheard                // it was made, the answer was lost
	late                   // it is made seconds later, long after it was given up
	dies                   // the process ends here: nothing of it reaches the store any more
	diesHeard              // it was made, and the process ends
)

// flaky is a process's store, in which the writes named by their number meet a
// fault.
type flaky struct {
	backend.Store
	plan map[int]fault

	mu     sync.Mutex
	writes int
	dead   bool
	behind *sync.WaitGroup // writes on their way
}

// trip is how long a request, and an answer, is on its way.
const trip = 3 * time.Millisecond

func (f *flaky) next() (met fault, ok, dead bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	met, ok = f.plan[f.writes]
	f.writes++
	return met, ok, f.dead
}

func (f *flaky) die() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = true
}

func (f *flaky) isDead() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dead
}

func (f *flaky) Get(ctx context.Context, key string) (backend.Entry, error) {
	if f.isDead() {
		return backend.Entry{}, backend.ErrUnavailable
	}
	return f.Store.Get(ctx, key)
}

func (f *flaky) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	met, ok, dead := f.next()
	if dead {
		return 0, backend.ErrUnavailable
	}
	time.Sleep(trip)
	if !ok {
		defer time.Sleep(trip)
		return f.Store.Put(ctx, key, value, opts...)
	}
	switch met {
	case refused:
		return 0, backend.ErrUnavailable
	case lost:
		return 0, backend.ErrUnknown
	case unheard:
		_, _ = f.Store.Put(ctx, key, value, opts...)
		return 0, backend.ErrUnknown
	case late:
		f.behind.Go(func() {
			time.Sleep(700 * time.Millisecond)
			_, _ = f.Store.Put(context.WithoutCancel(ctx), key, value, opts...)
		})
		return 0, backend.ErrUnknown
	case diesHeard:
		_, _ = f.Store.Put(ctx, key, value, opts...)
		fallthrough
	default:
		f.die()
		return 0, backend.ErrUnknown
	}
}

// A scenario is what happens in a world, drawn before it begins so that it shrinks.
type scenario struct {
	Nodes, Slots int
	Total        int64
	Short        bool            // orders expire soon
	Plans        []map[int]fault // of each node
	Steps        []step
}

// A step happens some time after the one before.
type step struct {
	After    time.Duration
	Kind     string // take, order, pass, pay, look, cancel, purge
	Node     int
	Slot     int
	User     int
	Request  int
	Quantity int64
}

func scenarios() *rapid.Generator[scenario] {
	return rapid.Custom(func(t *rapid.T) scenario {
		slots, total, users, acts := 3, int64(10), 6, 1
		rare := rapid.Bool().Draw(t, "rare") // it is sold out soon, and again, and much happens then
		if rare {
			slots, total, users, acts = 1, 2, 3, 3
		}
		s := scenario{
			Nodes: rapid.IntRange(1, 3).Draw(t, "nodes"),
			Slots: rapid.IntRange(1, slots).Draw(t, "slots"),
			Total: rapid.Int64Range(1, total).Draw(t, "total"),
			Short: rapid.Bool().Draw(t, "short"),
		}
		for range s.Nodes {
			s.Plans = append(s.Plans, rapid.MapOfN(rapid.IntRange(0, 12), rapid.SampledFrom([]fault{refused, lost, unheard, late, dies, diesHeard}), 0, 4).Draw(t, "plan"))
		}
		kinds := []string{"order", "order", "order", "pass", "pass", "take", "pay", "look"}
		if rapid.Bool().Draw(t, "cancels") {
			kinds = append(kinds, "cancel")
		}
		if !rare && rapid.IntRange(0, 3).Draw(t, "purges") == 3 {
			kinds = append(kinds, "purge")
		}
		act := rapid.SliceOfN(steps(kinds, s.Nodes, s.Slots, users), 0, 60)
		for range acts {
			s.Steps = append(s.Steps, act.Draw(t, "steps")...)
		}
		return s
	})
}

func steps(kinds []string, nodes, slots, users int) *rapid.Generator[step] {
	return rapid.Custom(func(t *rapid.T) step {
		return step{
			After:    rapid.SampledFrom([]time.Duration{0, time.Millisecond, 4 * time.Millisecond, 30 * time.Millisecond, 400 * time.Millisecond, time.Second}).Draw(t, "after"),
			Kind:     rapid.SampledFrom(kinds).Draw(t, "kind"),
			Node:     rapid.IntRange(0, nodes-1).Draw(t, "node"),
			Slot:     rapid.IntRange(0, slots-1).Draw(t, "slot"),
			User:     rapid.IntRange(0, users-1).Draw(t, "user"),
			Request:  rapid.IntRange(0, 2).Draw(t, "request"),
			Quantity: rapid.Int64Range(1, 2).Draw(t, "quantity"),
		}
	})
}

// crowded are scenarios of one slot that is sold out nearly always, of which all stores
// are well: those in which turnstiles have most to do.
func crowded() *rapid.Generator[scenario] {
	return rapid.Custom(func(t *rapid.T) scenario {
		s := scenario{Nodes: rapid.IntRange(1, 2).Draw(t, "nodes"), Slots: 1, Total: rapid.Int64Range(1, 2).Draw(t, "total")}
		s.Plans = make([]map[int]fault, s.Nodes)
		kinds := []string{"order", "order", "pass", "pass", "pass", "cancel", "take"}
		s.Steps = rapid.SliceOfN(steps(kinds, s.Nodes, 1, 3), 0, 60).Draw(t, "steps")
		return s
	})
}

// run plays a scenario and says what went wrong. defect is what is wrong with the
// processes' stores, if there is anything.
func (s scenario) run(t *testing.T, defect defect) (faults []string) {
	w := newWorld(t, s.Nodes, s.Slots, s.Total)
	w.final = !s.Short && !slices.ContainsFunc(s.Steps, func(x step) bool { return x.Kind == "cancel" })
	if s.Short {
		w.payWithin(time.Second)
	}
	var behind, clients sync.WaitGroup
	for i, n := range w.nodes {
		w.openTurnstiles(n, defect.ask)
		n.store = defect.above(&flaky{Store: defect.below(w.server.Open()), plan: s.Plans[i], behind: &behind})
	}
	for k := range s.Slots {
		_ = w.take(t.Context(), w.nodes[k%s.Nodes], k)
	}
	var mu sync.Mutex
	var undecidedYet []ledger.Demand
	for _, x := range s.Steps {
		time.Sleep(x.After)
		d := ledger.Demand{User: fmt.Sprint("u", x.User), Request: fmt.Sprint(x.Request), Quantity: x.Quantity}
		switch x.Kind {
		case "take":
			clients.Go(func() { _ = w.take(t.Context(), w.nodes[x.Node], x.Slot) })
		case "order":
			clients.Go(func() {
				if undecided(w.order(t.Context(), d)) {
					mu.Lock()
					defer mu.Unlock()
					undecidedYet = append(undecidedYet, d)
				}
			})
		case "pass":
			clients.Go(func() { w.pass(t.Context(), w.nodes[x.Node], d) })
		case "cancel":
			clients.Go(func() {
				w.withOrder(t.Context(), d.User, func(ctx context.Context, o *owned, id ulid.ULID) { _, _ = o.Cancel(ctx, d.User, id) })
			})
		case "pay":
			clients.Go(func() {
				w.withOrder(t.Context(), d.User, func(ctx context.Context, o *owned, id ulid.ULID) { w.pay(ctx, o, id) })
			})
		case "look":
			clients.Go(func() { w.look(t.Context(), d.User, x.Node) })
		case "purge":
			w.purge(t.Context())
		}
	}
	clients.Wait()
	if w.closedWith() != nil {
		w.stop()
		behind.Wait()
		return w.checkPurged(t.Context())
	}

	// A process that is well takes everything over, and demand goes on.
	well := w.process()
	well.store = defect.above(defect.below(well.store))
	for k := range s.Slots {
		err := w.take(t.Context(), well, k)
		for errors.Is(err, backend.ErrConflict) { // one that was on its way came in between
			err = w.take(t.Context(), well, k)
		}
		if err != nil {
			w.blame("the last takeover of slot %d: %v", k, err)
		}
	}
	if len(w.faults) > 0 {
		w.stop()
		behind.Wait()
		return w.faults
	}
	time.Sleep(2 * time.Second) // what expires soon has expired
	w.payWithin(time.Hour)
	for _, d := range undecidedYet {
		if err := w.insist(t.Context(), d); undecided(err) {
			w.blame("request %v stays undecided: %v", d, err)
		}
	}
	w.drain(t.Context())
	w.stop()
	behind.Wait()
	faults = w.check()
	if b := w.read(); b.held != s.Total {
		faults = append(faults, fmt.Sprintf("stranded: %d of %d units sold, with demand left over", b.held, s.Total))
	}
	return faults
}

// drain buys what is left, at every slot. A slot that has units to spare when the
// sale is marked as sold out clears the mark in its own time.
func (w *world) drain(ctx context.Context) {
	time.Sleep(time.Second)
	for i := range int(w.terms.Total) * 20 {
		err := w.insist(ctx, ledger.Demand{User: fmt.Sprint("last", i), Request: "1", Quantity: 1})
		if err != nil && !errors.Is(err, slot.ErrSoldOut) {
			w.blame("drain: %v", err)
			return
		}
	}
}

// withOrder calls f with one of a buyer's orders, if there is any.
func (w *world) withOrder(ctx context.Context, user string, f func(ctx context.Context, o *owned, id ulid.ULID)) {
	w.mu.Lock()
	var mine []ulid.ULID
	for _, o := range w.acked {
		if o.User == user {
			mine = append(mine, o.ID)
		}
	}
	w.mu.Unlock()
	o := w.owner(record.SlotOf(user, len(w.owners)))
	if len(mine) == 0 || o == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	f(ctx, o, slices.MinFunc(mine, ulid.ULID.Compare))
}

// pay pays an order. One that is said to be paid must be so in the end.
func (w *world) pay(ctx context.Context, o *owned, id ulid.ULID) {
	order, err := o.Pay(ctx, id, "payment of "+id.String())
	if err != nil || order.Status != ledger.Paid {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.paid = append(w.paid, id)
}

// Whatever happens to processes and their writes, between any two of them: no
// unit is sold twice, no acknowledged order is lost, and none is stranded.
func TestNothingIsOversoldLostOrStranded(t *testing.T) { none.isHarmless(t) }

// Owners may have the buyers in different orders: nobody goes on with the list of one
// where that of another has ended.
func TestNothingHangsOnTheOrderOfBuyers(t *testing.T) {
	defect{"buyers in another order", asItIs, asItIs, backwards}.isHarmless(t)
}

func (d defect) isHarmless(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := scenarios().Draw(r, "scenario")
		var faults []string
		synctest.Test(t, func(t *testing.T) { faults = s.run(t, d) })
		if len(faults) > 0 {
			r.Fatalf("%q", faults)
		}
	})
}
