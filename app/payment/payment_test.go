package payment_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/payment"
)

const (
	one   = "one-secret-of-32-characters-----"
	two   = "two=secrets of more than 32 characters"
	body  = `{"order":"a-b","payment":"p-1","amount":{"minor":1999,"currency":"EUR"}}`
	other = `{"order":"a-c","payment":"p-1","amount":{"minor":1999,"currency":"EUR"}}`
)

var now = time.Unix(1_800_000_000, 999)

func open(t testing.TB, content string) (verifier *payment.Verifier, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "secrets")
	require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
	verifier, err := payment.Open(file, nil)
	require.NoError(t, err)
	return verifier, file
}

func TestSignedIsAccepted(t *testing.T) {
	v, _ := open(t, "# ours\n\n  "+one+"\t\n"+two+"\r\n")
	for _, secret := range []string{one, two} {
		header := payment.Sign(secret, []byte(body), now)
		require.NoError(t, v.Verify(header, []byte(body), now))
		require.NoError(t, v.Verify(header, []byte(body), now.Add(time.Second)), "a replay is for the engine to answer")
		require.NoError(t, v.Verify(strings.ReplaceAll(header, ",", ", "), []byte(body), now))
		require.NoError(t, v.Verify("v0=abc,"+header+",later=x", []byte(body), now), "other names are ignored")
	}
	require.NoError(t, v.Verify(payment.Sign(one, nil, now), nil, now))

	stamp := strconv.FormatInt(now.Unix(), 10)
	foreign := strings.TrimPrefix(payment.Sign("a secret nobody here knows at all", []byte(body), now), "t="+stamp)
	ours := strings.TrimPrefix(payment.Sign(one, []byte(body), now), "t="+stamp)
	require.NoError(t, v.Verify("t="+stamp+foreign+ours, []byte(body), now), "one of several is enough")
	require.NoError(t, v.Verify(strings.TrimPrefix(ours, ",")+",t="+stamp, []byte(body), now), "in any order")
}

// The text that is signed, by another program than ours.
func TestOpenSSLSigns(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("needs openssl")
	}
	// As docs/identity.md has it.
	const script = `printf 't=%s,v1=%s' "$T" "$(printf '%s.%s' "$T" "$BODY" | openssl dgst -sha256 -hmac "$SECRET" -r | cut -d ' ' -f 1)"`
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	cmd.Env = append(os.Environ(), "T="+strconv.FormatInt(now.Unix(), 10), "BODY="+body, "SECRET="+two)
	out, err := cmd.Output()
	require.NoError(t, err)
	assert.Equal(t, payment.Sign(two, []byte(body), now), string(out))
}

func TestSignatureIsWhatTheTextSays(t *testing.T) {
	assert.Equal(t, "t=1800000000,v1=1070dd113a615b4d8378bee53d0b6c77d1fda2b752230cd5e9fc1b07c35fab73", payment.Sign(one, []byte(body), now))
}

func TestOthersAreRefused(t *testing.T) {
	v, _ := open(t, one)
	good := payment.Sign(one, []byte(body), now)
	stamp, mac := good[len("t="):strings.Index(good, ",")], good[strings.Index(good, "v1=")+len("v1="):]
	flipped := []byte(mac)
	flipped[0] ^= 1
	const malformed = "expected the header Seckill-Signature: t="
	const wrong = "neither the body and time nor any secret"
	for _, test := range []struct{ header, body, want string }{
		{"", body, "no header Seckill-Signature"},
		{good, other, wrong},
		{good, body + "\n", wrong},
		{good, "", wrong},
		{payment.Sign(two, []byte(body), now), body, wrong},
		{"t=" + strconv.FormatInt(now.Unix()+1, 10) + ",v1=" + mac, body, wrong},
		{"t=" + stamp + ",v1=" + mac[:62], body, malformed},
		{"t=" + stamp + ",v1=" + mac + "00", body, malformed},
		{"t=" + stamp + ",v1=" + strings.Repeat("g", 64), body, malformed},
		{"t=" + stamp + ",v1=" + string(flipped), body, wrong},
		{"t=" + stamp + ",v1=", body, malformed},
		{"t=" + stamp + ",v1", body, malformed},
		{"t=" + stamp, body, malformed},
		{"t=" + stamp + ",v0=" + mac, body, malformed},
		{"v1=" + mac, body, malformed},
		{"t=" + stamp + ",t=" + stamp + ",v1=" + mac, body, malformed},
		{"t=0" + stamp + ",v1=" + mac, body, malformed},
		{"t=+" + stamp + ",v1=" + mac, body, malformed},
		{"t=-" + stamp + ",v1=" + mac, body, malformed},
		{"t=" + stamp + ".5,v1=" + mac, body, malformed},
		{"t=99999999999999999999,v1=" + mac, body, malformed},
		{"t=9223372036854775807,v1=" + mac, body, malformed},
		{"t=1099511627776,v1=" + mac, body, malformed},
		{"t=1099511627775,v1=" + mac, body, "more than 5m0s in the future"},
		{"t=0,v1=" + mac, body, "more than 5m0s ago"},
		{good + strings.Repeat(",", 1024), body, malformed},
		{good, strings.Repeat("x", payment.MaxBody+1), "more than 16384 bytes"},
	} {
		err := v.Verify(test.header, []byte(test.body), now)
		require.ErrorIs(t, err, payment.ErrSignature, test.header)
		assert.ErrorContains(t, err, test.want, test.header)
	}
}

