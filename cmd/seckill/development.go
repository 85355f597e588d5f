package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seed27495941/seckill/app/identity"
	"github.com/seed27495941/seckill/app/settings"
)

// A development has what trying things out takes besides a store: keys that
// buyers' tokens can be signed with, and the secret of a payment service.
type development struct {
	dir       string
	temporary bool
}

// newDevelopment makes, in a directory, what the settings do not name, or finds it
// there. Without a directory it is made for as long as the process runs.
func newDevelopment(dir string, s *settings.Settings) (d development, err error) {
	if dir == "" {
		if dir, err = os.MkdirTemp("", "seckill"); err != nil {
			return d, err
		}
		d.temporary = true
	}
	d.dir = filepath.Join(dir, "development")
	if d.temporary {
		d.dir = dir
	}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return d, err
	}
	err = errors.Join(d.keys(s), d.secret(s))
	if err != nil {
		err = errors.Join(err, d.close())
	}
	return d, err
}

func (d development) keys(s *settings.Settings) error {
	if s.Identity.KeysFile != "" {
		return nil
	}
	s.Identity.KeysFile = filepath.Join(d.dir, "keys.json")
	return identity.ChangeFile(s.Identity.KeysFile, func(set identity.Set) (identity.Set, error) {
		if set != nil {
			return set, nil
		}
		key, err := identity.NewKey(identity.EdDSA, "")
		return identity.Set{key}, err
	})
}

func (d development) secret(s *settings.Settings) error {
	if s.Payment.SecretFile != "" {
		return nil
	}
	s.Payment.SecretFile = filepath.Join(d.dir, "payment.secret")
	random := make([]byte, 32)
	if _, err := rand.Read(random); err != nil {
		return err
	}
	f, err := os.CreateTemp(d.dir, "secret")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, hex.EncodeToString(random))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Link(f.Name(), s.Payment.SecretFile) // whole or not at all
	}
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	return errors.Join(err, os.Remove(f.Name()))
}

// close removes what is to end with the process.
func (d development) close() error {
	if !d.temporary {
		return nil
	}
	return os.RemoveAll(d.dir)
}
