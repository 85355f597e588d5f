package identity_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/identity"
)

func newKey(t testing.TB, alg, id string) identity.Key {
	t.Helper()
	key, err := identity.NewKey(alg, id)
	require.NoError(t, err)
	return key
}

func mint(t testing.TB, key identity.Key, claims identity.Claims) string {
	t.Helper()
	token, err := identity.Mint(key, claims)
	require.NoError(t, err)
	return token
}

// write replaces a file of keys.
func write(t testing.TB, file string, keys ...identity.Key) {
	t.Helper()
	content, err := identity.Set(keys).Encode()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, content, 0o600))
}

// verifier opens a verifier that knows some keys.
func verifier(t testing.TB, c identity.Config, keys ...identity.Key) *identity.Verifier {
	t.Helper()
	c.KeysFile = filepath.Join(t.TempDir(), "keys.json")
	write(t, c.KeysFile, keys...)
	v, err := identity.Open(c)
	require.NoError(t, err)
	return v
}
