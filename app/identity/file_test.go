package identity_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/identity"
)

func TestChangeFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "keys.json")
	a, b := newKey(t, identity.EdDSA, "a"), newKey(t, identity.HS256, "b")
	add := func(k identity.Key) func(identity.Set) (identity.Set, error) {
		return func(s identity.Set) (identity.Set, error) { return s.With(k) }
	}
	ids := func() (ids []string) {
		set, err := identity.ReadFile(file)
		require.NoError(t, err)
		for _, k := range set {
			ids = append(ids, k.ID)
		}
		return ids
	}
	mode := func() fs.FileMode {
		info, err := os.Lstat(file)
		require.NoError(t, err)
		return info.Mode()
	}
	require.NoError(t, identity.ChangeFile(file, add(a)))
	assert.Equal(t, []string{"a"}, ids())
	assert.Equal(t, fs.FileMode(0o600), mode())

	require.NoError(t, os.Chmod(file, 0o640))
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(file, link))
	require.NoError(t, identity.ChangeFile(link, add(b)))
	assert.Equal(t, []string{"a", "b"}, ids(), "a link stays one")
	assert.Equal(t, fs.FileMode(0o640), mode(), "who could read it still can")

	oops := errors.New("oops")
	require.ErrorIs(t, identity.ChangeFile(file, func(identity.Set) (identity.Set, error) { return nil, oops }), oops)
	assert.Equal(t, []string{"a", "b"}, ids())

	require.NoError(t, identity.ChangeFile(file, func(s identity.Set) (identity.Set, error) {
		require.ErrorContains(t, identity.ChangeFile(file, add(a)), file+".new is there already: somebody is changing the keys")
		return s.Without("a")
	}))
	assert.Equal(t, []string{"b"}, ids())

	require.NoError(t, os.WriteFile(file, []byte("{}"), 0o600))
	require.EqualError(t, identity.ChangeFile(file, add(a)), file+`: no key, expected a JWK Set: {"keys":[…]}`)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, left, 2, "nothing is left beside it")
	require.ErrorIs(t, identity.ChangeFile(filepath.Join(dir, "none", "keys.json"), add(a)), fs.ErrNotExist)
}
