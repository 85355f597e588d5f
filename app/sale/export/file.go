package export

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// File writes a file that is there in full or not at all: under another name beside
// its own, and renamed when write is done and everything is on the disk. One of that
// name is replaced. Only its owner may read it: it may name buyers.
func File(name string, write func(io.Writer) error) (err error) {
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
