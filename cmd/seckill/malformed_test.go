package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/payment"
)

// A followed process follows a file of each kind.
type followed struct {
	*command
	dir, api, ops string
	token         string // of a buyer
	banned        string // of one who is on the blacklist
}

const secretOfTests = "0123456789abcdef0123456789abcdef"

func (f *followed) path(name string) string { return filepath.Join(f.dir, name) }

// put exchanges a file in one step.
func (f *followed) put(name, text string) {
	f.Helper()
	require.NoError(f, os.WriteFile(f.path(name)+".next", []byte(text), 0o600))
	require.NoError(f, os.Rename(f.path(name)+".next", f.path(name)))
}

func startFollowed(t *testing.T) *followed {
	t.Helper()
	f := &followed{dir: t.TempDir()}
	f.command = &command{T: t} // until it is started
	_, stderr, code := seckill(t, "keys", "new", "--keys="+f.path("keys.json"))
	require.Zero(t, code, stderr)
	f.put("seckill.toml", "[config.rateLimit]\nlow = 777\n[config.circuitBreaker]\ncpu = 100\nlatency = 60000\n")
	f.put("blacklist", "mallory\n")
	f.put("secrets", secretOfTests+"\n")
	f.token, f.banned = f.mint("ann"), f.mint("mallory")
	f.command = startUp(t, "--backend=memory", "--config="+f.path("seckill.toml"), "--blacklist-file="+f.path("blacklist"),
		"--identity-keys-file="+f.path("keys.json"), "--payment-secret-file="+f.path("secrets"))
	f.api, f.ops = f.found(`buyers +(\S+)`), f.found(`ops +(\S+)`)
	return f
}

func (f *followed) mint(buyer string) string {
	f.Helper()
	token, stderr, code := seckill(f.T, "token", "--keys="+f.path("keys.json"), "--buyer="+buyer)
	require.Zero(f, code, stderr)
	return strings.TrimSpace(token)
}

// status is what a request of a buyer's is answered with.
func (f *followed) status(token string) int {
	f.Helper()
	return f.ask(http.MethodGet, "/v1/me/orders", "", "Authorization", "Bearer "+token)
}

// pay tells of a payment for an order that there is not.
func (f *followed) pay() int {
	f.Helper()
	body := `{"order":"none","payment":"p","amount":{"minor":1,"currency":"EUR"}}`
	return f.ask(http.MethodPost, "/v1/payments", body, payment.Header, payment.Sign(secretOfTests, []byte(body), time.Now()))
}

func (f *followed) ask(method, path, body, header, value string) int {
	f.Helper()
	req, err := http.NewRequestWithContext(f.Context(), method, f.api+path, strings.NewReader(body))
	require.NoError(f, err)
	req.Header.Set(header, value)
	req.Header.Set("Content-Type", "application/json")
	resp, err := new(http.Client).Do(req)
	require.NoError(f, err)
	require.NoError(f, resp.Body.Close())
	return resp.StatusCode
}

// asBefore holds the process to what its files said at first.
func (f *followed) asBefore() {
	f.Helper()
	assert.Equal(f, http.StatusOK, f.status(f.token), "the keys")
	assert.Equal(f, http.StatusForbidden, f.status(f.banned), "the blacklist")
	assert.Equal(f, http.StatusNotFound, f.pay(), "the secrets: else it would be 401")
	assert.Contains(f, fetch(f.T, f.ops+"/status"), `"low": 777`, "the settings")
}

// A malformed file of each kind changes nothing, and is named with the line and what is
// wrong with it. What is good again is taken.
func TestMalformedFiles(t *testing.T) {
	f := startFollowed(t)
	f.asBefore()
	for _, test := range []struct{ name, text, reason string }{
		{"seckill.toml", "[config.rateLimit]\nlow = 'many'\n", "line 2: config.rateLimit.low: expected a whole number"},
		{"seckill.toml", "[config.rateLimit]\nlow = 5\n\nmiddle = ", "line 4, column"},
		{"seckill.toml", "[config.rateLimit]\nlow = 5\nlowest = 5\n", "line 3: config.rateLimit.lowest: unknown key"},
		{"blacklist", "bob\neve\ncar", "line=3 reason=\"the last line has no end"},
		{"blacklist", "bob\n\x00\n\xff\n\x01\n", "line=2 reason=\"control character"},
		{"keys.json", "{\"keys\": [\n  {\"kty\": \"RSA\"}\n]}", "line 2: keys[0]: kty"},
		{"keys.json", "{\"keys\": [\n", "line 2: expected a JWK Set"},
		{"secrets", "# the new one\nshort\n", "line 2: the secret has 5 characters"},
	} {
		t.Run(fmt.Sprintf("%s %.12q", test.name, test.reason), func(t *testing.T) {
			said := len(f.err.String())
			good, err := os.ReadFile(f.path(test.name))
			require.NoError(t, err)
			f.put(test.name, test.text)
			require.Eventually(t, func() bool {
				f.asBefore() // some files are looked at when somebody asks
				for line := range strings.Lines(f.err.String()[said:]) {
					if strings.Contains(line, f.path(test.name)) && strings.Contains(line, test.reason) {
						return true
					}
				}
				return false
			}, time.Minute, 20*time.Millisecond, "%s: %s", test.name, test.reason)
			f.put(test.name, string(good))
		})
	}
	f.put("blacklist", "ann\n")
	require.Eventually(t, func() bool { return f.status(f.token) == http.StatusForbidden }, time.Minute, 20*time.Millisecond)
	assert.Equal(t, http.StatusOK, f.status(f.banned))
}
