package record_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
)

var (
	event = ulid.MustParse("01K9ZZZZZZZZZZZZZZZZZZZZZ1")
	owner = ulid.MustParse("01K9ZZZZZZZZZZZZZZZZZZZZZ2")
	order = ulid.MustParse("01K9ZZZZZZZZZZZZZZZZZZZZZ3")
	noon  = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
)

func whole() record.Batch {
	return record.Batch{
		Event: event, Slot: 3, Place: record.Place{Epoch: 7, Seq: 300}, Owner: owner,
		Entries: []record.Entry{
			{Kind: record.Ordered, Order: order, At: noon, User: "ann", Request: "r-1", Quantity: 2, PayBy: noon.Add(time.Minute)},
			{Kind: record.Paid, Order: order, At: noon, Payment: "p-1"},
			{Kind: record.Cancelled, Order: order, At: noon},
			{Kind: record.Expired, Order: order, At: noon},
			{Kind: record.Revived, Order: order, At: noon, Payment: "p-2"},
			{Kind: record.RefundDue, Order: order, At: noon, Payment: "p-3"},
		},
	}
}

func decode(value []byte) (record.Batch, error) {
	b := whole()
	return record.DecodeBatch(b.Event, b.Slot, b.Place, value)
}

func TestBatchReturnsAsItWas(t *testing.T) {
	value, err := whole().Encode()
	require.NoError(t, err)
	b, err := decode(value)
	require.NoError(t, err)
	assert.Equal(t, whole(), b)
	assert.Less(t, len(value), 230, "six entries")
}

// The bytes of version 1 are in stores: they never change.
func TestBytesOfVersionOne(t *testing.T) {
	b := whole()
	b.Entries = b.Entries[:1]
	value, err := b.Encode()
	require.NoError(t, err)
	want := slices.Concat([]byte("SB\x01"), event[:], []byte{3, 7, 0xac, 2}, owner[:], []byte{1, 1}, order[:])
	want = binary.AppendUvarint(want, uint64(noon.UnixMilli()))
	want = append(want, "\x03ann\x03r-1\x02"...)
	want = binary.AppendUvarint(want, uint64(noon.Add(time.Minute).UnixMilli()))
	want = binary.BigEndian.AppendUint32(want, crc32.Checksum(want, crc32.MakeTable(crc32.Castagnoli)))
	assert.Equal(t, want, value)
}

// Whatever is done to a batch is noticed.
func TestCorruptBatch(t *testing.T) {
	value, err := whole().Encode()
	require.NoError(t, err)
	for i := range value {
		_, err := decode(value[:i])
		require.ErrorIs(t, err, record.ErrCorrupt, "cut after %d bytes", i)
		for bit := range 8 {
			flipped := slices.Clone(value)
			flipped[i] ^= 1 << bit
			_, err := decode(flipped)
			require.ErrorIs(t, err, record.ErrCorrupt, "bit %d of byte %d", bit, i)
		}
	}
	_, err = decode(append(slices.Clone(value), 0))
	require.ErrorIs(t, err, record.ErrCorrupt)
	require.ErrorContains(t, err, record.LogKey(event, 3, record.Place{Epoch: 7, Seq: 300}))
}

func TestBatchOfAnotherPlace(t *testing.T) {
	value, err := whole().Encode()
	require.NoError(t, err)
	_, err = record.DecodeBatch(event, 3, record.Place{Epoch: 7, Seq: 301}, value)
	require.ErrorIs(t, err, record.ErrCorrupt)
	require.ErrorContains(t, err, "it belongs to "+record.LogKey(event, 3, record.Place{Epoch: 7, Seq: 300}))
	_, err = record.DecodeBatch(event, 4, record.Place{Epoch: 7, Seq: 300}, value)
	require.ErrorIs(t, err, record.ErrCorrupt)
	_, err = record.DecodeBatch(order, 3, record.Place{Epoch: 7, Seq: 300}, value)
	require.ErrorIs(t, err, record.ErrCorrupt)
}

// signed puts a right checksum under whatever comes before it.
func signed(content []byte) []byte {
	return binary.BigEndian.AppendUint32(slices.Clone(content), crc32.Checksum(content, crc32.MakeTable(crc32.Castagnoli)))
}

