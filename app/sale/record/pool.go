package record

import (
	"fmt"
	"slices"

	"github.com/seed27495941/seckill/backend"
)

// MaxSlots is how many slots a sale may have.
const MaxSlots = 256

// MaxTotal is how many units a sale may have.
const MaxTotal = 1_000_000_000

// A Pool is the units of a sale, those that were granted to a slot and those
// that were not. It is changed by one conditional write at a time.
type Pool struct {
	Total   int64   `json:"total"`
	Granted []int64 `json:"granted"` // to each slot, all in all: sold there or still to be sold there

	// Scarce says that an owner ran dry when the pool was empty. From then on
	// owners keep no units to spare, and each says in Empty when all of its slot's
	// are in orders that are in the log.
	Scarce bool   `json:"scarce"`
	Empty  []bool `json:"empty"`

	// SoldOut says that nothing is left anywhere: every unit is in an order.
	SoldOut bool `json:"soldOut"`
}

// NewPool is that of a sale which begins.
func NewPool(total int64, slots int) Pool {
	return Pool{Total: total, Granted: make([]int64, slots), Empty: make([]bool, slots)}
}

// Free is what no slot has been granted.
func (p Pool) Free() int64 {
	free := p.Total
	for _, g := range p.Granted {
		free -= g
	}
	return free
}

// Clone is a copy that shares nothing with p.
func (p Pool) Clone() Pool {
	p.Granted, p.Empty = slices.Clone(p.Granted), slices.Clone(p.Empty)
	return p
}

// Validate says what is wrong with a pool: ErrInvalid. Above all, no more may be
// granted than there is.
func (p Pool) Validate() error {
	if fault := p.fault(); fault != "" {
		return fmt.Errorf("%w: pool: %s", backend.ErrInvalid, fault)
	}
	return nil
}

func (p Pool) fault() string {
	switch {
	case p.Total < 1 || p.Total > MaxTotal:
		return fmt.Sprintf("total %d, expected 1 to %d", p.Total, int64(MaxTotal))
	case len(p.Granted) < 1 || len(p.Granted) > MaxSlots:
		return fmt.Sprintf("granted to %d slots, expected 1 to %d", len(p.Granted), MaxSlots)
	case len(p.Empty) != len(p.Granted):
		return fmt.Sprintf("empty has %d slots, expected %d", len(p.Empty), len(p.Granted))
	}
	for k, g := range p.Granted {
		if g < 0 || g > p.Total {
			return fmt.Sprintf("granted %d to slot %d, expected 0 to %d", g, k, p.Total)
		}
	}
	switch {
	case p.Free() < 0:
		return fmt.Sprintf("%d units granted, there are %d", p.Total-p.Free(), p.Total)
	case !p.Scarce && (p.SoldOut || slices.Contains(p.Empty, true)):
		return "sold out or empty slots, while it is not scarce"
	case p.SoldOut && !p.exhausted():
		return fmt.Sprintf("sold out with %d units not granted and empty slots %v", p.Free(), p.Empty)
	}
	return ""
}

// exhausted reports whether there is nothing to sell anywhere.
func (p Pool) exhausted() bool { return p.Free() == 0 && !slices.Contains(p.Empty, false) }

// Settle sets or clears the mark SoldOut, as the rest of the pool says.
func (p *Pool) Settle() { p.SoldOut = p.Scarce && p.exhausted() }

// DecodePool reads a pool. Errors: ErrCorrupt.
func DecodePool(e backend.Entry) (Pool, error) { return decodeJSON[Pool](e) }
