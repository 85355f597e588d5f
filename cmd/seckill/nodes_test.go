package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/node"
	"github.com/seed27495941/seckill/internal/stores"
)

// TestHotSettings has a node's config changed in each way there is.
func TestHotSettings(t *testing.T) { eachStore(t, testHotSettings) }

// A debugged is a node that an operator looks into.
type debugged struct {
	operator
	admin   operator // by way of an admin
	command *command
	file    string // with its settings
	id      string
	ops     string
	rpc     string
}

func testHotSettings(t *testing.T, at server) {
	t.Helper()
	d := startDebugged(t, at, "[log]\nlevel = 'error'\n[config.rateLimit]\nmiddle = 7000\n")
	d.fileChanges()
	d.filesAreRefused()
	d.pushes()
	d.pushesThatFail()
	d.command.terminate()
	assert.Contains(t, d.command.err.String(), `msg="config overridden by a push"`)
}

func startDebugged(t *testing.T, at server, text string) *debugged {
	t.Helper()
	api := stores.FreeAddress(t)
	root := "hot-" + ulid.Make().String() + "/"
	d := &debugged{
		operator: operator{t, at.flags(root)},
		admin:    startAdmin(t, at, root),
		file:     filepath.Join(t.TempDir(), "seckill.toml"),
		id:       strings.NewReplacer(".", "-", ":", "-").Replace(api),
		ops:      stores.FreeAddress(t),
		rpc:      stores.FreeAddress(t),
	}
	d.write(text)
	keys := filepath.Join(t.TempDir(), "keys.json")
	_, stderr, code := seckill(t, "keys", "new", "--keys="+keys)
	require.Zero(t, code, stderr)
	d.command = newCommand(t, append([]string{
		"api", "--config=" + d.file, "--identity-keys-file=" + keys, "--api-bind=" + api, "--rpc-bind=" + d.rpc, "--ops-bind=" + d.ops,
	}, d.store...)...)
	require.NoError(t, d.command.cmd.Start())
	t.Cleanup(func() {
		_ = d.command.cmd.Process.Kill() // it may have ended
		_ = d.command.wait()
		if t.Failed() {
			t.Logf("the node logged:\n%s", d.command.err)
		}
	})
	stores.Wait(t, "listed", func() bool { return strings.Contains(d.admin.ok("nodes", "list"), d.id) })
	return d
}

// write puts the settings file in place by a rename.
func (d *debugged) write(text string) {
	d.Helper()
	require.NoError(d, os.WriteFile(d.file+".new", []byte(text), 0o600))
	require.NoError(d, os.Rename(d.file+".new", d.file))
}

func (d *debugged) status() (s node.Status) {
	d.Helper()
	require.NoError(d, json.Unmarshal([]byte(fetch(d.T, "http://"+d.ops+"/status")), &s))
	return s
}

func (d *debugged) await(what string, so func(node.Status) bool) {
	d.Helper()
	stores.Wait(d.T, what, func() bool { return so(d.status()) })
}

func (d *debugged) metric(line string) {
	d.Helper()
	assert.Contains(d, fetch(d.T, "http://"+d.ops+"/metrics"), "\n"+line+"\n")
}

// listed waits until the store says of the node that it has what it says has in force,
// and returns the line.
func (d *debugged) listed() (line string) {
	d.Helper()
	stores.Wait(d.T, "listed with what is in force", func() bool {
		for line = range strings.Lines(d.admin.ok("nodes", "list") + "\n") {
			if strings.HasPrefix(line, d.id+" ") {
				return strings.Contains(line, "  "+d.status().Config.InForceHash+"  ")
			}
		}
		return false
	})
	return line
}

// fileChanges: the log's level and the config change with the file, whether a config is
// published or not.
func (d *debugged) fileChanges() {
	d.Helper()
	before := d.status()
	assert.Regexp(d, `^\S+  \S+:\d+  \S+ +ready  \w{12}  -\n$`, d.listed())
	assert.NotContains(d, d.command.err.String(), "level=INFO", "the file says error")

	d.write("[log]\nlevel = 'debug'\n[config.rateLimit]\nmiddle = 8000\n")
	d.await("loaded", func(s node.Status) bool { return s.Settings.Loads == 2 })
	now := d.status()
	assert.Equal(d, "debug", now.Config.InForce.LogLevel)
	assert.Equal(d, 8000, now.Config.InForce.RateLimit.Middle)
	assert.NotEqual(d, before.Config.InForceHash, now.Config.InForceHash)
	assert.Contains(d, d.command.err.String(), `level=INFO msg="settings file loaded"`)
	d.listed()

	d.ok("kv", "put", "config", `{"rateLimit":{"low":5}}`)
	d.await("published", func(s node.Status) bool { return s.Config.InForce.RateLimit.Low == 5 })
	d.write("[log]\nlevel = 'info'\n[config.rateLimit]\nmiddle = 9000\n")
	d.await("loaded", func(s node.Status) bool { return s.Settings.Loads == 3 })
	assert.Equal(d, 9000, d.status().Config.InForce.RateLimit.Middle, "what is published leaves it out")
	assert.Equal(d, 5, d.status().Config.InForce.RateLimit.Low)
	d.listed()
	d.metric("seckill_settings_loads_total 3")
}

