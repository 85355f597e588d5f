package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/conformance/servers"
)

// asCommand makes the test binary be the command.
const asCommand = "SECKILL_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		endWithTest()
		main()
		return
	}
	code := m.Run()
	if err := servers.CloseShared(); err != nil {
		code = 1
	}
	os.Exit(code)
}

// A command is one run of seckill, in a home of its own.
type command struct {
	*testing.T
	cmd  *exec.Cmd
	out  *lockedBuffer
	err  *lockedBuffer
	wait func() error
}

func newCommand(t *testing.T, args ...string) *command {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Minute)
	t.Cleanup(cancel)
	c := &command{T: t, cmd: exec.CommandContext(ctx, self, args...), out: &lockedBuffer{}, err: &lockedBuffer{}}
	home := t.TempDir()
	c.cmd.Env = []string{asCommand + "=1", "HOME=" + home, "TMPDIR=" + home, "PATH=" + os.Getenv("PATH")}
	// Else the race detector waits a second at the end of each run.
	c.cmd.Env = append(c.cmd.Env, "GORACE=atexit_sleep_ms=0")
	c.cmd.SysProcAttr = diesWithTests()
	c.cmd.Dir = home
	c.cmd.Stdout, c.cmd.Stderr = c.out, c.err
	c.wait = sync.OnceValue(c.cmd.Wait)
	return c
}

// seckill runs a command to its end.
func seckill(t *testing.T, args ...string) (out, stderr string, code int) {
	t.Helper()
	return newCommand(t, args...).run()
}

func (c *command) run() (out, stderr string, code int) {
	c.Helper()
	require.NoError(c, c.cmd.Start())
	return c.end()
}

func (c *command) end() (out, stderr string, code int) {
	c.Helper()
	err := c.wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(c, err)
	}
	return c.out.String(), c.err.String(), c.cmd.ProcessState.ExitCode()
}

// start starts a command that goes on, and waits until it has printed all of
// the texts.
func start(t *testing.T, texts []string, args ...string) *command {
	t.Helper()
	c := newCommand(t, args...)
	require.NoError(t, c.cmd.Start())
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		_ = c.wait()
		if t.Failed() {
			t.Logf("seckill %s\n%s%s", strings.Join(args, " "), c.out, c.err)
		}
	})
	c.prints(texts...)
	return c
}

func (c *command) prints(texts ...string) {
	c.Helper()
	for _, text := range texts {
		require.Eventually(c, func() bool { return strings.Contains(c.out.String(), text) }, time.Minute, 5*time.Millisecond, text)
	}
}

// terminate ends it as a supervisor would.
func (c *command) terminate() {
	c.Helper()
	require.NoError(c, c.cmd.Process.Signal(syscall.SIGTERM))
	_, stderr, code := c.end()
	require.Zero(c, code, stderr)
}

// found finds what a group of a pattern matches in what was printed.
func (c *command) found(pattern string) string {
	c.Helper()
	match := regexp.MustCompile(pattern).FindStringSubmatch(c.out.String())
	require.Len(c, match, 2, "%s in %s", pattern, c.out)
	return match[1]
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	return fetchAs(t, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}, url)
}

// logIn is the first operator of a cluster, whose password was found in what the admin
// has written.
func logIn(t *testing.T, base, written string) *http.Client {
	t.Helper()
	found := regexp.MustCompile(`log in as (\S+) with the password ([A-Z0-9]+),`).FindStringSubmatch(written)
	require.Len(t, found, 3, written)
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second, Jar: jar}
	for _, step := range []struct{ method, path, body string }{
		{http.MethodPost, "/v1/login", fmt.Sprintf(`{"name":%q,"password":%q}`, found[1], found[2])},
		{http.MethodPut, "/v1/password", fmt.Sprintf(`{"from":%q,"to":"correct horse battery"}`, found[2])},
	} {
		req, err := http.NewRequestWithContext(t.Context(), step.method, base+step.path, strings.NewReader(step.body))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusOK, resp.StatusCode, step.path)
	}
	return client
}

