package main

import (
	"cmp"
	"context"

	"github.com/seed27495941/seckill/app/admin"
)

type configEdit struct {
	whyFlag
	yesFlag
}

// Help is shown by seckill config edit --help.
func (*configEdit) Help() string {
	return `The editor is that of $VISUAL or $EDITOR, else vi. What can't be used is shown, and edited again. If it can't be published, because somebody
else was faster, say, the text stays in a file, which is named.`
}

// Run has somebody edit the config.
func (c *configEdit) Run(config *configCommand, p *program) error {
	var state admin.ConfigState
	var etag string
	err := config.run(p, config.Output, func(ctx context.Context, r remote) (err error) {
		state, _, etag, err = publishedConfig(ctx, r)
		return err
	})
	if err != nil {
		return err
	}
	return editUntil("seckill-config-*.json", cmp.Or(state.Published.Value, "{}\n"), func(text string) error {
		return config.run(p, config.Output, func(ctx context.Context, r remote) error { return c.publish(ctx, r, text, etag) })
	})
}

// publish publishes what was edited, if it can be used and is meant.
func (c *configEdit) publish(ctx context.Context, r remote, text, etag string) error {
	d, err := reviewConfig(ctx, r, text)
	switch {
	case err != nil:
		return err
	case d.Same:
		return r.line("nothing has changed")
	}
	if err := c.confirm(ctx, "Publish that, to all nodes"); err != nil {
		return err
	}
	return publishConfig(ctx, r, text, c.Comment, etag)
}
