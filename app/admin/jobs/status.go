package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/seed27495941/seckill/backend"
)

const statusDir = "jobs/"

// A Status is what is known of a job, as who leads has told it last.
type Status struct {
	Name     string           `json:"name"`
	By       string           `json:"by"`   // the admin that runs it
	Term     backend.Revision `json:"term"` // in which it does
	Started  time.Time        `json:"started,omitzero"`
	Ended    time.Time        `json:"ended,omitzero"`
	Result   string           `json:"result,omitempty"`
	Error    string           `json:"error,omitempty"`    // of the last run
	Failures int              `json:"failures,omitempty"` // in a row
	Next     time.Time        `json:"next,omitzero"`
}

// Statuses reads what is known of all jobs, in the order of their names, from any
// process. A job that never ran is not listed. Unreadable has what is wrong with keys that
// are no status. Errors: those of [backend.List].
func Statuses(ctx context.Context, s backend.Store) (all []Status, unreadable []error, err error) {
	entries, _, err := backend.List(ctx, s, statusDir)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		var status Status
		err := json.Unmarshal(e.Value, &status)
		if err == nil && statusDir+status.Name != e.Key {
			err = fmt.Errorf("expected that of %s", strings.TrimPrefix(e.Key, statusDir))
		}
		if err != nil {
			unreadable = append(unreadable, fmt.Errorf("%q: not the status of the job: %w", e.Key, err))
			continue
		}
		all = append(all, status)
	}
	return all, unreadable, nil
}

// took takes in what a run came to, and when the next one is. Trouble is logged once, not with each
// run that has the same.
func (s *Status) took(came result, err error, wait time.Duration, log *slog.Logger) {
	trouble := ""
	if err != nil {
		trouble = clip(err.Error())
		s.Failures++
	} else {
		s.Failures = 0
	}
	switch {
	case trouble != "" && trouble != s.Error:
		log.Error("a job has failed, at least in part, and will be tried again", "error", err)
	case trouble == "" && s.Error != "":
		log.Info("the job works again")
	}
	s.Ended, s.Result, s.Error = now(), clip(came.text), trouble
	s.Next = s.Ended.Add(wait)
}

// maxText bounds the texts of a status, in bytes: each event may have its own.
const maxText = 16 << 10

func clip(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + "…"
}

// tell writes a status. Nothing depends on it.
func (d *duty) tell(ctx context.Context, s Status, log *slog.Logger) {
	if _, err := backend.PutJSON(ctx, d.store, statusDir+s.Name, s); err != nil && ctx.Err() == nil {
		log.Warn("the status of a job was not written", "error", err)
	}
}
