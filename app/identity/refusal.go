package identity

import (
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// ErrUnauthenticated is the class of all errors of [Verifier.Verify]. Their texts say
// why, hold nothing of the token, and may be shown to anybody.
var ErrUnauthenticated = errors.New("unauthenticated")

// A refusalError says why a token is not believed.
type refusalError string

func (e refusalError) Error() string { return ErrUnauthenticated.Error() + ": " + string(e) }

func (e refusalError) Unwrap() error { return ErrUnauthenticated }

const (
	errNone      = refusalError("there is no token")
	errMalformed = refusalError("the token is malformed")
	errCritical  = refusalError("the token's header has critical extensions, none is understood here")
	errNoKey     = refusalError("the token names no key (kid), and there are several")
	errKey       = refusalError("the token's key (kid) is unknown")
	errAlgorithm = refusalError("the token's algorithm is not that of its key")
	errSignature = refusalError("the token's signature is wrong")
	errMissing   = refusalError("the token lacks its expiry (exp), or an expected issuer (iss) or audience (aud)")
	errExpired   = refusalError("the token has expired")
	errEarly     = refusalError("the token is not valid yet")
	errIssuer    = refusalError("the token is not by the expected issuer")
	errAudience  = refusalError("the token is not meant for this service")
)

var errTooLarge = refusalError(fmt.Sprintf("the token has more than %d bytes", MaxToken))

// refusal finds the reason in an error of package jwt, whose text may quote the
// token.
func refusal(err error) error {
	var ours refusalError
	if errors.As(err, &ours) {
		return ours
	}
	for _, known := range []struct {
		is     error
		reason refusalError
	}{
		{jwt.ErrTokenMalformed, errMalformed},
		{jwt.ErrTokenUnverifiable, errAlgorithm}, // one that package jwt doesn't know
		{jwt.ErrTokenSignatureInvalid, errSignature},
		{jwt.ErrTokenExpired, errExpired},
		{jwt.ErrTokenNotValidYet, errEarly},
		{jwt.ErrTokenUsedBeforeIssued, errEarly},
		{jwt.ErrTokenInvalidIssuer, errIssuer},
		{jwt.ErrTokenInvalidAudience, errAudience},
		{jwt.ErrTokenRequiredClaimMissing, errMissing},
	} {
		if errors.Is(err, known.is) {
			return known.reason
		}
	}
	return errMalformed // a claim has the wrong type
}
