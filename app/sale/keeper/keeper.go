// Package keeper keeps a process the owner of those slots that fall to it.
//
// Which slots these are is proposed by hashing over the processes that the
// registry lists, so that all agree without talking, mostly. It is no more than a
// proposal: what counts is a slot's record, and an owner is safe from any mistake
// here (package slot).
//
// A process takes a slot that has no owner, or one that is not listed any more or
// can't be reached, if it is the first in the slot's ranking among those that are
// left. A newcomer that ranks higher waits until the owner, which sees that too,
// has released the slot. So does a process that says in the registry that it is
// draining: it hands its slots over while it still answers.
package keeper

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/slot"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/registry"
)

const (
	// unreachable is for how long an owner that is listed has to be out of reach,
	// each time it is asked, before another one takes its slots.
	unreachable = 3 * time.Second

	// unrelated is the time from one failure to another that says nothing about what
	// was in between.
	unrelated = 3 * unreachable

	// forgiven is how old the last failure is of one that is heard otherwise.
	forgiven = 30 * time.Second

	// The pauses between attempts to take a slot: from the first to the longest,
	// doubled by each that did not last.
	firstPause   = 100 * time.Millisecond
	longestPause = 10 * time.Second

	// lasting is how long an owner has to last for the pauses to begin anew.
	lasting = 30 * time.Second
)

// A Config says for whom to keep slots.
type Config struct {
	Store       backend.Store
	Directory   *registry.Directory // somebody has to run it
	Incarnation ulid.ULID           // under which this process is registered
	Logger      *slog.Logger
}

// A Keeper has to be Run. It is safe for concurrent use.
type Keeper struct {
	cfg    Config
	events *backend.Mirror
	news   atomic.Bool   // of events
	dirty  chan struct{} // holds a token while there may be something to do
	known  chan struct{} // closed when the sales that are open have been found

	running sync.WaitGroup // sales

	payWithin atomic.Int64 // seconds, 0: as events say
	waiting   atomic.Int64

	mu       sync.Mutex
	sales    map[ulid.ULID]*sale
	suspects map[string]suspicion // by incarnation
}

// A suspicion is of a process that was out of reach each time it was asked, from the
// first to the last.
type suspicion struct{ first, last time.Time }

func (s suspicion) isGrave() bool { return s.last.Sub(s.first) >= unreachable }

// A sale is an event whose slots are kept.
type sale struct {
	keeper *Keeper
	id     ulid.ULID
	slots  *backend.Mirror
	pool   *backend.Mirror
	ctx    context.Context // of everything the sale starts
	stop   context.CancelFunc

	running sync.WaitGroup // owners, and takeovers

	stock atomic.Pointer[record.Pool] // nil: not known

	mu    sync.Mutex
	terms record.Event
	known []*record.Slot // by slot, nil: not known
	own   []tenure       // by slot
	moved chan struct{}  // closed and replaced when a slot may have another owner

	eligible   []string // the processes that favourites is for
	favourites []string // by slot
}

// A tenure is this process's part in the life of a slot.
type tenure struct {
	taking bool
	owner  *slot.Owner // nil: not ours
	begun  time.Time
	end    context.CancelFunc
	pause  time.Duration
	notYet time.Time // before that it is not tried again
}

// New makes a keeper. It is told of the directory's changes for as long as that
// runs, so it should live as long.
func New(cfg Config) *Keeper {
	k := &Keeper{cfg: cfg, dirty: make(chan struct{}, 1), known: make(chan struct{}), sales: map[ulid.ULID]*sale{}, suspects: map[string]suspicion{}}
	k.SetWaiting(slot.DefaultWaiting)
	k.events = backend.NewMirror(cfg.Store, record.EventsDir, func(backend.Update) {
		k.news.Store(true)
		k.nudge()
	})
	cfg.Directory.Subscribe(func(registry.Change) { k.nudge() })
	return k
}

// SetPayWithin has the owners of this process give new orders so long to be paid, in
// whole seconds; 0: as long as their event says.
func (k *Keeper) SetPayWithin(d time.Duration) { k.payWithin.Store(int64(d / time.Second)) }

// SetWaiting bounds how many requests wait for the decision of one slot, as
// [slot.Config] says. n is at least 1.
func (k *Keeper) SetWaiting(n int) { k.waiting.Store(int64(max(n, 1))) }

// Waiting is what was set last, or slot.DefaultWaiting.
func (k *Keeper) Waiting() int { return int(k.waiting.Load()) }

func (k *Keeper) nudge() {
	select {
	case k.dirty <- struct{}{}:
	default:
	}
}

// Run keeps slots until ctx ends; then it releases them and returns nil.
func (k *Keeper) Run(ctx context.Context) error {
	defer k.running.Wait()
	k.running.Go(func() { keep(ctx, k.cfg.Logger, "follow the events", k.events.Run) })
	defer k.endAll()
	ticker := time.NewTicker(firstPause)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.dirty:
		case <-ticker.C:
		}
		k.learn(ctx)
		k.absolve()
		now := k.census()
		for _, s := range k.list() {
			s.settle(now) //nolint:contextcheck // a sale has its own
		}
	}
}

// keep runs f again and again until ctx ends.
func keep(ctx context.Context, log *slog.Logger, what string, f func(context.Context) error) {
	for ctx.Err() == nil {
		if err := f(ctx); ctx.Err() == nil {
			log.Warn("failed, will be tried again", "task", what, "error", err)
			timer := time.NewTimer(time.Second)
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
			timer.Stop()
		}
	}
}

// Known is closed when this process has found the sales that are open: from then on it
// can say where each is decided.
func (k *Keeper) Known() <-chan struct{} { return k.known }