func TestUnknownIsRefusedAloud(t *testing.T) {
	value, err := whole().Encode()
	require.NoError(t, err)
	content := value[:len(value)-crc32.Size]

	later := slices.Clone(content)
	later[2] = 2
	_, err = decode(signed(later))
	require.ErrorIs(t, err, record.ErrCorrupt)
	require.ErrorContains(t, err, "version 2")

	kind := slices.Clone(content)
	kind[3+16+4+16+1] = 9
	_, err = decode(signed(kind))
	require.ErrorIs(t, err, record.ErrCorrupt)
	require.ErrorContains(t, err, "kind 9")

	_, err = decode(signed(append(slices.Clone(content), 0)))
	require.ErrorIs(t, err, record.ErrCorrupt)
	require.ErrorContains(t, err, "1 bytes too many")
}

// JSON, in which buyers are told of orders, has no years of five digits.
var afterAllYears = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)

func TestTimesThatNobodyCanBeTold(t *testing.T) {
	b := whole()
	b.Entries = b.Entries[:1]
	value, err := b.Encode()
	require.NoError(t, err)
	content := bytes.Replace(value[:len(value)-crc32.Size],
		binary.AppendUvarint(nil, uint64(b.Entries[0].PayBy.UnixMilli())), binary.AppendUvarint(nil, uint64(afterAllYears.UnixMilli())), 1)
	_, err = decode(signed(content))
	require.ErrorIs(t, err, record.ErrCorrupt)
	require.ErrorContains(t, err, "deadline 10000-01-01")
}

// A number can be written in one way only, so that equal batches are equal bytes:
// that is how an owner finds its own again.
func TestOneEncodingOnly(t *testing.T) {
	value, err := whole().Encode()
	require.NoError(t, err)
	content := value[:len(value)-crc32.Size]
	at := 3 + 16
	long := slices.Concat(content[:at], []byte{content[at] | 0x80, 0}, content[at+1:])
	_, err = decode(signed(long))
	require.ErrorIs(t, err, record.ErrCorrupt)
	require.ErrorContains(t, err, "longer than it must be")
}

func TestEncodeRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*record.Batch){
		"no event":           func(b *record.Batch) { b.Event = ulid.ULID{} },
		"no owner":           func(b *record.Batch) { b.Owner = ulid.ULID{} },
		"slot below 0":       func(b *record.Batch) { b.Slot = -1 },
		"slot too high":      func(b *record.Batch) { b.Slot = record.MaxSlots },
		"epoch 0":            func(b *record.Batch) { b.Place.Epoch = 0 },
		"number 0":           func(b *record.Batch) { b.Place.Seq = 0 },
		"no entries":         func(b *record.Batch) { b.Entries = nil },
		"no kind":            func(b *record.Batch) { b.Entries[0].Kind = 0 },
		"no order":           func(b *record.Batch) { b.Entries[0].Order = ulid.ULID{} },
		"no time":            func(b *record.Batch) { b.Entries[0].At = time.Time{} },
		"a time too fine":    func(b *record.Batch) { b.Entries[0].At = noon.Add(1) },
		"no user":            func(b *record.Batch) { b.Entries[0].User = "" },
		"a user too long":    func(b *record.Batch) { b.Entries[0].User = strings.Repeat("x", record.MaxUser+1) },
		"a user not UTF-8":   func(b *record.Batch) { b.Entries[0].User = "\xff" },
		"no request":         func(b *record.Batch) { b.Entries[0].Request = "" },
		"no quantity":        func(b *record.Batch) { b.Entries[0].Quantity = 0 },
		"too many":           func(b *record.Batch) { b.Entries[0].Quantity = record.MaxQuantity + 1 },
		"no deadline":        func(b *record.Batch) { b.Entries[0].PayBy = time.Time{} },
		"a later year":       func(b *record.Batch) { b.Entries[0].At = afterAllYears },
		"a later deadline":   func(b *record.Batch) { b.Entries[0].PayBy = afterAllYears },
		"a payment too soon": func(b *record.Batch) { b.Entries[0].Payment = "p" },
		"no payment":         func(b *record.Batch) { b.Entries[1].Payment = "" },
		"a payment's user":   func(b *record.Batch) { b.Entries[1].User = "ann" },
	} {
		b := whole()
		spoil(&b)
		_, err := b.Encode()
		require.ErrorIs(t, err, backend.ErrInvalid, name)
	}
	b := whole()
	for len(b.Entries) < record.MaxBatch/100 {
		e := b.Entries[0]
		e.User = strings.Repeat("x", record.MaxUser)
		b.Entries = append(b.Entries, e)
	}
	_, err := b.Encode()
	require.ErrorIs(t, err, backend.ErrTooLarge)
}

