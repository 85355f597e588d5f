package rollout

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/dynconf"
	"github.com/seed27495941/seckill/recipe/registry"
)

// A Consistency tells whether nodes have in force what they should.
type Consistency struct {
	Revision backend.Revision `json:"revision"`          // of the key; 0: not published
	Hash     string           `json:"hash,omitempty"`    // that nodes should have; "": their defaults
	Rollout  string           `json:"rollout,omitempty"` // on trial
	Trial    string           `json:"trial,omitempty"`   // hash that nodes on trial should have

	Nodes   int     `json:"nodes"`             // listed
	OnTrial int     `json:"onTrial,omitempty"` // of them
	Drift   []Drift `json:"drift"`             // in the order of their ids
}

// A Drift is a node that does not have what it should.
type Drift struct {
	Node     string          `json:"node"`
	OnTrial  bool            `json:"onTrial,omitempty"`
	Expected string          `json:"expected,omitempty"` // hash; "": its defaults
	Applied  *dynconf.Report `json:"applied,omitempty"`  // nil: it did not tell
	Why      string          `json:"why,omitempty"`      // as far as it is known
}

// Consistency compares what the listed nodes report with what is published and
// on trial. Nodes need a moment to follow a change and to tell, so drift counts
// if it lasts.
//
// Errors: those of [backend.Store.Get]; of bases that can't be merged, for then
// it can't be told what nodes should have; and of a rollout that can't be read.
func (c *Controller) Consistency(ctx context.Context) (Consistency, error) {
	w, err := c.want(ctx)
	if err != nil {
		return Consistency{}, err
	}
	s := Consistency{Revision: w.revision, Hash: w.published, Trial: w.trial, Drift: []Drift{}}
	if w.rollout != nil {
		s.Rollout = w.rollout.ID
	}
	for _, n := range c.cfg.Nodes.Nodes() {
		d, ok := c.compare(n, w)
		s.Nodes++
		if d.OnTrial {
			s.OnTrial++
		}
		if !ok {
			s.Drift = append(s.Drift, d)
		}
	}
	return s, nil
}

// wanted is what nodes should have, as hashes.
type wanted struct {
	revision  backend.Revision
	published string
	rollout   *dynconf.Rollout // on trial, or nil
	trial     string
}

// want reads what nodes should have.
func (c *Controller) want(ctx context.Context) (wanted, error) {
	var base []backend.Entry
	for _, l := range c.cfg.Base {
		e, err := get(ctx, l.Store, l.Key)
		if err != nil {
			return wanted{}, err
		}
		base = append(base, e)
	}
	own, err := get(ctx, c.cfg.Store, c.cfg.Key)
	if err != nil {
		return wanted{}, err
	}
	w := wanted{revision: own.Revision}
	if w.published, err = hash(base, own); err != nil {
		return wanted{}, err
	}
	r, err := c.Current(ctx)
	switch {
	case errors.Is(err, backend.ErrNotFound):
		return w, nil
	case err != nil:
		return wanted{}, err
	case r.State != dynconf.Trial:
		return w, nil
	}
	w.rollout = &r
	w.trial, err = hash(base, backend.Entry{Key: dynconf.RolloutKey(c.cfg.Key), Value: []byte(r.Value), Revision: 1})
	return w, err
}

// hash is that of what own makes on the bases, "" of nothing.
func hash(base []backend.Entry, own backend.Entry) (string, error) {
	raw, err := dynconf.Overlay(base, own)
	if err != nil || raw == nil {
		return "", err
	}
	return dynconf.Hash(raw), nil
}

func get(ctx context.Context, s backend.Store, key string) (backend.Entry, error) {
	e, err := s.Get(ctx, key)
	if errors.Is(err, backend.ErrNotFound) {
		err = nil
	}
	return e, err
}

// compare reports whether a node has what it should.
func (c *Controller) compare(n registry.Node, w wanted) (Drift, bool) {
	d := Drift{Node: n.ID, Expected: w.published}
	if w.rollout != nil && w.rollout.Selects(dynconf.Node{ID: n.ID, Labels: n.Labels}) {
		d.OnTrial, d.Expected = true, w.trial
	}
	report, err := c.report(n)
	if err != nil {
		d.Why = err.Error()
		return d, false
	}
	d.Applied = &report
	switch {
	case report.Hash == d.Expected:
		return d, true
	case d.OnTrial && report.Failed == w.rollout.ID:
		d.Why = fmt.Sprintf("the trial failed there: %s", report.Failure)
	case report.Refusal != "":
		d.Why = fmt.Sprintf("refused: %s", report.Refusal)
	}
	return d, false
}
