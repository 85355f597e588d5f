package sale

import (
	"errors"
	"fmt"
	"sync"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/slot"
)

// all is how many requests may wait in a process for each that may wait for one slot.
const all = 4

// A room bounds how many wait for slots that nobody answers for. The zero value is
// empty.
type room struct {
	mu    sync.Mutex
	all   int
	slots map[waitsFor]int
}

type waitsFor struct {
	event ulid.ULID
	slot  int
}

// enter reports whether there is a place for one more, with so many for each slot. If so,
// leave must be called.
func (r *room) enter(event ulid.ULID, slot, most int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := waitsFor{event, slot}
	if r.all >= all*most || r.slots[w] >= most {
		return false
	}
	if r.slots == nil {
		r.slots = map[waitsFor]int{}
	}
	r.all++
	r.slots[w]++
	return true
}

func (r *room) leave(event ulid.ULID, slot int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := waitsFor{event, slot}
	r.all--
	if r.slots[w]--; r.slots[w] == 0 {
		delete(r.slots, w)
	}
}

// crowded is the answer to who finds no place, after err: that nothing was done can
// be said only if nobody was asked.
func crowded(err error) error {
	if errors.Is(err, errNoOwner) {
		return fmt.Errorf("%w: its slot has no owner at present", slot.ErrBusy)
	}
	return err
}
