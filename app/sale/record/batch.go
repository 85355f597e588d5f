package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/backend"
)

// MaxBatch bounds a batch, in bytes: far enough below what a store takes that a
// write of one, with its conditions, is never refused for its size.
const MaxBatch = 128 << 10

// A Batch is what the owner of a slot decided and wrote at once. It names its
// place, so that one which was copied to another key is not taken for what
// belongs there.
type Batch struct {
	Event   ulid.ULID
	Slot    int
	Place   Place
	Owner   ulid.ULID // the incarnation of the process that wrote it
	Entries []Entry   // in the order in which they were decided
}

// The format, version 1: the mark, the version, then event (16 bytes), slot,
// epoch, number (unsigned varints), owner (16 bytes), the number of entries, the
// entries, and the CRC-32C of all before it, big endian. An entry is its kind (one byte), order
// (16 bytes) and time; an order has user, request, quantity and deadline after
// that, a payment its reference. Texts have their length in front; times are
// milliseconds since 1970. Varints are as in encoding/binary, none longer than it
// must be.
const (
	mark    = "SB"
	version = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrCorrupt says that a record is not what was written: refuse to go on, since
// what it told is not known.
var ErrCorrupt = errors.New("corrupt record")

// Encode makes a batch's value. Errors: ErrInvalid for what Decode would not
// read, ErrTooLarge above MaxBatch.
func (b Batch) Encode() ([]byte, error) {
	if err := b.validate(); err != nil {
		return nil, err
	}
	out := append([]byte(mark), version)
	out = append(out, b.Event[:]...)
	out = binary.AppendUvarint(out, uint64(b.Slot))
	out = binary.AppendUvarint(out, b.Place.Epoch)
	out = binary.AppendUvarint(out, b.Place.Seq)
	out = append(out, b.Owner[:]...)
	out = binary.AppendUvarint(out, uint64(len(b.Entries)))
	for _, e := range b.Entries {
		out = e.append(out)
	}
	out = binary.BigEndian.AppendUint32(out, crc32.Checksum(out, castagnoli))
	if len(out) > MaxBatch {
		return nil, fmt.Errorf("%w: batch %s of slot %d: %d bytes, at most %d are allowed", backend.ErrTooLarge, b.Place, b.Slot, len(out), MaxBatch)
	}
	return out, nil
}

func (b Batch) validate() error {
	switch {
	case b.Event.IsZero() || b.Owner.IsZero():
		return fmt.Errorf("%w: batch %s: no event or no owner", backend.ErrInvalid, b.Place)
	case b.Slot < 0 || b.Slot >= MaxSlots:
		return fmt.Errorf("%w: batch %s: slot %d, expected 0 to %d", backend.ErrInvalid, b.Place, b.Slot, MaxSlots-1)
	case b.Place.Epoch == 0 || b.Place.Seq == 0:
		return fmt.Errorf("%w: batch %s: epoch and number begin at 1", backend.ErrInvalid, b.Place)
	case len(b.Entries) == 0:
		return fmt.Errorf("%w: batch %s: no entries", backend.ErrInvalid, b.Place)
	}
	for _, e := range b.Entries {
		if err := e.Validate(); err != nil {
			return fmt.Errorf("batch %s: %w", b.Place, err)
		}
	}
	return nil
}

func (e Entry) append(out []byte) []byte {
	out = append(out, byte(e.Kind))
	out = append(out, e.Order[:]...)
	out = appendTime(out, e.At)
	switch e.Kind {
	case Ordered:
		out = appendText(out, e.User)
		out = appendText(out, e.Request)
		out = binary.AppendUvarint(out, uint64(e.Quantity))
		out = appendTime(out, e.PayBy)
	case Paid, Revived, RefundDue:
		out = appendText(out, e.Payment)
	case Cancelled, Expired:
	}
	return out
}

func appendText(out []byte, s string) []byte {
	return append(binary.AppendUvarint(out, uint64(len(s))), s...)
}

func appendTime(out []byte, t time.Time) []byte {
	return binary.AppendUvarint(out, uint64(t.UnixMilli()))
}

// DecodeBatch reads the batch that belongs to a place. Errors: ErrCorrupt, for
// anything but exactly what [Batch.Encode] makes for this place.
func DecodeBatch(event ulid.ULID, slot int, at Place, value []byte) (Batch, error) {
	b, err := decodeBatch(value)
	if err == nil && (b.Event != event || b.Slot != slot || b.Place != at) {
		err = fmt.Errorf("it belongs to %s", LogKey(b.Event, b.Slot, b.Place))
	}
	if err != nil {
		return Batch{}, fmt.Errorf("%w: %s: %w", ErrCorrupt, LogKey(event, slot, at), err)
	}
	return b, nil
}

func decodeBatch(value []byte) (Batch, error) {
	const least = len(mark) + 1 + crc32.Size
	if len(value) < least {
		return Batch{}, fmt.Errorf("%d bytes, expected at least %d", len(value), least)
	}
	if string(value[:len(mark)]) != mark {
		return Batch{}, fmt.Errorf("it begins with %q, expected %q", value[:len(mark)], mark)
	}
	if v := value[len(mark)]; v != version {
		return Batch{}, fmt.Errorf("version %d, expected %d: it was written by another version of this program", v, version)
	}
	content, sum := value[:len(value)-crc32.Size], binary.BigEndian.Uint32(value[len(value)-crc32.Size:])
	if have := crc32.Checksum(content, castagnoli); have != sum {
		return Batch{}, fmt.Errorf("checksum %08x, expected %08x", have, sum)
	}
	r := reader{rest: content[len(mark)+1:]}
	b := r.batch()
	switch {
	case r.err != nil:
		return Batch{}, r.err
	case len(r.rest) > 0:
		return Batch{}, fmt.Errorf("%d bytes too many", len(r.rest))
	}
	return b, b.validate()
}

// A reader reads what Encode wrote. After an error it reads zeros.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err, r.rest = fmt.Errorf(format, args...), nil
	}
}

