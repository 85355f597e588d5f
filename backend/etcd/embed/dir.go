package embed

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"go.etcd.io/etcd/client/pkg/v3/fileutil"
)

// ErrInUse says that another server works on the directory.
var ErrInUse = errors.New("the directory is in use by another etcd server")

// claim prepares the directory of the data for this process alone, and returns
// how to give it up.
func claim(dir string) (_ string, release func() error, err error) {
	if dir == "" {
		dir, err = os.MkdirTemp("", "seckill-etcd-")
		return dir, removeAll(dir), err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, err
	}
	lock, err := fileutil.TryLockFile(filepath.Join(dir, "embed.lock"), os.O_WRONLY|os.O_CREATE, 0o600)
	if errors.Is(err, fileutil.ErrLocked) {
		return "", nil, fmt.Errorf("%s: %w", dir, ErrInUse)
	}
	if err != nil {
		return "", nil, err
	}
	if err := probe(filepath.Join(dir, "member", "snap", "db")); err != nil {
		return "", nil, errors.Join(fmt.Errorf("%s: %w", dir, err), lock.Close())
	}
	return dir, lock.Close, nil
}

// probe looks whether a server of another kind has the database open: etcd
// itself would wait for it without end.
func probe(file string) error {
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	db, err := bbolt.Open(file, 0o600, &bbolt.Options{ReadOnly: true, Timeout: 200 * time.Millisecond})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return ErrInUse
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return db.Close()
}
