package main

import (
	"context"

	"github.com/seed27495941/seckill/backend"
)

type kvList struct {
	Prefix   string `arg:"" optional:"" help:"What keys start with, literally: 'nodes/' covers nodes/a. All keys if left out."`
	KeysOnly bool   `help:"Leave the values out."`
}

// Run lists keys in their order.
func (c *kvList) Run(kv *kvCommand, p *program) error {
	return withStore(p, func(ctx context.Context, s session) error {
		ctx, cancel := context.WithTimeout(ctx, s.timeout)
		defer cancel()
		entries, _, err := backend.List(ctx, s, c.Prefix)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := kv.printer().listed(e, c.KeysOnly); err != nil {
				return err
			}
		}
		return nil
	})
}
