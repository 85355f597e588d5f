package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
)

// NewDraft is what a draft has that says nothing: one unit for each buyer, who has a
// quarter of an hour to pay; enough slots for some nodes, and for more orders each
// second than most sales have; a sale that is open from now on.
func NewDraft(now time.Time) record.Event {
	return record.Event{
		Window: record.Window{Opens: now.UTC().Truncate(time.Millisecond)}, PerUser: 1, Slots: 16, PayWithin: 15 * 60,
	}
}

// ReadDraft reads a draft in JSON or YAML, with the names that events have in the
// store. What it leaves out is as in base. It can't have a status. Errors:
// ErrInvalid, with the name of the file and, for JSON, line and column.
func ReadDraft(name string, data []byte, base record.Event) (record.Event, error) {
	if !bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		var err error
		if data, err = yaml.YAMLToJSONStrict(data); err != nil {
			return record.Event{}, fmt.Errorf("%w: %s: %w", backend.ErrInvalid, name, err)
		}
	}
	given, err := backend.DecodeJSON[record.Event](backend.Entry{Key: name, Value: data})
	if err == nil && given.Status != "" {
		err = fmt.Errorf("%q: status %q: a new event is a draft, leave it out", name, given.Status)
	}
	if err == nil {
		err = json.Unmarshal(data, &base)
	}
	if err != nil {
		return record.Event{}, fmt.Errorf("%w: %w", backend.ErrInvalid, err)
	}
	return base, nil
}

// ParseTime reads a time as RFC 3339 has it, or counted from now: "+10m". Errors:
// ErrInvalid.
func ParseTime(text string, now time.Time) (time.Time, error) {
	if after, relative := strings.CutPrefix(text, "+"); relative {
		if d, err := time.ParseDuration(after); err == nil && d >= 0 {
			return now.Add(d).UTC().Truncate(time.Millisecond), nil
		}
	} else if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	return time.Time{}, fmt.Errorf("%w: time %q, expected one as 2026-11-11T20:00:00+08:00, or from now on as +10m", backend.ErrInvalid, text)
}
