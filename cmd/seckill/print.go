package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/seed27495941/seckill/backend"
)

// A printer shows what the store has, for people or for programs.
type printer struct {
	json bool
	to   io.Writer
}

// A record is one line for programs.
type record struct {
	Event    string           `json:"event,omitempty"` // of a watch
	Keys     *int             `json:"keys,omitempty"`  // of a snapshot
	Key      string           `json:"key,omitempty"`
	Value    *string          `json:"value,omitempty"`
	Encoding string           `json:"encoding,omitempty"` // base64, if the value is not UTF-8
	Revision backend.Revision `json:"revision"`
	Lease    string           `json:"lease,omitempty"`
}

func newRecord(e backend.Entry) record {
	r := record{Key: e.Key, Revision: e.Revision, Lease: e.Lease}
	value := string(e.Value)
	if !utf8.ValidString(value) {
		value, r.Encoding = base64.StdEncoding.EncodeToString(e.Value), "base64"
	}
	r.Value = &value
	return r
}

// value prints one value as it is, so that it can be put back. Only on a
// terminal a line end follows, and it is legible.
func (p printer) value(e backend.Entry) error {
	if p.json {
		return p.record(newRecord(e))
	}
	text := string(e.Value)
	if isTerminal(p.to) && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return p.text(text)
}

// text prints a text of several lines as it is, on a terminal as far as it is legible there.
func (p printer) text(text string) error {
	if isTerminal(p.to) {
		text = legible(text)
	}
	_, err := io.WriteString(p.to, text)
	return err
}

// legible quotes what is not to be seen, or would have the terminal do something, such as
// hiding other lines. Tabs and ends of lines stay.
func legible(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		switch invalid := r == utf8.RuneError && size == 1; {
		case r == '\n', r == '\t', unicode.IsPrint(r) && !invalid:
			b.WriteString(text[:size])
		default:
			quoted := strconv.Quote(text[:size])
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		text = text[size:]
	}
	return b.String()
}

// removed tells programs that a key has no revision any more. People are told
// nothing, as by rm.
func (p printer) removed(key string) error {
	if !p.json {
		return nil
	}
	return p.record(record{Key: key})
}

func (p printer) written(key string, rev backend.Revision) error {
	if p.json {
		return p.record(record{Key: key, Revision: rev})
	}
	return p.line("revision %d", rev)
}

func (p printer) listed(e backend.Entry, keyOnly bool) error {
	switch {
	case p.json && keyOnly:
		return p.record(record{Key: e.Key, Revision: e.Revision, Lease: e.Lease})
	case p.json:
		return p.record(newRecord(e))
	case keyOnly:
		return p.line("%s", e.Key)
	}
	return p.line("%s\t%s", e.Key, oneLine(e.Value))
}

func (p printer) snapshot(keys int, rev backend.Revision) error {
	if p.json {
		return p.record(record{Event: "snapshot", Keys: &keys, Revision: rev})
	}
	return p.line("snapshot\t%d keys at revision %d", keys, rev)
}

func (p printer) put(e backend.Entry) error {
	if p.json {
		r := newRecord(e)
		r.Event = "put"
		return p.record(r)
	}
	return p.line("put\t%s\t%s", e.Key, oneLine(e.Value))
}

func (p printer) deleted(key string, rev backend.Revision) error {
	if p.json {
		return p.record(record{Event: "delete", Key: key, Revision: rev})
	}
	return p.line("delete\t%s", key)
}

func (p printer) line(format string, args ...any) error {
	_, err := fmt.Fprintf(p.to, format+"\n", args...)
	return err
}

func (p printer) record(r record) error { return p.object(r) }

// object prints one line for programs.
func (p printer) object(v any) error {
	encoder := json.NewEncoder(p.to)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// oneLine shows a value on one line: as it is if it fits there, else quoted.
func oneLine(value []byte) string {
	s := string(value)
	unprintable := func(r rune) bool { return !unicode.IsPrint(r) }
	if utf8.ValidString(s) && !strings.ContainsFunc(s, unprintable) {
		return s
	}
	return strconv.Quote(s)
}

func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
