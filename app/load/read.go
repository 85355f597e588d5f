package load

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed27495941/seckill/internal/retry"
)

// ReadBack reads every acknowledged order at every node, as its buyer, and returns
// what is not as it was acknowledged. A node that is busy or away is asked again,
// until ctx ends. Errors: as [Run], and that ctx has ended.
func ReadBack(ctx context.Context, cfg Config, acks []Ack) (violations []string, err error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	c := &crowd{cfg: cfg, client: newClient(cfg), tally: newTally()}
	defer c.client.close()
	readers, ctx := errgroup.WithContext(ctx)
	readers.SetLimit(cfg.Concurrency)
	for _, ack := range acks {
		readers.Go(func() error { return c.readBack(ctx, ack) })
	}
	if err := readers.Wait(); err != nil {
		return nil, err
	}
	return c.tally.result(0).Violations, nil
}

func (c *crowd) readBack(ctx context.Context, ack Ack) error {
	token, err := c.cfg.Token(ack.User)
	if err != nil {
		return fmt.Errorf("load: token of %s: %w", ack.User, err)
	}
	for _, node := range c.cfg.Nodes {
		a := c.client.find(ctx, node, token, ack.Order)
		for a.again && ctx.Err() == nil {
			retry.Sleep(ctx, max(a.wait, 100*time.Millisecond))
			a = c.client.find(ctx, node, token, ack.Order)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if a.order != (order{ack.Order, ack.Quantity}) {
			c.tally.violate("%s at %s: order %s of %d units reads %s", ack.User, node, ack.Order, ack.Quantity, a)
		}
	}
	return nil
}
