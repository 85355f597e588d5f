//go:build unix

package identity

import (
	"os"
	"syscall"
)

// sameOwner gives a file to who owns another one.
func sameOwner(other os.FileInfo, file *os.File) error {
	now, err := file.Stat()
	if err != nil {
		return err
	}
	want, known := other.Sys().(*syscall.Stat_t)
	have, alsoKnown := now.Sys().(*syscall.Stat_t)
	if !known || !alsoKnown || want.Uid == have.Uid && want.Gid == have.Gid {
		return nil
	}
	return file.Chown(int(want.Uid), int(want.Gid))
}
