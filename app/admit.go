package app

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/follow"
	"github.com/seed27495941/seckill/app/gate"
	"github.com/seed27495941/seckill/app/gate/blacklist"
	"github.com/seed27495941/seckill/app/gate/cpu"
	"github.com/seed27495941/seckill/app/sale"
	"github.com/seed27495941/seckill/app/sale/catalogue"
	"github.com/seed27495941/seckill/recipe/limiter"
	"github.com/seed27495941/seckill/recipe/registry"
)

// settle is how long the list of nodes has to be as it is before a node takes a larger
// share of the cluster's rates. A node that starts has to wait for it, so it is short: nodes hear of
// changes within milliseconds, and half of it is what they are allowed. One that hears later
// than that exceeds a rate for a moment; nothing is sold twice by that.
const settle = time.Second

// admit makes the gate that buyers' requests pass, with this node's share of the
// cluster's rates. The blacklist is loaded before; when ctx ends it is waited for no longer.
func (b *builder) admit(ctx context.Context, incarnation ulid.ULID, desk *sale.Desk, goods *catalogue.Catalogue) error {
	buyers, err := b.identity()
	if err != nil {
		return err
	}
	if err := b.openBlacklist(ctx); err != nil {
		return err
	}
	b.gate, err = gate.New(gate.Config{
		Identity: buyers, Blacklist: b.blacklist, Events: goods, SoldOut: desk.SoldOut, Refused: desk.Refused,
		CPU: b.processors(), Cluster: b.Settings.Config, Log: b.Log,
	})
	if err != nil {
		return err
	}
	b.node.FollowConfig(b.gate.SetConfig)
	// Its rate is of no account: the gate has its own buckets.
	shares, err := limiter.New(limiter.Config{
		Limit: limiter.Limit{Burst: 1}, Directory: b.node.Directory(), Self: incarnation.String(), Settle: settle, Logger: b.Log,
	})
	if err != nil {
		return err
	}
	shares.Subscribe(b.gate.SetShare)
	b.shared, b.drained = shares.Ready(), drained(b.node.Directory(), incarnation.String())
	b.background = append(b.background, b.gate.Run, shares.Run)
	return nil
}

// drained is closed when the process is listed at a place that an operator has drained.
func drained(directory *registry.Directory, self string) <-chan struct{} {
	found := make(chan struct{})
	tell := sync.OnceFunc(func() { close(found) })
	directory.Subscribe(func(c registry.Change) {
		for _, n := range c.Nodes {
			if n.Incarnation == self && n.Drain != nil {
				tell()
			}
		}
	})
	return found
}

// openBlacklist loads the blacklist, if there is one.
func (b *builder) openBlacklist(ctx context.Context) (err error) {
	s := b.Settings.Blacklist
	if s.File == "" {
		return nil
	}
	b.blacklist, err = blacklist.Open(ctx, follow.Source{File: s.File, Mode: follow.Mode(s.Mode), Interval: s.Interval}, b.Log)
	if err != nil {
		return fmt.Errorf("blacklist.file: %w", err)
	}
	b.background = append(b.background, b.blacklist.Run)
	b.sources["blacklist"] = b.blacklist.Reload
	return nil
}

// processors says how busy they are. Where that can't be found out the breaker says so,
// and goes by latency.
func (b *builder) processors() func() (all, own float64, err error) {
	meter, err := cpu.Open()
	if err != nil {
		return func() (float64, float64, error) { return 0, 0, err }
	}
	return meter.Percent
}
