package admin

import (
	"context"

	"github.com/seed27495941/seckill/app/admin/jobs"
)

// A JobList is what admins do by themselves.
type JobList struct {
	Jobs     []jobs.Status `json:"jobs" nullable:"false" doc:"By their names; one that never ran is not among them"`
	Problems []string      `json:"problems,omitempty" nullable:"false" doc:"Records that can't be read, and why"`
}

// ListJobs tells how the jobs stand, as the admin that runs them has told last.
func (s *Service) ListJobs(ctx context.Context, _ *struct{}) (*Answer[JobList], error) {
	all, unreadable, err := jobs.Statuses(ctx, s.cfg.Store)
	if err != nil {
		return nil, s.refuse(err, "")
	}
	return answer(JobList{append([]jobs.Status{}, all...), texts(unreadable)}), nil
}
