package dynconf

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
)

// A layer is one key that is followed, with the rollout beside it.
type layer struct {
	Layer
	loop *retry.Loop

	following bool // guarded by mu

	// As last heard of, guarded by changing. A hidden entry is one that the
	// watch leaves out because of what hidden says.
	heard  bool
	entry  backend.Entry // of revision 0 while the key does not exist
	hidden error
}

// own is the layer of the configuration's own key, the top one.
func (c *Config[T]) own() *layer { return c.layers[len(c.layers)-1] }

// follow follows a layer by one watch, which covers the rollout too: so the end
// of a rollout is never seen before what was published with it.
func (c *Config[T]) follow(ctx context.Context, l *layer) error {
	defer c.setFollowing(l, false)
	var state backend.State
	begun := false
	for u, err := range l.Store.WatchPrefix(ctx, l.Key) {
		if err != nil {
			return err
		}
		c.setFollowing(l, true)
		u.Puts = slices.DeleteFunc(u.Puts, func(e backend.Entry) bool {
			return e.Key != l.Key && e.Key != RolloutKey(l.Key)
		})
		change := state.Apply(u)
		if begun && len(change.Puts)+len(change.Deletes) == 0 {
			continue
		}
		taken, err := c.take(ctx, l, &state)
		if err != nil {
			return err
		}
		begun = begun || taken
		l.loop.Worked()
	}
	return nil
}

// errHidden ends a watch that can't tell what becomes of the key: it is begun
// again until it can.
var errHidden = errors.New("the watch leaves the value out")

// take takes in what the keys of a layer have become; false if that is not
// certain yet.
func (c *Config[T]) take(ctx context.Context, l *layer, state *backend.State) (bool, error) {
	e, ok := state.Get(l.Key)
	var hidden error
	if !ok {
		var err error
		if e, err = l.Store.Get(ctx, l.Key); err != nil && !errors.Is(err, backend.ErrNotFound) {
			return false, err
		}
		// Watches leave out values that break the contract's rules, and a value
		// too large is no deletion.
		if hidden = backend.CheckValue(l.Key, e.Value); e.Revision != 0 && hidden == nil {
			return false, nil // written meanwhile: the watch will tell
		}
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	l.heard, l.entry, l.hidden = true, e, hidden
	if l == c.own() {
		r, ok := state.Get(RolloutKey(l.Key))
		c.hearRollout(r, ok)
	}
	c.settle()
	if hidden != nil {
		return false, fmt.Errorf("%w: %w", errHidden, hidden)
	}
	return true, nil
}

// hearRollout takes in the rollout's record. One that can't be read is none.
func (c *Config[T]) hearRollout(e backend.Entry, exists bool) {
	c.rollout = nil
	var err error
	if exists {
		var r Rollout
		if r, err = DecodeRollout(e); err == nil {
			c.rollout = &r
		}
	}
	c.noteUnreadable(err)
}

// noteUnreadable takes note of why the rollout's record can't be read, nil if
// it can.
func (c *Config[T]) noteUnreadable(err error) {
	before := c.Status().Failure
	noted := before != nil && before.Rollout == ""
	switch {
	case err == nil && noted:
		c.setFailure(nil)
	case err != nil && !(noted && before.Error == short(err.Error())):
		c.log.Error("not a rollout, ignored", "error", err)
		c.setFailure(&Failure{Error: err.Error(), At: time.Now()})
	}
}

// isHeard reports whether all layers have been heard of: half of them make no
// value.
func (c *Config[T]) isHeard() bool {
	return !slices.ContainsFunc(c.layers, func(l *layer) bool { return !l.heard })
}

// overlay is the value that own makes on the bases, nil if there is none at all.
func (c *Config[T]) overlay(own backend.Entry) ([]byte, error) {
	var base []backend.Entry
	for _, l := range c.layers[:len(c.layers)-1] {
		if l.hidden != nil {
			return nil, l.hidden
		}
		base = append(base, l.entry)
	}
	return Overlay(base, own)
}
