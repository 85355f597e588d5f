package dynconf

import (
	"context"
	"fmt"
	"time"
	"unicode/utf8"
)

// A Failure tells why a node is not on trial though a rollout selects it: the
// value can't be used here, or the application said that it does no good.
type Failure struct {
	Rollout string    `json:"rollout,omitempty"` // "": the rollout's record itself can't be read
	Error   string    `json:"error"`
	At      time.Time `json:"at,omitzero"`
}

// ReportFailure says that the value which is on trial here does no good. The
// node goes back to what is published at once, as far as this rollout is
// concerned for good, and its [Report] says so, which may end the rollout for
// all. The rollout is named as by [Status]: if it is not on trial here any more
// nothing happens, and the result is false.
//
// It does not block. A node that starts anew is on trial anew, unless the
// failure has got into the rollout's record.
func (c *Config[T]) ReportFailure(rollout string, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if rollout == "" || c.status.Rollout != rollout {
		return false
	}
	if c.pending == nil || c.pending.Rollout != rollout {
		c.pending = &Failure{Rollout: rollout, Error: fmt.Sprint(err), At: time.Now()}
	}
	select {
	case c.failed <- struct{}{}:
	default:
	}
	return true
}

// awaitFailures takes in what is reported, until ctx ends.
func (c *Config[T]) awaitFailures(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.failed:
			c.takeFailure()
		}
	}
}

func (c *Config[T]) takeFailure() {
	c.changing.Lock()
	defer c.changing.Unlock()
	c.mu.Lock()
	failure := c.pending
	c.pending = nil
	c.mu.Unlock()
	if failure == nil || c.trial == nil || c.trial.rollout != failure.Rollout {
		return // over meanwhile
	}
	c.fail(*failure)
	c.settle()
}

// fail takes note that the trial has failed here.
func (c *Config[T]) fail(f Failure) {
	c.log.Error("trial failed here, what is published applies", "rollout", f.Rollout, "error", f.Error)
	c.setFailure(&f)
}

func (c *Config[T]) setFailure(f *Failure) {
	if f != nil {
		f.Error = short(f.Error)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.Failure = f
}

// short bounds what is told to others: it lies in the store many times.
func short(text string) string {
	const most = 500
	if len(text) <= most {
		return text
	}
	cut := most
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}
