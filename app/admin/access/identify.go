package access

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/seed27495941/seckill/backend"
)

// A Principal is who a request comes from.
type Principal struct {
	Name       string // of the user, or of the token's owner
	Role       Role
	Via        Via
	Token      string // id, if via a token
	TokenName  string // what that is for
	MustChange bool   // the password: nothing else may be done before
}

// Via is how somebody proved to be a principal.
type Via string

// The ways.
const (
	ViaSession Via = "session"
	ViaToken   Via = "token"
)

// A proof is what a request says about who sent it.
type proof struct {
	session string // key of a session
	token   string // id
	secret  string
}

// errNobody says that a proof proves nothing.
var errNobody = errors.New("nobody")

// proofOf takes a token before a cookie. ok is false if there is neither.
func proofOf(r *http.Request, c client) (p proof, ok bool) {
	if header := r.Header.Get("Authorization"); header != "" {
		scheme, text, _ := strings.Cut(header, " ")
		id, secret, ok := splitToken(text)
		return proof{token: id, secret: secret}, ok && strings.EqualFold(scheme, "Bearer")
	}
	cookie, err := r.Cookie(c.cookieName())
	if err != nil || len(cookie.Value) != secretLength {
		return proof{}, false
	}
	return proof{session: sessionsDir + digest(cookie.Value)}, true
}

// identify says who a proof is of, by what read has. Errors: errNobody,
// errUnreadable, those of read but backend.ErrNotFound.
func (p proof) identify(ctx context.Context, read reader) (Principal, error) {
	who := p.ofToken
	if p.session != "" {
		who = p.ofSession
	}
	principal, err := who(ctx, read, now())
	if errors.Is(err, backend.ErrNotFound) {
		err = errNobody
	}
	return principal, err
}

func (p proof) ofSession(ctx context.Context, read reader, at time.Time) (Principal, error) {
	s, _, err := readRecord[session](ctx, read, p.session)
	if err != nil {
		return Principal{}, err
	}
	u, _, err := readUser(ctx, read, s.User)
	if err != nil {
		return Principal{}, err
	}
	if s.over(at) || s.Generation != u.Generation {
		return Principal{}, errNobody
	}
	return Principal{Name: s.User, Role: u.Role, Via: ViaSession, MustChange: u.MustChange}, nil
}

func (p proof) ofToken(ctx context.Context, read reader, at time.Time) (Principal, error) {
	t, _, err := readRecord[token](ctx, read, tokensDir+p.token)
	if err != nil {
		return Principal{}, err
	}
	u, _, err := readUser(ctx, read, t.Owner)
	if err != nil {
		return Principal{}, err
	}
	if !t.has(p.secret) || t.over(at) || t.OwnerID != u.ID {
		return Principal{}, errNobody
	}
	return Principal{Name: t.Owner, Role: lesser(t.Role, u.Role), Via: ViaToken, Token: p.token, TokenName: t.Name}, nil
}

// confirmTime bounds a question to the store about somebody this admin does not
// know.
const confirmTime = 2 * time.Second

// identify says who a proof is of. Errors: errNobody; whoever it is can't be told
// now.
func (a *Access) identify(ctx context.Context, p proof, c client) (Principal, error) {
	if a.copy.isStale() {
		return Principal{}, errStale
	}
	principal, err := p.identify(ctx, a.copy.get)
	if err == nil || !a.throttle.mayConfirm(c) {
		return principal, known(err)
	}
	ctx, cancel := context.WithTimeout(ctx, confirmTime)
	defer cancel()
	principal, err = p.identify(ctx, a.store.Get)
	if errors.Is(err, errUnreadable) {
		a.log.Error("somebody is not let in", "error", err)
	}
	return principal, known(err)
}

var errStale = errors.New("the store has not been heard for too long")

// known makes nobody of a record that can't be read.
func known(err error) error {
	if errors.Is(err, errUnreadable) {
		return errNobody
	}
	return err
}
