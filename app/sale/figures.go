package sale

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/figures"
	"github.com/seed27495941/seckill/app/sale/keeper"
	"github.com/seed27495941/seckill/app/sale/record"
)

const (
	// countEvery is how often figures are put together, and told if they have changed.
	countEvery = 250 * time.Millisecond

	// followEvery is how often it is looked which processes there are to be heard.
	followEvery = time.Second
)

// Figures are how a sale stands, approximately: put together from what the owners
// of its slots have told, each at its own time. They are for people to look at.
// Nothing may be decided by them.
type Figures struct {
	Status    record.Status // of the event, as this process sees it
	Total     int64         // units there are
	Held      int64         // in orders, at most Total
	Remaining int64         // Total less Held

	// SoldOut says that every unit was in an order when the mark was set that this
	// process sees; it may just have been cleared.
	SoldOut bool

	Slots []SlotFigures // by number; shared, and not to be modified
	At    time.Time     // of the oldest of them; zero if there is a slot that was never heard

	// Refused is how many requests for an order were refused by the processes that this
	// one has heard of, also those that have ended since: by reason (figures.Reasons), none
	// of 0; shared, and not to be modified. Each counts since it has known the sale to be open.
	Refused map[string]int64
}

// SlotFigures are those of one slot.
type SlotFigures struct {
	Owner   string    // the incarnation that has it by its record, record.Nobody or record.Closed
	Epoch   uint64    // of its record
	Granted int64     // units, by the pool
	Held    int64     // of these in orders, as an owner told last; if none ever did, all of them
	At      time.Time // when the owner last said so, zero: never
}

// Figures tells how an open sale stands, as of less than a second ago where all is
// well. It does not block, and touches no store. false: there is no such sale, or
// nothing is known yet.
func (d *Desk) Figures(event ulid.ULID) (Figures, bool) {
	f, ok := (*d.current.Load())[event]
	return f, ok
}

// AllFigures tells how every open sale stands, as Figures does. The map is shared, and
// not to be modified.
func (d *Desk) AllFigures() map[ulid.ULID]Figures { return *d.current.Load() }

// SoldOut reports whether a sale seems to be sold out: the mark is set in the pool as
// this process sees it, and the process's own lease is valid. It lags behind the store
// as the watch of the pool does, and no request may be refused for it: one that is made
// again gets its order even then. [Desk.Order] tells them apart, at little cost while
// this is so: it asks a slot's owner once for all who wait.
func (d *Desk) SoldOut(event ulid.ULID) bool {
	_, soldOut := d.soldOut(event)
	return soldOut
}

// soldOut is that, with the number of the event's slots.
func (d *Desk) soldOut(event ulid.ULID) (slots int, ok bool) {
	p, ok := d.keeper.Pool(event)
	if !ok || !p.SoldOut || !d.cfg.Valid() {
		return 0, false
	}
	return len(p.Granted), true
}

// Refused counts a request for an order that this process has answered with a refusal, if
// the sale is open: for one of figures.Reasons, another one counts as figures.Other.
func (d *Desk) Refused(event ulid.ULID, reason string) { d.refused.Add(event, reason) }

// isOpen reports whether this process knows a sale to be open.
func (d *Desk) isOpen(event ulid.ULID) bool {
	_, ok := d.keeper.Slots(event)
	return ok
}

// Subscribe has f called after a sale's figures have changed, a few times a second
// at most, and when it is over, until stop is called. That more requests were refused is
// no change: else each of a crowd that comes too late would wake all who look on. f must
// not block, nor call stop.
func (d *Desk) Subscribe(event ulid.ULID, f func()) (stop func()) {
	return d.watchers.add(event, f)
}

// count puts the figures together until ctx ends.
func (d *Desk) count(ctx context.Context) {
	ticker := time.NewTicker(countEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		sales := d.keeper.Sales()
		d.tell(sales)
		last, now := *d.current.Load(), make(map[ulid.ULID]Figures, len(sales))
		for _, s := range sales {
			if f, ok := d.figures(s); ok {
				now[s.Event] = f
			}
		}
		d.current.Store(&now)
		d.watchers.call(changes(last, now))
	}
}

// changes are the sales whose figures are not what they were.
func changes(last, now map[ulid.ULID]Figures) map[ulid.ULID]bool {
	changed := map[ulid.ULID]bool{}
	for event, f := range now {
		before, ok := last[event]
		changed[event] = !ok || !same(before, f)
	}
	for event := range last {
		if _, ok := now[event]; !ok {
			changed[event] = true
		}
	}
	return changed
}

