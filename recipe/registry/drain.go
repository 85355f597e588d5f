package registry

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/seed27495941/seckill/backend"
)

// drainKey is the last part of the key that drains a node, below the node's own.
const drainKey = "/drain"

// A Drain is an operator's word that a node is to get no more requests. It is a
// key of its own, nodes/<id>/drain, on no lease: so it outlasts whatever the
// node writes about itself, its death and its restart, and can be there before
// the node is. Being below the node's key it comes with the same watch, which
// on Consul is a connection saved.
//
// That the key exists is all that counts, whatever its value is: `etcdctl put
// /seckill/nodes/<id>/drain now` will do.
type Drain struct {
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since,omitzero"`
}

// DrainNode drains the node with an id, listed or not, until [UndrainNode]; a
// drain that is there already is replaced. dir is as in [NewDirectory]. Since is
// now unless it is set.
//
// Errors: those of [backend.Store.Put], ErrConflict if somebody else drained or
// undrained the node meanwhile. After ErrUnknown look whether it is drained; one
// that is not may yet become so as long as the key does not exist.
func DrainNode(ctx context.Context, s backend.Store, dir, id string, d Drain) error {
	have, err := getWord(ctx, s, dir, id, drainKey)
	if err != nil {
		return err
	}
	if d.Since.IsZero() {
		d.Since = time.Now().UTC().Truncate(time.Second)
	}
	_, err = backend.PutJSON(ctx, s, have.Key, d, backend.If(have.Key, have.Revision))
	return err
}

// UndrainNode lets a node have requests again. It is no error if it was not
// drained. Errors: those of [backend.Store.Delete], ErrConflict if somebody
// else drained it anew meanwhile.
func UndrainNode(ctx context.Context, s backend.Store, dir, id string) error {
	have, err := getWord(ctx, s, dir, id, drainKey)
	if err != nil || have.Revision == 0 {
		return err
	}
	return s.Delete(ctx, have.Key, backend.If(have.Key, have.Revision))
}

// GetDrain reads the drain of a node with an id, listed or not, nil if there is none: what
// the store has now, whatever a directory has heard of. Errors: ErrInvalid, and those of
// [backend.Store.Get].
func GetDrain(ctx context.Context, s backend.Store, dir, id string) (*Drain, error) {
	e, err := getWord(ctx, s, dir, id, drainKey)
	if err != nil || e.Revision == 0 {
		return nil, err
	}
	d := readDrain(e.Value)
	return &d, nil
}

// getWord reads an operator's word on a node, of revision 0 if there is none.
func getWord(ctx context.Context, s backend.Store, dir, id, word string) (backend.Entry, error) {
	dir, err := completeDir(dir)
	if err != nil {
		return backend.Entry{}, err
	}
	if err := checkID(id); err != nil {
		return backend.Entry{}, err
	}
	e, err := s.Get(ctx, dir+id+word)
	if errors.Is(err, backend.ErrNotFound) {
		err = nil
	}
	return e, err
}

// readDrain makes what it can of a drain's value.
func readDrain(value []byte) Drain {
	var d Drain
	if err := json.Unmarshal(value, &d); err != nil {
		return Drain{Reason: strings.ToValidUTF8(strings.TrimSpace(string(value)), "�")}
	}
	return d
}
