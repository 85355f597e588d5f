package settings

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"github.com/seed27495941/seckill/backend"
)

// A ConfigFault is one thing wrong with a cluster config. Line and Column, which begin at 1,
// are 0 where it is about something that is not in the text.
type ConfigFault struct {
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Field  string `json:"field,omitempty"` // as rateLimit.low
	What   string `json:"what"`
}

// Faults tells everything that is wrong with a config that is to be published, where c
// is what holds for fields that it leaves out; nil: it can be used.
func (c Cluster) Faults(raw []byte) []ConfigFault {
	decoded, err := c.Decode(backend.Entry{Key: ConfigKey, Value: raw})
	if err != nil {
		var at *backend.JSONError
		if errors.As(err, &at) {
			return []ConfigFault{{Line: at.Line, Column: at.Column, What: at.Err.Error()}}
		}
		return []ConfigFault{{What: err.Error()}}
	}
	faults := decoded.faults()
	for i, f := range faults {
		if offset, ok := fieldAt(raw, f.Field); ok {
			before := raw[:offset]
			faults[i].Line = bytes.Count(before, []byte("\n")) + 1
			faults[i].Column = int(offset) - bytes.LastIndexByte(before, '\n')
		}
	}
	return faults
}

// fieldAt finds where the name of a field is in a text that was decoded: "a.b" is b in
// the object that a is.
func fieldAt(raw []byte, field string) (offset int64, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	path := strings.Split(field, ".")
	if _, err := dec.Token(); err != nil { // {
		return 0, false
	}
	for len(path) > 0 && dec.More() {
		name, err := dec.Token()
		if err != nil {
			return 0, false
		}
		text, _ := name.(string)
		switch {
		case !strings.EqualFold(text, path[0]): // as the decoder finds fields
			err = dec.Decode(&json.RawMessage{})
		case len(path) == 1:
			end := dec.InputOffset()
			return int64(bytes.LastIndexByte(raw[:end-1], '"')), true
		default:
			path = path[1:]
			_, err = dec.Token() // {
		}
		if err != nil {
			return 0, false
		}
	}
	return 0, false
}