func fetchAs(t *testing.T, client *http.Client, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, string(body))
	return string(body)
}

func TestHelp(t *testing.T) {
	alone, _, code := seckill(t)
	require.Zero(t, code)
	help, _, code := seckill(t, "--help")
	require.Zero(t, code)
	assert.Equal(t, help, alone)
	for _, line := range []string{
		"Usage: seckill <command> [flags]",
		"    seckill up\n",
		"Exit codes: 0 success, 1 failure",
		"\nStore:\n  --backend=etcd ",
		"  --password-file=FILE ",
		"\nLog:\n  --log-level=info ",
	} {
		assert.Contains(t, help, line)
	}
	assert.Regexp(t, `\n  up +Start everything in one process`, help)
	for _, part := range []string{
		`Over the admin service \(--admin\): 'seckill login' first\n  login `, `Directly on the store \(--backend, --endpoints\):\n  users reset `,
	} {
		assert.Regexp(t, `\n`+part, help)
	}
	assert.Regexp(t, `\n  kv watch +Follow keys as they change\.`, help)
	for _, test := range []struct{ args, want string }{
		{"up --help", "--ephemeral"},
		{"api --help", "--advertise=HOST:PORT"},
		{"api --help", "--trace-endpoint=HOST:PORT"},
		{"admin --help", "--admin-bind=127.0.0.1:8081"},
		{"kv --help", "seckill kv put config - < config.json"},
		{"kv put --help", "--if-revision=N"},
		{"kv list --help", "--keys-only"},
		{"kv watch --help", "First comes a snapshot"},
		{"nodes --help", "seckill nodes push 10-10-11-12-8080 --clear"},
		{"events --help", "--admin=URL"},
		{"events edit --help", "comes up in the editor"},
		{"orders export --help", "--admin-ca=FILE"},
		{"archive --help", "seckill archive 01K9ZZZZZZZZZZZZZZZZZZZZZ1 --dir=/var/lib/seckill/archive --purge"},
		{"api --help", "--reload-mode=events"},
		{"lock --help", "seckill lock nightly -- ./report.sh --all"},
		{"elect --help", "seckill elect seller --observe"},
		{"upgrade --help", "seckill upgrade --pid-file=/run/seckill/seckill.pid"},
		{"token --help", "token=$(seckill token --keys=keys.json --buyer=alice)"},
		{"keys --help", "seckill keys public --keys=signing.json > keys.json"},
	} {
		help, _, code := seckill(t, strings.Fields(test.args)...)
		assert.Zero(t, code, test.args)
		assert.Contains(t, help, test.want, test.args)
	}
}

func TestVersion(t *testing.T) {
	out, _, code := seckill(t, "version")
	require.Zero(t, code)
	assert.Regexp(t, `^seckill \S+ \(go1\.\S+, \w+/\w+\)\n$`, out)
	out, _, code = seckill(t, "version", "--output=json")
	require.Zero(t, code)
	assert.Regexp(t, `^\{"version":"\S+","go":"go1\.\S+","platform":"\w+/\w+"\}\n$`, out)
}

