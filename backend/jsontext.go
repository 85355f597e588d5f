package backend

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
)

// A piece is one token of a JSON text.
type piece struct {
	token      json.Token
	start, end int64
	name       bool // of a member of an object
}

// pieces are those of a text, up to the first that is not well-formed.
func pieces(data []byte) iter.Seq[piece] {
	return func(yield func(piece) bool) {
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.UseNumber()
		for {
			start := dec.InputOffset()
			token, err := dec.Token()
			if err != nil {
				return
			}
			end := dec.InputOffset()
			p := piece{token: token, start: start + gap(data[start:], " \t\r\n,:"), end: end}
			// Nothing but a name is followed by a colon.
			rest := data[end:]
			p.name = bytes.HasPrefix(rest[gap(rest, " \t\r\n"):], []byte(":"))
			if !yield(p) {
				return
			}
		}
	}
}

// gap counts the bytes in front that are among those given.
func gap(data []byte, of string) int64 {
	return int64(len(data) - len(bytes.TrimLeft(data, of)))
}

// checkNames refuses a well-formed text in which an object has a name twice:
// the decoder would take the last one without a word.
func checkNames(data []byte) error {
	var open []map[any]bool // the names of the objects around; arrays have none
	for p := range pieces(data) {
		switch {
		case p.token == json.Delim('{') || p.token == json.Delim('['):
			open = append(open, map[any]bool{})
		case p.token == json.Delim('}') || p.token == json.Delim(']'):
			open = open[:len(open)-1]
		case p.name && open[len(open)-1][p.token]:
			return faultAt(data, p.start, fmt.Errorf("%q is there twice", p.token))
		case p.name:
			open[len(open)-1][p.token] = true
		}
	}
	return nil
}

// locate puts the line and column in front of a decoder's error.
func locate(err error, data []byte) error {
	var (
		syntax *json.SyntaxError
		typed  *json.UnmarshalTypeError
	)
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("no text, expected a JSON value")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return faultAt(data, int64(len(data)), errors.New("the text ends too soon"))
	case errors.As(err, &syntax):
		// The decoder counts the byte it choked on.
		return faultAt(data, syntax.Offset-1, err)
	case errors.As(err, &typed):
		field := ""
		if typed.Field != "" {
			field = typed.Field + ": "
		}
		return faultAt(data, startOf(data, typed.Offset), fmt.Errorf("%sgot %s, expected %s", field, typed.Value, typed.Type))
	}
	// The decoder has no type for this one, only the text.
	if quoted, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		unknown := fmt.Errorf("unknown field %s", quoted)
		if at, ok := nameAt(data, quoted); ok {
			return faultAt(data, at, unknown)
		}
		return unknown
	}
	return err
}

// startOf is where the value begins whose first token reaches to the offset end,
// which is what the decoder tells of it.
func startOf(data []byte, end int64) int64 {
	for p := range pieces(data) {
		if p.end >= end {
			return p.start
		}
	}
	return end
}

// nameAt finds the one member of this name in the text. With two, of which one
// may be fine, better no position than a wrong one.
func nameAt(data []byte, quoted string) (at int64, ok bool) {
	name, err := strconv.Unquote(quoted)
	if err != nil {
		return 0, false
	}
	for p := range pieces(data) {
		if !p.name || p.token != name {
			continue
		}
		if ok {
			return 0, false
		}
		at, ok = p.start, true
	}
	return at, ok
}

// A JSONError is what is wrong with a JSON text, and where: lines and columns begin at
// 1, columns are counted in bytes.
type JSONError struct {
	Line, Column int
	Err          error
}

func (e *JSONError) Error() string {
	return fmt.Sprintf("line %d, column %d: %v", e.Line, e.Column, e.Err)
}

// Unwrap is what is wrong, without the place.
func (e *JSONError) Unwrap() error { return e.Err }

// faultAt says that something is wrong at an offset.
func faultAt(data []byte, offset int64, err error) error {
	before := data[:max(0, min(offset, int64(len(data))))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len(before) - (bytes.LastIndexByte(before, '\n') + 1) + 1
	return &JSONError{line, column, err}
}
