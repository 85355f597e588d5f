package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/lock"
)

// farewell bounds how long giving up a lock or a term may take.
const farewell = 5 * time.Second

type lockCommand struct {
	Name    string         `arg:"" help:"The lock. Its keys are below locks/NAME/."`
	Command []string       `arg:"" optional:"" help:"After --: what to run while the lock is held."`
	Timeout *time.Duration `placeholder:"TIME" help:"How long to wait for the lock, 0s for not at all; then exit with 3. For ever if left out."`
	TTL     time.Duration  `name:"ttl" default:"10s" help:"How long the lock stays locked after this process died. Consul takes up to twice as long."`
	Holder  string         `placeholder:"TEXT" help:"Who has the lock, for others to see (HOST/PROCESS)."`
	Output  string         `enum:"text,json" default:"text" help:"Without a command: text or json."`
}

// Help is shown by seckill lock --help.
func (*lockCommand) Help() string {
	return `Waits for the lock, in the order of asking, and runs the command while it is held:

    seckill lock nightly -- ./report.sh --all

The command's exit code is passed on (128 and the signal's number, if a signal ended it), signals are passed to it. When the lock is
lost the command gets SIGTERM, after 5s SIGKILL, and the exit code is 1; what it has started itself is its own affair. Without a command the token is printed and the
lock held until Ctrl-C.

A lock does not keep two commands from running at once for a moment: one whose machine stood still is told too late. What must not be
written by the former holder is written on a condition: the key in SECKILL_LOCK_KEY is at the revision in SECKILL_LOCK_TOKEN. Other
systems can refuse a token smaller than the greatest they have seen. If this process is killed with SIGKILL, the command goes on
without the lock.`
}

// Run runs a command, or waits for a signal, while it holds a lock.
func (c *lockCommand) Run(p *program) error {
	if len(c.Command) > 0 {
		if err := findCommand(c.Command[0]); err != nil {
			return err
		}
	}
	loaded, err := p.settings()
	if err != nil {
		return err
	}
	return withStore(p, func(ctx context.Context, s session) (err error) {
		l, err := c.lock(s, loaded)
		if err != nil {
			return err
		}
		var signals signals
		if len(c.Command) > 0 {
			signals = listen() // from before the lock is held, so that none gets lost
			defer signals.stop()
		}
		held, err := c.acquire(ctx, l)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, parting(ctx, held.Release)) }()
		if len(c.Command) > 0 {
			return runWhile(held, signals, c.Command)
		}
		if err := c.print(held); err != nil {
			return err
		}
		return hold(ctx, held, "the lock")
	})
}

func (c *lockCommand) lock(s session, loaded settings.Settings) (*lock.Lock, error) {
	log, _ := logger(loaded)
	return lock.New(s, "locks/"+c.Name, lock.Config{TTL: c.TTL, Holder: c.Holder, Logger: log})
}

func (c *lockCommand) acquire(ctx context.Context, l *lock.Lock) (held *lock.Held, err error) {
	switch {
	case c.Timeout == nil:
		held, err = l.Acquire(ctx)
	case *c.Timeout <= 0:
		held, err = l.TryAcquire(ctx)
	default:
		limited, cancel := context.WithTimeout(ctx, *c.Timeout)
		defer cancel()
		held, err = l.Acquire(limited)
	}
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return held, err
}

func (c *lockCommand) print(held *lock.Held) error {
	to := printer{json: c.Output == "json", to: os.Stdout}
	if to.json {
		return to.object(struct {
			Event string           `json:"event"`
			Key   string           `json:"key"`
			Token backend.Revision `json:"token"`
		}{"locked", held.Guard().Key, held.Token()})
	}
	return to.line("locked\t%s\ttoken %d", held.Guard().Key, held.Token())
}

// A tenure is something held until it is lost.
type tenure interface {
	Lost() <-chan struct{}
	Err() error
}

// hold waits for a signal, which is the usual end.
func hold(ctx context.Context, t tenure, what string) error {
	select {
	case <-ctx.Done():
		return nil
	case <-t.Lost():
		return fmt.Errorf("%s was lost: %w", what, t.Err())
	}
}

// parting gives something up, also after the signal that ended ctx.
func parting(ctx context.Context, giveUp func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if err := giveUp(ctx); err != nil {
		return fmt.Errorf("not given up, it will expire: %w", err)
	}
	return nil
}
