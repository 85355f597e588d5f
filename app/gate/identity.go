package gate

import (
	"context"
	"net/http"
	"strings"

	"github.com/seed27495941/seckill/app/identity"
	"github.com/seed27495941/seckill/app/web"
)

// Identity tells who sends a token: an [identity.Verifier]. Its errors are told to
// them.
type Identity interface {
	Verify(token string) (identity.Claims, error)
}

// identify lets those pass that can be told from others, by the Authorization header
// as RFC 6750 has it.
type identify struct {
	known                Identity
	none, other, keyless *web.Problem
}

func newIdentify(known Identity) *identify {
	const expected = "expected the header Authorization: Bearer <token>"
	return &identify{
		known:   known,
		none:    unauthenticated(expected).With("WWW-Authenticate", "Bearer"),
		other:   unauthenticated(expected),
		keyless: unauthenticated("no keys are known here that could have signed the token"),
	}
}

func (c *identify) pass(r *Request) *web.Problem {
	authorization := r.Header.Get("Authorization")
	scheme, token, _ := strings.Cut(authorization, " ")
	switch {
	case authorization == "":
		return c.none
	case !strings.EqualFold(scheme, "Bearer") || token == "":
		return c.other
	case c.known == nil:
		return c.keyless
	}
	claims, err := c.known.Verify(token)
	if err != nil {
		return unauthenticated(err.Error())
	}
	r.User = claims.Subject
	return nil
}

func unauthenticated(detail string) *web.Problem {
	return web.NewProblem(http.StatusUnauthorized, Unauthenticated, detail).With("WWW-Authenticate", `Bearer error="invalid_token"`)
}

// writerKey is where the context of a buyer's request has its [writer].
type writerKey struct{}

// UserOf is who sent a request that has passed the gate, "" if its route is for
// everybody.
func UserOf(ctx context.Context) string {
	if w, ok := ctx.Value(writerKey{}).(*writer); ok {
		return w.user
	}
	return ""
}

// Await waits for who decides about a request of a buyer: the owner of a slot, or the store.
// However long they take, it does not mean to the breaker that this node has too much to do.
// The wait has to be bounded.
func Await(ctx context.Context, wait func()) {
	if w, ok := ctx.Value(writerKey{}).(*writer); ok {
		w.call.Await(wait)
		return
	}
	wait()
}
