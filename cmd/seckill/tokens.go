package main

import (
	"context"
	"net/http"
	"time"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/admin/client"
)

type tokensCommand struct {
	List   tokensList   `cmd:"" help:"List the tokens."`
	Create tokensCreate `cmd:"" help:"Make a token, and print it this once."`
	Revoke tokensRevoke `cmd:"" help:"Have a token count no more."`

	remoteFlags
	outputFlag
}

// Help is shown by seckill tokens --help.
func (*tokensCommand) Help() string {
	return `Programs send them to the operators' API in place of a login; buyers' tokens are another thing ('seckill token').

    seckill tokens create prometheus viewer > seckill.token
    seckill nodes list --admin-token-file=seckill.token`
}

type tokensList struct{}

// Run lists the tokens.
func (*tokensList) Run(tokens *tokensCommand, p *program) error {
	return tokens.run(p, tokens.Output, func(ctx context.Context, r remote) error {
		a, err := r.get(ctx, "/v1/tokens", nil)
		if err != nil {
			return err
		}
		return show(r, a, func(list admin.TokenList) error {
			var rows [][]string
			for _, t := range list.Tokens {
				rows = append(rows, []string{t.ID, t.Name, t.Owner, string(t.Role), "…" + t.LastFour, moment(t.Expires)})
			}
			r.problems(list.Problems)
			return r.table("ID NAME OWNER ROLE TEXT EXPIRES", rows)
		})
	})
}

type tokensCreate struct {
	Name string `arg:"" help:"What it is for."`
	roleArg
	Owner string        `placeholder:"NAME" help:"The user whom it is for; yourself, if left out."`
	For   time.Duration `placeholder:"TIME" help:"How long it counts, such as 720h; for ever, if left out."`
}

// Run makes a token.
func (c *tokensCreate) Run(tokens *tokensCommand, p *program) error {
	body := map[string]any{"name": c.Name, "role": c.Role}
	if c.Owner != "" {
		body["owner"] = c.Owner
	}
	if c.For != 0 {
		body["expires"] = time.Now().Add(c.For).UTC().Truncate(time.Second)
	}
	return tokens.run(p, tokens.Output, func(ctx context.Context, r remote) error {
		a, err := r.Do(ctx, client.Request{Method: http.MethodPost, Path: "/v1/tokens", Body: body})
		if err != nil {
			return err
		}
		return show(r, a, func(made admin.NewToken) error { return r.line("%s", made.Text) })
	})
}

type tokensRevoke struct {
	ID string `arg:"" help:"The token's, as 'seckill tokens list' shows it."`
	yesFlag
}

// Run revokes a token.
func (c *tokensRevoke) Run(tokens *tokensCommand, p *program) error {
	return tokens.remove(p, tokens.Output, c.yesFlag, "token "+c.ID, client.Path("v1", "tokens", c.ID))
}
