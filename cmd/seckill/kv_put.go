package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/seed27495941/seckill/backend"
)

type kvPut struct {
	Key        string            `arg:"" help:"The key."`
	Value      string            `arg:"" help:"The value, or - to read it from the standard input."`
	IfRevision *backend.Revision `placeholder:"N" help:"Only if the key is at this revision, 0 for a key that must not exist; else exit with 3."`
}

// Run writes a value and tells its revision.
func (c *kvPut) Run(kv *kvCommand, p *program) error {
	value, err := c.value(os.Stdin)
	if err != nil {
		return err
	}
	var opts []backend.PutOption
	if c.IfRevision != nil {
		opts = append(opts, backend.If(c.Key, *c.IfRevision))
	}
	return withStore(p, func(ctx context.Context, s session) error {
		rev, err := s.Put(ctx, c.Key, value, opts...)
		if err != nil {
			return err
		}
		return kv.printer().written(c.Key, rev)
	})
}

// value reads what is to be written: not more than is known to be too much.
func (c *kvPut) value(stdin io.Reader) ([]byte, error) {
	if c.Value != "-" {
		return []byte(c.Value), nil
	}
	value, err := io.ReadAll(io.LimitReader(stdin, backend.MaxValue+1))
	if err != nil {
		return nil, fmt.Errorf("the standard input: %w", err)
	}
	return value, nil
}
