package rollout

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/dynconf"
	"github.com/seed27495941/seckill/recipe/internal/lenient"
	"github.com/seed27495941/seckill/recipe/registry"
)

// Run ends a rollout when more nodes report failure than it bears, so that all
// nodes go back to what is published. It tries until it works; it returns nil
// when ctx ends, and early only if the store was closed (ErrClosed). One Run of a
// controller at a time; any number of controllers.
func (c *Controller) Run(ctx context.Context) error {
	return c.loop.Keep(ctx, func(ctx context.Context) error {
		for {
			if err := c.judge(ctx); err != nil {
				return err
			}
			c.loop.Worked()
			select {
			case <-ctx.Done():
				return nil
			case <-c.wake:
			}
		}
	})
}

// judge takes what nodes report into the record of the rollout.
func (c *Controller) judge(ctx context.Context) error {
	failures := c.failures()
	if len(failures) == 0 {
		return nil
	}
	_, err := c.write(ctx, func(r *dynconf.Rollout) error {
		if r.State != dynconf.Trial || !addFailures(r, failures[r.ID]) {
			return errAsWanted
		}
		if len(r.Failures) > r.MaxFailures {
			r.State = dynconf.Failed
			r.Reason = fmt.Sprintf("%d of the nodes failed, %d are borne", len(r.Failures), r.MaxFailures)
		}
		return fit(r)
	})
	return err
}

// fit makes the record one that can be written, however many nodes fail and
// whatever they say. [Controller.Start] has left room for the reason at least.
func fit(r *dynconf.Rollout) error {
	for _, shorten := range []func(){
		func() {
			for node := range r.Failures {
				r.Failures[node] = ""
			}
		},
		func() {
			r.State, r.Failures = dynconf.Failed, nil
			r.Reason = "more of the nodes failed than the record has room for"
		},
	} {
		if err := checkSize(*r, 0); !errors.Is(err, backend.ErrTooLarge) {
			return err
		}
		shorten()
	}
	return nil
}

// room is what is left in a record for how the rollout goes on.
const room = 8 << 10

// checkSize refuses a record that would be too large, with so many bytes more.
func checkSize(r dynconf.Rollout, more int) error {
	encoded, err := encode(r)
	if err != nil {
		return err
	}
	return backend.CheckValue("rollout "+r.ID, append(encoded, make([]byte, more)...))
}

// addFailures adds what the record does not have, until that is more than is
// borne; false if there is nothing.
func addFailures(r *dynconf.Rollout, failures map[string]string) bool {
	added := false
	for node, why := range failures {
		if _, known := r.Failures[node]; known {
			continue
		}
		if len(r.Failures) > r.MaxFailures {
			break
		}
		if r.Failures == nil {
			r.Failures = map[string]string{}
		}
		r.Failures[node], added = why, true
	}
	return added
}

// failures are what nodes report, by rollout and node.
func (c *Controller) failures() map[string]map[string]string {
	all := map[string]map[string]string{}
	for _, n := range c.cfg.Nodes.Nodes() {
		report, err := c.report(n)
		if err != nil || report.Failed == "" {
			continue
		}
		if all[report.Failed] == nil {
			all[report.Failed] = map[string]string{}
		}
		all[report.Failed][n.ID] = report.Failure
	}
	return all
}

var errNoReport = errors.New("the node reports nothing about this configuration")

// report is what a node says about the configuration.
func (c *Controller) report(n registry.Node) (dynconf.Report, error) {
	raw, ok := n.Configs[c.cfg.Key]
	if !ok {
		return dynconf.Report{}, errNoReport
	}
	r, err := lenient.Decode[dynconf.Report](raw)
	if err != nil {
		return dynconf.Report{}, fmt.Errorf("the node's report: %w", err)
	}
	return r, nil
}

func encode(r dynconf.Rollout) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false) // people read it
	if err := enc.Encode(r); err != nil {
		return nil, fmt.Errorf("%w: rollout %s: %w", backend.ErrInvalid, r.ID, err)
	}
	return bytes.TrimSpace(buf.Bytes()), nil
}
