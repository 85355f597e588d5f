package sale

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/figures"
	"github.com/seed27495941/seckill/app/sale/keeper"
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
	Total     int64 // units there are
	Held      int64 // in orders, at most Total
	Remaining int64 // Total less Held

	// SoldOut says that every unit was in an order when the mark was set that this
	// process sees; it may just have been cleared.
	SoldOut bool

	Slots []SlotFigures // by number; shared, and not to be modified
	At    time.Time     // of the oldest of them; zero if there is a slot that was never heard
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

// SoldOut reports whether a new request can be told that a sale is sold out without
// asking the owner of its slot: the mark is set in the pool as this process sees it,
// and the process's own lease is valid. It lags behind the store as the watch of the
// pool does, and does not know which requests were answered before: those get their
// order even then.
func (d *Desk) SoldOut(event ulid.ULID) bool {
	p, ok := d.keeper.Pool(event)
	return ok && p.SoldOut && d.cfg.Valid()
}

// Subscribe has f called after a sale's figures have changed, a few times a second
// at most, and when it is over, until stop is called. f must not block, nor call
// stop.
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

// tell tells the other processes about the slots that this one owns.
func (d *Desk) tell(sales []keeper.Sale) {
	open := map[ulid.ULID]bool{}
	var own []figures.Slot
	for _, s := range sales {
		open[s.Event] = true
		for k, o := range s.Own {
			if o != nil {
				own = append(own, figures.Slot{Event: s.Event, Slot: k, Epoch: o.Epoch(), Held: o.Held()})
			}
		}
	}
	d.board.Tell(d.cfg.Incarnation.String(), own)
	d.board.Keep(func(event ulid.ULID) bool { return open[event] })
}

func (d *Desk) figures(s keeper.Sale) (f Figures, ok bool) {
	pool, ok := d.keeper.Pool(s.Event)
	if !ok {
		return Figures{}, false
	}
	f = Figures{Total: pool.Total, SoldOut: pool.SoldOut, Slots: make([]SlotFigures, len(s.Slots)), At: time.Now()}
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

// same compares figures, whenever they are of.
func same(a, b Figures) bool {
	return a.Total == b.Total && a.SoldOut == b.SoldOut && slices.EqualFunc(a.Slots, b.Slots, func(a, b SlotFigures) bool {
		a.At, b.At = time.Time{}, time.Time{}
		return a == b
	})
}

// follow hears the figures of all other processes until ctx ends.
func (d *Desk) follow(ctx context.Context) {
	var following sync.WaitGroup
	defer following.Wait()
	peers := map[string]context.CancelFunc{} // by incarnation
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	for {
		here := map[string]bool{}
		for _, n := range d.cfg.Directory.Nodes() {
			if n.Incarnation == "" || n.Incarnation == d.cfg.Incarnation.String() || n.RPC == "" {
				continue
			}
			here[n.Incarnation] = true
			if peers[n.Incarnation] == nil {
				hearing, cancel := context.WithCancel(ctx)
				peers[n.Incarnation] = cancel
				following.Go(func() { d.hear(hearing, n.Incarnation, n.RPC) })
			}
		}
		for incarnation, cancel := range peers {
			if !here[incarnation] {
				cancel()
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

// hear hears one process until ctx ends. So all others notice when it can't be reached,
// not only those whom its buyers come to: one of them is the next owner of its slots.
func (d *Desk) hear(ctx context.Context, incarnation, addr string) {
	for ctx.Err() == nil {
		err := d.client.Follow(ctx, incarnation, addr, func(s []figures.Slot) {
			d.keeper.Heard(incarnation)
			d.board.Hear(incarnation, s)
		})
		if ctx.Err() == nil {
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
