package main

import (
	"context"
	"fmt"
	"time"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/admin/audit"
)

type auditCommand struct {
	List auditList `cmd:"" help:"List what was done, the newest first."`
}

type auditList struct {
	Actor  string    `placeholder:"NAME" help:"By this user."`
	Action string    `placeholder:"TEXT" help:"Whose name begins so: config. for all that is done to the config."`
	Target string    `placeholder:"TEXT" help:"Done to this."`
	Since  time.Time `placeholder:"TIME" help:"From then on, as 2026-11-21T08:00:00Z."`
	Until  time.Time `placeholder:"TIME" help:"Before then."`
	pageFlags
	remoteFlags
	outputFlag
}

// Help is shown by seckill audit list --help.
func (*auditList) Help() string {
	return `It goes over the operators' API: 'seckill login' first. What was before and after is in --output=json.`
}

// Run lists what was done.
func (c *auditList) Run(p *program) error {
	q := c.query()
	for name, value := range map[string]string{
		"actor": c.Actor, "action": c.Action, "target": c.Target, "since": moment(c.Since), "until": moment(c.Until),
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return c.run(p, c.Output, func(ctx context.Context, r remote) error {
		a, err := r.get(ctx, "/v1/audit", q)
		if err != nil {
			return err
		}
		return show(r, a, func(list admin.AuditList) error {
			var rows [][]string
			for _, one := range list.Records {
				rows = append(rows, []string{moment(one.Time), who(one.Action), one.Name, one.Target, string(one.Outcome), one.Error})
			}
			defer r.more(list.Next)
			r.problems(list.Problems)
			return r.table("TIME ACTOR ACTION TARGET OUTCOME ERROR", rows)
		})
	})
}

// who is who did something, and with which token.
func who(a audit.Action) string {
	if a.TokenName == "" {
		return a.Actor
	}
	return fmt.Sprintf("%s (%s)", a.Actor, a.TokenName)
}
