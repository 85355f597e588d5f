// Package catalogue is what buyers can look at: events, the goods they sell, and
// topics, which are pages of events. It is in memory, follows the store, and goes on
// with what it knows while the store is away.
//
// What can't be read is left out and reported. Drafts, and what is still being
// published, are not in it.
package catalogue

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
)

// longestWait bounds the wait for an opening or closing: a clock may be set
// meanwhile.
const longestWait = 10 * time.Second

// A Catalogue has to be Run, and is safe for concurrent use.
type Catalogue struct {
	log    *slog.Logger
	events *shelf[event.Event]
	goods  *shelf[record.Goods]
	topics *shelf[record.Topic]
	dirty  chan struct{} // holds a token while the next boundary may be another one

	current atomic.Pointer[page]

	mu      sync.Mutex
	changed chan struct{} // closed and replaced with each change
}

// A page is what there is to see at a moment, put in order.
type page struct {
	events []event.Event           // in the order of Compare
	goods  map[string]record.Goods // by SKU
}

// New prepares the catalogue of a namespace.
func New(s backend.Store, log *slog.Logger) *Catalogue {
	c := &Catalogue{log: log, dirty: make(chan struct{}, 1), changed: make(chan struct{})}
	c.current.Store(&page{})
	c.events = newShelf(s, record.EventsDir, log, event.Decode, c.tell)
	c.goods = newShelf(s, record.GoodsDir, log, record.DecodeGoods, c.tell)
	c.topics = newShelf(s, record.TopicsDir, log, record.DecodeTopic, c.tell)
	return c
}

// Run follows the store until ctx ends; then it returns nil. A watch that fails is
// begun again; only a closed store (backend.ErrClosed) ends Run early.
func (c *Catalogue) Run(ctx context.Context) error {
	g, running := errgroup.WithContext(ctx)
	for _, follow := range []func(context.Context) error{c.events.follow, c.goods.follow, c.topics.follow} {
		g.Go(func() error { return follow(running) })
	}
	g.Go(func() error {
		c.keepTime(running)
		return nil
	})
	return g.Wait()
}

func (c *Catalogue) mirrors() []*backend.Mirror {
	return []*backend.Mirror{c.events.mirror, c.goods.mirror, c.topics.mirror}
}

// keepTime tells of a change whenever an event opens or closes, until ctx ends.
func (c *Catalogue) keepTime(ctx context.Context) {
	for {
		wait, ok := c.nextBoundary()
		timer := time.NewTimer(wait)
		if !ok {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-c.dirty:
			timer.Stop()
		case <-timer.C:
			c.wake()
		}
	}
}

// nextBoundary is how long it is to the next opening or closing, false if there is
// none.
func (c *Catalogue) nextBoundary() (wait time.Duration, ok bool) {
	now := time.Now()
	var next time.Time
	for _, e := range c.current.Load().events {
		if at, changes := boundary(e, now); changes && (!ok || at.Before(next)) {
			next, ok = at, true
		}
	}
	return min(next.Sub(now), longestWait), ok
}

// tell takes in a change of a shelf, and tells of it.
func (c *Catalogue) tell() {
	c.compose()
	select {
	case c.dirty <- struct{}{}:
	default:
	}
	c.wake()
}

// compose makes the page of what is on the shelves. They change at the same time,
// and the last one to come here has seen all of it.
func (c *Catalogue) compose() {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &page{goods: map[string]record.Goods{}}
	for _, e := range c.events.current.Load().records {
		if isPublic(e.Status) && e.Status != record.StatusArchived {
			p.events = append(p.events, e)
		}
	}
	slices.SortFunc(p.events, Compare)
	goods := c.goods.current.Load().records
	for _, key := range slices.Sorted(maps.Keys(goods)) {
		if g := goods[key]; p.goods[g.SKU].SKU == "" {
			p.goods[g.SKU] = g
		}
	}
	c.current.Store(p)
}

func (c *Catalogue) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.changed)
	c.changed = make(chan struct{})
}

// Changed is closed when something is different from now: a record, or the phase of
// an event because its time has come. Take it before reading what is to be followed.
func (c *Catalogue) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// AwaitSynced waits until everything was read for the first time. It returns
// context.Cause(ctx) when ctx ends first.
func (c *Catalogue) AwaitSynced(ctx context.Context) error {
	for _, m := range c.mirrors() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-m.Synced():
		}
	}
	return nil
}

// Staleness is the time since the store last confirmed all of it: see
// [backend.Mirror.Staleness]. It is negative until everything was read.
func (c *Catalogue) Staleness() time.Duration {
	var most time.Duration
	for _, m := range c.mirrors() {
		s := m.Staleness()
		if s < 0 {
			return s
		}
		most = max(most, s)
	}
	return most
}

// Event finds an event that buyers may know of, also one that is archived.
func (c *Catalogue) Event(id ulid.ULID) (event.Event, bool) {
	e, ok := c.events.get(record.EventKey(id))
	if !ok || !isPublic(e.Status) {
		return event.Event{}, false
	}
	return e, true
}

// skew is how far the clock of who makes an event may be behind, and how long its
// writing may take.
const skew = time.Minute

// MayHave reports whether there may be an event that Event does not find: one whose
// record buyers may not know of yet, or that can't be read, or that was made when the
// store had confirmed for the last time that there is no other. The id tells when.
func (c *Catalogue) MayHave(id ulid.ULID) bool {
	stale := c.events.mirror.Staleness()
	if stale < 0 {
		return true
	}
	_, there := c.events.mirror.Get(record.EventKey(id))
	return there || time.Since(id.Timestamp()) < stale+skew
}

// Events lists the events that buyers may know of and that are not archived, in
// the order of [Compare].
func (c *Catalogue) Events() []event.Event { return slices.Clone(c.current.Load().events) }

// Compare orders events by their opening, those that open together by their ids.
func Compare(a, b event.Event) int {
	if byOpening := a.Window.Opens.Compare(b.Window.Opens); byOpening != 0 {
		return byOpening
	}
	return a.ID.Compare(b.ID)
}

// Goods finds what a SKU names. Of several with the same one, it is the first in
// the order of the keys.
func (c *Catalogue) Goods(sku string) (record.Goods, bool) {
	g, ok := c.current.Load().goods[sku]
	return g, ok
}

// Topic finds a topic. Some of its events may not be in the catalogue.
func (c *Catalogue) Topic(id string) (record.Topic, bool) { return c.topics.get(record.TopicKey(id)) }

// Problems lists the keys that were left out, in order.
func (c *Catalogue) Problems() []Problem {
	var problems []Problem
	for _, of := range []map[string]Problem{
		c.events.current.Load().problems, c.goods.current.Load().problems, c.topics.current.Load().problems,
	} {
		problems = slices.AppendSeq(problems, maps.Values(of))
	}
	slices.SortFunc(problems, func(a, b Problem) int { return strings.Compare(a.Key, b.Key) })
	return problems
}