func TestAnyBatchReturns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := batches().Draw(t, "batch")
		value, err := b.Encode()
		require.NoError(t, err)
		back, err := record.DecodeBatch(b.Event, b.Slot, b.Place, value)
		require.NoError(t, err)
		assert.Equal(t, b, back)
	})
}

func ids() *rapid.Generator[ulid.ULID] {
	return rapid.Custom(func(t *rapid.T) (id ulid.ULID) {
		id[0] = rapid.ByteRange(1, math.MaxInt8).Draw(t, "first")
		copy(id[1:], rapid.SliceOfN(rapid.Byte(), 15, 15).Draw(t, "rest"))
		return id
	})
}

func batches() *rapid.Generator[record.Batch] {
	return rapid.Custom(func(t *rapid.T) record.Batch {
		return record.Batch{
			Event:   ids().Draw(t, "event"),
			Slot:    rapid.IntRange(0, record.MaxSlots-1).Draw(t, "slot"),
			Place:   record.Place{Epoch: rapid.Uint64Min(1).Draw(t, "epoch"), Seq: rapid.Uint64Min(1).Draw(t, "number")},
			Owner:   ids().Draw(t, "owner"),
			Entries: rapid.SliceOfN(entries(), 1, 20).Draw(t, "entries"),
		}
	})
}

func entries() *rapid.Generator[record.Entry] {
	times := rapid.Map(rapid.Int64Range(1, afterAllYears.UnixMilli()-1), func(ms int64) time.Time { return time.UnixMilli(ms).UTC() })
	text := func(most int) *rapid.Generator[string] { return rapid.StringN(1, -1, most) }
	return rapid.Custom(func(t *rapid.T) record.Entry {
		e := record.Entry{
			Kind:  rapid.SampledFrom([]record.Kind{1, 2, 3, 4, 5, 6}).Draw(t, "kind"),
			Order: ids().Draw(t, "order"),
			At:    times.Draw(t, "at"),
		}
		switch e.Kind {
		case record.Ordered:
			e.User, e.Request = text(record.MaxUser).Draw(t, "user"), text(record.MaxRequest).Draw(t, "request")
			e.Quantity, e.PayBy = rapid.Uint32Range(1, record.MaxQuantity).Draw(t, "quantity"), times.Draw(t, "deadline")
		case record.Paid, record.Revived, record.RefundDue:
			e.Payment = text(record.MaxPayment).Draw(t, "payment")
		}
		return e
	})
}

// Nothing makes Decode panic, and what it takes is what Encode makes.
func FuzzDecodeBatch(f *testing.F) {
	value, err := whole().Encode()
	require.NoError(f, err)
	f.Add(value)
	f.Add([]byte{})
	f.Add([]byte("SB\x01"))
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, value := range [][]byte{content, signed(content)} {
			b, err := record.DecodeBatch(event, 3, record.Place{Epoch: 7, Seq: 300}, value)
			if err != nil {
				require.ErrorIs(t, err, record.ErrCorrupt)
				continue
			}
			again, err := b.Encode()
			require.NoError(t, err)
			require.Equal(t, value, again)
		}
	})
}

