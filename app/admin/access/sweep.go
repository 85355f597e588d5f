package access

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/seed27495941/seckill/backend"
)

// Sweep deletes the sessions that have ended and the tokens whose owners are gone,
// and says how many. They counted no more before, so it is about space only. The
// conditions are added to each deletion: a background job gives the guard of its
// term. What can't be read stays.
//
// Errors: those of the store; backend.ErrConflict for a condition that does not
// hold.
func (a *Accounts) Sweep(ctx context.Context, guard ...backend.Condition) (deleted int, err error) {
	sessions, _, err := backend.List(ctx, a.store, sessionsDir)
	if err != nil {
		return 0, err
	}
	tokens, _, err := backend.List(ctx, a.store, tokensDir)
	if err != nil {
		return 0, err
	}
	// Users last: a session or token was made by a user that was there before it. Who
	// is not there any more, or has another generation, will not come back.
	users, err := a.all(ctx)
	if err != nil {
		return 0, err
	}
	at := now()
	for _, e := range append(sessions, tokens...) {
		if !users.hasDone(e, at) {
			continue
		}
		mine := backend.If(e.Key, e.Revision)
		err := a.store.Delete(ctx, e.Key, append([]backend.Condition{mine}, guard...)...)
		var conflict *backend.ConflictError
		switch {
		case err == nil:
			deleted++
		case errors.As(err, &conflict) && conflict.Key == e.Key: // used or deleted meanwhile
		default:
			return deleted, err
		}
	}
	return deleted, nil
}

// A roll has the users by name, nil for those whose records can't be read.
type roll map[string]*user

func (a *Accounts) all(ctx context.Context) (roll, error) {
	entries, _, err := backend.List(ctx, a.store, usersDir)
	users := roll{}
	for _, e := range entries {
		name := strings.TrimPrefix(e.Key, usersDir)
		users[name] = nil
		if u, err := backend.DecodeJSON[user](e); err == nil {
			users[name] = &u
		}
	}
	return users, err
}

// hasDone reports whether a session or token can never count again.
func (users roll) hasDone(e backend.Entry, at time.Time) bool {
	if s, err := backend.DecodeJSON[session](e); err == nil {
		u, known := users[s.User]
		return s.over(at) || !known || u != nil && u.Generation != s.Generation
	}
	if t, err := backend.DecodeJSON[token](e); err == nil {
		u, known := users[t.Owner]
		return !known || u != nil && u.ID != t.OwnerID
	}
	return false
}
