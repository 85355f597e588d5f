//go:build unix

package boltstore

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// A disk makes real writes to a real file fail, by exchanging what is behind
// the descriptor that bbolt has. Reads go on: bbolt has mapped the file.
type disk struct {
	file *os.File
	real int // another descriptor of the file as it was opened: it keeps the lock
}

// openFile opens a new file on a disk of its own.
func openFile(t *testing.T, options bbolt.Options) (*File, *disk) {
	t.Helper()
	d := &disk{}
	options.OpenFile = d.open
	f, err := Open(filepath.Join(t.TempDir(), "store.db"), options)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, f.Close())
		require.NoError(t, syscall.Close(d.real))
	})
	return f, d
}

// open is an option of bbolt's.
func (d *disk) open(name string, flag int, perm os.FileMode) (f *os.File, err error) {
	if f, err = os.OpenFile(name, flag, perm); err != nil {
		return nil, err
	}
	d.file = f
	d.real, err = syscall.Dup(int(f.Fd()))
	return f, err
}

// fail makes all writes fail: the file can only be read any more.
func (d *disk) fail() error { return d.replace(d.file.Name(), os.O_RDONLY) }

// fill makes all writes fail for want of space.
func (d *disk) fill() error { return d.replace("/dev/full", os.O_RDWR) }

// heal ends both.
func (d *disk) heal() error { return unix.Dup2(d.real, int(d.file.Fd())) }

func (d *disk) replace(path string, flag int) error {
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Dup2(int(f.Fd()), int(d.file.Fd()))
}