// learn follows the events, and takes note when all of them have come.
func (k *Keeper) learn(ctx context.Context) {
	all := k.Synced()
	k.follow(ctx)
	if all && !isClosed(k.known) {
		close(k.known)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// follow begins and ends sales, as the events say, if they say something new.
func (k *Keeper) follow(ctx context.Context) {
	if !k.news.Swap(false) {
		return
	}
	open := map[ulid.ULID]bool{}
	for entry := range k.events.All() {
		e, err := event.Decode(entry)
		if err != nil || !isOpen(e.Status) {
			continue
		}
		open[e.ID] = true
		k.sale(ctx, e)
	}
	for _, s := range k.list() {
		if !open[s.id] {
			k.endSale(s)
		}
	}
}

// isOpen: what is suspended or closing still has orders to be paid.
func isOpen(s record.Status) bool {
	return s == record.StatusOnline || s == record.StatusOffline || s == record.StatusClosing
}

func (k *Keeper) list() []*sale {
	k.mu.Lock()
	defer k.mu.Unlock()
	sales := make([]*sale, 0, len(k.sales))
	for _, s := range k.sales {
		sales = append(sales, s)
	}
	return sales
}

// sale begins an event's sale, or tells it of a change.
func (k *Keeper) sale(ctx context.Context, e event.Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s, ok := k.sales[e.ID]; ok {
		s.setTerms(e.Event)
		return
	}
	// It ends with endSale, which Run calls: not while Run may start something in it.
	own, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &sale{
		keeper: k, id: e.ID, ctx: own, stop: stop, terms: e.Event,
		known: make([]*record.Slot, e.Slots), own: make([]tenure, e.Slots), moved: make(chan struct{}),
	}
	// Two watches, since on Consul a change of the pool would send the slots again;
	// and owners follow the pool anyway.
	s.slots = backend.NewMirror(k.cfg.Store, record.SlotsDir(e.ID), func(backend.Update) { s.readSlots(); k.nudge() })
	s.pool = backend.NewMirror(k.cfg.Store, record.PoolKey(e.ID), func(backend.Update) { s.readPool() })
	k.sales[e.ID] = s
	k.running.Go(s.run)
}

// endSale forgets a sale. Its slots are released in its own time.
func (k *Keeper) endSale(s *sale) {
	k.mu.Lock()
	delete(k.sales, s.id)
	k.mu.Unlock()
	s.stop()
	s.tell()
}

func (k *Keeper) endAll() {
	for _, s := range k.list() {
		k.endSale(s)
	}
}

// Event is an event as it is now, open or not; false if this process knows of none.
func (k *Keeper) Event(id ulid.ULID) (record.Event, bool) {
	entry, ok := k.events.Get(record.EventKey(id))
	if !ok {
		return record.Event{}, false
	}
	e, err := record.DecodeEvent(entry)
	return e, err == nil
}

// Synced reports whether the events have been read.
func (k *Keeper) Synced() bool { return isClosed(k.events.Synced()) }

// Events are all events that can be read, the oldest first.
func (k *Keeper) Events() []event.Event {
	var events []event.Event
	for entry := range k.events.All() {
		if e, err := event.Decode(entry); err == nil {
			events = append(events, e)
		}
	}
	return events
}

// Suspect tells that a process could not be reached just now, Trust that it answered.
func (k *Keeper) Suspect(incarnation string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	s, ok := k.suspects[incarnation]
	if !ok || now.Sub(s.last) >= unrelated && !s.isGrave() {
		s.first = now
	}
	s.last = now
	k.suspects[incarnation] = s
}

// Trust is described at [Keeper.Suspect].
func (k *Keeper) Trust(incarnation string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.suspects, incarnation)
}

// Heard tells that a process was heard, though it was not asked anything. One that has
// lost its slots would not be asked again. So it is given a chance, but not while it
// does not answer.
func (k *Keeper) Heard(incarnation string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s, ok := k.suspects[incarnation]; ok && time.Since(s.last) >= forgiven {
		delete(k.suspects, incarnation)
	}
}

// A census is which processes own slots, and which may take them.
type census struct {
	here     []string // listed, and in reach as far as this process knows
	eligible []string // those of them that stay: all, if none does
}

func (k *Keeper) census() census {
	var c census
	for _, n := range k.reachable() {
		c.here = append(c.here, n.Incarnation)
		if stays(n) {
			c.eligible = append(c.eligible, n.Incarnation)
		}
	}
	if len(c.eligible) == 0 {
		c.eligible = c.here
	}
	return c
}

// stays: one that is about to stop, or that an operator has drained, hands its
// slots over.
func stays(n registry.Node) bool { return !n.Draining && n.Drain == nil }

func (k *Keeper) reachable() []registry.Node {
	nodes := k.cfg.Directory.Nodes()
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.DeleteFunc(nodes, func(n registry.Node) bool {
		return n.Incarnation == "" || k.suspects[n.Incarnation].isGrave()
	})
}

// absolve forgets what was suspected of processes that are gone.
func (k *Keeper) absolve() {
	listed := map[string]bool{}
	for _, n := range k.cfg.Directory.Nodes() {
		listed[n.Incarnation] = true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	maps.DeleteFunc(k.suspects, func(incarnation string, _ suspicion) bool { return !listed[incarnation] })
}

// Yielded reports whether this process has handed its slots over, or nobody stays
// to whom it could.
func (k *Keeper) Yielded() bool {
	others := slices.ContainsFunc(k.reachable(), func(n registry.Node) bool {
		return stays(n) && n.Incarnation != k.cfg.Incarnation.String()
	})
	return !others || !k.OwnsAny()
}

// OwnsAny reports whether this process owns a slot, or is about to.
func (k *Keeper) OwnsAny() bool { return slices.ContainsFunc(k.list(), (*sale).ownsAny) }
