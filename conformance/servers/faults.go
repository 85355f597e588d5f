package servers

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// Restart kills every node and starts it again with its data; it returns when all answer.
func (c *Cluster) Restart(ctx context.Context) error {
	if err := each(ctx, c.nodes, (*Node).Kill); err != nil {
		return err
	}
	return each(ctx, c.nodes, (*Node).Start) // together: alone none would be ready
}

// Pause stops every node in its tracks.
func (c *Cluster) Pause(ctx context.Context) error { return each(ctx, c.nodes, (*Node).Pause) }

// Resume lets the paused nodes go on, and returns when they answer.
func (c *Cluster) Resume(ctx context.Context) error {
	var paused []*Node
	for _, n := range c.nodes {
		if n.paused.Load() {
			paused = append(paused, n)
		}
	}
	if err := each(ctx, paused, (*Node).Resume); err != nil {
		return err
	}
	return c.WaitReady(ctx)
}

// PauseLeader stops the node that leads, and returns when another one leads and answers. The rest may still be busy with calls that
// hang on the old leader: a Consul gives those up only after half a minute.
func (c *Cluster) PauseLeader(ctx context.Context) error {
	old, err := c.Leader(ctx)
	if err != nil {
		return err
	}
	if err := old.Pause(ctx); err != nil {
		return err
	}
	next, err := c.Leader(ctx)
	if err != nil {
		return err
	}
	return next.waitReady(ctx)
}

// PauseFollowers stops every node but the one that leads.
func (c *Cluster) PauseFollowers(ctx context.Context) error {
	leader, err := c.Leader(ctx)
	if err != nil {
		return err
	}
	var followers []*Node
	for _, n := range c.nodes {
		if n != leader {
			followers = append(followers, n)
		}
	}
	return each(ctx, followers, (*Node).Pause)
}

func each(ctx context.Context, nodes []*Node, do func(*Node, context.Context) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, n := range nodes {
		g.Go(func() error {
			if err := do(n, ctx); err != nil {
				return fmt.Errorf("%s: %w", n.name, err)
			}
			return nil
		})
	}
	return g.Wait()
}
