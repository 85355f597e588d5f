package export

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/seed27495941/seckill/backend"
)

// File writes a file that is there in full or not at all: under another name beside
// its own, and renamed when write is done and everything is on the disk. One of that
// name is replaced; where that is a link, what it leads to. Only its owner may read
// it: it may name buyers. Errors: backend.ErrInvalid where something else has the
// name, a directory or a device; what write returns; those of the file system.
func File(name string, write func(io.Writer) error) (err error) {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is no regular file, and is not replaced by one", backend.ErrInvalid, name)
	}
	if target, err := filepath.EvalSymlinks(name); err == nil {
		name = target
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
