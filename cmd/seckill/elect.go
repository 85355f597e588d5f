package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/election"
)

type electCommand struct {
	Name    string        `arg:"" help:"The election. Its keys are below elections/NAME/."`
	Value   string        `placeholder:"TEXT" help:"What the leader tells the others, such as its address."`
	Observe bool          `help:"Only print who leads, now and whenever that changes."`
	TTL     time.Duration `name:"ttl" default:"10s" help:"How long a leader that died is the leader still. Consul takes up to twice as long."`
	ID      string        `name:"id" placeholder:"TEXT" help:"Who stands for election (HOST/PROCESS)."`
	Output  string        `enum:"text,json" default:"text" help:"text, or json: one object a line."`
}

// Help is shown by seckill elect --help.
func (*electCommand) Help() string {
	return `Stands for election, prints the term when elected, and leads until Ctrl-C; then resigns. If the term is lost the exit code is 1.

    seckill elect seller --value=10.0.0.1:8082
    seckill elect seller --observe

A former leader may believe for a moment that it leads still. Of two terms the later has the greater number.`
}

// Run leads, or tells who does, until a signal comes.
func (c *electCommand) Run(p *program) error {
	loaded, err := p.settings()
	if err != nil {
		return err
	}
	log, _ := logger(loaded)
	return withStore(p, func(ctx context.Context, s session) error {
		e, err := election.New(s, "elections/"+c.Name, election.Config{TTL: c.TTL, ID: c.ID, Logger: log})
		if err != nil {
			return err
		}
		if c.Observe {
			return c.observe(ctx, e)
		}
		return c.lead(ctx, e)
	})
}

func (c *electCommand) lead(ctx context.Context, e *election.Election) (err error) {
	term, err := e.Campaign(ctx, c.Value)
	switch {
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return err
	}
	defer func() { err = errors.Join(err, parting(ctx, term.Resign)) }()
	if err := c.print("elected", election.Leader{ID: e.ID(), Term: term.Token(), Value: c.Value}); err != nil {
		return err
	}
	return hold(ctx, term, "the term")
}

func (c *electCommand) observe(ctx context.Context, e *election.Election) error {
	for leader, err := range e.Observe(ctx) {
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case leader.Term == 0:
			err = c.print("none", leader)
		default:
			err = c.print("leader", leader)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// leadership is one line for programs.
type leadership struct {
	Event string           `json:"event"`
	ID    string           `json:"id,omitempty"`
	Term  backend.Revision `json:"term,omitempty"`
	Value string           `json:"value,omitempty"`
	Since time.Time        `json:"since,omitzero"`
}

func (c *electCommand) print(event string, l election.Leader) error {
	to := printer{json: c.Output == "json", to: os.Stdout}
	switch {
	case to.json:
		return to.object(leadership{event, l.ID, l.Term, l.Value, l.Since})
	case l.Term == 0:
		return to.line("%s", event)
	}
	return to.line("%s\t%s\tterm %d\t%s", event, oneLine([]byte(l.ID)), l.Term, oneLine([]byte(l.Value)))
}
