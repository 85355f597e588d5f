package tasks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/backend"
)

// A State is how far a task has come.
type State string

// The states.
const (
	Waiting   State = "waiting"   // for a worker with room
	Assigned  State = "assigned"  // to a worker, which may have begun
	Done      State = "done"      // with a result
	Failed    State = "failed"    // the handler's error, or no worker lived long enough
	Cancelled State = "cancelled" // by somebody
)

// Finished reports whether the state is final.
func (s State) Finished() bool { return s == Done || s == Failed || s == Cancelled }

// A Task is a piece of work as the store knows it. What it refers to is shared
// and must not be modified.
type Task struct {
	ID      string          `json:"-"`
	State   State           `json:"state"`
	Payload json.RawMessage `json:"payload,omitempty"`

	Worker  string `json:"worker,omitempty"`  // the last one it was assigned to
	Attempt int    `json:"attempt,omitempty"` // how often it was assigned

	Result json.RawMessage `json:"result,omitempty"` // of a task that is done
	Error  string          `json:"error,omitempty"`  // why it failed

	// By the clocks of the machines that wrote them.
	Submitted time.Time `json:"submitted,omitzero"`
	Assigned  time.Time `json:"assigned,omitzero"`
	Finished  time.Time `json:"finished,omitzero"`

	// Progress is the last report of the present worker, nil if there is none.
	// A console adds it.
	Progress *Progress `json:"-"`

	Revision backend.Revision `json:"-"`
}

// Progress is how far a worker says it has come.
type Progress struct {
	Percent int    `json:"percent"` // 0 to 100
	Text    string `json:"text,omitempty"`
}

// A report is progress as it is stored.
type report struct {
	Worker  string `json:"worker"`
	Attempt int    `json:"attempt"`
	Progress
}

// A WorkerInfo is a worker as a console sees it.
type WorkerInfo struct {
	ID       string `json:"-"` // ULID, new after each loss of the lease
	Name     string `json:"name,omitempty"`
	Capacity int    `json:"capacity"`
	Leaving  bool   `json:"leaving,omitempty"` // it waits for its handlers, and is given nothing more
	Tasks    int    `json:"-"`                 // assigned to it
}

// keys are the places under a directory.
type keys struct{ dir string }

func (k keys) workers() string           { return k.dir + "workers/" }
func (k keys) tasks() string             { return k.dir + "tasks/" }
func (k keys) reports() string           { return k.dir + "progress/" }
func (k keys) worker(id string) string   { return k.workers() + id }
func (k keys) task(id string) string     { return k.tasks() + id }
func (k keys) progress(id string) string { return k.reports() + id }

// newKeys: without the slash a watch would cover more than the directory.
func newKeys(dir string) (keys, error) {
	if err := backend.CheckPrefix(dir); err != nil {
		return keys{}, err
	}
	if !strings.HasSuffix(dir, "/") {
		return keys{}, fmt.Errorf("%w: directory %q: expected a slash at the end", backend.ErrInvalid, dir)
	}
	return keys{dir}, nil
}

// checkID takes what all keys of a task can end with.
func (k keys) checkID(id string) error {
	if id == "" || strings.Contains(id, "/") {
		return fmt.Errorf("%w: task id %q: expected some text without a slash", backend.ErrInvalid, id)
	}
	return backend.CheckKey(k.progress(id)) // the longest
}

// encode makes the value of a key: JSON that people read. What could not be read
// back is refused, such as a payload that is no JSON. Errors: ErrInvalid,
// ErrTooLarge.
func encode[T any](key string, v T, check func(T) error) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("%w: %q: %w", backend.ErrInvalid, key, err)
	}
	value := bytes.TrimSpace(buf.Bytes())
	if _, err := decode(backend.Entry{Key: key, Value: value}, check); err != nil {
		return nil, fmt.Errorf("%w: %w", backend.ErrInvalid, err)
	}
	return value, backend.CheckValue(key, value)
}

// decode is strict: who understands a task half must not write it anew.
func decode[T any](e backend.Entry, check func(T) error) (T, error) {
	v, err := backend.DecodeJSON[T](e)
	if err == nil {
		err = check(v)
	}
	if err != nil {
		var zero T
		return zero, err
	}
	return v, nil
}

func encodeTask(key string, t Task) ([]byte, error) { return encode(key, t, checkTask) }

func decodeTask(id string, e backend.Entry) (Task, error) {
	t, err := decode(e, checkTask)
	t.ID, t.Revision = id, e.Revision
	return t, err
}

// checkTask refuses what no console or worker writes. The worker's ID becomes
// part of keys.
func checkTask(t Task) error {
	states := []State{Waiting, Assigned, Done, Failed, Cancelled}
	switch {
	case !slices.Contains(states, t.State):
		return fmt.Errorf("state %q: expected one of %q", t.State, states)
	case t.Attempt < 0:
		return fmt.Errorf("attempt %d: expected no negative number", t.Attempt)
	case t.State == Assigned && !isULID(t.Worker):
		return fmt.Errorf("worker %q: expected a ULID", t.Worker)
	}
	return nil
}

func checkWorker(w WorkerInfo) error {
	if w.Capacity < 1 {
		return fmt.Errorf("capacity %d: expected at least 1", w.Capacity)
	}
	return nil
}

func checkReport(r report) error {
	if r.Percent < 0 || r.Percent > 100 {
		return fmt.Errorf("percent %d: expected 0 to 100", r.Percent)
	}
	return nil
}

func isULID(s string) bool {
	id, err := ulid.ParseStrict(s)
	return err == nil && id.String() == s
}

var errUnder = errors.New("the key is not directly in the directory")
