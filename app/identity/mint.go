package identity

import (
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// Mint makes a token that says these claims, whose times are cut to whole seconds,
// and signs it. Errors: the key can't sign; the subject can't be a buyer's; no time of
// expiry; the token would be larger than [MaxToken].
func Mint(k Key, c Claims) (string, error) {
	if err := k.checkSigns(); err != nil {
		return "", err
	}
	if fault := subjectFault(c.Subject); fault != "" {
		return "", fmt.Errorf("the subject %q %s", c.Subject, fault)
	}
	if c.Expires.IsZero() {
		return "", errors.New("a token needs a time when it expires")
	}
	registered := jwt.RegisteredClaims{
		Subject:   c.Subject,
		Issuer:    c.Issuer,
		Audience:  c.Audience,
		ExpiresAt: jwt.NewNumericDate(c.Expires),
	}
	if !c.IssuedAt.IsZero() {
		registered.IssuedAt = jwt.NewNumericDate(c.IssuedAt)
	}
	token := jwt.NewWithClaims(k.method(), registered)
	token.Header["kid"] = k.ID
	text, err := token.SignedString(k.sign)
	if err == nil && len(text) > MaxToken {
		err = fmt.Errorf("the token has %d bytes, at most %d are allowed", len(text), MaxToken)
	}
	if err != nil {
		return "", err
	}
	return text, nil
}
