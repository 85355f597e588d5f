package keeper

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/slot"
	"github.com/seed27495941/seckill/backend"
)

func (s *sale) setTerms(e record.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.terms = e
}

// currentTerms are the event's, with the time to pay that is set for all.
func (s *sale) currentTerms() record.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	terms := s.terms
	if t := s.keeper.payWithin.Load(); t > 0 {
		terms.PayWithin = t
	}
	return terms
}

// tell wakes those who wait for a slot's owner.
func (s *sale) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wake()
}

// wake is tell for those who hold mu.
func (s *sale) wake() {
	close(s.moved)
	s.moved = make(chan struct{})
}

// run follows the slots and the pool until the sale ends, and waits for its owners.
func (s *sale) run() {
	s.running.Go(func() { keep(s.ctx, s.keeper.cfg.Logger, "follow the pool", s.pool.Run) })
	keep(s.ctx, s.keeper.cfg.Logger, "follow the slots", s.slots.Run)
	s.running.Wait()
}

// readSlots takes note of the slots' records.
func (s *sale) readSlots() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.known {
		s.known[k] = nil
		if e, ok := s.slots.Get(record.SlotKey(s.id, k)); ok {
			if r, err := record.DecodeSlot(e); err == nil {
				s.known[k] = &r
			}
		}
	}
	s.wake()
}

// readPool takes note of the pool.
func (s *sale) readPool() {
	e, ok := s.pool.Get(record.PoolKey(s.id))
	p, err := record.DecodePool(e)
	if !ok || err != nil || len(p.Granted) != len(s.known) {
		s.stock.Store(nil)
		return
	}
	s.stock.Store(&p)
}

// settle takes what falls to this process, and releases what does not any more.
func (s *sale) settle(now census) {
	if len(now.here) == 0 {
		return // an empty list tells nothing
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.eligible, now.eligible) {
		s.eligible, s.favourites = now.eligible, favourites(s.id, len(s.own), now.eligible)
	}
	for k := range s.own {
		s.settleSlot(k, now)
	}
}

func (s *sale) settleSlot(k int, now census) {
	self := s.keeper.cfg.Incarnation.String()
	mine := s.favourites[k] == self
	t := &s.own[k]
	switch r, _ := s.record(k); {
	case t.owner != nil:
		// One that has nothing to write would not notice that it was deposed.
		if !mine || r.Epoch > t.owner.Epoch() {
			t.end()
		}
	case t.taking || !mine || time.Now().Before(t.notYet):
	case s.isFree(k, self, now.here):
		t.taking = true
		s.running.Go(func() { s.take(k) })
	}
}

// isFree reports whether a slot's owner, if there is one, is gone or this process.
func (s *sale) isFree(k int, self string, here []string) bool {
	r, ok := s.record(k)
	return ok && r.Owner != record.Closed && (r.Owner == record.Nobody || r.Owner == self || !slices.Contains(here, r.Owner))
}

// ownsAny reports whether this process owns a slot, or is about to.
func (s *sale) ownsAny() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.own, func(t tenure) bool { return t.taking })
}

// record is a slot's, as far as this process has seen it, for those who hold mu.
func (s *sale) record(k int) (record.Slot, bool) {
	if r := s.known[k]; r != nil {
		return *r, true
	}
	return record.Slot{}, false
}

// take is one tenure, from the takeover to the end.
func (s *sale) take(k int) {
	begun := time.Now()
	cfg := s.keeper.cfg
	o, err := slot.Take(s.ctx, slot.Config{
		Store: cfg.Store, Event: s.id, Slot: k, Incarnation: cfg.Incarnation, Terms: s.currentTerms, Waiting: s.keeper.Waiting, Logger: cfg.Logger,
	})
	if err == nil {
		run, end := context.WithCancel(s.ctx)
		s.begin(k, o, end)
		err = o.Run(run)
		end()
	}
	switch {
	case err == nil || s.ctx.Err() != nil:
	case errors.Is(err, slot.ErrDeposed), errors.Is(err, slot.ErrClosed), o == nil && errors.Is(err, backend.ErrConflict):
		cfg.Logger.Info("another one has the slot", "sale", s.id, "slot", k, "error", err)
	default:
		cfg.Logger.Error("the slot was lost", "sale", s.id, "slot", k, "error", err)
	}
	s.end(k, begun)
}

func (s *sale) begin(k int, o *slot.Owner, end context.CancelFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.own[k].owner, s.own[k].end, s.own[k].begun = o, end, time.Now()
	s.wake()
}

// end takes note that a tenure is over. After one that did not last the next is
// not begun at once, so that processes which can't reach each other do not take a
// slot from one another all the time.
func (s *sale) end(k int, begun time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &s.own[k]
	pause := min(max(2*t.pause, firstPause), longestPause)
	if time.Since(begun) >= lasting {
		pause = firstPause
	}
	*t = tenure{pause: pause, notYet: time.Now().Add(pause)}
	s.wake()
	s.keeper.nudge()
}
