// Package turnstile tells newcomers that a sale is sold out, without each of them going
// to the owner of their slot.
//
// When a sale is sold out nearly all who come are newcomers, but not all: a request may
// be the repetition of one that got an order, and then it has to get that again. So
// a process keeps a list of those who were ever given an order in a slot. Whoever comes
// waits until the owner has been asked who was added to it, and whether there is
// anything left: by a question that was put after that request had come, one for all who
// came meanwhile. The owner has its answer confirmed as that of who looks at an order
// (package slot). So there was a moment, after the request had come, at which the
// sale was sold out and the buyer had no order, whatever other processes and former owners
// have done. Whoever is in the list, or comes when the owner does not say so, is none
// of the turnstile's business.
package turnstile

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/slot"
)

// patience bounds a question. Who comes while one waits for its answer may wait for two.
const patience = 500 * time.Millisecond

// gathering is the time from an answer to the next question. An owner has such answers
// confirmed every 50 ms, so a question that is put at once waits there while those who
// come meanwhile wait here for the next one.
const gathering = 40 * time.Millisecond

// longest is how many buyers are kept of a slot: 1<<20 are up to 40 MB.
const longest = 1 << 20

// Ask asks a slot's owner for its buyers, as [slot.Owner.Buyers] tells them.
type Ask func(ctx context.Context, event ulid.ULID, slot int, tenure ulid.ULID, since int) (slot.Buyers, error)

// Turnstiles are those of a process, one for each slot that is sold out. They are safe
// for concurrent use.
type Turnstiles struct {
	ask    Ask
	ctx    context.Context // of questions
	cancel context.CancelFunc

	asking sync.WaitGroup

	mu     sync.RWMutex
	all    map[place]*turnstile
	closed bool
}

type place struct {
	event ulid.ULID
	slot  int
}

// New makes turnstiles. They have to be closed.
func New(ask Ask) *Turnstiles {
	ctx, cancel := context.WithCancel(context.Background())
	return &Turnstiles{ask: ask, ctx: ctx, cancel: cancel, all: map[place]*turnstile{}}
}

// Close ends all questions, and waits for that. From then on all are let pass.
func (t *Turnstiles) Close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.cancel()
	t.asking.Wait()
}

// Keep forgets the buyers of all sales but these.
func (t *Turnstiles) Keep(isOpen func(event ulid.ULID) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p := range t.all {
		if !isOpen(p.event) {
			delete(t.all, p)
		}
	}
}

// Pass returns nil if a demand has to be put to the slot's owner: always if it is, or
// may be, the repetition of an answered one. Else it is refused, and the owner need not be
// asked.
//
// Errors: slot.ErrSoldOut, slot.ErrUndecided when ctx ends before that is known.
func (t *Turnstiles) Pass(ctx context.Context, event ulid.ULID, k int, user string, quantity int64) error {
	turn, buyer := t.at(place{event, k}), record.HashOf(user)
	r := turn.join(buyer)
	if r == nil {
		return nil
	}
	select {
	case <-r.over:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", slot.ErrUndecided, context.Cause(ctx))
	}
	if r.soldOut && quantity <= r.perUser && !r.buyers.has(buyer) {
		return slot.ErrSoldOut
	}
	return nil
}

// at is the turnstile of a slot.
func (t *Turnstiles) at(p place) *turnstile {
	t.mu.RLock()
	turn := t.all[p]
	t.mu.RUnlock()
	if turn != nil {
		return turn
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all[p] == nil {
		t.all[p] = &turnstile{Turnstiles: t, place: p, buyers: newBuyers(ulid.ULID{})}
	}
	return t.all[p]
}

// start has a turnstile's questions put, unless it is too late for any.
func (t *Turnstiles) start(f func()) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if !t.closed {
		t.asking.Go(f)
	}
	return !t.closed
}

// A turnstile has at most one question under way.
type turnstile struct {
	*Turnstiles
	place

	mu     sync.Mutex
	buyers *buyers
	asking bool
	next   *round // of those who have come since the last question was put, nil: nobody
	full   bool   // there are more buyers than are kept; set by serve
}

// A round is those who wait for the same question.
type round struct {
	over chan struct{}

	// What follows can be read when it is over.
	soldOut bool // for those who are not among the buyers
	perUser int64
	buyers  *buyers
}

// join enters the next round; nil: whoever it is has to go to the owner in any case.
func (t *turnstile) join(buyer uint64) *round {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.full || t.buyers.has(buyer) {
		return nil
	}
	if !t.asking && !t.start(t.serve) {
		return nil
	}
	t.asking = true
	if t.next == nil {
		t.next = &round{over: make(chan struct{})}
	}
	return t.next
}

// serve puts one question after the other until nobody waits.
func (t *turnstile) serve() {
	for r := t.admit(); r != nil; r = t.admit() {
		t.turn(r)
		close(r.over)
		t.gather()
	}
}

func (t *turnstile) gather() {
	timer := time.NewTimer(gathering)
	defer timer.Stop()
	select {
	case <-t.ctx.Done():
	case <-timer.C:
	}
}

// admit ends the joining of a round.
func (t *turnstile) admit() *round {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.next
	t.next = nil
	t.asking = r != nil
	return r
}

// turn puts the question of a round.
func (t *turnstile) turn(r *round) {
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	known := t.buyers // nobody else replaces them
	told, err := t.ask(ctx, t.event, t.slot, known.tenure, known.count)
	if err != nil {
		return
	}
	if known.tenure != told.Tenure || known.count != told.From || told.Count > longest {
		known = newBuyers(told.Tenure)
		t.mu.Lock()
		t.buyers, t.full = known, told.Count > longest
		t.mu.Unlock()
	}
	if !t.full && known.learn(told) {
		r.soldOut, r.perUser, r.buyers = told.SoldOut, told.PerUser, known
	}
}

// buyers are those that an owner has told of, in the time that it was.
type buyers struct {
	tenure ulid.ULID
	count  int // of the owner's list

	mu  sync.RWMutex
	all map[uint64]struct{}
}

func newBuyers(tenure ulid.ULID) *buyers {
	return &buyers{tenure: tenure, all: map[uint64]struct{}{}}
}

func (b *buyers) has(buyer uint64) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	_, ok := b.all[buyer]
	return ok
}

// learn adds what an owner has told, and reports whether these are all buyers now. What
// does not begin where the list ends is of no use.
func (b *buyers) learn(told slot.Buyers) bool {
	if told.From != b.count {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, h := range told.Hashes {
		b.all[h] = struct{}{}
	}
	b.count += len(told.Hashes)
	return b.count == told.Count
}
