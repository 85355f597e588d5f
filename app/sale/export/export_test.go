package export_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/export"
	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func published(t *testing.T) (backend.Store, event.Event) {
	t.Helper()
	s := memory.New()
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	e, err := event.Create(t.Context(), s, record.Event{
		Title: "Phone", SKU: "phone-1", Price: record.Price{Currency: "EUR"},
		Window: record.Window{Opens: noon, Closes: noon.Add(time.Hour)},
		Total:  100, PerUser: 2, Slots: 3, PayWithin: 900,
	})
	require.NoError(t, err)
	e, err = event.Publish(t.Context(), s, e.ID)
	require.NoError(t, err)
	return s, e
}

func order(n byte) (u ulid.ULID) {
	u[0], u[15] = 1, n
	return u
}

func ordered(n byte, user string) record.Entry {
	return record.Entry{Kind: record.Ordered, Order: order(n), At: noon, User: user, Request: "=1+1", Quantity: 2, PayBy: noon.Add(time.Minute)}
}

func batch(t *testing.T, s backend.Store, e event.Event, k int, seq uint64, entries ...record.Entry) {
	t.Helper()
	b := record.Batch{Event: e.ID, Slot: k, Place: record.Place{Epoch: 1, Seq: seq}, Owner: order(99), Entries: entries}
	value, err := b.Encode()
	require.NoError(t, err)
	_, err = s.Put(t.Context(), record.LogKey(e.ID, k, b.Place), value)
	require.NoError(t, err)
}

func all(t *testing.T, s backend.Store, e event.Event) (orders []export.Order, slots []int) {
	t.Helper()
	require.NoError(t, export.Orders(t.Context(), s, e, func(k int, some []export.Order) error {
		slots = append(slots, k)
		orders = append(orders, some...)
		return nil
	}))
	return orders, slots
}

func TestOrdersAsTheyStand(t *testing.T) {
	s, e := published(t)
	batch(t, s, e, 0, 1, ordered(2, "bob"), ordered(1, "ann"))
	later := noon.Add(1500 * time.Millisecond)
	batch(t, s, e, 0, 2, record.Entry{Kind: record.Paid, Order: order(2), At: later, Payment: "p"})
	batch(t, s, e, 2, 1, ordered(3, "cid"), record.Entry{Kind: record.Expired, Order: order(3), At: later})
	orders, slots := all(t, s, e)
	assert.Equal(t, []int{0, 1, 2}, slots, "also those without an order")
	require.Len(t, orders, 3)
	assert.Equal(t, export.Order{
		ID: record.PublicID(e.ID, order(2)), Slot: 0, User: "bob", RequestID: "=1+1", Quantity: 2, Status: ledger.Paid,
		OrderedAt: noon, PayBy: noon.Add(time.Minute), ChangedAt: later, Payment: "p",
	}, orders[0])
	assert.Equal(t, ledger.Pending, orders[1].Status)
	assert.Equal(t, ledger.Expired, orders[2].Status)
}

func TestWhatCanNotBeExported(t *testing.T) {
	s, e := published(t)
	none := func(int, []export.Order) error { return nil }
	stop := errors.New("stop")
	require.ErrorIs(t, export.Orders(t.Context(), s, e, func(int, []export.Order) error { return stop }), stop)
	batch(t, s, e, 1, 2, ordered(1, "ann"))
	require.ErrorIs(t, export.Orders(t.Context(), s, e, none), record.ErrCorrupt, "the first batch is missing")
	require.NoError(t, s.Delete(t.Context(), record.LogKey(e.ID, 1, record.Place{Epoch: 1, Seq: 2})))

	closed, err := event.Close(t.Context(), s, e.ID)
	require.NoError(t, err)
	require.NoError(t, export.Orders(t.Context(), s, closed, none))
	archived, err := event.Archive(t.Context(), s, closed)
	require.NoError(t, err)
	require.ErrorIs(t, export.Orders(t.Context(), s, archived, none), export.ErrNotThere)
	require.ErrorIs(t, export.Orders(t.Context(), s, closed, none), export.ErrNotThere, "archived while it was read")
}

func write(t *testing.T, format export.Format, orders ...export.Order) string {
	t.Helper()
	var to bytes.Buffer
	w, err := export.NewWriter(&to, format)
	require.NoError(t, err)
	require.NoError(t, w.Write(orders))
	require.NoError(t, w.Flush())
	return to.String()
}

