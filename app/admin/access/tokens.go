package access

import (
	"context"
	"crypto/subtle"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/backend"
)

// A Token is for a program. It may do what its role and that of its owner both may,
// for as long as the owner is there.
type Token struct {
	ID       string
	Name     string // what it is for
	Owner    string
	Role     Role
	LastFour string // characters of its text
	Created  time.Time
	Expires  time.Time // zero: never
}

// tokenPrefix lets people and scanners of secrets see what it is.
const tokenPrefix = "seckill_"

const longestTokenName = 64 // characters

// CreateToken makes a token, and returns its text, which is shown this once: the
// store has its SHA-256. A zero expires is never. Errors: backend.ErrNotFound for the
// owner.
func (a *Accounts) CreateToken(ctx context.Context, owner, name string, role Role, expires time.Time) (text string, t Token, err error) {
	if err := checkToken(name, role, expires); err != nil {
		return "", Token{}, err
	}
	u, _, err := readUser(ctx, a.store.Get, owner)
	if err != nil {
		return "", Token{}, err
	}
	if !u.Role.Includes(role) {
		return "", Token{}, fmt.Errorf("%w: a token for %s, but its owner %s is %s", backend.ErrInvalid, role, owner, u.Role)
	}
	id, secret := ulid.Make().String(), newSecret()
	record := token{
		Name: name, Owner: owner, OwnerID: u.ID, Role: role,
		SHA256: digest(secret), Last: secret[secretLength-4:],
		Created: now(), Expires: expires.UTC().Round(0),
	}
	key := tokensDir + id
	rev, err := backend.PutJSON(ctx, a.store, key, record, backend.If(key, 0))
	if err != nil {
		return "", Token{}, err
	}
	a.seen(ctx, key, rev)
	return tokenPrefix + id + "_" + secret, record.shown(id), nil
}

func checkToken(name string, role Role, expires time.Time) error {
	unprintable := func(r rune) bool { return !unicode.IsPrint(r) }
	if n := utf8.RuneCountInString(name); n < 1 || n > longestTokenName || !utf8.ValidString(name) || strings.ContainsFunc(name, unprintable) {
		return fmt.Errorf("%w: name of a token: expected 1 to %d printable characters", backend.ErrInvalid, longestTokenName)
	}
	if !expires.IsZero() && !expires.After(now()) {
		return fmt.Errorf("%w: a token that expires at %s: expected a time to come", backend.ErrInvalid, expires.Format(time.RFC3339))
	}
	return role.check()
}

func (t token) shown(id string) Token {
	return Token{id, t.Name, t.Owner, t.Role, t.Last, t.Created, t.Expires}
}

// Tokens lists the tokens, the oldest first, also those that have expired, and says
// what is wrong with records that can't be read.
func (a *Accounts) Tokens(ctx context.Context) (tokens []Token, problems []error, err error) {
	entries, _, err := backend.List(ctx, a.store, tokensDir)
	for _, e := range entries {
		t, err := backend.DecodeJSON[token](e)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		tokens = append(tokens, t.shown(strings.TrimPrefix(e.Key, tokensDir)))
	}
	return tokens, problems, err
}

// RevokeToken deletes a token: it counts no more.
func (a *Accounts) RevokeToken(ctx context.Context, id string) error {
	parsed, err := ulid.ParseStrict(id)
	if err != nil || parsed.String() != id {
		return fmt.Errorf("token %.40q: %w", id, backend.ErrNotFound)
	}
	key := tokensDir + id
	e, err := a.store.Get(ctx, key)
	if err != nil {
		return err
	}
	// Nothing but a deletion changes a token.
	if err := a.store.Delete(ctx, e.Key); err != nil {
		return err
	}
	a.seen(ctx, key, 0)
	return nil
}

// splitToken takes the text of a token apart.
func splitToken(text string) (id, secret string, ok bool) {
	rest, ok := strings.CutPrefix(text, tokenPrefix)
	if !ok || len(rest) != ulid.EncodedSize+1+secretLength || rest[ulid.EncodedSize] != '_' {
		return "", "", false
	}
	id, secret = rest[:ulid.EncodedSize], rest[ulid.EncodedSize+1:]
	parsed, err := ulid.ParseStrict(id)
	return id, secret, err == nil && parsed.String() == id
}

func (t token) has(secret string) bool {
	return subtle.ConstantTimeCompare([]byte(digest(secret)), []byte(t.SHA256)) == 1
}

func (t token) over(at time.Time) bool { return !t.Expires.IsZero() && !at.Before(t.Expires) }
