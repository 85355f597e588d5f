package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pmezard/go-difflib/difflib"

	"github.com/seed27495941/seckill/app/admin/audit"
	"github.com/seed27495941/seckill/app/sale/record"
)

const layout = "layout"

// parse reads the pages' templates, each with the layout around it.
func parse(from fs.FS) (views, error) {
	base, err := template.New(layout).Funcs(functions()).ParseFS(from, "pages/"+layout+".html")
	if err != nil {
		return nil, err
	}
	names, err := fs.Glob(from, "pages/*.html")
	if err != nil {
		return nil, err
	}
	v := views{}
	for _, file := range names {
		t, err := base.Clone()
		if err != nil {
			return nil, err
		}
		if _, err := t.ParseFS(from, file); err != nil {
			return nil, err
		}
		v[strings.TrimSuffix(path.Base(file), ".html")] = t
	}
	return v, nil
}

// page writes a whole page.
func (v views) page(w io.Writer, view string, f frame) error {
	return v[view].ExecuteTemplate(w, "page", f)
}

// part makes a part of a page.
func (v views) part(view, name string, data any) (string, error) {
	var b bytes.Buffer
	err := v[view].ExecuteTemplate(&b, name, data)
	return b.String(), err
}

func functions() template.FuncMap {
	return template.FuncMap{
		"n":       grouped,
		"rate":    func(perSecond float64) string { return strconv.FormatFloat(perSecond, 'f', 1, 64) },
		"percent": percent,
		"millis":  func(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) },
		"age":     func(t time.Time) string { return roughly(time.Since(t)) },
		"clock":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
		"rfc3339": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"short":   func(hash string) string { return hash[:min(len(hash), 12)] },
		"clip":    func(text string) string { return clip(text, 120) },
		"money":   money,
		"pretty":  pretty,
		"place":   place,
		"ends":    lineEnds,
		"step":    secondsStep,
		"tone":    func(status any) string { return tones[fmt.Sprint(status)] },
	}
}

// tones are the colours of words that say how something stands. What is not here has
// none.
var tones = map[string]string{
	"online": "live", "open": "live", "publishing": "live", "trial": "live", "begun": "live", "running": "live",
	"paid": "good", "done": "good", "promoted": "good", "same": "good", "ready": "good",
	"offline": "care", "suspended": "care", "closing": "care", "sold out": "care", "late": "care", "expired": "care", "unknown": "care", "refused": "care", "refund_due": "bad",
	"drained": "care", "draining": "care", "warning": "care",
	"failed": "bad", "critical": "bad",
}

// grouped writes a whole number so that it can be read: 1,234,567.
func grouped(v any) string {
	text := fmt.Sprint(v)
	digits, negative := strings.CutPrefix(text, "-")
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	if negative {
		return "−" + b.String()
	}
	return b.String()
}

// secondsStep is how finely a time is typed: to the second, unless it has fractions of one.
func secondsStep(typed string) string {
	if strings.Contains(typed, ".") {
		return "0.001"
	}
	return "1"
}

func percent(part, whole int64) string {
	if whole == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(whole))
}

// roughly tells a duration as people do.
func roughly(d time.Duration) string {
	switch {
	case d < 90*time.Second:
		return fmt.Sprintf("%d s", max(0, int(d.Round(time.Second)/time.Second)))
	case d < 90*time.Minute:
		return fmt.Sprintf("%d min", int(d.Round(time.Minute)/time.Minute))
	}
	return fmt.Sprintf("%d h", int(d.Round(time.Hour)/time.Hour))
}

// clip is the beginning of a text, of so many bytes at most.
func clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most] + "…"
}

// decimals of a currency's unit, where they are not two.
var decimals = map[string]int{"JPY": 0, "KRW": 0, "VND": 0, "CLP": 0, "ISK": 0, "BHD": 3, "KWD": 3, "OMR": 3, "JOD": 3, "TND": 3}

func money(p record.Price) string {
	places, ok := decimals[p.Currency]
	if !ok {
		places = 2
	}
	if places == 0 {
		return grouped(p.Minor) + " " + p.Currency
	}
	text := fmt.Sprintf("%0*d", places+1, p.Minor)
	whole := text[:len(text)-places]
	return grouped(whole) + "." + text[len(text)-places:] + " " + p.Currency
}

// pretty is what the audit log has of a value.
func pretty(v *audit.Value) string {
	switch {
	case len(v.JSON) > 0:
		var b bytes.Buffer
		if json.Indent(&b, v.JSON, "", "  ") != nil {
			return string(v.JSON)
		}
		return b.String()
	case v.Cut != "":
		return fmt.Sprintf("%s… (%d bytes)", v.Cut, v.Bytes)
	}
	return fmt.Sprintf("%d bytes", v.Bytes)
}

// A diff is two texts side by side.
type diff struct {
	From, To string
	Rows     []diffRow
	Cut      int // rows that are not shown
	Changed  bool
}

// mostRows bounds what is shown of a diff. A config has some hundred lines; one may be
// nothing but line ends, and a row of a page takes a hundred times as much.
const mostRows = 5_000

// A diffRow has a line of one text beside one of the other. A line number of 0 is none.
type diffRow struct {
	LeftLine, RightLine int
	Left, Right         string
	Out, In             bool // the left line is not in the other text; the right one is not
}

// sideBySide compares two texts by their lines.
func sideBySide(from, a, to, b string) diff {
	d := diff{From: from, To: to}
	left, right := lines(a), lines(b)
	for _, op := range difflib.NewMatcher(left, right).GetOpCodes() {
		same := op.Tag == 'e'
		d.Changed = d.Changed || !same
		for i := range max(op.I2-op.I1, op.J2-op.J1) {
			var row diffRow
			if at := op.I1 + i; at < op.I2 {
				row.LeftLine, row.Left, row.Out = at+1, left[at], !same
			}
			if at := op.J1 + i; at < op.J2 {
				row.RightLine, row.Right, row.In = at+1, right[at], !same
			}
			if len(d.Rows) == mostRows {
				d.Cut++
				continue
			}
			d.Rows = append(d.Rows, row)
		}
	}
	return d
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}