func TestLogKeys(t *testing.T) {
	at := record.Place{Epoch: 2, Seq: 10}
	key := record.LogKey(event, 5, at)
	assert.Equal(t, "sales/01K9ZZZZZZZZZZZZZZZZZZZZZ1/log/5/00000000000000000002-00000000000000000010", key)
	require.NoError(t, backend.CheckKey(record.LogKey(event, 255, record.Place{Epoch: math.MaxUint64, Seq: math.MaxUint64})))
	back, err := record.ParseLogKey(event, 5, key)
	require.NoError(t, err)
	assert.Equal(t, at, back)
	assert.Less(t, record.LogKey(event, 5, record.Place{Epoch: 2, Seq: 9}), key)
	assert.Greater(t, record.LogKey(event, 5, record.Place{Epoch: 10, Seq: 1}), key)
	for _, bad := range []string{
		"", key + "0", key[:len(key)-1], strings.Replace(key, "-", "_", 1), strings.Replace(key, "/5/", "/6/", 1),
		record.LogDir(event, 5) + "00000000000000000000-00000000000000000001",
		record.LogDir(event, 5) + "+0000000000000000002-00000000000000000010",
		record.LogDir(event, 5) + "99999999999999999999-00000000000000000010",
	} {
		_, err := record.ParseLogKey(event, 5, bad)
		require.ErrorIs(t, err, backend.ErrInvalid, bad)
	}
}

func sample() record.Event {
	return record.Event{
		Title: "Phone", SKU: "phone-1", Price: record.Price{Minor: 19900, Currency: "EUR"},
		Window: record.Window{Opens: noon, Closes: noon.Add(time.Hour)},
		Total:  100, PerUser: 2, Slots: 4, PayWithin: 900, Status: record.StatusDraft,
	}
}

func TestEvent(t *testing.T) {
	require.NoError(t, sample().Validate())
	for field, spoil := range map[string]func(*record.Event){
		"title":          func(e *record.Event) { e.Title = "" },
		"description":    func(e *record.Event) { e.Description = "\xff" },
		"sku":            func(e *record.Event) { e.SKU = strings.Repeat("x", record.MaxSKU+1) },
		"price.minor":    func(e *record.Event) { e.Price.Minor = -1 },
		"price.minor 1":  func(e *record.Event) { e.Price.Minor = record.MaxPrice + 1 },
		"price.currency": func(e *record.Event) { e.Price.Currency = "eur" },
		"total":          func(e *record.Event) { e.Total = 0 },
		"perUser":        func(e *record.Event) { e.PerUser = 0 },
		"slots":          func(e *record.Event) { e.Slots = record.MaxSlots + 1 },
		"opens":          func(e *record.Event) { e.Window.Closes = e.Window.Opens },
		"window":         func(e *record.Event) { e.Window.Opens = time.Time{} },
		"year 9999": func(e *record.Event) {
			e.Window.Closes = time.Date(9999, 12, 31, 23, 0, 0, 0, time.FixedZone("", -2*60*60))
		},
		"payWithin": func(e *record.Event) { e.PayWithin = 0 },
		"status":    func(e *record.Event) { e.Status = "" },
	} {
		e := sample()
		spoil(&e)
		err := e.Validate()
		require.ErrorIs(t, err, backend.ErrInvalid, field)
		require.ErrorContains(t, err, field)
	}
	assert.False(t, sample().Window.Contains(noon.Add(-1)))
	assert.True(t, sample().Window.Contains(noon))
	assert.False(t, sample().Window.Contains(noon.Add(time.Hour)), "the end is out")
}

