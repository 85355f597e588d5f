package main

import (
	"context"
	"net/http"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/admin/client"
)

const usersPath = "/v1/users"

type usersList struct {
	remoteFlags
	outputFlag
}

// Run lists the users.
func (c *usersList) Run(p *program) error {
	return c.run(p, c.Output, func(ctx context.Context, r remote) error {
		a, err := r.get(ctx, usersPath, nil)
		if err != nil {
			return err
		}
		return show(r, a, func(list admin.UserList) error {
			var rows [][]string
			for _, u := range list.Users {
				password := "own"
				if u.MustChange {
					password = "for one login"
				}
				rows = append(rows, []string{u.Name, string(u.Role), password, moment(u.Changed)})
			}
			r.problems(list.Problems)
			return r.table("NAME ROLE PASSWORD CHANGED", rows)
		})
	})
}

// roleArg is what somebody may do.
type roleArg struct {
	Role string `arg:"" enum:"viewer,operator,admin" help:"viewer, operator or admin."`
}

// userArg names a user.
type userArg struct {
	Name string `arg:"" help:"The user."`
}

type usersAdd struct {
	userArg
	roleArg
	remoteFlags
	outputFlag
}

// Run makes a user, and prints the password.
func (c *usersAdd) Run(p *program) error {
	return c.run(p, c.Output, func(ctx context.Context, r remote) error {
		return r.oneTime(ctx, client.Request{Method: http.MethodPost, Path: usersPath, Body: map[string]string{"name": c.Name, "role": c.Role}})
	})
}

type usersPassword struct {
	userArg
	yesFlag
	remoteFlags
	outputFlag
}

// Run gives a user another password, and prints it.
func (c *usersPassword) Run(p *program) error {
	return c.run(p, c.Output, func(ctx context.Context, r remote) error {
		if err := c.confirm(ctx, "Take "+c.Name+"'s password away, and end the sessions"); err != nil {
			return err
		}
		return r.oneTime(ctx, client.Request{Method: http.MethodPost, Path: client.Path("v1", "users", c.Name, "password")})
	})
}

// oneTime asks for a password that is shown this once.
func (r remote) oneTime(ctx context.Context, q client.Request) error {
	a, err := r.Do(ctx, q)
	if err != nil {
		return err
	}
	return show(r, a, func(one admin.OneTime) error { return r.line("%s", one.Password) })
}

type usersRole struct {
	userArg
	roleArg
	remoteFlags
	outputFlag
}

// Run gives a user another role.
func (c *usersRole) Run(p *program) error {
	return c.run(p, c.Output, func(ctx context.Context, r remote) error {
		a, err := r.Do(ctx, client.Request{Method: http.MethodPut, Path: client.Path("v1", "users", c.Name, "role"), Body: map[string]string{"role": c.Role}})
		if err != nil {
			return err
		}
		return r.said(a, "%s is %s", c.Name, c.Role)
	})
}

type usersRemove struct {
	userArg
	yesFlag
	remoteFlags
	outputFlag
}

// Run removes a user.
func (c *usersRemove) Run(p *program) error {
	return c.remove(p, c.Output, c.yesFlag, "user "+c.Name, client.Path("v1", "users", c.Name))
}

// remove takes something away, once that was confirmed.
func (f remoteFlags) remove(p *program, output string, yes yesFlag, what, path string) error {
	return f.run(p, output, func(ctx context.Context, r remote) error {
		if err := yes.confirm(ctx, "Remove "+what); err != nil {
			return err
		}
		a, err := r.Do(ctx, client.Request{Method: http.MethodDelete, Path: path})
		if err != nil {
			return err
		}
		return r.said(a, "%s removed", what)
	})
}