func TestMistakesAreExplained(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"serve"}, `seckill: unexpected argument serve`},
		{[]string{"kv", "get"}, `seckill: expected "<key>"`},
		{[]string{"api", "--backend=zookeeper"}, `seckill: --backend: expected one of etcd, consul, memory, got "zookeeper"`},
		{[]string{"api", "--datacenter=dc1"}, "seckill: --datacenter: the backend etcd has no such option"},
		{[]string{"api", "--endpoints=nowhere"}, `seckill: invalid: etcd: endpoint "nowhere": expected host:port`},
		{[]string{"api", "--node-ttl=6"}, `seckill: --node-ttl: expected a duration above zero, such as 5s or 500ms, got "6"`},
		{[]string{"api", "--trace-endpoint=collector"}, "seckill: --trace-endpoint: expected host:port of an OpenTelemetry collector"},
		{[]string{"api", "--backend=memory"}, "seckill: the backend memory lives and ends with one process, so only 'seckill up' can use it"},
		{[]string{"kv", "list", "--backend=memory"}, "seckill: the backend memory lives and ends with one process, so only 'seckill up' can use it"},
		{[]string{"admin", "--admin-bind=:8081"}, "passwords would go there in clear"},
		{[]string{"up", "--ephemeral", "--backend=consul"}, "seckill: --data-dir and --ephemeral are for the etcd inside, but the settings name another store"},
		{[]string{"up", "--ephemeral", "--data-dir=x"}, "--data-dir and --ephemeral can't be used together"},
		{[]string{"up", "--ephemeral", "--user=me"}, "seckill: the etcd inside has neither users nor certificates"},
		{[]string{"upgrade"}, "seckill: say with --pid-file which process to replace"},
		{[]string{"version", "--config=absent.toml"}, ""},
		{[]string{"kv", "list", "--config=absent.toml"}, "absent.toml: no such file"},
		{[]string{"kv", "list", "--token=hunter2"}, "seckill: --token: the backend etcd has no such option"},
		{[]string{"kv", "list", "--password=hunter2"}, "seckill: invalid: etcd: a password without a user"},
	} {
		_, stderr, code := seckill(t, test.args...)
		if test.want == "" {
			assert.Zero(t, code, test.args)
			continue
		}
		assert.Equal(t, exitUsage, code, "%v: %s", test.args, stderr)
		assert.Contains(t, stderr, test.want, test.args)
		assert.NotContains(t, stderr, "hunter2")
		assert.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
	}
}

func TestTheEnvironmentCounts(t *testing.T) {
	c := newCommand(t, "kv", "list")
	c.cmd.Env = append(c.cmd.Env, "SECKILL_BACKEND=memory", "SECKILL_PASWORD=hunter2")
	_, stderr, code := c.run()
	assert.Equal(t, exitUsage, code)
	assert.Equal(t, "seckill: warning: SECKILL_PASWORD in the environment is not a setting, did you mean SECKILL_PASSWORD?\n"+
		"seckill: the backend memory lives and ends with one process, so only 'seckill up' can use it\n", stderr)
}

func TestAnAddressInUse(t *testing.T) {
	first := startUp(t, "--ephemeral")
	taken := strings.TrimPrefix(first.found(`buyers +http://(\S+)`), "http://")
	_, stderr, code := seckill(t, "up", "--backend=memory", "--api-bind="+taken, "--rpc-bind=127.0.0.1:0",
		"--admin-bind=127.0.0.1:0", "--ops-bind=127.0.0.1:0")
	assert.Equal(t, exitFailure, code)
	assert.Contains(t, stderr, "seckill: api: "+taken+" is in use already, choose another address with --api-bind")
}

func startUp(t *testing.T, args ...string) *command {
	t.Helper()
	return start(t, []string{"Ctrl-C ends it."},
		append([]string{"up", "--api-bind=127.0.0.1:0", "--rpc-bind=127.0.0.1:0", "--admin-bind=127.0.0.1:0", "--ops-bind=127.0.0.1:0"}, args...)...)
}

