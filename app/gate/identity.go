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

// userKey is where a request's context has its user.
type userKey struct{}

func withUser(r *http.Request, user string) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), userKey{}, user))
}

// UserOf is who sent a request that has passed the gate, "" if its route is for
// everybody.
func UserOf(ctx context.Context) string {
	user, _ := ctx.Value(userKey{}).(string)
	return user
}
