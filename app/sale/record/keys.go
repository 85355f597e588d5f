package record

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/backend"
)

// Directories of the namespace.
const (
	EventsDir = "events/"
	SalesDir  = "sales/"
)

// EventKey is the key of an event.
func EventKey(event ulid.ULID) string { return EventsDir + event.String() }

// SaleDir is where all of a sale is.
func SaleDir(event ulid.ULID) string { return SalesDir + event.String() + "/" }

// PoolKey is the key of a sale's pool.
func PoolKey(event ulid.ULID) string { return SaleDir(event) + "pool" }

// SlotsDir is where the slots of a sale are.
func SlotsDir(event ulid.ULID) string { return SaleDir(event) + "slots/" }

// SlotKey is the key of a slot.
func SlotKey(event ulid.ULID, slot int) string { return SlotsDir(event) + strconv.Itoa(slot) }

// LogDir is where the batches of a slot are.
func LogDir(event ulid.ULID, slot int) string {
	return SaleDir(event) + "log/" + strconv.Itoa(slot) + "/"
}

// A Place is that of a batch in the log of a slot. Places are ordered by epoch,
// then by number; within an epoch the numbers have no gap.
type Place struct {
	Epoch uint64 // of the slot's owner that wrote it, from 1
	Seq   uint64 // from 1
}

// digits are enough for any uint64, so that the order of the keys is the order
// of the places.
const digits = 20

func (p Place) String() string { return fmt.Sprintf("%0*d-%0*d", digits, p.Epoch, digits, p.Seq) }

// LogKey is the key of a batch.
func LogKey(event ulid.ULID, slot int, at Place) string { return LogDir(event, slot) + at.String() }

// ParseLogKey finds the place of a key of LogDir. Errors: ErrInvalid.
func ParseLogKey(event ulid.ULID, slot int, key string) (Place, error) {
	name, under := strings.CutPrefix(key, LogDir(event, slot))
	epoch, seq, two := strings.Cut(name, "-")
	if under && two && len(epoch) == digits && len(seq) == digits {
		e, errEpoch := strconv.ParseUint(epoch, 10, 64)
		s, errSeq := strconv.ParseUint(seq, 10, 64)
		if errEpoch == nil && errSeq == nil && e > 0 && s > 0 {
			return Place{e, s}, nil
		}
	}
	return Place{}, fmt.Errorf("%w: log key %q: expected %s<epoch>-<number>, each with %d digits and not 0",
		backend.ErrInvalid, key, LogDir(event, slot), digits)
}

// Follows reports whether a batch at p can come next after one at last, the zero
// Place standing for none. Epochs may be missing: not every owner writes.
func (p Place) Follows(last Place) bool {
	if p.Epoch == last.Epoch {
		return p.Seq == last.Seq+1
	}
	return p.Epoch > last.Epoch && p.Seq == 1
}

// SlotOf is the slot that decides for a buyer, of so many: the user's hash, modulo
// their number. It never changes.
func SlotOf(user string, slots int) int { return int(HashOf(user) % uint64(slots)) }

// HashOf is a user's hash: xxh64. It never changes. Two users may have the same.
func HashOf(user string) uint64 { return xxhash.Sum64String(user) }
