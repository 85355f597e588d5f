package api

import (
	"context"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/seed27495941/seckill/app/web"
)

// identify tells who sends a request by its Authorization header, as RFC 6750 has
// it.
func (s *Service) identify(authorization string) (user string, refusal *web.Problem) {
	scheme, token, _ := strings.Cut(authorization, " ")
	switch {
	case authorization == "":
		return "", problem(unauthenticated, "expected the header Authorization: Bearer <token>").With("WWW-Authenticate", "Bearer")
	case !strings.EqualFold(scheme, "Bearer") || token == "":
		return "", problem(unauthenticated, "expected the header Authorization: Bearer <token>")
	case s.cfg.Identity == nil:
		return "", problem(unauthenticated, "no keys are known here that could have signed the token")
	}
	claims, err := s.cfg.Identity.Verify(token)
	if err != nil {
		return "", problem(unauthenticated, err.Error())
	}
	return claims.Subject, nil
}

type userKey struct{}

// authenticate lets those pass that can be told from others.
func (s *Service) authenticate(ctx huma.Context, next func(huma.Context)) {
	user, refusal := s.identify(ctx.Header("Authorization"))
	if refusal != nil {
		web.Refuse(ctx, refusal)
		return
	}
	next(huma.WithValue(ctx, userKey{}, user))
}

// userOf is who sent a request that authenticate let pass.
func userOf(ctx context.Context) string {
	user, _ := ctx.Value(userKey{}).(string)
	return user
}

// bearer is what an operation needs, as the document says it.
var bearer = []map[string][]string{{"bearer": {}}}
