package main

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/admin/client"
	"github.com/seed27495941/seckill/recipe/dynconf"
)

const rolloutPath = configPath + "/rollout"

type rolloutCommand struct {
	Start   rolloutStart   `cmd:"" help:"Try a config on some of the nodes."`
	Status  rolloutStatus  `cmd:"" help:"Tell how the present rollout stands, node by node."`
	Target  rolloutTarget  `cmd:"" help:"Change which nodes are on trial."`
	Promote rolloutPromote `cmd:"" help:"Publish what is on trial, for all nodes."`
	Abandon rolloutAbandon `cmd:"" help:"Take what is on trial off all nodes."`
}

// targetFlags say which nodes are on trial.
type targetFlags struct {
	Percent float64           `required:"" placeholder:"N" help:"Share of the nodes: above 0, up to 100."`
	Label   map[string]string `placeholder:"NAME=VALUE" help:"Only of nodes with this label; may be repeated."`
}

// all reports whether every node is meant.
func (f targetFlags) all() bool { return f.Percent == 100 && len(f.Label) == 0 }

func (f targetFlags) target() dynconf.Target {
	return dynconf.Target{Labels: f.Label, Percent: f.Percent}
}

// onAllNodes is asked before a rollout leaves no node out.
const onAllNodes = "Try that on all nodes at once"

type rolloutStart struct {
	fileArg
	targetFlags
	whyFlag
	replaceFlags
	MaxFailures int `placeholder:"N" help:"How many nodes may fail; one more ends the rollout (0)."`
}

// Run begins a rollout.
func (c *rolloutStart) Run(config *configCommand, p *program) error {
	return config.run(p, config.Output, func(ctx context.Context, r remote) error {
		text, err := readText(c.File)
		if err != nil {
			return err
		}
		question := fmt.Sprintf("Try that on %v%% of the nodes", c.Percent)
		if c.all() {
			question = onAllNodes
		}
		etag, err := c.etag(ctx, r, text, question)
		if err != nil {
			return err
		}
		a, err := r.Do(ctx, client.Request{Method: http.MethodPost, Path: rolloutPath, IfMatch: etag, Body: map[string]any{
			"value": text, "percent": c.Percent, "labels": c.Label, "maxFailures": c.MaxFailures, "comment": c.Comment,
		}})
		if err != nil {
			return err
		}
		return show(r, a, r.rollout)
	})
}

func (r remote) rollout(now dynconf.Rollout) error {
	if err := r.line("rollout %s: %s, %v%% of the nodes, by %s: %s", now.ID, now.State, now.Percent, oneLine([]byte(now.Author)), oneLine([]byte(now.Comment))); err != nil {
		return err
	}
	if now.Reason != "" {
		return r.line("ended: %s", oneLine([]byte(now.Reason)))
	}
	return nil
}

type rolloutStatus struct{}

// Run tells how the present rollout stands.
func (*rolloutStatus) Run(config *configCommand, p *program) error {
	return config.run(p, config.Output, func(ctx context.Context, r remote) error {
		a, err := r.get(ctx, rolloutPath, nil)
		if err != nil {
			return err
		}
		return show(r, a, func(s admin.RolloutState) error {
			if err := r.rollout(s.Rollout); err != nil {
				return err
			}
			return r.consistency(s.Consistency)
		})
	})
}

// advance does something with the present rollout.
func (config *configCommand) advance(p *program, method, step string, body any, confirm func(context.Context, dynconf.Rollout) error) error {
	return config.run(p, config.Output, func(ctx context.Context, r remote) error {
		a, err := r.get(ctx, rolloutPath, nil)
		if err != nil {
			return err
		}
		var now admin.RolloutState
		if err := a.Decode(&now); err != nil {
			return err
		}
		if err := confirm(ctx, now.Rollout); err != nil {
			return err
		}
		if a, err = r.Do(ctx, client.Request{
			Method: method, Path: client.Path("v1", "config", "rollout", now.Rollout.ID, step), Body: body, IfMatch: a.ETag,
		}); err != nil {
			return err
		}
		return show(r, a, r.rollout)
	})
}

type rolloutTarget struct {
	targetFlags
	yesFlag
}

// Run changes which nodes are on trial.
func (c *rolloutTarget) Run(config *configCommand, p *program) error {
	return config.advance(p, http.MethodPut, "target", c.target(), func(ctx context.Context, now dynconf.Rollout) error {
		if !c.all() {
			return nil
		}
		return c.review(ctx, now, onAllNodes)
	})
}

type rolloutPromote struct {
	whyFlag
	yesFlag
}

// Run publishes what is on trial.
func (c *rolloutPromote) Run(config *configCommand, p *program) error {
	return config.advance(p, http.MethodPost, "promote", map[string]string{"comment": c.Comment}, func(ctx context.Context, now dynconf.Rollout) error {
		return c.review(ctx, now, "Publish that, to all nodes")
	})
}

// review shows somebody what is on trial before a question about it.
func (f yesFlag) review(ctx context.Context, now dynconf.Rollout, question string) error {
	if isTerminal(os.Stdin) && !f.Yes {
		fmt.Fprintln(os.Stderr, oneLine([]byte(now.Value)))
	}
	return f.confirm(ctx, question)
}

type rolloutAbandon struct {
	whyFlag
	yesFlag
}

// Run ends a rollout: it can't be taken up again.
func (c *rolloutAbandon) Run(config *configCommand, p *program) error {
	return config.advance(p, http.MethodPost, "abandon", map[string]string{"comment": c.Comment}, func(ctx context.Context, now dynconf.Rollout) error {
		return c.confirm(ctx, "Abandon rollout "+now.ID)
	})
}
