package console

import (
	"net/http"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/admin/audit"
)

type auditPage struct {
	Actor, Action, Target string
	Records               []audit.Record
	Problems              []string
}

func (p *page) audit() error {
	query := p.r.URL.Query()
	a := auditPage{Actor: query.Get("actor"), Action: query.Get("action"), Target: query.Get("target")}
	list, err := p.cfg.Service.ListAudit(p.ctx, &admin.AuditQuery{After: query.Get("after"), Actor: a.Actor, Action: a.Action, Target: a.Target})
	if err != nil {
		return err
	}
	a.Records, a.Problems = list.Body.Records, list.Body.Problems
	return p.show(http.StatusOK, "audit", "Audit", a, p.more(list.Body.Next))
}
