package node

import (
	"context"
	"fmt"
	"time"

	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/dynconf"
)

// How long an override lasts.
const (
	DefaultOverride = 15 * time.Minute
	MaxOverride     = 24 * time.Hour
)

// OverrideKey is where a node that has an override says so, among the configs of its
// entry in the registry.
const OverrideKey = settings.ConfigKey + "/override"

// maxNote bounds what is told about an override, in bytes.
const maxNote = 500

// An Override is a config that was pushed to one node. It counts there, in the fields
// that it has, more than what is published, for a while.
type Override struct {
	Value   string    `json:"value"` // as it was pushed
	Hash    string    `json:"hash"`  // of that
	Author  string    `json:"author"`
	From    string    `json:"from,omitempty"` // address that it came from
	Comment string    `json:"comment,omitempty"`
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until"`
}

// An OverrideNote is what other nodes are told of an override.
type OverrideNote struct {
	Author string    `json:"author"`
	Until  time.Time `json:"until"`
}

func (o *Override) note() *OverrideNote {
	if o == nil {
		return nil
	}
	return &OverrideNote{Author: o.Author, Until: o.Until}
}

// Push puts an override in force, in place of the one before, and returns it as it is
// shown. Of o, Value, Author, From and Comment count; it ends after lasts, which is
// DefaultOverride if 0, and with the process. Errors: backend.ErrInvalid, and nothing has
// changed.
func (n *Node) Push(o Override, lasts time.Duration) (Override, error) {
	if lasts == 0 {
		lasts = DefaultOverride
	}
	if err := o.check(lasts); err != nil {
		return Override{}, fmt.Errorf("%w: %w", backend.ErrInvalid, err)
	}
	o.Hash, o.Since = dynconf.Hash([]byte(o.Value)), time.Now()
	o.Until = o.Since.Add(lasts)
	if err := n.change(func(c *config) { c.override = &o }); err != nil {
		return Override{}, fmt.Errorf("%w: %w", backend.ErrInvalid, err)
	}
	n.cfg.Log.Warn("config overridden by a push", "author", o.Author, "from", o.From, "comment", o.Comment, "until", o.Until, "hash", o.Hash)
	n.overrideChanged()
	return o, nil
}

func (o Override) check(lasts time.Duration) error {
	switch {
	case lasts < time.Second || lasts > MaxOverride:
		return fmt.Errorf("expected a time from 1s to %v, got %v", MaxOverride, lasts)
	case o.Author == "" || len(o.Author) > maxNote:
		return fmt.Errorf("author: expected 1 to %d bytes, got %d", maxNote, len(o.Author))
	case len(o.Comment) > maxNote:
		return fmt.Errorf("comment: expected at most %d bytes, got %d", maxNote, len(o.Comment))
	case o.Value == "":
		return fmt.Errorf("%q: no text, expected a JSON value", settings.ConfigKey)
	}
	return backend.CheckValue(settings.ConfigKey, []byte(o.Value))
}

// Clear ends the override; false if there was none.
func (n *Node) Clear() bool {
	had := n.endOverride("cleared", func(*Override) bool { return true })
	n.overrideChanged()
	return had
}

// endOverride ends the override if it is one of those that are to end.
func (n *Node) endOverride(why string, ends func(*Override) bool) bool {
	ended := false
	err := n.change(func(c *config) {
		if c.override != nil && ends(c.override) {
			c.override, ended = nil, true
		}
	})
	if err != nil { // what was good below it is
		n.cfg.Log.Error("can't end the override of the config", "error", err)
		return false
	}
	if ended {
		n.cfg.Log.Warn("override of the config ended", "because", why)
	}
	return ended
}

func (n *Node) overrideChanged() {
	select {
	case n.pushed <- struct{}{}:
	default:
	}
}

// endOverrides ends overrides when their time is up, until ctx ends.
func (n *Node) endOverrides(ctx context.Context) {
	for {
		timer := time.NewTimer(n.overrideLasts())
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-n.pushed:
			timer.Stop()
		case <-timer.C:
			n.endOverride("expired", func(o *Override) bool { return time.Until(o.Until) <= 0 })
		}
	}
}

// overrideLasts is how long the override will, or one could. If one can't be ended that
// is tried again, but not at once.
func (n *Node) overrideLasts() time.Duration {
	if o := n.current.Load().override; o != nil {
		return max(time.Until(o.Until), 100*time.Millisecond)
	}
	return MaxOverride
}