func (d *debugged) filesAreRefused() {
	d.Helper()
	good := d.status()
	for text, want := range map[string]string{
		"[log]\nlevel = 'debug'\n[node]\nttl = '9s'\n": d.file + ": node.ttl: 6s → 9s: fixed while the process runs, so nothing of the file is in force: " +
			"restart the process, or replace it by 'seckill upgrade'",
		"[log]\nlevel = 'deb": d.file + ": line 2, column 13: ",
	} {
		d.write(text)
		d.await("refused", func(s node.Status) bool {
			return s.Settings.Refusal != nil && strings.HasPrefix(s.Settings.Refusal.Error, want)
		})
		assert.Equal(d, good.Config.InForce, d.status().Config.InForce)
		assert.Contains(d, d.command.err.String(), "level=ERROR msg=\"settings file refused, the old settings stay\" file="+d.file)
		d.metric("seckill_settings_refused 1")
		d.admin.fails(exitConflict, "refused: "+want, "nodes", "reload", d.id, "settings")
	}
	d.write("[config.rateLimit]\nmiddle = 6000\n")
	assert.Equal(d, "settings of "+d.id+" loaded", d.admin.ok("nodes", "reload", d.id, "settings"))
	s := d.status()
	assert.Equal(d, 6000, s.Config.InForce.RateLimit.Middle, "at once")
	assert.Nil(d, s.Settings.Refusal)
	d.metric("seckill_settings_refused 0")
	d.admin.fails(exitUsage, `source "whitelist": expected one of `, "nodes", "reload", d.id, "whitelist")
}

// push pushes what is on the standard input.
func (d *debugged) push(value string, args ...string) (out, stderr string, code int) {
	d.Helper()
	c := newCommand(d.T, append(append([]string{"nodes", "push", d.id, "--file=-", "--comment=slow since ten"}, args...), d.admin.store...)...)
	c.cmd.Stdin = strings.NewReader(value)
	return c.run()
}

func (d *debugged) pushes() {
	d.Helper()
	plain := d.status().Config.InForceHash
	out, stderr, code := d.push(`{"rateLimit":{"low":1}}`)
	require.Zero(d, code, stderr)
	s := d.status().Config
	require.NotNil(d, s.Override)
	assert.Equal(d, "in force at "+d.id+" until "+s.Override.Until.UTC().Format(time.RFC3339)+", hash "+s.Override.Hash+"\n", out)
	assert.Equal(d, "olga", s.Override.Author)
	assert.Equal(d, "slow since ten", s.Override.Comment)
	assert.JSONEq(d, `{"rateLimit":{"low":1}}`, s.Override.Value)
	assert.Equal(d, 15*time.Minute, s.Override.Until.Sub(s.Override.Since))
	assert.Equal(d, 1, s.InForce.RateLimit.Low)
	assert.NotEqual(d, plain, s.InForceHash)
	d.metric("seckill_config_override 1")
	assert.Contains(d, d.listed(), "  by olga until ")

	d.ok("kv", "put", "config", `{"rateLimit":{"middle":60,"low":6}}`)
	d.await("published", func(s node.Status) bool { return s.Config.InForce.RateLimit.Middle == 60 })
	assert.Equal(d, 1, d.status().Config.InForce.RateLimit.Low, "the push is stronger")

	_, stderr, code = d.push(`{"rateLimit":{"low":2}}`, "--for=1s")
	require.Zero(d, code, stderr)
	d.await("expired", func(s node.Status) bool { return s.Config.Override == nil })
	assert.Equal(d, 6, d.status().Config.InForce.RateLimit.Low)

	out, stderr, code = d.push(`{"rateLimit":{"low":3}}`, "--output=json")
	require.Zero(d, code, stderr)
	assert.Regexp(d, `^\{"until":"\S+Z","hash":"\w{12}"\}\n$`, out)
	var listed struct {
		Nodes []struct {
			Serves  bool
			Configs map[string]node.OverrideNote
		}
	}
	stores.Wait(d.T, "listed", func() bool {
		require.NoError(d, json.Unmarshal([]byte(d.admin.ok("nodes", "list", "--output=json")), &listed))
		return listed.Nodes[0].Configs[node.OverrideKey].Author != ""
	})
	assert.True(d, listed.Nodes[0].Serves)
	assert.Equal(d, "cleared at "+d.id, d.admin.ok("nodes", "push", d.id, "--clear"))
	assert.Equal(d, "nothing was pushed to "+d.id, d.admin.ok("nodes", "push", d.id, "--clear"))
	assert.Equal(d, 6, d.status().Config.InForce.RateLimit.Low)
	d.metric("seckill_config_override 0")
	assert.Regexp(d, ` -\n$`, d.listed())
}

