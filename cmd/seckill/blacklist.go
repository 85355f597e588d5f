package main

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/gate/blacklist"
)

type blacklistCommand struct {
	remoteFlags
	outputFlag
}

// Run tells how the nodes' blacklists stand.
func (c *blacklistCommand) Run(p *program) error {
	return c.run(p, c.Output, func(ctx context.Context, r remote) error {
		a, err := r.get(ctx, "/v1/blacklist", nil)
		if err != nil {
			return err
		}
		return show(r, a, func(state admin.BlacklistState) error {
			var rows [][]string
			for _, n := range state.Nodes {
				rows = append(rows, blacklistRow(n))
			}
			return r.table("NODE BUYERS LOADED BAD-LINES FILE TROUBLE", rows)
		})
	})
}

func blacklistRow(n admin.NodeBlacklist) []string {
	trouble := func(text string) []string { return []string{n.ID, "", "", "", "", text} }
	switch {
	case n.Error != "":
		return trouble(n.Error)
	case len(n.Blacklist) == 0:
		return trouble("") // it has none
	}
	var b blacklist.Status
	if err := json.Unmarshal(n.Blacklist, &b); err != nil {
		return trouble("its answer can't be read: " + err.Error())
	}
	refusal := ""
	if b.Refusal != nil {
		refusal = "refused: " + b.Refusal.Error()
	}
	return []string{n.ID, strconv.Itoa(b.IDs), moment(b.LoadedAt), strconv.Itoa(b.BadLines), b.File, refusal}
}
