package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/seed27495941/seckill/app/identity"
	"github.com/seed27495941/seckill/app/settings"
)

type keysCommand struct {
	New    keysNew    `cmd:"" help:"Make a key."`
	List   keysList   `cmd:"" help:"List the keys of a file."`
	Public keysPublic `cmd:"" help:"Print the public parts of a file's keys."`
	Remove keysRemove `cmd:"" help:"Remove a key from a file."`
}

// Help is shown by seckill keys --help.
func (*keysCommand) Help() string {
	return `Buyers' tokens are signed with keys in a file, a JWK Set (RFC 7517). To begin with, and to let nodes verify without being able to sign:

    seckill keys new --keys=signing.json
    seckill keys public --keys=signing.json > keys.json
    seckill api --identity-keys-file=keys.json …

To change the key: make a new one, give its public part to all nodes, sign with it (seckill token --kid), remove the old one when
its tokens have expired, give the nodes what is left. Nodes notice a changed file within a second.`
}

type keysNew struct {
	Alg  string `enum:"EdDSA,HS256" default:"EdDSA" help:"EdDSA: nodes verify with the public part. HS256: whoever verifies can sign."`
	Keys string `placeholder:"FILE" help:"File to add the key to, made for you alone if there is none. Without it a file with the key is printed."`
	Kid  string `name:"kid" placeholder:"ID" help:"The key's name in tokens. If left out it tells when the key was made: a ULID."`
}

// Run makes a key, and prints its id or, if it is in no file, all of it.
func (c *keysNew) Run() error {
	key, err := identity.NewKey(c.Alg, c.Kid)
	if err != nil {
		return usageError{err}
	}
	if c.Keys == "" {
		return printKeys(identity.Set{key})
	}
	add := func(s identity.Set) (identity.Set, error) { return s.With(key) }
	if err := identity.ChangeFile(c.Keys, add); err != nil {
		return fmt.Errorf("--keys: %w", err)
	}
	return printer{to: os.Stdout}.line("%s", key.ID)
}

// keysFlag is for those who read keys.
type keysFlag struct {
	Keys string `setting:"identity.keys_file" placeholder:"FILE" help:"JWK Set with the keys."`
}

// readKeys returns the keys of the file that the settings name.
func readKeys(s settings.Settings) (identity.Set, error) {
	if s.Identity.KeysFile == "" {
		return nil, usageError{errors.New("--keys: expected a file; 'seckill keys new' makes one")}
	}
	set, err := identity.ReadFile(s.Identity.KeysFile)
	if err != nil {
		return nil, fmt.Errorf("--keys: %w", err)
	}
	return set, nil
}

type keysList struct {
	keysFlag
}

// Run lists the keys and what they are good for.
func (c *keysList) Run(p *program) error {
	loaded, err := p.settings()
	if err != nil {
		return err
	}
	set, err := readKeys(loaded)
	if err != nil {
		return err
	}
	to := printer{to: os.Stdout}
	for _, k := range set {
		use := "verifies"
		if k.CanSign() {
			use = "signs and verifies"
		}
		if err := to.line("%s\t%s\t%s", k.ID, k.Alg, use); err != nil {
			return err
		}
	}
	return nil
}

type keysPublic struct {
	keysFlag
}

// Run prints what nodes need to verify tokens.
func (c *keysPublic) Run(p *program) error {
	loaded, err := p.settings()
	if err != nil {
		return err
	}
	set, err := readKeys(loaded)
	if err != nil {
		return err
	}
	if set, err = set.Public(); err != nil {
		return err
	}
	return printKeys(set)
}

type keysRemove struct {
	Keys string `required:"" placeholder:"FILE" help:"File to remove the key from."`
	Kid  string `arg:"" name:"kid" help:"The key."`
}

// Run removes a key: tokens that it has signed count no more.
func (c *keysRemove) Run() error {
	remove := func(s identity.Set) (identity.Set, error) {
		if s == nil {
			return nil, fmt.Errorf("%s: no such file", c.Keys)
		}
		return s.Without(c.Kid)
	}
	if err := identity.ChangeFile(c.Keys, remove); err != nil {
		return fmt.Errorf("--keys: %w", err)
	}
	return nil
}

func printKeys(set identity.Set) error {
	text, err := set.Encode()
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(text)
	return err
}
