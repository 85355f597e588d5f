package access

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/admin/access/password"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
)

// Errors of [Accounts].
var (
	ErrLastAdmin = errors.New("this is the last admin: make another one first")
	ErrExists    = errors.New("there is a user of that name")
)

// Accounts are the users and tokens in the store. Changes by several admins at once
// are safe. It is safe for concurrent use.
//
// Errors of all methods, besides those that they name: backend.ErrInvalid for what
// was given, backend.ErrNotFound for a user or a token that is not there, those of
// the store. After backend.ErrUnknown the change may have been made or not.
type Accounts struct {
	store  backend.Store
	hasher *password.Hasher
	seen   func(ctx context.Context, key string, rev backend.Revision) // waits for a change to arrive here; 0: it is gone
}

// NewAccounts makes the accounts of a namespace.
func NewAccounts(s backend.Store, h *password.Hasher) *Accounts {
	return &Accounts{store: s, hasher: h, seen: func(context.Context, string, backend.Revision) {}}
}

// A User is somebody who logs in.
type User struct {
	Name       string
	Role       Role
	MustChange bool // the password is for one use, and has not been changed yet
	Created    time.Time
	Changed    time.Time // when password or role last were
}

// Users lists the users by their names, and says what is wrong with records that
// can't be read.
func (a *Accounts) Users(ctx context.Context) (users []User, problems []error, err error) {
	entries, _, err := backend.List(ctx, a.store, usersDir)
	for _, e := range entries {
		u, err := backend.DecodeJSON[user](e)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		users = append(users, User{strings.TrimPrefix(e.Key, usersDir), u.Role, u.MustChange, u.Created, u.Changed})
	}
	return users, problems, err
}

// Add makes a user, and returns the password for the first login, where it has to
// be changed. Errors: ErrExists, password.ErrBusy.
func (a *Accounts) Add(ctx context.Context, name string, role Role) (oneTime string, err error) {
	if err := errors.Join(checkName(name), role.check()); err != nil {
		return "", err
	}
	oneTime, u, err := a.newUser(ctx, role)
	if err != nil {
		return "", err
	}
	key := usersDir + name
	rev, err := backend.PutJSON(ctx, a.store, key, u, backend.If(key, 0))
	if errors.Is(err, backend.ErrConflict) {
		return "", ErrExists
	}
	if err != nil {
		return "", err
	}
	a.seen(ctx, key, rev)
	return oneTime, nil
}

func (a *Accounts) newUser(ctx context.Context, role Role) (oneTime string, u user, err error) {
	oneTime = rand.Text()
	hash, err := a.hasher.Hash(ctx, oneTime)
	u = user{ID: ulid.Make().String(), Role: role, Password: hash, MustChange: true, Created: now()}
	u.newGeneration()
	return oneTime, u, err
}

// SetRole changes a user's role, which ends the user's sessions. Errors:
// ErrLastAdmin.
func (a *Accounts) SetRole(ctx context.Context, name string, role Role) error {
	if err := role.check(); err != nil {
		return err
	}
	return a.modify(ctx, name, func(u *user) {
		if u.Role != role {
			u.Role = role
			u.newGeneration()
		}
	})
}

// Reset gives a user a new password for the next login, where it has to be changed,
// and ends the user's sessions. Tokens stay. Errors: password.ErrBusy.
func (a *Accounts) Reset(ctx context.Context, name string) (oneTime string, err error) {
	if _, _, err := readUser(ctx, a.store.Get, name); err != nil {
		return "", err
	}
	oneTime = rand.Text()
	hash, err := a.hasher.Hash(ctx, oneTime)
	if err != nil {
		return "", err
	}
	return oneTime, a.modify(ctx, name, func(u *user) {
		u.Password, u.MustChange = hash, true
		u.newGeneration()
	})
}

// Remove removes a user. Sessions and tokens of the user count no more. Errors:
// ErrLastAdmin.
func (a *Accounts) Remove(ctx context.Context, name string) error {
	return a.retry(ctx, name, func(ctx context.Context, u user, e backend.Entry) error {
		conds := []backend.Condition{backend.If(e.Key, e.Revision)}
		if u.Role == Admin {
			w, err := a.witness(ctx, e.Key)
			if err != nil {
				return err
			}
			conds = append(conds, w)
		}
		err := a.store.Delete(ctx, e.Key, conds...)
		if err == nil {
			a.seen(ctx, e.Key, 0)
		}
		return err
	})
}