func (d *debugged) pushesThatFail() {
	d.Helper()
	for value, want := range map[string]string{
		"{\n  \"rateLimt\": {}\n}":    `"config": line 2, column 3: unknown field "rateLimt"`,
		"{\"rateLimit\":{\"low\":0}}": `rateLimit.low: expected 1 to 1000000000 requests per second, got 0`,
	} {
		_, stderr, code := d.push(value)
		assert.Equal(d, exitUsage, code)
		assert.Contains(d, stderr, "seckill: invalid: "+want)
	}
	fails := d.admin.fails
	fails(exitUsage, "--for: expected whole seconds from 1s to 24h0m0s, got 25h0m0s", "nodes", "push", d.id, "--file="+d.file, "--comment=x", "--for=25h")
	fails(exitUsage, "got 1.5s", "nodes", "push", d.id, "--file="+d.file, "--comment=x", "--for=1500ms")
	fails(exitUsage, "say with --file what to put in force", "nodes", "push", d.id)
	fails(exitUsage, "--comment: say why", "nodes", "push", d.id, "--file="+d.file)
	fails(exitUsage, "can't be used together", "nodes", "push", d.id, "--file="+d.file, "--clear")
	fails(exitUsage, "nowhere.json: no such file", "nodes", "push", d.id, "--file=nowhere.json", "--comment=x")
	fails(exitUsage, "this command asks the admin service", append([]string{"nodes", "push", d.id, "--clear"}, d.store...)...)
	fails(exitFailure, `There is no node "`+d.id+`1"; near that: `+d.id+" (no_such_node)", "nodes", "push", d.id+"1", "--clear")

	// Who is listed with the address of another process has that one told nothing.
	other := ulid.Make().String()
	d.lists(`{"addr":"10.9.9.9:80","rpc":"` + d.rpc + `","incarnation":"` + other + `"}`)
	fails(exitFailure, `another process is there by now: this is process `+d.status().Node.Incarnation+`, meant was ["`+other+`"]`,
		"nodes", "push", "10-9-9-9-80", "--clear")
	d.lists(`{"addr":"10.9.9.9:80","rpc":"` + stores.FreeAddress(d.T) + `","incarnation":"` + other + `"}`)
	fails(exitFailure, "can't be reached", "nodes", "reload", "10-9-9-9-80", "settings")
	d.lists(`{"addr":"10.9.9.9:80"}`)
	fails(exitFailure, "tells no address at which other nodes reach it", "nodes", "push", "10-9-9-9-80", "--clear")
	assert.Nil(d, d.status().Config.Override)
}

// lists has the admin know of a node that is none of ours.
func (d *debugged) lists(text string) {
	d.Helper()
	d.ok("kv", "put", "nodes/10-9-9-9-80", text)
	var want struct{ RPC string }
	require.NoError(d, json.Unmarshal([]byte(text), &want))
	stores.Wait(d.T, "listed", func() bool {
		var got struct{ RPC string }
		out, _, code := d.admin.run("nodes", "show", "10-9-9-9-80", "--output=json")
		return code == 0 && json.Unmarshal([]byte(out), &got) == nil && got == want
	})
}

func TestNodesAreDescribedInAWord(t *testing.T) {
	c := startUp(t, "--ephemeral")
	o := operator{t, []string{"--endpoints=" + c.found(`etcd inside this process at (\S+),`)}}
	at := server{"etcd", c.found(`etcd inside this process at (\S+),`)}
	admin := operator{t, tokenFlags(t, at, "seckill/", c.found(`operators +(\S+)`))}
	for key, value := range map[string]string{
		"nodes/a": `{"addr":"10.0.0.1:80"}`, "nodes/a/drain": `{}`,
		"nodes/b": `{"addr":"10.0.0.2:80","draining":true}`,
		"nodes/c": `{"addr":"10.0.0.3:80","health":"critical"}`,
		"nodes/d": `{"addr":"10.0.0.4:80"}`, "nodes/d~01K9ZZZZZZZZZZZZZZZZZZZZZ1": `{"addr":"10.0.0.4:80"}`,
	} {
		o.ok("kv", "put", key, value)
	}
	for _, want := range []string{`a +\S+ +- +drained`, `b +\S+ +- +draining`, `c +\S+ +- +critical`, `d +\S+ +- +ready`, `d~\w+ +\S+ +- +waiting`} {
		stores.Wait(t, want, func() bool { return regexp.MustCompile(`(?m)^` + want).MatchString(admin.ok("nodes", "list")) })
	}
	c.terminate()
}
