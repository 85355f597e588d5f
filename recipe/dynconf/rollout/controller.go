package rollout

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
	"github.com/seed27495941/seckill/recipe/dynconf"
	"github.com/seed27495941/seckill/recipe/dynconf/history"
	"github.com/seed27495941/seckill/recipe/registry"
)

// A Config says what is rolled out, and where.
type Config struct {
	Store backend.Store
	Key   string

	// History publishes what is promoted.
	History *history.History

	// Nodes are those that follow the configuration, on the store's own
	// namespace; somebody has to run it.
	Nodes *registry.Directory

	// Base is what nodes have as [dynconf.Options.Base].
	Base []dynconf.Layer

	// Check says what is wrong with a value, before it is tried:
	// [dynconf.Config.Check] for example. Optional.
	Check func(value []byte) error

	Logger *slog.Logger // nil: silent
}

// A Controller rolls a configuration out. It is safe for concurrent use.
type Controller struct {
	cfg  Config
	log  *slog.Logger
	loop *retry.Loop
	wake chan struct{} // holds a token while there may be something to judge
}

// New prepares a controller; nothing is sent. Errors: ErrInvalid.
func New(cfg Config) (*Controller, error) {
	if err := backend.CheckKey(dynconf.RolloutKey(cfg.Key)); err != nil {
		return nil, err
	}
	if cfg.Store == nil || cfg.History == nil || cfg.Nodes == nil {
		return nil, fmt.Errorf("%w: rollout of %q: expected a store, a history and nodes", backend.ErrInvalid, cfg.Key)
	}
	log := retry.Logger(cfg.Logger).With("key", cfg.Key)
	c := &Controller{cfg: cfg, log: log, loop: retry.New(log, "judge the rollout"), wake: make(chan struct{}, 1)}
	cfg.Nodes.Subscribe(func(registry.Change) {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	})
	return c, nil
}

// A Plan says how a value is tried.
type Plan struct {
	dynconf.Target
	MaxFailures int // of nodes that are borne: 0 ends the rollout with the first
	Author      string
	Comment     string
}

// Start puts a value on trial, on the condition that the configuration's key
// still has the revision base, 0 for none.
//
// Errors: ErrConflict if the key has changed since, or another rollout is on
// trial; ErrInvalid for a value or a plan that won't do; ErrTooLarge for those that
// leave no room in the record for how the rollout goes on; ErrUnknown if it can't be
// found out whether the trial has begun; and those of [backend.Store.Put].
func (c *Controller) Start(ctx context.Context, base backend.Revision, value []byte, p Plan) (dynconf.Rollout, error) {
	r := dynconf.Rollout{
		ID:          ulid.Make().String(),
		Value:       string(value),
		Target:      p.Target,
		Base:        base,
		Author:      p.Author,
		Comment:     p.Comment,
		Time:        time.Now().UTC(),
		State:       dynconf.Trial,
		MaxFailures: p.MaxFailures,
	}.Clone()
	if err := c.check(r); err != nil {
		return dynconf.Rollout{}, fmt.Errorf("%w: %w", backend.ErrInvalid, err)
	}
	if err := checkSize(r, room); err != nil {
		return dynconf.Rollout{}, err
	}
	return c.write(ctx, func(now *dynconf.Rollout) error {
		switch {
		case now.ID == r.ID:
			return errAsWanted
		case now.State == dynconf.Trial:
			return fmt.Errorf("%w: rollout %s is on trial: promote or abandon it first", backend.ErrConflict, now.ID)
		}
		*now = r.Clone()
		return nil
	}, backend.If(c.cfg.Key, base))
}

func (c *Controller) check(r dynconf.Rollout) error {
	if r.Author == "" || r.Author == history.External {
		return fmt.Errorf("author %q: expected who makes the change", r.Author)
	}
	if err := r.Check(); err != nil || c.cfg.Check == nil {
		return err
	}
	return c.cfg.Check([]byte(r.Value))
}

// Current is the present rollout, on trial or over. Errors: ErrNotFound if there
// is none, those of [backend.Store.Get], and of a record that can't be read.
func (c *Controller) Current(ctx context.Context) (dynconf.Rollout, error) {
	e, err := c.cfg.Store.Get(ctx, dynconf.RolloutKey(c.cfg.Key))
	if err != nil {
		return dynconf.Rollout{}, err
	}
	return dynconf.DecodeRollout(e)
}

// Retarget changes which nodes are on trial, on the condition that the rollout is as it
// was seen, at that revision: a greater share adds nodes, a smaller one takes some of
// them off. Errors: ErrConflict if the rollout is over, with the revision that it has if it
// has changed to something else, ErrNotFound if it is not the present one, and as of Start.
func (c *Controller) Retarget(ctx context.Context, id string, seen backend.Revision, target dynconf.Target) (dynconf.Rollout, error) {
	return c.modify(ctx, id, func(r *dynconf.Rollout) error {
		switch {
		case r.State != dynconf.Trial:
			return over(*r)
		case r.Percent == target.Percent && maps.Equal(r.Labels, target.Labels):
			return errAsWanted
		case r.Revision != seen:
			return &backend.ConflictError{Key: dynconf.RolloutKey(c.cfg.Key), Want: seen, Have: r.Revision}
		}
		r.Target = target
		if err := r.Check(); err != nil {
			return fmt.Errorf("%w: %w", backend.ErrInvalid, err)
		}
		return nil
	})
}

