package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/backend"
)

// Via is the way an action came in.
type Via string

// The ways there are.
const (
	ViaSession Via = "session" // the console, or the API after a login
	ViaToken   Via = "token"   // the API, with a token
	ViaCLI     Via = "cli"     // the command line, with either
	ViaJob     Via = "job"     // nobody: the cluster itself
)

// An Action is what somebody wants to do.
type Action struct {
	Name      string `json:"action"`              // words joined by dots: events.publish
	Target    string `json:"target,omitempty"`    // what it is done to: the ID of an event or a node, a key
	Actor     string `json:"actor"`               // the name of a user, also via a token
	Via       Via    `json:"via"`                 //
	Token     string `json:"token,omitempty"`     // id of the token, if via one
	TokenName string `json:"tokenName,omitempty"` // what that is for
	Remote    string `json:"remote,omitempty"`    // address of the client
	RequestID string `json:"requestId,omitempty"` // as the answer had it, in X-Request-Id
}

// maxText bounds the texts of a record, in bytes: anybody may send long ones.
const maxText = 512

// Validate says what is wrong with an action: ErrInvalid.
func (a Action) Validate() error {
	switch {
	case a.Name == "":
		return fmt.Errorf("%w: audit: an action without a name", backend.ErrInvalid)
	case a.Actor == "":
		return fmt.Errorf("%w: audit: action %q without an actor", backend.ErrInvalid, a.Name)
	case !slices.Contains([]Via{ViaSession, ViaToken, ViaCLI, ViaJob}, a.Via):
		return fmt.Errorf("%w: audit: action %q via %q, expected session, token, cli or job", backend.ErrInvalid, a.Name, a.Via)
	}
	return nil
}

// bounded is the action with texts that fit into a record.
func (a Action) bounded() Action {
	for _, text := range []*string{&a.Name, &a.Target, &a.Actor, &a.Token, &a.TokenName, &a.Remote, &a.RequestID} {
		*text = clip(*text, maxText)
	}
	return a
}

// clip is the beginning of a text, of so many bytes at most.
func clip(text string, most int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most-len("…")], "") + "…"
}

// An Outcome is what came of an action.
type Outcome string

// The outcomes there are.
const (
	Done    Outcome = "done"
	Refused Outcome = "refused" // by a rule: it was not allowed, or not possible. Nothing was changed
	Failed  Outcome = "failed"  // something was in the way. Of several steps some may have been made
	Unknown Outcome = "unknown" // nobody could find out whether it was done
	Begun   Outcome = "begun"   // none is recorded: it goes on, or whoever did it ended in between
)

// A Record is an action with what came of it.
type Record struct {
	ID   ulid.ULID `json:"id"`
	Time time.Time `json:"time"` // when it began, by the clock of the process
	Action
	Before *Value `json:"before,omitempty"` // nil: nothing was there, or it does not matter
	Ending
}

// An Ending is what is known afterwards only.
type Ending struct {
	Outcome Outcome   `json:"outcome,omitempty"`
	Error   string    `json:"error,omitempty"` // why, unless it was done
	After   *Value    `json:"after,omitempty"`
	Ended   time.Time `json:"ended,omitzero"`
}

const (
	dir        = "audit/"
	bucketsDir = dir + "buckets/"
	suffix     = "-outcome"
)

func recordKey(id ulid.ULID) string  { return dir + id.String() }
func outcomeKey(id ulid.ULID) string { return recordKey(id) + suffix }

// parseKey reads the key of a record or of its outcome.
func parseKey(key string) (id ulid.ULID, isOutcome bool, err error) {
	text, isOutcome := strings.CutSuffix(strings.TrimPrefix(key, dir), suffix)
	id, err = ulid.ParseStrict(text)
	return id, isOutcome, err
}

// The time is in the first ten letters of a ULID, five bits each. Six of them make a
// bucket, which is as long as four letters can count.
const (
	letters = 6
	span    = 1 << (5 * (10 - letters)) * time.Millisecond
)

func bucketOf(id ulid.ULID) string { return id.String()[:letters] }

// bucketAt is the bucket of a time.
func bucketAt(at time.Time) string { return bucketOf(firstOf(at)) }

// firstOf is the least ID of a time. Times that ULIDs can't tell are as the first or
// the last that they can.
func firstOf(at time.Time) (id ulid.ULID) {
	_ = id.SetTime(uint64(min(max(at.UnixMilli(), 0), int64(ulid.MaxTime()))))
	return id
}

// assemble makes records of entries, in their order. Outcomes whose record was pruned
// are left out; keys that are neither are told.
func assemble(entries []backend.Entry) (records []Record, unreadable []error) {
	at := map[ulid.ULID]int{}
	for _, e := range entries {
		id, isOutcome, err := parseKey(e.Key)
		if err == nil && isOutcome {
			i, ok := at[id]
			if !ok {
				continue
			}
			records[i].Ending, err = decode[Ending](e)
		} else if err == nil {
			var r Record
			if r, err = decode[Record](e); err == nil {
				r.ID = id
				at[id] = len(records)
				records = append(records, r)
			}
		}
		if err != nil {
			unreadable = append(unreadable, fmt.Errorf("%q: %w", e.Key, err))
		}
	}
	for i := range records {
		if records[i].Outcome == "" {
			records[i].Outcome = Begun
		}
	}
	return records, unreadable
}

// decode reads what this version, or a later one that knows more, has written.
func decode[T any](e backend.Entry) (v T, err error) {
	if bytes.Equal(bytes.TrimSpace(e.Value), []byte("null")) {
		return v, fmt.Errorf("null, expected a %T", v)
	}
	err = json.Unmarshal(e.Value, &v)
	return v, err
}