func TestPool(t *testing.T) {
	p := record.NewPool(10, 2)
	require.NoError(t, p.Validate())
	assert.EqualValues(t, 10, p.Free())
	for fault, spoil := range map[string]func(*record.Pool){
		"total":                       func(p *record.Pool) { p.Total = 0 },
		"granted to 0 slots":          func(p *record.Pool) { p.Granted = nil },
		"empty has 1":                 func(p *record.Pool) { p.Empty = p.Empty[:1] },
		"granted -1":                  func(p *record.Pool) { p.Granted[0] = -1 },
		"granted 11":                  func(p *record.Pool) { p.Granted[0] = 11 },
		"11 units granted":            func(p *record.Pool) { p.Granted[0], p.Granted[1] = 5, 6 },
		"not scarce":                  func(p *record.Pool) { p.SoldOut = true },
		"sold out with 10 units not ": func(p *record.Pool) { p.Scarce, p.Empty, p.SoldOut = true, []bool{true, true}, true },
		"empty slots [true false]": func(p *record.Pool) {
			p.Granted[0], p.Scarce, p.Empty[0], p.SoldOut = 10, true, true, true
		},
	} {
		bad := p.Clone()
		spoil(&bad)
		err := bad.Validate()
		require.ErrorIs(t, err, backend.ErrInvalid, fault)
		require.ErrorContains(t, err, fault)
	}
	assert.Equal(t, record.NewPool(10, 2), p, "a clone shares nothing")

	p = record.Pool{Total: 2, Granted: []int64{1, 1}, Scarce: true, Empty: []bool{true, false}}
	p.Settle()
	assert.False(t, p.SoldOut, "a slot may have some")
	p.Empty[1] = true
	p.Settle()
	assert.True(t, p.SoldOut)
	p.Granted[1] = 0
	p.Settle()
	assert.False(t, p.SoldOut, "a unit came back")
}

func TestSlot(t *testing.T) {
	for _, good := range []record.Slot{{}, {Epoch: 4}, {Owner: owner.String(), Epoch: 1}, {Owner: record.Closed, Epoch: 9}} {
		require.NoError(t, good.Validate(), good)
	}
	for _, bad := range []record.Slot{{Owner: "me", Epoch: 1}, {Owner: owner.String()}, {Owner: record.Closed}} {
		require.ErrorIs(t, bad.Validate(), backend.ErrInvalid, bad)
	}
}

// Records that people can write are refused when they are not what is expected.
func TestDecodeJSON(t *testing.T) {
	entry := func(v any) backend.Entry {
		raw, err := json.Marshal(v)
		require.NoError(t, err)
		return backend.Entry{Key: "k", Value: raw, Revision: 1}
	}
	e, err := record.DecodeEvent(entry(sample()))
	require.NoError(t, err)
	assert.Equal(t, sample(), e)
	p, err := record.DecodePool(entry(record.NewPool(10, 2)))
	require.NoError(t, err)
	assert.Equal(t, record.NewPool(10, 2), p)
	s, err := record.DecodeSlot(entry(record.Slot{Owner: record.Closed, Epoch: 1}))
	require.NoError(t, err)
	assert.Equal(t, record.Slot{Owner: record.Closed, Epoch: 1}, s)

	for _, bad := range []string{"", "null", "[]", "{}", `{"total":1,"granted":[2],"scarce":false,"empty":[false],"soldOut":false}`, `{"totals":1}`} {
		e := backend.Entry{Key: "sales/x/pool", Value: []byte(bad), Revision: 1}
		_, err := record.DecodePool(e)
		require.ErrorIs(t, err, record.ErrCorrupt, bad)
		require.ErrorContains(t, err, "sales/x/pool")
	}
}

func TestPublicID(t *testing.T) {
	id := record.PublicID(event, order)
	assert.Len(t, id, 53)
	e, o, err := record.ParsePublicID(id)
	require.NoError(t, err)
	assert.Equal(t, event, e)
	assert.Equal(t, order, o)
	for _, bad := range []string{"", "-", id[:52], id + "0", strings.ToLower(id), event.String() + order.String(), id + "-" + id} {
		_, _, err := record.ParsePublicID(bad)
		require.ErrorIs(t, err, backend.ErrInvalid, bad)
	}
}

// The bound of a unit is at least what the largest entries of its life take.
func TestMaxUnitSize(t *testing.T) {
	size := record.MaxUnitSize()
	assert.EqualValues(t, 6, size.Keys)
	entry := record.Entry{
		Kind: record.Ordered, Order: order, At: noon, User: strings.Repeat("u", record.MaxUser),
		Request: strings.Repeat("r", record.MaxRequest), Quantity: 1, PayBy: noon,
	}
	b := whole()
	b.Entries = []record.Entry{entry}
	value, err := b.Encode()
	require.NoError(t, err)
	assert.Greater(t, size.Bytes, int64(2*len(value)+4*record.MaxPayment))
}
