package console

import (
	"context"
	"net/http"
	"time"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/sale/event"
)

type verifyPage struct {
	Event  event.Event
	Report *admin.Verification // nil: not asked for yet
}

// verifyPatience is how long a sale may take to be read: all of its orders are.
const verifyPatience = 90 * time.Second

func (p *page) askVerify() error {
	if problem := access.Check(p.r.Context(), access.Operator); problem != nil {
		return problem
	}
	e, err := p.event()
	if err != nil {
		return err
	}
	return p.show(http.StatusOK, "verify", "Verify “"+e.Body.Title+"”", verifyPage{Event: e.Body})
}

// verify holds a sale against its rules. It changes nothing, and is sent as a form since it
// costs much.
func (p *page) verify() error {
	ctx, cancel := context.WithTimeout(p.r.Context(), verifyPatience)
	defer cancel()
	report, err := p.cfg.Service.VerifyEvent(ctx, &admin.EventPath{ID: p.r.PathValue("id")})
	if err != nil {
		return err
	}
	e, err := p.cfg.Service.GetEvent(ctx, &admin.EventPath{ID: p.r.PathValue("id")})
	if err != nil {
		return err
	}
	return p.show(http.StatusOK, "verify", "Verify “"+e.Body.Title+"”", verifyPage{e.Body, &report.Body})
}
