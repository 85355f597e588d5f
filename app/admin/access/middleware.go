package access

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/seed27495941/seckill/app/admin/audit"
	"github.com/seed27495941/seckill/app/web"
)

// A caller is what is known of who sent a request. The principal is nil for
// strangers; then the problem is what they are told where they may not go.
type caller struct {
	client    client
	proof     proof
	principal *Principal
	problem   *web.Problem
	requestID string
	typed     bool // on a command line, as its client says
}

type callerKey struct{}

func callerOf(ctx context.Context) caller {
	c, ok := ctx.Value(callerKey{}).(caller)
	if !ok {
		return caller{problem: unauthenticated("log in first")}
	}
	return c
}

// FromContext says who a request is from, false for a stranger.
func FromContext(ctx context.Context) (Principal, bool) {
	p := callerOf(ctx).principal
	if p == nil {
		return Principal{}, false
	}
	return *p, true
}

// Came says how a request that Authenticate has seen came, for the audit log.
func Came(ctx context.Context) (via audit.Via, requestID string) {
	by := callerOf(ctx)
	switch {
	case by.typed:
		via = audit.ViaCLI
	case by.principal != nil:
		via = audit.Via(by.principal.Via)
	default:
		via = audit.ViaSession // which somebody wants to begin
	}
	return via, by.requestID
}

// OverTLS reports whether a request that Authenticate has seen came over TLS: here, or at a
// proxy on this machine that says so. The session's cookie goes by the same.
func OverTLS(ctx context.Context) bool { return callerOf(ctx).client.secure }

// Authenticate finds out who sends each request, by its token (Authorization: Bearer)
// or its session, and gives it an id. It refuses nobody: there are pages for strangers. Who
// may go where is for [Require] and [Operation], which go by what it has found.
func (a *Access) Authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		by := a.callerOf(r)
		by.requestID, by.typed = web.GiveRequestID(w.Header(), r.Header), r.UserAgent() == commandLine
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, by)))
	})
}

// commandLine is what the program seckill calls itself (client.Agent). Others could as well:
// it tells records apart, and allows nothing.
const commandLine = "seckill-cli"

func (a *Access) callerOf(r *http.Request) caller {
	by := caller{client: clientOf(r)}
	p, ok := proofOf(r, by.client)
	if !ok {
		by.problem = unauthenticated("log in, or send a token: Authorization: Bearer …")
		return by
	}
	by.proof = p
	principal, err := a.identify(r.Context(), p, by.client)
	switch {
	case err == nil:
		by.principal = &principal
		if p.session != "" {
			a.use(p.session)
		}
	case errors.Is(err, errNobody):
		by.problem = unauthenticated("the session or the token is not there, or not any more")
	default:
		by.problem = unavailable("who you are can't be told at present: " + reason(err))
	}
	return by
}

// reason leaves out what is not for strangers.
func reason(err error) string {
	if errors.Is(err, errStale) {
		return err.Error()
	}
	return "the store can't be asked"
}

// Check says why a request may not do what needs a role: nil if it may.
func Check(ctx context.Context, role Role) *web.Problem {
	by := callerOf(ctx)
	switch {
	case by.principal == nil:
		return by.problem
	case by.principal.MustChange:
		return web.NewProblem(http.StatusForbidden, "must_change_password", "the password was for one use, change it first")
	case !by.principal.Role.Includes(role):
		return forbidden("that takes the role " + string(role) + ", and " + by.principal.Name + " has " + string(by.principal.Role) + " here")
	}
	return nil
}

// Require lets those through who have a role, or one that includes it.
func Require(role Role) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if p := Check(r.Context(), role); p != nil {
				p.Write(w)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// Operation is [Require] for an operation of the API: one of its Middlewares.
func Operation(role Role) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		if p := Check(ctx.Context(), role); p != nil {
			web.Refuse(ctx, p)
			return
		}
		next(ctx)
	}
}

// Still reports whether a request that has gone on for long, such as a stream, may
// still do what needs a role. It costs no read of the store.
func (a *Access) Still(ctx context.Context, role Role) bool {
	by := callerOf(ctx)
	if by.principal == nil || a.copy.isStale() {
		return false
	}
	p, err := by.proof.identify(ctx, a.copy.get)
	return err == nil && !p.MustChange && p.Role.Includes(role)
}

// CrossOrigin refuses requests that change something and come from a page of another
// origin: see [http.CrossOriginProtection].
func CrossOrigin(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		forbidden("the request comes from a page of another origin").Write(w)
	}))
	return protection.Handler(next)
}
