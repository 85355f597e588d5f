package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/admin/access/password"
	"github.com/seed27495941/seckill/backend"
)

type usersCommand struct {
	List     usersList     `cmd:"" help:"List who may log in."`
	Add      usersAdd      `cmd:"" help:"Let somebody in, with a password for one login."`
	Role     usersRole     `cmd:"" help:"Give a user another role, which ends the user's sessions."`
	Password usersPassword `cmd:"" help:"Give a user another password for one login."`
	Remove   usersRemove   `cmd:"" help:"Let somebody in no more."`
	Reset    usersReset    `cmd:"" group:"direct" help:"Give an operator who is locked out a password for one login, directly in the store."`
}

type usersReset struct {
	Name string `arg:"" help:"The user, such as admin."`
}

// Help is shown by seckill users reset --help.
func (*usersReset) Help() string {
	return `Prints a password that has to be changed at the next login, and ends the sessions of the user. The role stays. It is for when no admin
can log in: whoever may write to the store may do it, and the audit log knows nothing of it.`
}

// Run resets a password, and prints the new one.
func (c *usersReset) Run(p *program) error {
	return withStore(p, func(ctx context.Context, s session) error {
		accounts := access.NewAccounts(s, password.New(password.Recommended()))
		oneTime, err := accounts.Reset(ctx, c.Name)
		switch {
		case errors.Is(err, backend.ErrNotFound):
			return unknownUser(ctx, accounts, c.Name)
		case err != nil:
			return err
		}
		return printer{to: os.Stdout}.line("%s", oneTime)
	})
}

func unknownUser(ctx context.Context, accounts *access.Accounts, name string) error {
	users, _, err := accounts.Users(ctx)
	switch {
	case err != nil:
		return err
	case len(users) == 0:
		return fmt.Errorf("there is no user %q, and no other one: 'seckill admin' makes the first when it starts", name)
	}
	var names []string
	for _, u := range users {
		names = append(names, u.Name)
	}
	return fmt.Errorf("there is no user %q: there are %s", name, strings.Join(names, ", "))
}