// Abandon takes the value off all nodes. Doing so again changes nothing, nor
// does it after a failure. Errors: ErrConflict if the rollout was promoted, and
// as of Retarget.
func (c *Controller) Abandon(ctx context.Context, id, reason string) (dynconf.Rollout, error) {
	return c.modify(ctx, id, func(r *dynconf.Rollout) error {
		switch r.State {
		case dynconf.Promoted:
			return over(*r)
		case dynconf.Abandoned, dynconf.Failed:
			return errAsWanted
		}
		r.State, r.Reason = dynconf.Abandoned, reason
		return nil
	})
}

// Promote publishes the value for all nodes and ends the rollout: Published is the
// revision that it has then. It is to be repeated until it works: the value is published
// once.
//
// Errors: ErrConflict if the configuration has changed since the rollout began,
// if the rollout is over or has changed meanwhile; ErrNotFound if it is not the
// present one; ErrUnknown if the value was published and the rollout may not have ended;
// and those of [history.History.Publish].
func (c *Controller) Promote(ctx context.Context, id, author, comment string) (dynconf.Rollout, error) {
	e, err := c.cfg.Store.Get(ctx, dynconf.RolloutKey(c.cfg.Key))
	if err != nil {
		return dynconf.Rollout{}, err
	}
	r, err := dynconf.DecodeRollout(e)
	switch {
	case err != nil:
		return dynconf.Rollout{}, err
	case r.ID != id:
		return dynconf.Rollout{}, c.another(r)
	case r.State == dynconf.Promoted:
		return r, nil
	case r.State != dynconf.Trial:
		return dynconf.Rollout{}, over(r)
	}
	// On the condition that no failure was seen meanwhile. The ID lets a
	// repetition find what was published.
	by := history.Change{Author: author, Comment: comment, ID: id}
	v, err := c.cfg.History.Publish(ctx, r.Base, []byte(r.Value), by, backend.If(e.Key, e.Revision))
	if err != nil {
		return dynconf.Rollout{}, err
	}
	r, err = c.modify(ctx, id, func(r *dynconf.Rollout) error {
		if r.State == dynconf.Promoted {
			return errAsWanted
		}
		r.State, r.Reason, r.Published = dynconf.Promoted, "", v.Revision
		return nil
	})
	if err != nil {
		return dynconf.Rollout{}, fmt.Errorf("%w: rollout %s is published as revision %d, repeat it to end the rollout: %s", backend.ErrUnknown, id, v.Revision, err.Error())
	}
	return r, nil
}

func over(r dynconf.Rollout) error {
	return fmt.Errorf("%w: rollout %s was %s: %s", backend.ErrConflict, r.ID, r.State, r.Reason)
}

func (c *Controller) another(r dynconf.Rollout) error {
	if r.ID == "" {
		return fmt.Errorf("%w: %q has no rollout", backend.ErrNotFound, c.cfg.Key)
	}
	return fmt.Errorf("%w: the rollout of %q is another one, %s", backend.ErrNotFound, c.cfg.Key, r.ID)
}

// errAsWanted says that the record is as it should be.
var errAsWanted = errors.New("nothing to change")

// modify changes the record of a rollout. change must know its own work, for
// it is asked again when the outcome of a write is unknown.
func (c *Controller) modify(ctx context.Context, id string, change func(*dynconf.Rollout) error) (dynconf.Rollout, error) {
	return c.write(ctx, func(r *dynconf.Rollout) error {
		if r.ID != id {
			return c.another(*r)
		}
		return change(r)
	})
}

// write is modify for any rollout, the zero value if there is none or none that
// can be read: such a record gives way to a new one.
func (c *Controller) write(ctx context.Context, change func(*dynconf.Rollout) error, opts ...backend.PutOption) (dynconf.Rollout, error) {
	var now dynconf.Rollout
	once := func() error {
		revision, err := backend.Modify(ctx, c.cfg.Store, dynconf.RolloutKey(c.cfg.Key), func(e backend.Entry) ([]byte, error) {
			now, _ = dynconf.DecodeRollout(e)
			if err := change(&now); err != nil {
				return nil, err
			}
			return encode(now)
		}, opts...)
		if err == nil {
			now.Revision = revision
		}
		return err
	}
	err := once()
	if errors.Is(err, backend.ErrUnknown) {
		if again := once(); again == nil || errors.Is(again, errAsWanted) {
			err = nil
		}
	}
	switch {
	case errors.Is(err, errAsWanted):
		return now, nil
	case err != nil:
		return dynconf.Rollout{}, err
	}
	c.log.Info("rollout written", "rollout", now.ID, "state", string(now.State), "reason", now.Reason,
		"percent", now.Percent, "labels", now.Labels, "failures", now.Failures)
	return now, nil
}