func TestUpServesAndLeavesNothing(t *testing.T) {
	c := startUp(t, "--ephemeral")
	assert.Regexp(t, `seckill \S+ is ready, \S+s after its start\.`, c.out)
	api, admin, ops := c.found(`buyers +(\S+)`), c.found(`operators +(\S+)`), c.found(`ops +(\S+)`)
	etcd := c.found(`etcd inside this process at (\S+),`)

	assert.Equal(t, "ready\n", fetch(t, api+"/readyz"))
	require.Eventually(t, func() bool { return strings.Contains(c.err.String(), "log in as") }, time.Minute, 10*time.Millisecond)
	operator := logIn(t, admin, c.err.String())
	assert.Contains(t, fetchAs(t, operator, admin+"/v1/nodes"), `"addr":"`+strings.TrimPrefix(api, "http://")+`"`)
	assert.Contains(t, fetch(t, ops+"/status"), `"registered": true`)
	assert.Contains(t, fetch(t, ops+"/metrics"), "\nseckill_store_foreign_keys_total 0\n")
	out, _, code := seckill(t, "kv", "list", "nodes/", "--keys-only", "--endpoints="+etcd)
	assert.Zero(t, code)
	assert.Equal(t, "nodes/"+strings.NewReplacer("http://", "", ".", "-", ":", "-").Replace(api)+"\n", out)

	c.terminate()
	left, err := os.ReadDir(c.cmd.Dir)
	require.NoError(t, err)
	assert.Empty(t, left)
	assert.Contains(t, c.err.String(), "msg=deregistered")
}

// What up says to type makes a token that it believes.
func TestUpTellsHowToGetAToken(t *testing.T) {
	settings := filepath.Join(t.TempDir(), "seckill.toml")
	require.NoError(t, os.WriteFile(settings, []byte("[config.circuitBreaker]\ncpu = 100\nlatency = 60000\n"), 0o600)) // the machine may be as busy as it is
	c := startUp(t, "--backend=memory", "--config="+settings, "--identity-issuer=https://login.example", "--identity-audience=shop")
	out, stderr, code := seckill(t, strings.Fields(c.found(`token=\$\(\S+ (.*)\)`))...)
	require.Zero(t, code, stderr)
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.found(`buyers +(\S+)`)+"/v1/me/orders", http.NoBody)
	require.NoError(t, err)
	q.Header.Set("Authorization", "Bearer "+strings.TrimSpace(out))
	resp, err := (&http.Client{Timeout: time.Minute}).Do(q)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	c.terminate()
}

func TestUpKeepsItsData(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first := startUp(t, "--data-dir="+dir)
	_, stderr, code := seckill(t, "kv", "put", "kept", "yes", "--endpoints="+first.found(`etcd inside this process at (\S+),`))
	require.Zero(t, code, stderr)

	_, stderr, code = seckill(t, "up", "--data-dir="+dir)
	assert.Equal(t, exitFailure, code)
	assert.Contains(t, stderr, "the directory is in use by another etcd server")
	first.terminate()

	second := startUp(t, "--data-dir="+dir)
	assert.Equal(t, dir, second.found(`data in (\S+)`))
	out, _, _ := seckill(t, "kv", "get", "kept", "--endpoints="+second.found(`etcd inside this process at (\S+),`))
	assert.Equal(t, "yes", out)
	second.terminate()
}

func TestUpKeepsItsDataWhereProgramsDo(t *testing.T) {
	c := startUp(t)
	assert.Equal(t, filepath.Join(c.cmd.Dir, ".local", "state", "seckill"), c.found(`data in (\S+)`))
	c.terminate()
}

func TestUpOnMemory(t *testing.T) {
	c := startUp(t, "--backend=memory")
	assert.Contains(t, fetch(t, c.found(`ops +(\S+)`)+"/status"), `"backend": "memory"`)
	c.terminate()
}

func TestUpOnConsul(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a Consul server; run without -short")
	}
	consul := servers.Shared(t, servers.Consul)
	c := startUp(t, "--backend=consul", "--endpoints="+consul.Endpoints()[0], "--root=up-on-consul/")
	assert.Contains(t, c.out.String(), "consul kv get -http-addr")
	assert.Contains(t, fetch(t, c.found(`ops +(\S+)`)+"/status"), `"backend": "consul"`)
	assert.Contains(t, fetch(t, c.found(`ops +(\S+)`)+"/metrics"), "\nseckill_store_foreign_keys_total 0\n")
	c.terminate()
}
