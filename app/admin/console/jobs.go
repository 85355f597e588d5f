package console

import (
	"context"
	"net/http"
	"time"

	"github.com/seed27495941/seckill/app/admin/jobs"
)

// A jobRow is a job as it was told last.
type jobRow struct {
	jobs.Status
	Does string
	Late bool // it should have run again
}

// lateAfter is how long after its time a job is called late: an admin that has died leads
// until its lease has passed.
const lateAfter = time.Minute

// State is how the job stands, in a word.
func (j jobRow) State() string {
	switch {
	case j.Error != "":
		return "failed"
	case j.Late:
		return "late"
	}
	return "done"
}

type jobsPage struct {
	Jobs     []jobRow
	Leader   string // who has told last
	Problems []string
	Late     bool
}

// deeds are what jobs do.
var deeds = map[string]string{
	"publish":  "finishes a publishing that was interrupted",
	"windows":  "notes in the audit log when a window opens or closes",
	"close":    "closes sales that are over",
	"archive":  "puts closed sales into files, and deletes them from the store",
	"history":  "records versions of the config that were written by other means",
	"audit":    "deletes old records of the audit log",
	"sessions": "deletes logins that have expired",
}

func (p *page) jobs() error {
	j, err := p.lookAtJobs(p.ctx)
	if err != nil {
		return err
	}
	return p.show(http.StatusOK, "jobs", "Jobs", j, live("/jobs/live"))
}

func (p *page) jobsLive() error {
	return p.stream(func(ctx context.Context) (news, error) {
		j, err := p.lookAtJobs(ctx)
		if err != nil {
			return news{}, err
		}
		return p.parts("jobs", j, "job-list:jobs")
	})
}

func (p *page) lookAtJobs(ctx context.Context) (jobsPage, error) {
	answer, err := p.cfg.Service.ListJobs(ctx, nil)
	if err != nil {
		return jobsPage{}, err
	}
	return showJobs(answer.Body.Jobs, answer.Body.Problems, time.Now()), nil
}

func showJobs(all []jobs.Status, problems []string, now time.Time) jobsPage {
	page := jobsPage{Problems: problems}
	var last jobs.Status
	for _, s := range all {
		row := jobRow{s, deeds[s.Name], !s.Next.IsZero() && now.Sub(s.Next) > lateAfter}
		page.Jobs = append(page.Jobs, row)
		page.Late = page.Late || row.Late
		if s.Term > last.Term {
			last = s
		}
	}
	page.Leader = last.By
	return page
}
