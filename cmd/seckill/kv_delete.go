package main

import (
	"context"

	"github.com/seed27495941/seckill/backend"
)

type kvDelete struct {
	Key        string            `arg:"" help:"The key. It is no failure if it does not exist."`
	IfRevision *backend.Revision `placeholder:"N" help:"Only if the key is at this revision; else exit with 3."`
}

// Run deletes a key, and tells programs so.
func (c *kvDelete) Run(kv *kvCommand, p *program) error {
	var conds []backend.Condition
	if c.IfRevision != nil {
		conds = append(conds, backend.If(c.Key, *c.IfRevision))
	}
	return withStore(p, func(ctx context.Context, s session) error {
		if err := s.Delete(ctx, c.Key, conds...); err != nil {
			return err
		}
		return kv.printer().removed(c.Key)
	})
}
