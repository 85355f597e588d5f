package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/seed27495941/seckill/backend"
)

type kvWatch struct {
	Prefix string `arg:"" optional:"" help:"What keys start with, literally. All keys if left out."`
}

// Help is shown by seckill kv watch --help.
func (*kvWatch) Help() string {
	return `First comes a snapshot: how many keys there are, then each of them as a put. After that, each put and each delete; versions
in between may be missing, the last one never is. When history was lost there is another snapshot: keys that are not in
it are gone. Ctrl-C ends it.`
}

// Run prints what happens under a prefix until a signal comes.
func (c *kvWatch) Run(kv *kvCommand, p *program) error {
	return withStore(p, func(ctx context.Context, s session) error {
		// A watch is patient with a store that is away; people want to know.
		silent := time.AfterFunc(s.timeout, func() {
			fmt.Fprintln(os.Stderr, "seckill: no answer from the store yet, still trying")
		})
		defer silent.Stop()
		for u, err := range s.WatchPrefix(ctx, c.Prefix) {
			silent.Stop()
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			if err := kv.printer().update(u); err != nil {
				return err
			}
		}
		return nil
	})
}

// update prints what an update tells; nothing if it only confirms.
func (p printer) update(u backend.Update) error {
	if u.Snapshot {
		if err := p.snapshot(len(u.Puts), u.Revision); err != nil {
			return err
		}
	}
	slices.Sort(u.Deletes)
	for _, key := range u.Deletes {
		if err := p.deleted(key, u.Revision); err != nil {
			return err
		}
	}
	for _, e := range u.Puts {
		if err := p.put(e); err != nil {
			return err
		}
	}
	return nil
}