func TestOldAndEarlyAreRefused(t *testing.T) {
	v, _ := open(t, one)
	at := now.Truncate(time.Second)
	header := payment.Sign(one, []byte(body), at)
	require.NoError(t, v.Verify(header, []byte(body), at.Add(payment.Tolerance)))
	require.NoError(t, v.Verify(header, []byte(body), at.Add(-payment.Tolerance)))
	require.ErrorContains(t, v.Verify(header, []byte(body), at.Add(payment.Tolerance+1)), "more than 5m0s ago")
	require.ErrorContains(t, v.Verify(header, []byte(body), at.Add(-payment.Tolerance-1)), "more than 5m0s in the future")
}

func TestSecretsRotate(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "secrets")
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	write(one)
	synctest.Test(t, func(t *testing.T) {
		v, err := payment.Open(file, nil)
		require.NoError(t, err)
		accepts := func(secret string) bool {
			return v.Verify(payment.Sign(secret, []byte(body), time.Now()), []byte(body), time.Now()) == nil
		}
		assert.True(t, accepts(one))
		assert.False(t, accepts(two))
		for _, step := range []struct {
			content  string
			one, two bool
		}{
			{one + "\n" + two, true, true},
			{"# one is gone\n" + two, false, true},
			{one + "\ntoo short", false, true},
			{"", false, true},
			{one, true, false},
		} {
			write(step.content)
			time.Sleep(time.Second)
			assert.Equal(t, step.one, accepts(one), step.content)
			assert.Equal(t, step.two, accepts(two), step.content)
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	for content, want := range map[string]string{
		"":                        "no secret, expected one a line",
		"# nothing\n\n":           "no secret, expected one a line",
		one + "\n#\nhunter2\n":    "line 3: the secret has 7 characters, expected at least 32",
		"#" + one:                 "no secret",
		strings.Repeat("x", 31):   "line 1: the secret has 31 characters",
		strings.Repeat("x", 2e6):  "more than 1048576 bytes",
		"\n\n\n" + one[:31] + " ": "line 4: the secret has 31 characters",
	} {
		file := filepath.Join(t.TempDir(), "secrets")
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
		_, err := payment.Open(file, nil)
		require.ErrorContains(t, err, "payment secrets: "+file+": ")
		require.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), "hunter2")
	}
	_, err := payment.Open(filepath.Join(t.TempDir(), "none"), nil)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestVerifierHidesItsSecrets(t *testing.T) {
	v, _ := open(t, one)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		assert.NotContains(t, fmt.Sprintf(verb, v), one)
		assert.NotContains(t, fmt.Sprintf(verb, *v), one)
	}
}

func FuzzVerify(f *testing.F) {
	v, _ := open(f, one)
	f.Add(payment.Sign(one, []byte(body), now), []byte(body))
	f.Add("t=1,v1=00", []byte(nil))
	f.Add(",=,t,v1", []byte(body))
	f.Fuzz(func(t *testing.T, header string, sent []byte) {
		err := v.Verify(header, sent, now)
		if err == nil {
			// Nobody signed anything but the seed.
			assert.True(t, bytes.Equal(sent, []byte(body)))
			return
		}
		require.ErrorIs(t, err, payment.ErrSignature)
	})
}