// modify changes a user's record, if change makes a new generation of it.
func (a *Accounts) modify(ctx context.Context, name string, change func(*user)) error {
	return a.retry(ctx, name, func(ctx context.Context, u user, e backend.Entry) error {
		before := u
		if change(&u); u.Generation == before.Generation {
			return nil
		}
		opts := []backend.PutOption{backend.If(e.Key, e.Revision)}
		if before.Role == Admin && u.Role != Admin {
			w, err := a.witness(ctx, e.Key)
			if err != nil {
				return err
			}
			opts = append(opts, w)
		}
		rev, err := backend.PutJSON(ctx, a.store, e.Key, u, opts...)
		if err == nil {
			a.seen(ctx, e.Key, rev)
		}
		return err
	})
}

// retry reads a user and tries a change, again if something was changed meanwhile.
func (a *Accounts) retry(ctx context.Context, name string, try func(context.Context, user, backend.Entry) error) error {
	ctx, cancel := context.WithTimeout(ctx, backend.DefaultTimeout)
	defer cancel()
	for {
		u, e, err := readUser(ctx, a.store.Get, name)
		if err != nil {
			return err
		}
		if err := try(ctx, u, e); !errors.Is(err, backend.ErrConflict) || ctx.Err() != nil {
			return err
		}
	}
}

// witness is the condition that somebody else is an admin, and stays one until the
// write that it is a condition of. Errors: ErrLastAdmin.
func (a *Accounts) witness(ctx context.Context, key string) (backend.Condition, error) {
	entries, _, err := backend.List(ctx, a.store, usersDir)
	if err != nil {
		return backend.Condition{}, err
	}
	for _, e := range entries {
		if u, err := backend.DecodeJSON[user](e); err == nil && e.Key != key && u.Role == Admin {
			return backend.If(e.Key, e.Revision), nil
		}
	}
	return backend.Condition{}, ErrLastAdmin
}

// pause is how long to wait before what has failed is tried again.
const pause = time.Second

// The first user there is.
const firstUser = "admin"

// first makes the first user if there is none, and returns its password; "" if there
// are users already, or another admin was faster. It goes on until that is certain:
// a password that nobody was told would lock everybody out. Errors: the end of ctx,
// backend.ErrClosed.
func (a *Accounts) first(ctx context.Context, failed func(error)) (oneTime string, err error) {
	oneTime, u, err := a.newUser(ctx, Admin)
	for errors.Is(err, password.ErrBusy) && ctx.Err() == nil {
		retry.Sleep(ctx, pause)
		oneTime, u, err = a.newUser(ctx, Admin)
	}
	if err != nil {
		return "", err
	}
	for {
		done, made, err := a.tryFirst(ctx, u)
		switch {
		case made:
			return oneTime, nil
		case done, ctx.Err() != nil, errors.Is(err, backend.ErrClosed):
			return "", err
		case err != nil:
			failed(err)
			retry.Sleep(ctx, pause)
		}
	}
}

// tryFirst has little time between looking and writing, so that it does not write
// when all that it has seen is long past.
func (a *Accounts) tryFirst(ctx context.Context, u user) (done, made bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, backend.DefaultTimeout)
	defer cancel()
	entries, _, err := backend.List(ctx, a.store, usersDir)
	if err != nil {
		return false, false, err
	}
	for _, e := range entries {
		if have, err := backend.DecodeJSON[user](e); err == nil && have.ID == u.ID {
			return true, true, nil // by a try whose outcome was not known
		}
	}
	if len(entries) > 0 {
		return true, false, nil
	}
	key := usersDir + firstUser
	rev, err := backend.PutJSON(ctx, a.store, key, u, backend.If(key, 0))
	switch {
	case errors.Is(err, backend.ErrConflict):
		return false, false, nil // by whom, the next look tells
	case err != nil:
		return false, false, fmt.Errorf("make the first user: %w", err)
	}
	a.seen(ctx, key, rev)
	return true, true, nil
}
