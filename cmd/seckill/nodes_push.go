package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/admin/client"
	"github.com/seed27495941/seckill/app/node"
)

type nodesPush struct {
	nodeArg
	File    string        `xor:"what" placeholder:"FILE" help:"What to put in force: JSON as the cluster config's. Fields that it leaves out are as they would be without it. - for the standard input."`
	Clear   bool          `xor:"what" help:"End what was pushed."`
	For     time.Duration `default:"15m" help:"How long it lasts, in whole seconds: 24h at most."`
	Comment string        `placeholder:"TEXT" help:"Why, for others who look at the node. --file takes it."`
}

// Help is shown by seckill nodes push --help.
func (*nodesPush) Help() string {
	return `A push counts more than the cluster config and the node's own settings, there and nowhere else. It ends by itself, by --clear, and
with the process. Another push takes its place. The node shows it in /status, under config.override, and as a metric.`
}

// Run pushes a config to a node, or clears it.
func (c *nodesPush) Run(nodes *nodesCommand, p *program) error {
	switch {
	case c.Clear:
		return nodes.run(p, nodes.Output, c.clear)
	case c.File == "":
		return usageError{errors.New("say with --file what to put in force, or with --clear that what was pushed is to end")}
	case c.Comment == "":
		return usageError{errors.New("--comment: say why, for others who look at the node")}
	case c.For < time.Second || c.For > node.MaxOverride || c.For%time.Second != 0:
		return usageError{fmt.Errorf("--for: expected whole seconds from 1s to %v, got %v", node.MaxOverride, c.For)}
	}
	return nodes.run(p, nodes.Output, c.push)
}

func (c *nodesPush) push(ctx context.Context, r remote) error {
	config, err := readText(c.File)
	if err != nil {
		return err
	}
	a, err := r.Do(ctx, client.Request{
		Method: http.MethodPut, Path: c.path("push"),
		Body: map[string]any{"value": config, "seconds": int64(c.For / time.Second), "comment": c.Comment},
	})
	if err != nil {
		return err
	}
	return show(r, a, func(pushed admin.Pushed) error {
		return r.line("in force at %s until %s, hash %s", c.Node, moment(pushed.Until), pushed.Hash)
	})
}

func (c *nodesPush) clear(ctx context.Context, r remote) error {
	a, err := r.Do(ctx, client.Request{Method: http.MethodDelete, Path: c.path("push")})
	if err != nil {
		return err
	}
	return show(r, a, func(cleared admin.Cleared) error {
		if cleared.Had {
			return r.line("cleared at %s", c.Node)
		}
		return r.line("nothing was pushed to %s", c.Node)
	})
}

type nodesReload struct {
	nodeArg
	Source string `arg:"" help:"settings, or blacklist."`
}

// Help is shown by seckill nodes reload --help.
func (*nodesReload) Help() string {
	return `The file is loaded at once: say so when it is complete. If it is refused, what was loaded before stays, the reason is printed
and the exit code is 3.`
}

// Run has a node load a source again, and waits for that.
func (c *nodesReload) Run(nodes *nodesCommand, p *program) error {
	return nodes.run(p, nodes.Output, func(ctx context.Context, r remote) error {
		a, err := r.Do(ctx, client.Request{Method: http.MethodPost, Path: c.path("reload"), Body: map[string]string{"source": c.Source}})
		if err != nil {
			return err
		}
		return r.said(a, "%s of %s loaded", c.Source, c.Node)
	})
}
