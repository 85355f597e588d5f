package access

import (
	"context"
	"errors"
	"net/http"

	"github.com/seed27495941/seckill/app/admin/access/password"
	"github.com/seed27495941/seckill/app/web"
	"github.com/seed27495941/seckill/backend"
)

// A Login is a session that has begun.
type Login struct {
	Cookie    http.Cookie // for the browser to keep
	Principal Principal
}

// errWrong is the same whether there is such a user or not.
func errWrong() error { return unauthenticated("name or password is wrong") }

// Login begins a session, and ends that of the request, if it has one: nobody would have
// the secret to do so any more. ctx is that of a request that has passed
// [Access.Authenticate]. Errors: a *web.Problem: unauthenticated, throttled, unavailable,
// unknown; defects.
func (a *Access) Login(ctx context.Context, name, secret string) (Login, error) {
	login, err := a.attempt(ctx, loginAction, name, func(c client) (login Login, err error) {
		u, e, err := a.verify(ctx, name, secret)
		if err != nil {
			return Login{}, err
		}
		if u, e, err = a.settle(ctx, c, u, e); err != nil {
			return Login{}, err
		}
		err = a.recorded(ctx, loginAction, name, func(ctx context.Context) error {
			login, err = a.begins(ctx, c, name, u, e.Revision)
			return err
		})
		return login, err
	})
	if err != nil {
		return Login{}, err
	}
	if err := a.ends(ctx, callerOf(ctx)); err != nil {
		a.log.Warn("the session of before goes on after a login", "error", err)
	}
	return login, nil
}

// ChangePassword gives the user of a session a new password, which ends all sessions
// of the user, and begins a new one. Errors: those of Login, and a *web.Problem:
// invalid for the new password, forbidden without a session, unknown if the password may
// have been changed.
func (a *Access) ChangePassword(ctx context.Context, from, to string) (Login, error) {
	p, ok := FromContext(ctx)
	switch {
	case !ok:
		return Login{}, unauthenticated("log in first")
	case p.Via != ViaSession:
		return Login{}, forbidden("a password is changed by who has logged in, not with a token")
	}
	if err := checkPassword(p.Name, to); err != nil {
		return Login{}, Problem(err)
	}
	if from == to {
		return Login{}, Problem(errors.Join(backend.ErrInvalid, errors.New("new password: expected another one than before")))
	}
	return a.attempt(ctx, passwordAction, p.Name, func(c client) (Login, error) {
		u, e, err := a.verify(ctx, p.Name, from)
		if err != nil {
			return Login{}, err
		}
		if u.Password, err = a.hasher.Hash(ctx, to); err != nil {
			return Login{}, err
		}
		u.MustChange = false
		u.newGeneration()
		var rev backend.Revision
		err = a.recorded(ctx, passwordAction, p.Name, func(ctx context.Context) (err error) {
			rev, err = backend.PutJSON(ctx, a.store, e.Key, u, backend.If(e.Key, e.Revision))
			return err
		})
		if err != nil {
			return Login{}, err
		}
		a.copy.await(ctx, e.Key, rev)
		login, err := a.begins(ctx, c, p.Name, u, rev)
		if err != nil {
			a.log.Warn("no session after a change of password", "error", err)
			return Login{}, unknown("the password is changed, but no session has begun: log in with the new one")
		}
		return login, nil
	})
}

// Logout ends the session of a request, on all admins, and returns the cookie that
// takes the browser's away. Without a session it does the latter only. Errors: a
// *web.Problem: unavailable, then the session goes on; unknown.
func (a *Access) Logout(ctx context.Context) (http.Cookie, error) {
	by := callerOf(ctx)
	gone := by.client.cookie("", -1)
	if err := a.ends(ctx, by); err != nil {
		return gone, Problem(err)
	}
	return gone, nil
}

// ends ends the session of a request, on all admins, if it has one.
func (a *Access) ends(ctx context.Context, by caller) error {
	if by.proof.session == "" {
		return nil
	}
	if err := a.store.Delete(ctx, by.proof.session); err != nil {
		return err
	}
	a.recordLogout(ctx, by)
	a.copy.await(ctx, by.proof.session, 0)
	return nil
}

// attempts bounds how often a login begins again because the user was changed at
// that moment.
const attempts = 3

