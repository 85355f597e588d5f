package export

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/seed27495941/seckill/backend"
)

// A Format is how orders are written.
type Format string

// The formats.
const (
	CSV    Format = "csv"    // RFC 4180, with a line of headings
	NDJSON Format = "ndjson" // one JSON object on each line
)

// Columns are those of CSV, and the fields of NDJSON. More may be added at the end.
func Columns() []string {
	return []string{"id", "slot", "user", "request_id", "quantity", "status", "ordered_at", "pay_by", "changed_at", "payment"}
}

// A Writer writes orders. After the last one it has to be flushed.
type Writer struct {
	write func(Order) error
	flush func() error
}

// NewWriter makes a writer of a format. Errors: backend.ErrInvalid for one that is
// none, those of to.
func NewWriter(to io.Writer, format Format) (*Writer, error) {
	switch format {
	case NDJSON:
		lines := bufio.NewWriter(to)
		encoder := json.NewEncoder(lines)
		encoder.SetEscapeHTML(false)
		return &Writer{
			write: func(o Order) error { return encoder.Encode(o) },
			flush: lines.Flush,
		}, nil
	case CSV:
		rows := csv.NewWriter(to)
		if err := rows.Write(Columns()); err != nil {
			return nil, err
		}
		return &Writer{
			write: func(o Order) error { return rows.Write(o.row()) },
			flush: func() error { rows.Flush(); return rows.Error() },
		}, nil
	}
	return nil, fmt.Errorf("%w: format %q, expected %s or %s", backend.ErrInvalid, format, CSV, NDJSON)
}

// Write writes orders.
func (w *Writer) Write(orders []Order) error {
	for _, o := range orders {
		if err := w.write(o); err != nil {
			return err
		}
	}
	return nil
}

// Flush writes what is still kept back.
func (w *Writer) Flush() error { return w.flush() }

func (o Order) row() []string {
	return []string{
		o.ID, strconv.Itoa(o.Slot), cell(o.User), cell(o.RequestID), strconv.FormatInt(o.Quantity, 10), string(o.Status),
		timeText(o.OrderedAt), timeText(o.PayBy), timeText(o.ChangedAt), cell(o.Payment),
	}
}

// timeText is the same as in JSON.
func timeText(t time.Time) string { return t.Format(time.RFC3339Nano) }

// formula are the characters with which a spreadsheet may take a text for a formula,
// in some languages also as wide as a Chinese character, and those it may pass over
// before.
const formula = "=+-@\t\r\n＝＋－＠"

// cell is a text that buyers or payment services have chosen, as a spreadsheet does
// not take it for a formula: one that begins like one gets an apostrophe in front. So
// does one that begins with an apostrophe, so that taking one off always gives the
// text back.
func cell(s string) string {
	if first, _ := utf8.DecodeRuneInString(s); s != "" && strings.ContainsRune(formula+"'", first) {
		return "'" + s
	}
	return s
}
