package main

import (
	"cmp"
	"context"
	"errors"
	"os"
	"time"

	"github.com/seed27495941/seckill/app/process"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend"
)

type kvCommand struct {
	Get    kvGet    `cmd:"" help:"Print a value."`
	Put    kvPut    `cmd:"" help:"Write a value."`
	Delete kvDelete `cmd:"" help:"Delete a key."`
	List   kvList   `cmd:"" help:"List keys."`
	Watch  kvWatch  `cmd:"" help:"Follow keys as they change."`

	Output string `enum:"text,json" default:"text" help:"text, or json: one object a line. Values that are not UTF-8 are base64 there, and say so."`
}

// Help is shown by seckill kv --help.
func (*kvCommand) Help() string {
	return `Keys are counted from --root, so the cluster config is:

    seckill kv get config
    seckill kv put config '{"logLevel":"debug"}'
    seckill kv put config - < config.json

Other programs see it as /seckill/config in etcd and as seckill/config in Consul.`
}

func (c *kvCommand) printer() printer { return printer{json: c.Output == "json", to: os.Stdout} }

// A session is a store to run one command on.
type session struct {
	backend.Store
	settings settings.Settings
	timeout  time.Duration // of a request
}

// withStore runs f on the store that the settings name, until a signal comes.
func withStore(p *program, f func(ctx context.Context, s session) error) (err error) {
	loaded, err := p.settings()
	if err != nil {
		return err
	}
	s, err := open(loaded)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	ctx, _, release := process.Signals(context.Background())
	defer release()
	return f(ctx, session{s, loaded, cmp.Or(loaded.Store.RequestTimeout, backend.DefaultTimeout)})
}
