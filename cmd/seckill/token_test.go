package main

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/identity"
)

// ran runs a command that succeeds and returns what it prints, without the end of
// the line.
func ran(t *testing.T, args ...string) string {
	t.Helper()
	out, stderr, code := seckill(t, args...)
	require.Zero(t, code, stderr)
	assert.Empty(t, stderr)
	return strings.TrimSuffix(out, "\n")
}

// The key is changed as seckill keys --help says: whoever is logged in stays so.
func TestTokensWhileTheKeyChanges(t *testing.T) {
	dir := t.TempDir()
	signing, public := filepath.Join(dir, "signing.json"), filepath.Join(dir, "keys.json")
	export := func() {
		require.NoError(t, os.WriteFile(public, []byte(ran(t, "keys", "public", "--keys="+signing)), 0o600))
	}
	said := func(token string) (identity.Claims, error) {
		v, err := identity.Open(identity.Config{KeysFile: public, Issuer: "us", Audience: "shop"})
		require.NoError(t, err)
		return v.Verify(token)
	}
	mint := func(args ...string) string {
		return ran(t, append([]string{"token", "--keys=" + signing, "--issuer=us", "--audience=shop", "--buyer=alice"}, args...)...)
	}

	first := ran(t, "keys", "new", "--keys="+signing)
	assert.Regexp(t, `^[0-9A-Z]{26}$`, first)
	info, err := os.Stat(signing)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), info.Mode())
	export()
	before := time.Now()
	old := mint()
	claims, err := said(old)
	require.NoError(t, err)
	assert.Equal(t, "alice", claims.Subject)
	assert.WithinRange(t, claims.Expires, before.Add(time.Hour-time.Second), time.Now().Add(time.Hour))

	assert.Equal(t, "second", ran(t, "keys", "new", "--keys="+signing, "--kid=second"))
	assert.Equal(t, first+"\tEdDSA\tsigns and verifies\nsecond\tEdDSA\tsigns and verifies", ran(t, "keys", "list", "--keys="+signing))
	_, stderr, code := seckill(t, "token", "--keys="+signing, "--buyer=alice")
	assert.Equal(t, exitFailure, code)
	assert.Equal(t, `seckill: several keys can sign, choose one by its kid: ["`+first+`" "second"]`+"\n", stderr)
	export()
	assert.Equal(t, first+"\tEdDSA\tverifies\nsecond\tEdDSA\tverifies", ran(t, "keys", "list", "--keys="+public))
	now := mint("--kid=second", "--ttl=90s")
	for _, token := range []string{old, now} {
		_, err = said(token)
		require.NoError(t, err)
	}

	assert.Empty(t, ran(t, "keys", "remove", first, "--keys="+signing))
	export()
	_, err = said(old)
	require.ErrorContains(t, err, "kid")
	claims, err = said(now)
	require.NoError(t, err)
	assert.WithinRange(t, claims.Expires, before.Add(89*time.Second), time.Now().Add(90*time.Second))
	_, err = said(ran(t, "token", "--keys="+signing, "--issuer=them", "--buyer=alice"))
	require.ErrorContains(t, err, "issuer")
}

func TestKeysAreFoundBySettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.json")
	text := ran(t, "keys", "new", "--alg=HS256", "--kid=only")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	var set struct{ Keys []map[string]string }
	require.NoError(t, json.Unmarshal([]byte(text), &set))
	require.Len(t, set.Keys, 1)
	assert.Equal(t, "HS256", set.Keys[0]["alg"])

	c := newCommand(t, "token", "--buyer=bob")
	c.cmd.Env = append(c.cmd.Env, "SECKILL_IDENTITY_KEYS_FILE="+file, "SECKILL_IDENTITY_ISSUER=us", "SECKILL_IDENTITY_AUDIENCE=shop")
	token, stderr, code := c.run()
	require.Zero(t, code, stderr)
	v, err := identity.Open(identity.Config{KeysFile: file, Issuer: "us", Audience: "shop"})
	require.NoError(t, err)
	claims, err := v.Verify(strings.TrimSpace(token))
	require.NoError(t, err)
	assert.Equal(t, "bob", claims.Subject)
}

func TestMistakesWithKeysAreExplained(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		return "--keys=" + file
	}
	mac := write("mac.json", ran(t, "keys", "new", "--alg=HS256", "--kid=mac"))
	pair := write("pair.json", ran(t, "keys", "new", "--kid=pair"))
	public := write("public.json", ran(t, "keys", "public", pair))
	bad := write("bad.json", `{"keys":[{"kty":"RSA"}]}`)
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"token", "--buyer=alice"}, exitUsage, "--keys: expected a file; 'seckill keys new' makes one"},
		{[]string{"token", pair}, exitUsage, "missing flags: --buyer=NAME"},
		{[]string{"token", pair, "--buyer="}, exitUsage, `the subject "" names nobody`},
		{[]string{"token", pair, "--buyer=" + strings.Repeat("x", 129)}, exitUsage, "has more than 128 bytes"},
		{[]string{"token", pair, "--buyer=alice", "--ttl=0s"}, exitUsage, "--ttl: expected 1s or more, got 0s"},
		{[]string{"token", pair, "--buyer=alice", "--kid=x"}, exitFailure, `there is no key "x", expected one of ["pair"]`},
		{[]string{"token", public, "--buyer=alice"}, exitFailure, "all keys are public ones, none can sign"},
		{[]string{"token", bad, "--buyer=alice"}, exitFailure, `bad.json: line 1: keys[0]: kty "RSA", expected OKP or oct`},
		{[]string{"token", "--keys=" + dir + "/absent", "--buyer=alice"}, exitFailure, "absent: no such file"},
		{[]string{"keys", "public", mac}, exitFailure, `the key "mac" is an HS256 key, which has no public part`},
		{[]string{"keys", "new", "--alg=RS256"}, exitUsage, "--alg must be one of"},
		{[]string{"keys", "new", pair, "--kid=pair"}, exitFailure, `there is another key with the kid "pair"`},
		{[]string{"keys", "new", bad}, exitFailure, `bad.json: line 1: keys[0]: kty "RSA"`},
		{[]string{"keys", "remove", "pair"}, exitUsage, "missing flags: --keys=FILE"},
		{[]string{"keys", "remove", "pair", pair}, exitFailure, `the key "pair" is the only one`},
		{[]string{"keys", "remove", "x", "--keys=" + dir + "/absent"}, exitFailure, "absent: no such file"},
	} {
		out, stderr, code := seckill(t, test.args...)
		assert.Equal(t, test.code, code, "%v: %s", test.args, stderr)
		assert.Contains(t, stderr, test.want, test.args)
		assert.Empty(t, out, test.args)
		assert.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
	}
}
