// Package figures keeps what processes tell about sales: of the slots that they own, how
// many units are in orders; and how many requests for an order they have refused. It is
// for people to look at; nothing is decided by it.
//
// A process tells its own figures to those that follow it, and hears those of the others
// (package rpc carries them). What was heard last stays: of a slot until an owner of a
// later epoch tells something else, so that a slot between two owners has figures too; of
// refusals until the event is over, so that they are not fewer when a process has ended.
package figures

import (
	"maps"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// forgetAfter is for how long an event is not open before what was heard of it is
// forgotten: others may know earlier than this process that it has opened.
const forgetAfter = time.Minute

// A Slot is what an owner tells about its slot.
type Slot struct {
	Event ulid.ULID
	Slot  int
	Epoch uint64 // the owner's
	Held  int64  // units in orders that are in the log
}

// A Report is what a process tells.
type Report struct {
	Slots    []Slot     // that it owns
	Refusals []Refusals // its own
}

// A Board has the figures of all events that were heard of. It is safe for
// concurrent use.
type Board struct {
	mu     sync.Mutex
	events map[ulid.ULID]*account
	last   map[string]time.Time // when a process last said anything, by incarnation

	own     map[name]told
	refused map[ulid.ULID]toldRefusals
	version uint64        // of what is told; it grows with each change
	moved   chan struct{} // closed and replaced with each version

	closing sync.Once
	closed  chan struct{}
}

// An account is what was heard of one event.
type account struct {
	slots   map[int]heard
	refused map[string]map[string]int64 // by incarnation and reason
	over    time.Time                   // since when it is not open, zero: it is
}

type heard struct {
	from  string
	epoch uint64
	held  int64
}

type name struct {
	event ulid.ULID
	slot  int
}

type told struct {
	Slot
	version uint64 // with which it came
}

type toldRefusals struct {
	Refusals
	version uint64
}

// NewBoard makes an empty board.
func NewBoard() *Board {
	return &Board{
		events: map[ulid.ULID]*account{}, last: map[string]time.Time{},
		own: map[name]told{}, refused: map[ulid.ULID]toldRefusals{}, moved: make(chan struct{}), closed: make(chan struct{}),
	}
}

// Hear takes in what a process tells. That it tells nothing says that what it told
// before is still so.
func (b *Board) Hear(from string, r Report) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hear(from, r)
}

func (b *Board) hear(from string, r Report) {
	b.last[from] = time.Now()
	for _, s := range r.Slots {
		slots := b.account(s.Event).slots
		if s.Epoch >= slots[s.Slot].epoch {
			slots[s.Slot] = heard{from, s.Epoch, s.Held}
		}
	}
	for _, x := range r.Refusals {
		b.account(x.Event).hear(from, x.By)
	}
}

func (b *Board) account(event ulid.ULID) *account {
	a := b.events[event]
	if a == nil {
		a = &account{slots: map[int]heard{}, refused: map[string]map[string]int64{}}
		b.events[event] = a
	}
	return a
}

// hear takes in the refusals of a process, which only grow: what came late says nothing.
func (a *account) hear(from string, by map[string]int64) {
	known := a.refused[from]
	if known == nil {
		known = map[string]int64{}
		a.refused[from] = known
	}
	for reason, n := range by {
		known[reason] = max(known[reason], n)
	}
}

// Tell says what the slots are that this process owns, and its refusals, all of them.
// Who follows it is told what has changed.
func (b *Board) Tell(self string, r Report) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hear(self, r)
	slots, changed := make(map[name]told, len(r.Slots)), false
	for _, s := range r.Slots {
		t, ok := b.own[name{s.Event, s.Slot}]
		if !ok || t.Slot != s {
			t, changed = told{s, b.version + 1}, true
		}
		slots[name{s.Event, s.Slot}] = t
	}
	refused := make(map[ulid.ULID]toldRefusals, len(r.Refusals))
	for _, x := range r.Refusals {
		t, ok := b.refused[x.Event]
		if !ok || !maps.Equal(t.By, x.By) {
			t, changed = toldRefusals{x, b.version + 1}, true
		}
		refused[x.Event] = t
	}
	b.own, b.refused = slots, refused
	if changed {
		b.version++
		close(b.moved)
		b.moved = make(chan struct{})
	}
}

// Since is what this process tells that has changed since a version, 0 being the
// beginning; the version it is now; and what will be closed at the next one.
func (b *Board) Since(version uint64) (changed Report, now uint64, moved <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range b.own {
		if t.version > version {
			changed.Slots = append(changed.Slots, t.Slot)
		}
	}
	for _, t := range b.refused {
		if t.version > version {
			changed.Refusals = append(changed.Refusals, t.Refusals)
		}
	}
	return changed, b.version, b.moved
}

// Get is what was last heard of a slot, and when its owner last said that it is
// so; false if nothing was heard.
func (b *Board) Get(event ulid.ULID, slot int) (s Slot, at time.Time, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.events[event]
	if a == nil {
		return Slot{}, time.Time{}, false
	}
	h, ok := a.slots[slot]
	return Slot{event, slot, h.epoch, h.held}, b.last[h.from], ok
}

// Refused is how many requests for an order of an event were refused by all processes
// that were heard of, by reason.
func (b *Board) Refused(event ulid.ULID) map[string]int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	sum := map[string]int64{}
	if a := b.events[event]; a != nil {
		for _, by := range a.refused {
			for reason, n := range by {
				sum[reason] += n
			}
		}
	}
	return sum
}

// Keep forgets the events that have not been open for a minute.
func (b *Board) Keep(isOpen func(event ulid.ULID) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, needed := time.Now(), map[string]bool{}
	for event, a := range b.events {
		switch {
		case isOpen(event):
			a.over = time.Time{}
		case a.over.IsZero():
			a.over = now
		case now.Sub(a.over) >= forgetAfter:
			delete(b.events, event)
			continue
		}
		for _, h := range a.slots {
			needed[h.from] = true
		}
	}
	maps.DeleteFunc(b.last, func(from string, _ time.Time) bool { return !needed[from] })
}

// Close says that this process tells nothing more.
func (b *Board) Close() { b.closing.Do(func() { close(b.closed) }) }

// Closed is closed by Close.
func (b *Board) Closed() <-chan struct{} { return b.closed }
