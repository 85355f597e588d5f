package keeper

import (
	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/slot"
)

// A Place is where a slot is decided, as far as this process knows.
type Place struct {
	Owner  *slot.Owner     // not nil: here
	Remote string          // else, if not "": the incarnation of the process to ask
	Closed bool            // nowhere any more: the log is frozen
	Moved  <-chan struct{} // closed when that may be different
}

// Find finds where an event's slot is decided. false: this process knows of no
// such sale that is open.
func (k *Keeper) Find(event ulid.ULID, slot int) (Place, bool) {
	s, ok := k.find(event)
	if !ok {
		return Place{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slot < 0 || slot >= len(s.own) {
		return Place{}, false
	}
	p := Place{Owner: s.own[slot].owner, Moved: s.moved}
	switch r, _ := s.record(slot); {
	case p.Owner != nil || r.Owner == k.cfg.Incarnation.String():
	case r.Owner == record.Closed:
		p.Closed = true
	default:
		p.Remote = r.Owner
	}
	return p, true
}

func (k *Keeper) find(event ulid.ULID) (*sale, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, ok := k.sales[event]
	return s, ok
}

// Slots are how many slots an open event has, false as in Find.
func (k *Keeper) Slots(event ulid.ULID) (int, bool) {
	s, ok := k.find(event)
	if !ok {
		return 0, false
	}
	return len(s.own), true
}

// Pool is the pool of an open event as it was last seen, shared and not to be
// modified; false if it is not known.
func (k *Keeper) Pool(event ulid.ULID) (*record.Pool, bool) {
	s, ok := k.find(event)
	if !ok {
		return nil, false
	}
	p := s.stock.Load()
	return p, p != nil
}

// A Sale is one that is open, as this process sees it.
type Sale struct {
	Event  ulid.ULID
	Status record.Status
	Slots  []record.Slot // by number; one that is not known has no owner
	Own    []*slot.Owner // by number, nil: not owned by this process
}

// Sales are those that are open.
func (k *Keeper) Sales() []Sale {
	var sales []Sale
	for _, s := range k.list() {
		sales = append(sales, s.picture())
	}
	return sales
}

func (s *sale) picture() Sale {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := Sale{Event: s.id, Status: s.terms.Status, Slots: make([]record.Slot, len(s.own)), Own: make([]*slot.Owner, len(s.own))}
	for k := range s.own {
		p.Slots[k], _ = s.record(k)
		p.Own[k] = s.own[k].owner
	}
	return p
}
