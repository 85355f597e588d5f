package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/admin/client"
	"github.com/seed27495941/seckill/app/node"
)

type nodesCommand struct {
	List    nodesList    `cmd:"" help:"List the nodes."`
	Show    nodesShow    `cmd:"" help:"Show a node, with what it says about itself."`
	Drain   nodesDrain   `cmd:"" help:"Have a node get no more requests, and hand its slots over."`
	Undrain nodesUndrain `cmd:"" help:"Let it have requests again."`
	Weight  nodesWeight  `cmd:"" help:"Give a node another part of the requests."`
	Push    nodesPush    `cmd:"" help:"Put a config in force at one node, for a while, or end that."`
	Reload  nodesReload  `cmd:"" help:"Have one node load a file again."`

	remoteFlags
	outputFlag
}

// Help is shown by seckill nodes --help.
func (*nodesCommand) Help() string {
	return `To see what one node does under other limits, or why, while the others go on as they are:

    seckill login
    seckill nodes list
    echo '{"logLevel":"debug"}' | seckill nodes push 10-10-11-12-8080 --file=- --for=5m --comment="slow since ten"
    seckill nodes push 10-10-11-12-8080 --clear

What is pushed, and what a node is told to load, the admin service passes on to the node. See docs/hot-settings.md.`
}

// override tells of what was pushed to a node.
func override(n admin.Node) string {
	raw, ok := n.Configs[node.OverrideKey]
	if !ok {
		return "-"
	}
	var note node.OverrideNote
	if err := json.Unmarshal(raw, &note); err != nil {
		return "yes"
	}
	return fmt.Sprintf("by %s until %s", oneLine([]byte(note.Author)), note.Until.UTC().Format(time.RFC3339))
}

type nodesList struct{}

// Run lists the nodes as they say about themselves.
func (*nodesList) Run(nodes *nodesCommand, p *program) error {
	return nodes.run(p, nodes.Output, func(ctx context.Context, r remote) error {
		a, err := r.get(ctx, "/v1/nodes", nil)
		if err != nil {
			return err
		}
		return show(r, a, r.nodes)
	})
}

func (r remote) nodes(list admin.NodeList) error {
	if !list.Synced {
		return errors.New("the admin service has not read the list of nodes yet")
	}
	var rows [][]string
	for _, n := range list.Nodes {
		rows = append(rows, []string{n.ID, n.Addr, n.Version, n.State(), n.Config, override(n)})
	}
	for _, d := range list.Drains {
		if !d.Listed {
			rows = append(rows, []string{d.ID, "", "", "drained, not listed", "", "-"})
		}
	}
	var problems []string
	for _, p := range list.Problems {
		problems = append(problems, p.Key+": "+p.Error)
	}
	r.problems(problems)
	return r.table("ID ADDRESS VERSION STATE CONFIG OVERRIDE", rows)
}

// nodeArg names a node.
type nodeArg struct {
	Node string `arg:"" help:"The node, as 'seckill nodes list' shows it."`
}

func (n nodeArg) path(part ...string) string {
	return client.Path(append([]string{"v1", "nodes", n.Node}, part...)...)
}

type nodesShow struct{ nodeArg }

// Run shows a node.
func (c *nodesShow) Run(nodes *nodesCommand, p *program) error {
	return nodes.run(p, nodes.Output, func(ctx context.Context, r remote) error {
		a, err := r.get(ctx, c.path(), nil)
		if err != nil {
			return err
		}
		return show(r, a, r.node)
	})
}

func (r remote) node(n admin.NodeDetail) error {
	drained, weight := "no", strconv.Itoa(n.EffectiveWeight())
	if d := n.Drained; d != nil {
		drained = fmt.Sprintf("by %s since %s", d.By, moment(d.Since))
		if d.Reason != "" {
			drained += ": " + d.Reason
		}
	}
	if w := n.Weighed; w != nil {
		weight += fmt.Sprintf(", by %s since %s", w.By, moment(w.Since))
	}
	rows := [][]string{
		{"state", n.State()}, {"address", n.Addr}, {"other nodes", n.RPC}, {"ops", n.Ops}, {"version", n.Version}, {"incarnation", n.Incarnation},
		{"config", n.Config}, {"override", override(n.Node)}, {"weight", weight}, {"drained", drained},
	}
	for _, w := range n.Warnings {
		rows = append(rows, []string{"warning", w})
	}
	if n.StatusError != "" {
		rows = append(rows, []string{"status", n.StatusError})
	}
	return r.table("node "+n.ID, rows)
}

type nodesDrain struct {
	nodeArg
	Reason string `placeholder:"TEXT" help:"Why, for others who look at the node."`
}

// Run drains a node.
func (c *nodesDrain) Run(nodes *nodesCommand, p *program) error {
	return nodes.run(p, nodes.Output, func(ctx context.Context, r remote) error {
		a, err := r.Do(ctx, client.Request{Method: http.MethodPut, Path: c.path("drain"), Body: map[string]string{"reason": c.Reason}})
		if err != nil {
			return err
		}
		return r.said(a, "%s is drained", c.Node)
	})
}

type nodesUndrain struct{ nodeArg }

// Run lets a node have requests again.
func (c *nodesUndrain) Run(nodes *nodesCommand, p *program) error {
	return nodes.run(p, nodes.Output, func(ctx context.Context, r remote) error {
		a, err := r.Do(ctx, client.Request{Method: http.MethodDelete, Path: c.path("drain")})
		if err != nil {
			return err
		}
		return r.said(a, "%s is not drained", c.Node)
	})
}

type nodesWeight struct {
	nodeArg
	Weight int  `arg:"" optional:"" help:"Its part, as compared with the others': 1 to 1000000."`
	Own    bool `help:"Its own weight again."`
}

// Run weighs a node.
func (c *nodesWeight) Run(nodes *nodesCommand, p *program) error {
	if c.Own == (c.Weight != 0) {
		return usageError{errors.New("say a weight, or --own")}
	}
	request := client.Request{Method: http.MethodPut, Path: c.path("weight"), Body: map[string]int{"weight": c.Weight}}
	said := fmt.Sprintf("%s has the weight %d", c.Node, c.Weight)
	if c.Own {
		request.Method, request.Body = http.MethodDelete, nil
		said = c.Node + " has its own weight"
	}
	return nodes.run(p, nodes.Output, func(ctx context.Context, r remote) error {
		a, err := r.Do(ctx, request)
		if err != nil {
			return err
		}
		return r.said(a, "%s", said)
	})
}
