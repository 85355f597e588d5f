package main

import (
	"fmt"
	"os"
	"time"

	"github.com/seed27495941/seckill/app/identity"
	"github.com/seed27495941/seckill/app/settings"
)

type tokenCommand struct {
	keysFlag
	Issuer   string        `setting:"identity.issuer" placeholder:"URL" help:"Issuer that the token names."`
	Audience string        `setting:"identity.audience" placeholder:"NAME" help:"Audience that the token is for."`
	Buyer    string        `required:"" placeholder:"NAME" help:"Who the token is for: the buyer's id."`
	TTL      time.Duration `name:"ttl" default:"1h" help:"How long the token counts."`
	Kid      string        `name:"kid" placeholder:"ID" help:"Key to sign with, if the file has several that can."`
}

// Help is shown by seckill token --help.
func (*tokenCommand) Help() string {
	return `Prints a token that says who the buyer is, for development and tests: in earnest it comes from whoever logs buyers in.

    seckill keys new --keys=keys.json
    token=$(seckill token --keys=keys.json --buyer=alice)
    curl -H "Authorization: Bearer $token" http://127.0.0.1:8080/v1/me/orders

Keys, issuer and audience are also taken from the settings of the nodes (identity.keys_file, identity.issuer, identity.audience). The
file needs a key with its private part: 'seckill keys list' tells.`
}

// Run prints a token.
func (c *tokenCommand) Run(p *program) error {
	if c.TTL < time.Second {
		return usageError{fmt.Errorf("--ttl: expected 1s or more, got %v", c.TTL)}
	}
	loaded, err := p.settings()
	if err != nil {
		return err
	}
	set, err := readKeys(loaded)
	if err != nil {
		return err
	}
	key, err := set.Signer(c.Kid)
	if err != nil {
		return err
	}
	token, err := identity.Mint(key, c.claims(loaded.Identity))
	if err != nil {
		return usageError{err}
	}
	return printer{to: os.Stdout}.line("%s", token)
}

func (c *tokenCommand) claims(s settings.Identity) identity.Claims {
	now := time.Now()
	claims := identity.Claims{Subject: c.Buyer, Issuer: s.Issuer, IssuedAt: now, Expires: now.Add(c.TTL)}
	if s.Audience != "" {
		claims.Audience = []string{s.Audience}
	}
	return claims
}
