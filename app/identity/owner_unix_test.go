//go:build unix

package identity_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/identity"
)

// An operator who is root adds a key to a file that the service's user reads.
func TestChangeFileKeepsItsOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	file := filepath.Join(t.TempDir(), "keys.json")
	write(t, file, newKey(t, identity.EdDSA, "a"))
	require.NoError(t, os.Chown(file, 12345, 23456))
	require.NoError(t, identity.ChangeFile(file, func(s identity.Set) (identity.Set, error) {
		return s.With(newKey(t, identity.EdDSA, "b"))
	}))
	info, err := os.Stat(file)
	require.NoError(t, err)
	owner, ok := info.Sys().(*syscall.Stat_t)
	require.True(t, ok)
	assert.EqualValues(t, 12345, owner.Uid)
	assert.EqualValues(t, 23456, owner.Gid)
}