// tell tells the other processes about the slots that this one owns, and its refusals.
func (d *Desk) tell(sales []keeper.Sale) {
	var own []figures.Slot
	for _, s := range sales {
		for k, o := range s.Own {
			if o != nil {
				own = append(own, figures.Slot{Event: s.Event, Slot: k, Epoch: o.Epoch(), Held: o.Held()})
			}
		}
	}
	d.board.Tell(d.cfg.Incarnation.String(), figures.Report{Slots: own, Refusals: d.refused.All()})
	d.board.Keep(d.isOpen)
	d.refused.Forget()
}

func (d *Desk) figures(s keeper.Sale) (f Figures, ok bool) {
	pool, ok := d.keeper.Pool(s.Event)
	if !ok {
		return Figures{}, false
	}
	f = Figures{Status: s.Status, Total: pool.Total, SoldOut: pool.SoldOut, Slots: make([]SlotFigures, len(s.Slots)), At: time.Now()}
	f.Refused = d.board.Refused(s.Event)
	for k, r := range s.Slots {
		x := SlotFigures{Owner: r.Owner, Epoch: r.Epoch, Granted: pool.Granted[k], Held: pool.Granted[k]}
		if heard, at, ok := d.board.Get(s.Event, k); ok {
			x.Held, x.At = heard.Held, at
		}
		f.Slots[k] = x
		f.Held += x.Held
		if x.At.Before(f.At) {
			f.At = x.At
		}
	}
	if f.Held = min(f.Held, f.Total); f.SoldOut {
		f.Held = f.Total
	}
	f.Remaining = f.Total - f.Held
	return f, true
}

// same compares figures, whenever they are of, but for refusals: see [Desk.Subscribe].
func same(a, b Figures) bool {
	return a.Status == b.Status && a.Total == b.Total && a.SoldOut == b.SoldOut && slices.EqualFunc(a.Slots, b.Slots, func(a, b SlotFigures) bool {
		a.At, b.At = time.Time{}, time.Time{}
		return a == b
	})
}

// A hearing is that of another process.
type hearing struct {
	listed atomic.Bool   // the process is
	over   chan struct{} // closed when it is heard no more
}

func (h *hearing) isOver() bool {
	select {
	case <-h.over:
		return true
	default:
		return false
	}
}

// follow hears the figures of all other processes until ctx ends. One that is listed no
// more is heard to its end: it may still be answering buyers who came before.
func (d *Desk) follow(ctx context.Context) {
	var following sync.WaitGroup
	defer following.Wait()
	peers := map[string]*hearing{} // by incarnation
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	for {
		here := map[string]bool{}
		for _, n := range d.cfg.Directory.Nodes() {
			if n.Incarnation == "" || n.Incarnation == d.cfg.Incarnation.String() || n.RPC == "" {
				continue
			}
			here[n.Incarnation] = true
			if h := peers[n.Incarnation]; h == nil || h.isOver() {
				h = &hearing{over: make(chan struct{})}
				h.listed.Store(true)
				peers[n.Incarnation] = h
				following.Go(func() { d.hear(ctx, h, n.Incarnation, n.RPC) })
			}
		}
		for incarnation, h := range peers {
			h.listed.Store(here[incarnation])
			if h.isOver() {
				delete(peers, incarnation)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// hear hears one process until ctx ends, or until it can't be heard and is not listed. So
// all others notice when it can't be reached, not only those whom its buyers come to: one
// of them is the next owner of its slots.
func (d *Desk) hear(ctx context.Context, h *hearing, incarnation, addr string) {
	defer close(h.over)
	for ctx.Err() == nil && h.listed.Load() {
		err := d.client.Follow(ctx, incarnation, addr, func(r figures.Report) {
			d.keeper.Heard(incarnation)
			d.board.Hear(incarnation, r)
		})
		if ctx.Err() == nil && h.listed.Load() {
			d.keeper.Suspect(incarnation)
		}
		d.cfg.Logger.Debug("the figures of a process are not heard", "incarnation", incarnation, "error", err)
		timer := time.NewTimer(followEvery)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// watchers are those who want to know of changes. The zero value has none.
type watchers struct {
	mu   sync.Mutex
	last int
	all  map[int]watcher
}

type watcher struct {
	event ulid.ULID
	f     func()
}

func (w *watchers) add(event ulid.ULID, f func()) (remove func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[int]watcher{}
	}
	w.last++
	id := w.last
	w.all[id] = watcher{event, f}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.all, id)
	}
}

// call calls those whose sale has changed.
func (w *watchers) call(changed map[ulid.ULID]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, x := range w.all {
		if changed[x.event] {
			x.f()
		}
	}
}