func TestCSV(t *testing.T) {
	o := export.Order{
		ID: record.PublicID(order(1), order(2)), Slot: 7, User: `a "b", c` + "\n", RequestID: "r", Quantity: 2, Status: ledger.Paid,
		OrderedAt: noon, PayBy: noon, ChangedAt: noon.Add(time.Millisecond), Payment: "p",
	}
	rows, err := csv.NewReader(strings.NewReader(write(t, export.CSV, o))).ReadAll()
	require.NoError(t, err)
	assert.Equal(t, [][]string{
		{"id", "slot", "user", "request_id", "quantity", "status", "ordered_at", "pay_by", "changed_at", "payment"},
		{o.ID, "7", o.User, "r", "2", "paid", "2026-11-21T12:00:00Z", "2026-11-21T12:00:00Z", "2026-11-21T12:00:00.001Z", "p"},
	}, rows)
	_, err = export.NewWriter(io.Discard, "xls")
	require.ErrorIs(t, err, backend.ErrInvalid)
}

// A spreadsheet must not take what a buyer has chosen for a formula, and nobody is
// to lose what it was.
func TestCellsAreNoFormulas(t *testing.T) {
	for _, text := range []string{"=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠A", "'quoted", "", "ann", "a=b"} {
		for _, set := range []func(*export.Order){
			func(o *export.Order) { o.User = text },
			func(o *export.Order) { o.RequestID = text },
			func(o *export.Order) { o.Payment = text },
		} {
			var o export.Order
			set(&o)
			rows, err := csv.NewReader(strings.NewReader(write(t, export.CSV, o))).ReadAll()
			require.NoError(t, err)
			found := false
			for _, cell := range rows[1] {
				assert.NotContains(t, []rune("=+-@\t\r\n＝＋－＠"), first(cell))
				found = found || strings.TrimPrefix(cell, "'") == text || cell == "'"+text
			}
			assert.True(t, found, "%q in %q", text, rows[1])
		}
	}
}

func first(s string) rune {
	r, _ := utf8.DecodeRuneInString(s)
	return r
}

// The columns are the fields, in their order.
func TestNDJSONHasTheColumns(t *testing.T) {
	o := export.Order{ID: "x", User: "<a>", OrderedAt: noon}
	text := write(t, export.NDJSON, o, o)
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	require.Len(t, lines, 2)
	assert.Contains(t, lines[0], `"user":"<a>"`)
	var back export.Order
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &back))
	assert.Equal(t, o, back)
	var names []string
	for field := range reflect.TypeFor[export.Order]().Fields() {
		names = append(names, field.Tag.Get("json"))
	}
	assert.Equal(t, export.Columns(), names)
}

func TestFileIsThereInFullOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "orders.csv")
	put := func(text string, err error) error {
		return export.File(name, func(w io.Writer) error {
			_, errWrite := fmt.Fprint(w, text)
			return errors.Join(errWrite, err)
		})
	}
	broken := errors.New("broken")
	require.ErrorIs(t, put("half", broken), broken)
	require.NoError(t, put("one", nil))
	require.ErrorIs(t, put("half", broken), broken)
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	assert.Equal(t, "one", string(data))
	require.NoError(t, put("two", nil))
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, files, 1)
	require.Error(t, export.File(filepath.Join(dir, "none", "x"), func(io.Writer) error { return nil }))
}

// What stands there for something else, a device above all, is not replaced.
func TestFileReplacesFilesOnly(t *testing.T) {
	dir := t.TempDir()
	listen, err := net.Listen("unix", filepath.Join(dir, "socket"))
	require.NoError(t, err)
	defer listen.Close()
	for _, name := range []string{filepath.Join(dir, "socket"), dir, os.DevNull} {
		before, err := os.Stat(name)
		require.NoError(t, err)
		require.False(t, before.Mode().IsRegular())
		err = export.File(name, func(io.Writer) error { t.Error("it was written"); return errors.New("stop") })
		require.ErrorIs(t, err, backend.ErrInvalid)
		require.ErrorContains(t, err, name)
	}

	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	require.NoError(t, os.WriteFile(target, []byte("old"), 0o600))
	require.NoError(t, os.Symlink("target", link))
	require.NoError(t, export.File(link, func(w io.Writer) error { _, err := io.WriteString(w, "new"); return err }))
	data, err := os.ReadFile(target)
	require.NoError(t, err)
	assert.Equal(t, "new", string(data), "a link goes on to lead where it led")
}
