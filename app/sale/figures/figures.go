// Package figures keeps what the owners of slots tell about them: how many units
// are in orders. It is for people to look at; nothing is decided by it.
//
// A process tells the figures of its own slots to those that follow it, and hears
// those of the others (package rpc carries them). What was heard last stays until
// an owner of a later epoch tells something else, so that a slot between two owners
// has figures too.
package figures

import (
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// A Slot is what an owner tells about its slot.
type Slot struct {
	Event ulid.ULID
	Slot  int
	Epoch uint64 // the owner's
	Held  int64  // units in orders that are in the log
}

// A Board has the figures of all slots that were heard of. It is safe for
// concurrent use.
type Board struct {
	mu    sync.Mutex
	heard map[name]heard
	last  map[string]time.Time // when a process last said anything, by incarnation

	own     map[name]told
	version uint64        // of what is told; it grows with each change
	moved   chan struct{} // closed and replaced with each version

	closing sync.Once
	closed  chan struct{}
}

type name struct {
	event ulid.ULID
	slot  int
}

type heard struct {
	from  string
	epoch uint64
	held  int64
}

type told struct {
	Slot
	version uint64 // with which it came
}

// NewBoard makes an empty board.
func NewBoard() *Board {
	return &Board{
		heard: map[name]heard{}, last: map[string]time.Time{},
		own: map[name]told{}, moved: make(chan struct{}), closed: make(chan struct{}),
	}
}

// Hear takes in what a process tells. That it tells nothing says that what it told
// before is still so.
func (b *Board) Hear(from string, slots []Slot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hear(from, slots)
}

func (b *Board) hear(from string, slots []Slot) {
	b.last[from] = time.Now()
	for _, s := range slots {
		at := name{s.Event, s.Slot}
		if s.Epoch >= b.heard[at].epoch {
			b.heard[at] = heard{from, s.Epoch, s.Held}
		}
	}
}

// Tell says what the slots are that this process owns, all of them. Who follows
// it is told what has changed.
func (b *Board) Tell(self string, slots []Slot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hear(self, slots)
	now, changed := make(map[name]told, len(slots)), false
	for _, s := range slots {
		t, ok := b.own[name{s.Event, s.Slot}]
		if !ok || t.Slot != s {
			t, changed = told{s, b.version + 1}, true
		}
		now[name{s.Event, s.Slot}] = t
	}
	b.own = now
	if changed {
		b.version++
		close(b.moved)
		b.moved = make(chan struct{})
	}
}

// Since is what this process tells that has changed since a version, 0 being the
// beginning; the version it is now; and what will be closed at the next one.
func (b *Board) Since(version uint64) (changed []Slot, now uint64, moved <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range b.own {
		if t.version > version {
			changed = append(changed, t.Slot)
		}
	}
	return changed, b.version, b.moved
}

// Get is what was last heard of a slot, and when its owner last said that it is
// so; false if nothing was heard.
func (b *Board) Get(event ulid.ULID, slot int) (s Slot, at time.Time, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h, ok := b.heard[name{event, slot}]
	return Slot{event, slot, h.epoch, h.held}, b.last[h.from], ok
}

// Keep forgets all events but these.
func (b *Board) Keep(events func(ulid.ULID) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	needed := map[string]bool{}
	for at, h := range b.heard {
		if events(at.event) {
			needed[h.from] = true
		} else {
			delete(b.heard, at)
		}
	}
	for from := range b.last {
		if !needed[from] {
			delete(b.last, from)
		}
	}
}

// Close says that this process tells nothing more.
func (b *Board) Close() { b.closing.Do(func() { close(b.closed) }) }

// Closed is closed by Close.
func (b *Board) Closed() <-chan struct{} { return b.closed }
