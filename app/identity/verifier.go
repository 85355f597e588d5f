package identity

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed27495941/seckill/internal/reread"
)

// MaxToken is how large a token may be, in bytes.
const MaxToken = 8 << 10

// Leeway is how far the clock of who signs a token may be off: for so long it counts
// before its time (nbf, iat) and after it (exp).
const Leeway = 30 * time.Second

// Config says whose tokens are believed.
type Config struct {
	KeysFile string       // a JWK Set
	Issuer   string       // that tokens must name; empty: any
	Audience string       // that tokens must be for; empty: any
	Log      *slog.Logger // nil: silent
}

// A Verifier tells who has sent a token. It is safe for concurrent use.
//
// It remembers the tokens it has found good, by their SHA-256, so that a buyer who
// comes again costs no second verification; at most 65,536 of them, and none for longer than
// its keys are in force.
type Verifier struct {
	keys   *reread.File[*ring]
	parser *jwt.Parser
}

// Open reads the keys from their file and follows it: a changed file counts a
// second later at most. One that can't be read, or is refused by [ParseSet], leaves
// the keys before it in force and is logged, once for each content. Private keys are
// not kept. Errors: the file can't be read, is larger than 1 MiB, or is refused.
func Open(c Config) (*Verifier, error) {
	keys, err := reread.Open(c.KeysFile, parseRing, c.Log)
	if err != nil {
		return nil, fmt.Errorf("buyers' keys: %w", err)
	}
	options := []jwt.ParserOption{
		jwt.WithStrictDecoding(),
		jwt.WithLeeway(Leeway),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
	}
	if c.Issuer != "" {
		options = append(options, jwt.WithIssuer(c.Issuer))
	}
	if c.Audience != "" {
		options = append(options, jwt.WithAudience(c.Audience))
	}
	return &Verifier{keys: keys, parser: jwt.NewParser(options...)}, nil
}

// Verify returns what a token says if it is to be believed. It is to if the key
// that it names has signed it with the key's algorithm; if it has a time of expiry,
// which is not over, and begins to count before now, both give or take [Leeway]; if it
// is by the expected issuer and for the expected audience; and if its subject can be
// a buyer's. A token that names no key is tried with the only one there is. The error
// is ErrUnauthenticated.
func (v *Verifier) Verify(token string) (Claims, error) {
	switch {
	case token == "":
		return Claims{}, errNone
	case len(token) > MaxToken:
		return Claims{}, errTooLarge
	}
	ring := v.keys.Get()
	id := sha256.Sum256([]byte(token))
	if claims, ok := ring.good.Get(id); ok && time.Now().Before(claims.Expires.Add(Leeway)) {
		return claims, nil
	}
	claims, err := v.verify(ring, token)
	if err != nil {
		return Claims{}, err
	}
	ring.good.Add(id, claims)
	return claims, nil
}

// verify does all the work.
func (v *Verifier) verify(r *ring, token string) (Claims, error) {
	// A map, because package json takes a struct's Sub for a sub as well.
	claims := jwt.MapClaims{}
	if _, err := v.parser.ParseWithClaims(token, claims, r.find); err != nil {
		return Claims{}, refusal(err)
	}
	return claimsOf(claims)
}

func claimsOf(claims jwt.MapClaims) (Claims, error) {
	subject, errSubject := claims.GetSubject()
	issuer, errIssuer := claims.GetIssuer()
	audience, errAudience := claims.GetAudience()
	issued, errIssued := claims.GetIssuedAt()
	expires, errExpires := claims.GetExpirationTime()
	if errors.Join(errSubject, errIssuer, errAudience, errIssued, errExpires) != nil {
		return Claims{}, errMalformed
	}
	if fault := subjectFault(subject); fault != "" {
		return Claims{}, refusalError("the token's subject (sub) " + fault)
	}
	c := Claims{Subject: subject, Issuer: issuer, Audience: audience, Expires: expires.Time}
	if issued != nil {
		c.IssuedAt = issued.Time
	}
	return c, nil
}
