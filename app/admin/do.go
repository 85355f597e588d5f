package admin

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/admin/audit"
	"github.com/seed27495941/seckill/app/control"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/export"
)

// Refusals are errors with which what somebody wants is refused: for the audit log, besides
// those that it knows.
func Refusals() []error {
	return []error{event.ErrStatus, event.ErrNoRoom, export.ErrNotThere, access.ErrExists, access.ErrLastAdmin, control.ErrRefused}
}

// A deed is what somebody wants to do.
type deed struct {
	role   access.Role // that it takes
	name   string      // in the audit log
	target string
}

// do does something, if who is in ctx may, and writes it into the audit log. before is
// what is there now, and what f returns is what is there then. missing is what it means
// that a key is not there.
func do[T any](ctx context.Context, s *Service, d deed, before any, missing code, f func(context.Context) (T, error)) (done T, err error) {
	if err := s.allow(ctx, d.role); err != nil {
		return done, err
	}
	err = s.cfg.Audit.Do(ctx, action(ctx, d), before, func(ctx context.Context) (after any, err error) {
		if done, err = f(ctx); err != nil {
			return nil, err
		}
		return done, nil
	})
	return done, s.refuse(err, missing)
}

// allow refuses those whose role does not include another one. The audit log has who
// it was, and what was asked for, unless the same one keeps asking.
func (s *Service) allow(ctx context.Context, role access.Role) error {
	refusal := access.Check(ctx, role)
	if refusal == nil {
		return nil
	}
	who, known := access.FromContext(ctx)
	if !known || who.MustChange {
		return refusal
	}
	if ok, _ := s.refusals.Allow(who.Name); ok {
		came := fmt.Errorf("%w: %s", audit.ErrRefused, refusal.Detail)
		if err := s.cfg.Audit.Note(ctx, action(ctx, deed{name: "access.refused", target: from(ctx).request}), came); err != nil {
			s.cfg.Log.Warn("a refusal was not recorded", "user", who.Name, "error", err)
		}
	}
	return refusal
}

// action is what the audit log is told.
func action(ctx context.Context, d deed) audit.Action {
	who, _ := access.FromContext(ctx)
	via, id := access.Came(ctx)
	return audit.Action{
		Name: d.name, Target: d.target, Actor: who.Name, Via: via, Token: who.Token, TokenName: who.TokenName,
		Remote: from(ctx).remote, RequestID: id,
	}
}

type originKey struct{}

// An origin is where an action comes from: an address, and a request's method and path.
type origin struct{ remote, request string }

func from(ctx context.Context) origin {
	o, _ := ctx.Value(originKey{}).(origin)
	return o
}

// Remember keeps where a request comes from, and what it asks for, for the audit log.
func Remember(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			host = r.RemoteAddr
		}
		o := origin{host, r.Method + " " + r.URL.Path}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), originKey{}, o)))
	})
}

// An explained error is one with what a client is told of it. The audit log goes by the
// cause.
type explained struct {
	problem error
	cause   error
}

func (e explained) Error() string   { return e.cause.Error() }
func (e explained) Unwrap() []error { return []error{e.problem, e.cause} }

// problemOf is an error of package access with what a client is told.
func problemOf(err error) error { return explained{access.Problem(err), err} }
