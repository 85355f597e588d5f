package main

import (
	"context"

	"github.com/seed27495941/seckill/app/admin"
)

type jobsCommand struct {
	remoteFlags
	outputFlag
}

// Run tells how the jobs stand.
func (c *jobsCommand) Run(p *program) error {
	return c.run(p, c.Output, func(ctx context.Context, r remote) error {
		a, err := r.get(ctx, "/v1/jobs", nil)
		if err != nil {
			return err
		}
		return show(r, a, func(list admin.JobList) error {
			var rows [][]string
			for _, j := range list.Jobs {
				rows = append(rows, []string{j.Name, j.By, moment(j.Ended), moment(j.Next), j.Result, j.Error})
			}
			r.problems(list.Problems)
			return r.table("JOB ADMIN ENDED NEXT RESULT ERROR", rows)
		})
	})
}