// attempt lets a client try something with a password.
func (a *Access) attempt(ctx context.Context, action, name string, try func(client) (Login, error)) (login Login, err error) {
	by := callerOf(ctx)
	u, _, err := readUser(ctx, a.copy.get, name)
	atHome := err == nil && u.knows(by.client.address, now())
	if ok, retryAfter := a.throttle.mayTry(by.client, name, atHome); !ok {
		a.log.Warn("login throttled", "client", by.client.address)
		a.recordRefusal(ctx, action, name, "too many attempts")
		return Login{}, throttled(retryAfter)
	}
	for range attempts {
		if login, err = try(by.client); !errors.Is(err, backend.ErrConflict) {
			break
		}
	}
	if err != nil {
		// What was typed as the name may be a password.
		a.log.Warn("login refused", "client", by.client.address, "error", err)
		var p *web.Problem
		if errors.As(err, &p) && p.Status == http.StatusUnauthorized {
			a.recordRefusal(ctx, action, name, p.Detail)
		}
		return Login{}, Problem(err)
	}
	a.log.Info("login", "user", name, "client", by.client.address)
	return login, nil
}

// verify reads a user from the store and checks the password, with the same work
// whether the user is there or not. A hash that is weaker than it would be made
// today is replaced.
func (a *Access) verify(ctx context.Context, name, secret string) (user, backend.Entry, error) {
	u, e, err := readUser(ctx, a.store.Get, name)
	if err != nil && !errors.Is(err, backend.ErrNotFound) && !errors.Is(err, errUnreadable) {
		return u, e, err
	}
	verdict, unusable := a.hasher.Verify(ctx, secret, u.Password)
	switch {
	case errors.Is(err, errUnreadable):
		a.log.Error("somebody can't log in", "error", err)
		return u, e, errWrong()
	case errors.Is(unusable, password.ErrRecord):
		a.log.Error("somebody can't log in", "key", e.Key, "error", unusable)
		return u, e, errWrong()
	case unusable != nil:
		return u, e, unusable
	case !verdict.Right:
		return u, e, errWrong()
	case verdict.Weak:
		return a.strengthen(ctx, u, e, secret)
	}
	return u, e, nil
}

// strengthen replaces a weak hash; the sessions go on. If that can't be done it is
// for the next login.
func (a *Access) strengthen(ctx context.Context, u user, e backend.Entry, secret string) (user, backend.Entry, error) {
	stronger := u
	rev := e.Revision
	var err error
	if stronger.Password, err = a.hasher.Hash(ctx, secret); err == nil {
		rev, err = backend.PutJSON(ctx, a.store, e.Key, stronger, backend.If(e.Key, e.Revision))
	}
	switch {
	case errors.Is(err, backend.ErrConflict):
		return u, e, err
	case err != nil:
		a.log.Warn("a weak password hash stays", "key", e.Key, "error", err)
		return u, e, nil
	}
	e.Revision = rev
	return stronger, e, nil
}

// settle notes from where a user has logged in; the sessions go on. If that can't be done
// it is for the next login. Errors: backend.ErrConflict, if the user was changed meanwhile.
func (a *Access) settle(ctx context.Context, c client, u user, e backend.Entry) (user, backend.Entry, error) {
	settled := u
	if !settled.note(c.address, now()) {
		return u, e, nil
	}
	rev, err := backend.PutJSON(ctx, a.store, e.Key, settled, backend.If(e.Key, e.Revision))
	switch {
	case errors.Is(err, backend.ErrConflict):
		return u, e, err
	case err != nil:
		a.log.Warn("from where somebody has logged in is not noted", "key", e.Key, "error", err)
		return u, e, nil
	}
	e.Revision = rev
	return settled, e, nil
}

// begins makes a session, on the condition that the user is as the password was
// compared with.
func (a *Access) begins(ctx context.Context, c client, name string, u user, rev backend.Revision) (Login, error) {
	secret := newSecret()
	key := sessionsDir + digest(secret)
	s := session{User: name, Generation: u.Generation, Created: now(), Seen: now()}
	made, err := backend.PutJSON(ctx, a.store, key, s, backend.If(key, 0), backend.If(usersDir+name, rev))
	if err != nil {
		return Login{}, err
	}
	a.copy.await(ctx, key, made)
	return Login{
		Cookie:    c.cookie(secret, int(sessionTime.Seconds())),
		Principal: Principal{Name: name, Role: u.Role, Via: ViaSession, MustChange: u.MustChange},
	}, nil
}
