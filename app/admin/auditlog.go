package admin

import (
	"context"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/admin/audit"
)

// AuditQuery asks for records of the audit log.
type AuditQuery struct {
	After  string    `query:"after" maxLength:"200" doc:"next, of the page before"`
	Limit  int       `query:"limit" minimum:"1" maximum:"500" default:"50"`
	Actor  string    `query:"actor" maxLength:"512"`
	Action string    `query:"action" maxLength:"512" doc:"How its name begins: event. for all that is done to events"`
	Target string    `query:"target" maxLength:"512"`
	Since  time.Time `query:"since" doc:"When it began: from then on"`
	Until  time.Time `query:"until" doc:"Before then"`
}

// An AuditList is a page of the audit log, the newest first.
type AuditList struct {
	Records  []audit.Record `json:"records" nullable:"false"`
	Problems []string       `json:"problems,omitempty" nullable:"false" doc:"Records that can't be read, and why"`
	Next     string         `json:"next,omitempty" doc:"To be sent as after, to get the next page, also when this one is empty; left out on the last one"`
}

// ListAudit lists who did what.
func (s *Service) ListAudit(ctx context.Context, in *AuditQuery) (*Answer[AuditList], error) {
	if err := fits(in); err != nil {
		return nil, err
	}
	q := audit.Query{Actor: in.Actor, Action: in.Action, Target: in.Target, Since: in.Since, Until: in.Until, Limit: in.Limit}
	if in.After != "" {
		var err error
		if q.Before, err = ulid.ParseStrict(in.After); err != nil {
			return nil, invalidAt("query.after", "expected next, of the page before")
		}
	}
	page, err := s.cfg.Audit.Page(ctx, q)
	if err != nil {
		return nil, s.refuse(err, "")
	}
	list := AuditList{Records: page.Records, Problems: texts(page.Unreadable)}
	if !page.Next.IsZero() {
		list.Next = page.Next.String()
	}
	return answer(list), nil
}
