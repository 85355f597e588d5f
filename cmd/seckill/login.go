package main

import (
	"bufio"
	"context"
	"os"

	"github.com/seed27495941/seckill/app/admin/client"
)

type loginCommand struct {
	Name string `arg:"" optional:"" default:"admin" help:"The user (admin)."`
	remoteFlags
}

// Help is shown by seckill login --help.
func (*loginCommand) Help() string {
	return `Asks for the password, and keeps the session in $XDG_STATE_HOME/seckill-admin/sessions.json (~/.local/state), for you alone; it ends after 12
hours, or when it was not used for one, or with 'seckill logout' or another login. An API token, if there is one, counts before it, but not for
'login', 'passwd' and 'logout'. A password for one login is changed at once. Where there is no terminal, passwords are read from
the standard input, one a line: the present one and, if it has to be changed, the new one.`
}

// Run begins a session.
func (c *loginCommand) Run(p *program) error {
	return c.bySession(p, func(ctx context.Context, r remote) error {
		ask := &asker{in: bufio.NewReader(os.Stdin)}
		password, err := ask.secret(ctx, "Password of "+c.Name)
		if err != nil {
			return err
		}
		session, who, err := r.Login(ctx, c.Name, password)
		if err != nil {
			return err
		}
		if err := c.keep(session); err != nil {
			return err
		}
		if who.MustChange {
			return c.change(ctx, p, ask, password)
		}
		return r.line("logged in as %s (%s)", who.Name, who.Role)
	})
}

type passwdCommand struct{ remoteFlags }

// Help is shown by seckill passwd --help.
func (*passwdCommand) Help() string {
	return `All other sessions of yours end. API tokens go on. Passwords have 12 to 256 characters.`
}

// Run changes one's own password.
func (c *passwdCommand) Run(p *program) error {
	return c.bySession(p, func(ctx context.Context, _ remote) error {
		ask := &asker{in: bufio.NewReader(os.Stdin)}
		from, err := ask.secret(ctx, "Present password")
		if err != nil {
			return err
		}
		return c.change(ctx, p, ask, from)
	})
}

// change gives the user of the session that is kept another password.
func (f remoteFlags) change(ctx context.Context, p *program, ask *asker, from string) error {
	cfg, err := f.session(p)
	if err != nil {
		return err
	}
	c, err := client.New(cfg)
	if err != nil {
		return err
	}
	to, err := ask.newSecret(ctx)
	if err != nil {
		return err
	}
	session, who, err := c.ChangePassword(ctx, from, to)
	if err != nil {
		return err
	}
	if err := f.keep(session); err != nil {
		return err
	}
	return printer{to: os.Stdout}.line("password changed, logged in as %s (%s)", who.Name, who.Role)
}

// keep keeps a session for later commands; the empty one takes it away.
func (f remoteFlags) keep(session client.Session) error {
	base, err := client.Base(f.URL)
	if err != nil {
		return err
	}
	all, err := sessions()
	if err != nil {
		return err
	}
	return all.Set(base, session)
}

type logoutCommand struct{ remoteFlags }

// Help is shown by seckill logout --help.
func (*logoutCommand) Help() string {
	return `The session that 'seckill login' has kept ends, for everybody who has it. API tokens go on.`
}

// Run ends the session.
func (c *logoutCommand) Run(p *program) error {
	return c.bySession(p, func(ctx context.Context, r remote) error {
		if err := r.Logout(ctx); err != nil {
			return err
		}
		return c.keep(client.Session{})
	})
}

type whoamiCommand struct {
	remoteFlags
	outputFlag
}

// Run tells who one is.
func (c *whoamiCommand) Run(p *program) error {
	return c.run(p, c.Output, func(ctx context.Context, r remote) error {
		a, err := r.get(ctx, "/v1/session", nil)
		if err != nil {
			return err
		}
		return show(r, a, func(who client.Who) error { return r.line("%s (%s, by %s)", who.Name, who.Role, who.Via) })
	})
}
