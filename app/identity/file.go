package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seed27495941/seckill/internal/reread"
)

// ReadFile reads a file of keys. Errors: it can't be read, is larger than 1 MiB, or
// is refused by [ParseSet].
func ReadFile(name string) (Set, error) {
	content, err := reread.Read(name)
	if err != nil {
		return nil, err
	}
	set, err := ParseSet(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return set, nil
}

// ChangeFile replaces the keys in a file by what change makes of them: of nil if
// there is no file yet, which is then made for its owner alone (0600). One that is
// there keeps its owner and mode. Who reads meanwhile finds the keys of before or
// after, nothing in between. The new ones are written beside the file, to a name that ends
// in .new, and of two who do that at a time one is refused.
func ChangeFile(name string, change func(Set) (Set, error)) (err error) {
	name = target(name)
	next := name + ".new"
	file, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already: somebody is changing the keys, or was interrupted; if nobody is, delete it", next)
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(next)
		}
	}()
	if err := errors.Join(rewrite(name, file, change), file.Close()); err != nil {
		return err
	}
	return os.Rename(next, name)
}

// target is the file itself, where name is a link to it.
func target(name string) string {
	if linked, err := filepath.EvalSymlinks(name); err == nil {
		return linked
	}
	return name
}

func rewrite(name string, to *os.File, change func(Set) (Set, error)) error {
	set, err := ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if set, err = change(set); err != nil {
		return err
	}
	text, err := set.Encode()
	if err != nil {
		return err
	}
	if _, err := to.Write(text); err != nil {
		return err
	}
	if err := likeBefore(name, to); err != nil {
		return err
	}
	return to.Sync()
}

// likeBefore gives a file the mode and the owner of the one that it is to replace, so that
// whoever could read that can read this.
func likeBefore(name string, file *os.File) error {
	before, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := sameOwner(before, file); err != nil {
		return err
	}
	return file.Chmod(before.Mode().Perm())
}
