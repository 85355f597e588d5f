package main

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/admin/access/password"
	"github.com/seed27495941/seckill/internal/stores"
)

// tokenFlags let an operator do anything by way of an admin that runs on a store.
func tokenFlags(t *testing.T, at server, root, url string) []string {
	t.Helper()
	accounts := access.NewAccounts(at.open(t, root), password.New(password.Recommended()))
	_, err := accounts.Add(t.Context(), "olga", access.Admin)
	require.NoError(t, err)
	text, _, err := accounts.CreateToken(t.Context(), "olga", "tests", access.Admin, time.Time{})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(text+"\n"), 0o600))
	return []string{"--admin=" + url, "--admin-token-file=" + file}
}

// startAdmin starts an admin, and is an operator who goes by it.
func startAdmin(t *testing.T, at server, root string) operator {
	t.Helper()
	bind := stores.FreeAddress(t)
	flags := tokenFlags(t, at, root, "http://"+bind)
	start(t, nil, append([]string{"admin", "--admin-bind=" + bind, "--ops-bind=" + stores.FreeAddress(t)}, at.flags(root)...)...)
	probe := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	stores.Wait(t, "an admin that is ready", func() bool {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+bind+"/readyz", http.NoBody)
		require.NoError(t, err)
		response, err := probe.Do(request)
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return operator{t, flags}
}

// TestOperatorsCommands has an operator do what there is by way of an admin.
func TestOperatorsCommands(t *testing.T) {
	eachStore(t, func(t *testing.T, at server) {
		root := "remote-" + ulid.Make().String() + "/"
		o := remoteOperator{startAdmin(t, at, root), t.TempDir()}
		o.configs()
		o.rollouts()
		o.nodes(operator{t, at.flags(root)})
		o.people()
		o.audits()
	})
}

type remoteOperator struct {
	operator
	dir string
}

func (o remoteOperator) file(text string) string {
	o.Helper()
	name := filepath.Join(o.dir, ulid.Make().String()+".json")
	require.NoError(o, os.WriteFile(name, []byte(text), 0o600))
	return name
}

// revision is that in what was said of a config that is published.
func (o remoteOperator) revision(said string) string {
	o.Helper()
	found := regexp.MustCompile(`^published as revision (\d+), hash \w{12}$`).FindStringSubmatch(said)
	require.Len(o, found, 2, said)
	return found[1]
}

const loud, quiet = `{"logLevel":"debug"}`, `{"logLevel":"error"}`

func (o remoteOperator) configs() {
	o.Helper()
	o.fails(exitFailure, "no config is published", "config", "get")
	o.fails(exitFailure, "no config is published", "config", "delete", "--comment=x", "--yes")
	assert.Equal(o, "valid", o.ok("config", "validate", o.file(loud)))
	bad := o.file(`{"rateLimit":{"low":0}}`)
	o.fails(exitUsage, "the config can't be used", "config", "validate", bad)
	o.fails(exitUsage, "rateLimit.low: expected 1 to 1000000000 requests per second, got 0", "config", "set", bad, "--comment=x", "--yes")
	o.fails(exitUsage, "missing flags: --comment=TEXT", "config", "set", bad)
	o.fails(exitUsage, "no such file", "config", "set", "nowhere.json", "--comment=x")

	o.fails(exitUsage, "nobody can be asked whether that replaces the right one: none is published, so say --if-revision=0", "config", "set", o.file(loud), "--comment=x")
	first := o.revision(o.ok("config", "set", o.file(loud), "--comment=look closely", "--if-revision=0"))
	for _, command := range [][]string{{"config", "set"}, {"config", "rollout", "start", "--percent=5"}} {
		o.fails(exitUsage, "revision "+first+" is published, so say --if-revision="+first+" if that was seen, or --yes whatever it is",
			append(command, o.file(quiet), "--comment=x")...)
	}
	assert.JSONEq(o, loud, o.ok("config", "get"))
	assert.JSONEq(o, loud, o.ok("config", "get"))
	o.fails(exitConflict, "(changed)", "config", "set", o.file(quiet), "--comment=x", "--if-revision=0")
	assert.Contains(o, o.ok("config", "diff", o.file(quiet)), "-  \"logLevel\": \"debug\"\n+  \"logLevel\": \"error\"\n")
	o.revision(o.ok("config", "set", o.file(quiet), "--comment=enough", "--if-revision="+first))
	assert.JSONEq(o, loud, o.ok("config", "get", "--revision="+first))
	stores.Wait(o, "both versions are recorded", func() bool {
		return regexp.MustCompile(`(?s)REVISION.* enough\n` + first + ` .* look closely$`).MatchString(o.ok("config", "history"))
	})
	o.fails(exitUsage, "say --yes", "config", "rollback", first, "--comment=back")
	assert.JSONEq(o, quiet, o.ok("config", "get"))
	o.revision(o.ok("config", "rollback", first, "--comment=back", "--yes"))
	assert.JSONEq(o, loud, o.ok("config", "get"))
	o.fails(exitFailure, "(no_such_version)", "config", "rollback", "1", "--comment=back", "--yes")

	var state admin.ConfigState
	require.NoError(o, json.Unmarshal([]byte(o.ok("config", "get", "--output=json")), &state))
	assert.JSONEq(o, loud, state.Published.Value)
	o.edits()
}

// edits: what an editor makes of the config is published, unless it can't be used.
func (o remoteOperator) edits() {
	o.Helper()
	edit := func(script string) (out, stderr string, code int) {
		c := newCommand(o.T, append([]string{"config", "edit", "--comment=edited", "--yes"}, o.store...)...)
		c.cmd.Env = append(c.cmd.Env, "EDITOR=sed -i "+script)
		return c.run()
	}
	out, stderr, code := edit("s/debug/warn/")
	require.Zero(o, code, stderr)
	o.revision(strings.TrimSpace(out))
	assert.Contains(o, stderr, `+  "logLevel": "warn"`)
	assert.JSONEq(o, `{"logLevel":"warn"}`, o.ok("config", "get"))
	_, stderr, code = edit("s/warn/wrn/")
	assert.Equal(o, exitUsage, code)
	assert.Regexp(o, `(?s)logLevel: .*the config can't be used; the text is in \S+\.json\n$`, stderr)
	out, stderr, code = edit("s/absent//")
	assert.Zero(o, code, stderr)
	assert.Equal(o, "nothing has changed\n", out)
}

func (o remoteOperator) rollouts() {
	o.Helper()
	o.fails(exitFailure, "(no_such_rollout)", "config", "rollout", "status")
	assert.Regexp(o, `^rollout \w{26}: trial, 50% of the nodes, by olga: try$`, o.ok("config", "rollout", "start", o.file(quiet), "--percent=50", "--comment=try", "--yes"))
	assert.Regexp(o, `: trial, 75% of`, o.ok("config", "rollout", "target", "--percent=75"))
	assert.Regexp(o, `(?s)^rollout .* trial, .*\nNODE +AS-IT-SHOULD`, o.ok("config", "rollout", "status"))
	o.fails(exitUsage, "say --yes", "config", "rollout", "abandon", "--comment=no")
	assert.Regexp(o, `: abandoned, `, o.ok("config", "rollout", "abandon", "--comment=no", "--yes"))
	o.fails(exitConflict, "(rollout_conflict)", "config", "rollout", "promote", "--comment=yes", "--yes")
	o.ok("config", "rollout", "start", o.file(quiet), "--percent=50", "--comment=again", "--yes")
	o.fails(exitUsage, "say --yes", "config", "rollout", "target", "--percent=100")
	assert.Regexp(o, `: trial, 50% of`, o.ok("config", "rollout", "status"))
	assert.Regexp(o, `: trial, 100% of`, o.ok("config", "rollout", "target", "--percent=100", "--yes"))
	o.ok("config", "rollout", "promote", "--comment=good", "--yes")
	assert.JSONEq(o, quiet, o.ok("config", "get"))
	assert.Contains(o, o.ok("config", "consistency"), "AS-IT-SHOULD")
	o.ok("config", "delete", "--comment=over", "--yes")
}

func (o remoteOperator) nodes(store operator) {
	o.Helper()
	store.ok("kv", "put", "nodes/n1", `{"addr":"10.0.0.1:80","weight":7}`)
	stores.Wait(o, "listed", func() bool { return strings.Contains(o.ok("nodes", "list"), "n1 ") })
	shows := func(want string) {
		o.Helper()
		stores.Wait(o, want, func() bool { return regexp.MustCompile(want).MatchString(o.ok("nodes", "show", "n1")) })
	}
	assert.Equal(o, "n1 is drained", o.ok("nodes", "drain", "n1", "--reason=a disk"))
	shows(`(?s)state +drained.*drained +by olga since \S+: a disk`)
	assert.Equal(o, "n1 is not drained", o.ok("nodes", "undrain", "n1"))
	shows(`drained +no`)
	o.ok("nodes", "weight", "n1", "50")
	shows(`weight +50, by olga since `)
	o.ok("nodes", "weight", "n1", "--own")
	shows(`weight +7\n`)
	o.fails(exitUsage, "say a weight, or --own", "nodes", "weight", "n1")
	o.fails(exitFailure, `There is no node "n2"; near that: n1 (no_such_node)`, "nodes", "drain", "n2")
	o.fails(exitUsage, "this command asks the admin service (--admin), not the store", "nodes", "list", "--endpoints=127.0.0.1:1")
	o.fails(exitFailure, "tells no address at which other nodes reach it", "nodes", "push", "n1", "--clear")
	assert.Regexp(o, `(?m)^NODE +BUYERS .*\nn1 .* the node tells no ops address$`, o.ok("blacklist"))
	stores.Wait(o, "jobs that ran", func() bool { return regexp.MustCompile(`(?m)^history .* versions recorded `).MatchString(o.ok("jobs")) })
}

// people: somebody is let in, logs in, changes the password, and is put out.
func (o remoteOperator) people() {
	o.Helper()
	oneTime := o.ok("users", "add", "bob", "viewer")
	o.fails(exitConflict, "(exists)", "users", "add", "bob", "viewer")
	assert.Regexp(o, `(?m)^bob +viewer +for one login `, o.ok("users", "list"))

	state := o.TempDir()
	bob := func(typed string, args ...string) (out, stderr string, code int) {
		c := newCommand(o.T, append(args, o.store[0])...)
		c.cmd.Env = append(c.cmd.Env, "XDG_STATE_HOME="+state)
		c.cmd.Stdin = strings.NewReader(typed)
		return c.run()
	}
	_, stderr, code := bob("", "whoami")
	assert.Equal(o, exitFailure, code)
	assert.Contains(o, stderr, "(unauthenticated): 'seckill login'")
	_, stderr, code = bob("wrong\n", "login", "bob")
	assert.Equal(o, exitFailure, code)
	assert.Contains(o, stderr, "name or password is wrong (unauthenticated)")
	_, _, code = bob(oneTime+"\n", "login", "bob")
	assert.Equal(o, exitUsage, code, "it has to be changed, and there is no other one")
	_, stderr, code = bob("", "nodes", "list")
	assert.Equal(o, exitFailure, code)
	assert.Contains(o, stderr, "(must_change_password): 'seckill passwd'")
	out, stderr, code := bob(oneTime+"\ncorrect horse battery\n", "passwd")
	require.Zero(o, code, stderr)
	assert.Equal(o, "password changed, logged in as bob (viewer)\n", out)
	out, stderr, code = bob("", "whoami")
	require.Zero(o, code, stderr)
	assert.Equal(o, "bob (viewer, by session)\n", out)
	_, stderr, code = bob("", "nodes", "drain", "n1")
	assert.Equal(o, exitFailure, code)
	assert.Contains(o, stderr, "(forbidden)")
	kept, err := os.Stat(filepath.Join(state, "seckill-admin", "sessions.json"))
	require.NoError(o, err)
	assert.Equal(o, os.FileMode(0o600), kept.Mode().Perm())

	token := o.ok("tokens", "create", "robot", "viewer", "--owner=bob", "--for=1h")
	assert.Contains(o, o.ok("tokens", "list"), "robot")
	o.fails(exitUsage, "say --yes", "tokens", "revoke", strings.Split(token, "_")[1])
	o.ok("tokens", "revoke", strings.Split(token, "_")[1], "--yes")
	o.sessions(bob, filepath.Join(state, "seckill-admin", "sessions.json"))
	o.ok("users", "role", "bob", "operator")
	o.ok("users", "password", "bob", "--yes")
	o.ok("users", "remove", "bob", "--yes")
	o.fails(exitConflict, "(last_admin)", "users", "remove", "olga", "--yes")
}

// sessions: one that is kept begins and ends by itself, whatever token there is as well.
func (o remoteOperator) sessions(bob func(typed string, args ...string) (out, stderr string, code int), file string) {
	o.Helper()
	keep := func(text []byte) {
		o.Helper()
		require.NoError(o, os.WriteFile(file, text, 0o600))
	}
	read := func() []byte {
		o.Helper()
		text, err := os.ReadFile(file)
		require.NoError(o, err)
		return text
	}
	alive := func(want bool, session []byte) {
		o.Helper()
		now := read()
		keep(session)
		_, stderr, code := bob("", "whoami")
		assert.Equal(o, want, code == 0, stderr)
		keep(now)
	}
	withToken := func(typed string, args ...string) (out, stderr string, code int) {
		return bob(typed, append(args, o.store[1])...) // olga's
	}
	first := read()
	_, stderr, code := withToken("correct horse battery\n", "login", "bob")
	require.Zero(o, code, stderr)
	second := read()
	alive(false, first)
	alive(true, second)
	_, stderr, code = withToken("correct horse battery\nbattery horse correct\n", "passwd")
	require.Zero(o, code, stderr)
	third := read()
	alive(true, third)
	_, stderr, code = withToken("", "logout")
	require.Zero(o, code, stderr)
	alive(false, third)
}

func (o remoteOperator) audits() {
	o.Helper()
	assert.Regexp(o, `(?m)^\S+Z +olga \(tests\) +node\.drain +n1 +done +-$`, o.ok("audit", "list", "--action=node.", "--limit=20"))
	var list admin.AuditList
	require.NoError(o, json.Unmarshal([]byte(o.ok("audit", "list", "--action=config.", "--actor=olga", "--output=json")), &list))
	assert.NotEmpty(o, list.Records)
}

func TestTheAdminServiceIsNotThere(t *testing.T) {
	at := stores.FreeAddress(t)
	for _, test := range []struct {
		code int
		want string
		args []string
	}{
		{exitFailure, "the admin service at http://" + at + " can't be reached", []string{"config", "get", "--admin=http://" + at}},
		{exitUsage, "expected the URL of the admin service", []string{"config", "get", "--admin=" + at}},
		{exitUsage, "passwords and tokens would go there in clear", []string{"config", "get", "--admin=http://10.1.2.3:8081"}},
		{exitUsage, "--admin-token-file: open nowhere", []string{"config", "get", "--admin-token-file=nowhere"}},
	} {
		_, stderr, code := seckill(t, test.args...)
		assert.Equal(t, test.code, code, stderr)
		assert.Contains(t, stderr, test.want)
	}
}

func TestCompletion(t *testing.T) {
	for line, want := range map[string]string{
		"config ro": "rollback\nrollout\n", "config rollout st": "start\nstatus\n", "audit list --outp": "--output=text\n--output=json\n",
		"tokens create x v": "viewer\n", "login --admin-t": "--admin-token-file=\n",
		"events cl": "close\n", "orders export --f": "--format=csv\n--format=ndjson\n", "arch": "archive\n",
	} {
		out, stderr, code := seckill(t, append([]string{"completion", "words", "--"}, strings.Fields(line)...)...)
		assert.Zero(t, code, stderr)
		assert.Equal(t, want, out, line)
	}
	script, _, code := seckill(t, "completion", "bash")
	require.Zero(t, code)
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("needs bash")
	}
	command := `COMP_WORDS=(seckill config hi); COMP_CWORD=2; seckill() { :; }; _seckill; echo "${COMPREPLY[@]}"`
	self, err := os.Executable()
	require.NoError(t, err)
	run := exec.CommandContext(t.Context(), bash, "-c", script+strings.Replace(command, "(seckill config", "("+self+" config", 1))
	run.Env = append(os.Environ(), asCommand+"=1")
	out, err := run.CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Equal(t, "history\n", string(out))
	for _, shell := range []string{"zsh", "fish"} {
		script, _, code := seckill(t, "completion", shell)
		assert.Zero(t, code)
		assert.Contains(t, script, "completion words --")
	}
}
