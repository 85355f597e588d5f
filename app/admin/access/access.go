package access

import (
	"context"
	"errors"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"github.com/seed27495941/seckill/app/admin/access/password"
	"github.com/seed27495941/seckill/app/admin/audit"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
)

// Config is what an [Access] is made of. Everything is needed but Audit.
type Config struct {
	Store  backend.Store
	Hasher *password.Hasher
	Log    *slog.Logger

	// Audit is told who comes and goes, and who is refused. Nil: nobody is.
	Audit *audit.Log

	// FirstPassword is told the password of the first user, once, if this admin is
	// the one that made it. It is for the operator's eyes.
	FirstPassword func(user, oneTime string)
}

// Access knows who may do what. It has to be Run, and is safe for concurrent use.
type Access struct {
	store         backend.Store
	hasher        *password.Hasher
	log           *slog.Logger
	firstPassword func(user, oneTime string)
	audit         *audit.Log

	accounts *Accounts
	copy     *copyOf
	throttle *throttle
	records  records
	used     chan string // keys of sessions that may have to be written
}

// New prepares the access to one admin.
func New(c Config) (*Access, error) {
	throttle, err := newThrottle()
	if err != nil {
		return nil, err
	}
	records, err := newRecords()
	if err != nil {
		return nil, err
	}
	a := &Access{
		store: c.Store, hasher: c.Hasher, log: c.Log, firstPassword: c.FirstPassword, audit: c.Audit,
		accounts: NewAccounts(c.Store, c.Hasher),
		copy:     newCopy(c.Store, c.Log),
		throttle: throttle,
		records:  records,
		used:     make(chan string, 64),
	}
	a.accounts.seen = a.copy.await
	return a, nil
}

// Accounts are the users and tokens. What is changed through them is in force here
// when the call returns, if the store's watch works, and elsewhere a moment later.
func (a *Access) Accounts() *Accounts { return a.accounts }

// Run follows the store until ctx ends; then it returns nil. If there is no user it
// makes the first one. Only a closed store (backend.ErrClosed) ends it early.
func (a *Access) Run(ctx context.Context) error {
	g, running := errgroup.WithContext(ctx)
	for dir := range a.copy.mirrors {
		g.Go(func() error { return a.copy.follow(running, dir) })
	}
	g.Go(func() error { return a.begin(running) })
	g.Go(func() error {
		a.keepSeen(running)
		return nil
	})
	return g.Wait()
}

// Ready says why operators should not come yet, nil once this admin has heard who they
// are.
func (a *Access) Ready() error {
	for _, m := range a.copy.mirrors {
		select {
		case <-m.Synced():
		default:
			return errStale
		}
	}
	return nil
}

// AwaitReady waits until this admin is Ready. Errors: context.Cause(ctx).
func (a *Access) AwaitReady(ctx context.Context) error {
	for _, m := range a.copy.mirrors {
		select {
		case <-m.Synced():
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// begin makes the first user if there is none.
func (a *Access) begin(ctx context.Context) error {
	users := a.copy.mirrors[usersDir]
	select {
	case <-ctx.Done():
		return nil
	case <-users.Synced():
	}
	if users.Len() > 0 {
		return nil
	}
	oneTime, err := a.accounts.first(ctx, func(err error) {
		a.log.Warn("failed, will be tried again", "task", "make the first user", "error", err)
	})
	if oneTime != "" {
		a.firstPassword(firstUser, oneTime)
	}
	if ctx.Err() != nil {
		return nil //nolint:nilerr // it was told to end
	}
	return err
}

// use notes that a session is used.
func (a *Access) use(key string) {
	select {
	case a.used <- key:
	default: // the next request will
	}
}

// keepSeen writes when sessions were used last, one after another, until ctx ends.
func (a *Access) keepSeen(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case key := <-a.used:
			if err := a.renew(ctx, key); err != nil && !errors.Is(err, backend.ErrConflict) && ctx.Err() == nil {
				a.log.Warn("a session could not be renewed", "error", err)
				retry.Sleep(ctx, pause)
			}
		}
	}
}

// renew writes that a session was used just now. It does so on the condition that
// the session is as it was, so none comes back that was ended.
func (a *Access) renew(ctx context.Context, key string) error {
	s, e, err := readRecord[session](ctx, a.copy.get, key)
	if err != nil || now().Sub(s.Seen) < seenEvery {
		return nil // it is gone, or was written by an earlier request
	}
	s.Seen = now()
	ctx, cancel := context.WithTimeout(ctx, backend.DefaultTimeout)
	defer cancel()
	rev, err := backend.PutJSON(ctx, a.store, key, s, backend.If(key, e.Revision))
	if err == nil {
		a.copy.await(ctx, key, rev)
	}
	return err
}
