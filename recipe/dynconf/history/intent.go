package history

import (
	"context"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/internal/lenient"
)

// An intent is left by a change before it is made.
type intent struct {
	ID      string           `json:"id"`
	Base    backend.Revision `json:"base"`
	Hash    string           `json:"hash,omitempty"` // of the value
	Deleted bool             `json:"deleted,omitempty"`
	Author  string           `json:"author"`
	Comment string           `json:"comment,omitempty"`
	Time    time.Time        `json:"time"`
}

func (h *History) intentsDir() string { return "history/" + h.key + "/intent/" }

func (h *History) intentKey(id string) string { return h.intentsDir() + id }

// made is the version that the intent has become.
func (in intent) made(v Version) Version {
	v.Base, v.ID, v.Author, v.Comment, v.Time = in.Base, in.ID, in.Author, in.Comment, in.Time
	return v
}

// explains reports whether a version that is there can be what was intended.
func (in intent) explains(v Version) bool {
	switch {
	case in.Deleted != v.Deleted:
		return false
	case in.Deleted:
		return in.Base == v.Revision
	}
	return in.Base < v.Revision && in.Hash == v.Hash
}

func (h *History) announce(ctx context.Context, in intent) error {
	// Without a condition: there is one writer, or the same once more.
	_, err := backend.PutJSON(ctx, h.store, h.intentKey(in.ID), in)
	return err
}

// withdraw takes an intent away. If that fails Run does it later.
func (h *History) withdraw(ctx context.Context, id string) {
	_ = h.store.Delete(ctx, h.intentKey(id))
}

// intents lists those that were left. What is none is left alone.
func (h *History) intents(ctx context.Context) ([]intent, error) {
	entries, _, err := backend.List(ctx, h.store, h.intentsDir())
	if err != nil {
		return nil, err
	}
	var found []intent
	for _, e := range entries {
		in, err := lenient.Decode[intent](e.Value)
		if err != nil || h.intentKey(in.ID) != e.Key {
			h.log.Warn("not an intent, ignored", "foreign", e.Key, "error", err)
			continue
		}
		found = append(found, in)
	}
	return found, nil
}

// clean takes away what crashed writers have left: intents on a revision that
// was passed when the key got to rev. Their writes can't be made any more. (One
// on revision 0 could, if the key was deleted, and would be external then.)
func (h *History) clean(ctx context.Context, rev backend.Revision) error {
	intents, err := h.intents(ctx)
	if err != nil {
		return err
	}
	for _, in := range intents {
		if in.Base >= rev {
			continue
		}
		if err := h.store.Delete(ctx, h.intentKey(in.ID)); err != nil {
			return err
		}
	}
	return nil
}
