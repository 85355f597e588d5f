package registry

import (
	"context"
	"fmt"
	"time"

	"github.com/seed27495941/seckill/backend"
)

// weightKey is the last part of the key that weighs a node, below the node's own.
const weightKey = "/weight"

// A Weight is an operator's word on a node's part of the requests, in place of the
// node's own. It is a key of its own, nodes/<id>/weight, for the reasons that a [Drain]
// is.
type Weight struct {
	Weight int       `json:"weight"` // from 1 to MaxWeight
	By     string    `json:"by,omitempty"`
	Since  time.Time `json:"since,omitzero"`
}

// Validate says what is wrong with a weight: ErrInvalid.
func (w Weight) Validate() error {
	if w.Weight < 1 || w.Weight > MaxWeight {
		return fmt.Errorf("%w: weight %d, expected 1 to %d; to give a node nothing drain it", backend.ErrInvalid, w.Weight, MaxWeight)
	}
	return nil
}

// WeighNode gives the node with an id a weight, listed or not, until [UnweighNode]; one
// that is there already is replaced. dir is as in [NewDirectory]. Since is now unless it
// is set.
//
// Errors: ErrInvalid for a weight that is none, and as of [DrainNode].
func WeighNode(ctx context.Context, s backend.Store, dir, id string, w Weight) error {
	if err := w.Validate(); err != nil {
		return err
	}
	have, err := getWord(ctx, s, dir, id, weightKey)
	if err != nil {
		return err
	}
	if w.Since.IsZero() {
		w.Since = time.Now().UTC().Truncate(time.Second)
	}
	_, err = backend.PutJSON(ctx, s, have.Key, w, backend.If(have.Key, have.Revision))
	return err
}

// UnweighNode gives a node its own weight back. It is no error if it had no other.
// Errors: as of [UndrainNode].
func UnweighNode(ctx context.Context, s backend.Store, dir, id string) error {
	have, err := getWord(ctx, s, dir, id, weightKey)
	if err != nil || have.Revision == 0 {
		return err
	}
	return s.Delete(ctx, have.Key, backend.If(have.Key, have.Revision))
}

// GetWeight reads an operator's weight of a node with an id, as [GetDrain] does. One that
// can't be read counts for nothing, and is nil.
func GetWeight(ctx context.Context, s backend.Store, dir, id string) (*Weight, error) {
	e, err := getWord(ctx, s, dir, id, weightKey)
	if err != nil || e.Revision == 0 {
		return nil, err
	}
	w, unreadable := readWeight(e)
	if unreadable != nil {
		return nil, nil //nolint:nilerr,nilnil // nodes and directories say so
	}
	return &w, nil
}

// readWeight reads a weight: unlike a drain, one that can't be read says nothing.
func readWeight(e backend.Entry) (Weight, error) {
	w, err := backend.DecodeJSON[Weight](e)
	if err == nil {
		err = w.Validate()
	}
	return w, err
}