func (r *reader) batch() (b Batch) {
	b.Event = r.id()
	b.Slot = int(r.number(MaxSlots - 1))
	b.Place = Place{r.number(math.MaxUint64), r.number(math.MaxUint64)}
	b.Owner = r.id()
	count := r.number(uint64(len(r.rest)))
	for range count {
		if r.err != nil {
			break
		}
		b.Entries = append(b.Entries, r.entry())
	}
	return b
}

func (r *reader) entry() (e Entry) {
	e.Kind = Kind(r.byte())
	e.Order = r.id()
	e.At = r.time()
	switch e.Kind {
	case Ordered:
		e.User = r.text()
		e.Request = r.text()
		e.Quantity = uint32(r.number(MaxQuantity))
		e.PayBy = r.time()
	case Paid, Revived, RefundDue:
		e.Payment = r.text()
	case Cancelled, Expired:
	default:
		r.fail("an entry of %s, which is not known", e.Kind)
	}
	return e
}

func (r *reader) byte() byte {
	if len(r.rest) == 0 {
		r.fail("it ends too soon")
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *reader) id() (id ulid.ULID) {
	if len(r.rest) < len(id) {
		r.fail("it ends too soon")
		return id
	}
	r.rest = r.rest[copy(id[:], r.rest):]
	return id
}

func (r *reader) number(most uint64) uint64 {
	n, size := binary.Uvarint(r.rest)
	switch {
	case size <= 0:
		r.fail("a number that ends too soon or has too many digits")
	case size > 1 && r.rest[size-1] == 0:
		r.fail("a number that is longer than it must be")
	case n > most:
		r.fail("the number %d, expected at most %d", n, most)
	default:
		r.rest = r.rest[size:]
		return n
	}
	return 0
}

func (r *reader) text() string {
	n := r.number(uint64(len(r.rest)))
	if r.err != nil {
		return ""
	}
	if n > uint64(len(r.rest)) {
		r.fail("it ends too soon")
		return ""
	}
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s
}

func (r *reader) time() time.Time {
	ms := r.number(math.MaxInt64)
	if r.err != nil {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms)).UTC()
}
