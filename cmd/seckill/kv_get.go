package main

import "context"

type kvGet struct {
	Key string `arg:"" help:"The key."`
}

// Run prints a value.
func (c *kvGet) Run(kv *kvCommand, p *program) error {
	return withStore(p, func(ctx context.Context, s session) error {
		e, err := s.Get(ctx, c.Key)
		if err != nil {
			return err
		}
		return kv.printer().value(e)
	})
}
