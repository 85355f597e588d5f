package main

import (
	"encoding/json"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend/etcd/embed"
	"github.com/seed27495941/seckill/conformance/servers"
)

// A server is a store's.
type server struct{ backend, endpoint string }

// eachStore runs a test on etcd and on Consul.
func eachStore(t *testing.T, test func(t *testing.T, s server)) {
	t.Helper()
	t.Run("etcd", func(t *testing.T) {
		inside, err := embed.Start(t.Context(), embed.Config{})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, inside.Close()) })
		test(t, server{"etcd", inside.Endpoint()})
	})
	t.Run("consul", func(t *testing.T) {
		if testing.Short() {
			t.Skip("needs a Consul server; run without -short")
		}
		test(t, server{"consul", servers.Shared(t, servers.Consul).Endpoints()[0]})
	})
}

// flags name a namespace of the store on the command line. Between the two stores
// only --backend and --endpoints differ.
func (s server) flags(root string) []string {
	return []string{"--backend=" + s.backend, "--endpoints=" + s.endpoint, "--root=" + root}
}

// open opens what the flags name.
func (s server) open(t *testing.T, root string) store {
	t.Helper()
	opened, err := open(settings.Settings{Backend: s.backend, Store: settings.Store{Endpoints: []string{s.endpoint}, Root: root}})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, opened.Close()) })
	return opened
}

func TestKV(t *testing.T) { eachStore(t, testKV) }

// A shell runs seckill kv on one store.
type shell struct {
	*testing.T
	store []string
}

func (s shell) command(args ...string) *command {
	s.Helper()
	return newCommand(s.T, append(append([]string{"kv"}, args...), s.store...)...)
}

// ok runs a command that must succeed, and returns what it printed.
func (s shell) ok(args ...string) string {
	s.Helper()
	out, stderr, code := s.command(args...).run()
	require.Zero(s, code, stderr)
	require.Empty(s, stderr)
	return out
}

// fails runs a command that must not.
func (s shell) fails(want int, message string, args ...string) {
	s.Helper()
	out, stderr, code := s.command(args...).run()
	assert.Equal(s, want, code, stderr)
	assert.Contains(s, stderr, message)
	assert.Empty(s, out)
}

// records decodes what was printed for programs.
func (s shell) records(args ...string) []map[string]any {
	s.Helper()
	var records []map[string]any
	for line := range strings.Lines(s.ok(append(args, "--output=json")...)) {
		var r map[string]any
		require.NoError(s, json.Unmarshal([]byte(line), &r), line)
		records = append(records, r)
	}
	return records
}

func testKV(t *testing.T, at server) {
	t.Helper()
	s := shell{t, at.flags("kv-test/")}

	t.Log("a value comes back as it was, also from the standard input")
	assert.Regexp(t, `^revision \d+\n$`, s.ok("put", "dir/a", `{"n": 1}`))
	assert.JSONEq(t, `{"n": 1}`, s.ok("get", "dir/a"))
	put := s.command("put", "dir/b", "-")
	put.cmd.Stdin = strings.NewReader("\xff\x00\n")
	_, stderr, code := put.run()
	require.Zero(t, code, stderr)
	assert.Equal(t, "\xff\x00\n", s.ok("get", "dir/b"))

	t.Log("lists are in order, and for programs if wanted")
	assert.Equal(t, "dir/a\t{\"n\": 1}\ndir/b\t\"\\xff\\x00\\n\"\n", s.ok("list"))
	assert.Equal(t, "dir/a\ndir/b\n", s.ok("list", "dir/", "--keys-only"))
	assert.Empty(t, s.ok("list", "dir/c"))
	records := s.records("list")
	require.Len(t, records, 2)
	assert.Equal(t, "dir/a", records[0]["key"])
	assert.JSONEq(t, `{"n": 1}`, records[0]["value"].(string)) //nolint:errcheck // fails the test as well
	assert.Equal(t, "/wAK", records[1]["value"])
	assert.Equal(t, "base64", records[1]["encoding"])

	t.Log("conditions hold or exit with their own code")
	rev := strconv.FormatFloat(records[0]["revision"].(float64), 'f', -1, 64) //nolint:errcheck // fails the test as well
	s.fails(exitConflict, "conflict", "put", "dir/a", "x", "--if-revision=0")
	next := s.records("put", "dir/a", "x", "--if-revision="+rev)
	assert.Equal(t, "dir/a", next[0]["key"])
	s.fails(exitConflict, "conflict", "delete", "dir/a", "--if-revision="+rev)
	s.fails(exitUsage, "--if-revision", "put", "dir/a", "x", "--if-revision=new")

	t.Log("what is not there is not there")
	s.fails(exitFailure, `seckill: get "dir/none": not found`, "get", "dir/none")
	assert.Empty(t, s.ok("delete", "dir/none"))
	assert.JSONEq(t, `{"key":"dir/none","revision":0}`, s.ok("delete", "dir/none", "--output=json"))
	s.fails(exitUsage, "seckill: invalid: key", "get", "dir//none")

	testWatch(s)
}

func testWatch(s shell) {
	s.Helper()
	text := start(s.T, []string{"put\tdir/a\tx\n"}, append([]string{"kv", "watch", "dir/"}, s.store...)...)
	programs := start(s.T, []string{`"dir/b"`}, append([]string{"kv", "watch", "dir/", "--output=json"}, s.store...)...)
	assert.Regexp(s, `^snapshot\t2 keys at revision \d+\n`, text.out)
	assert.Regexp(s, `^\{"event":"snapshot","keys":2,"revision":\d+\}\n`, programs.out)

	s.ok("put", "dir/a", "line\nbreak")
	text.prints("put\tdir/a\t\"line\\nbreak\"\n")
	s.ok("delete", "dir/a")
	text.prints("delete\tdir/a\n")
	programs.prints(`{"event":"delete","key":"dir/a","revision":`)

	require.NoError(s, text.cmd.Process.Signal(syscall.SIGINT))
	_, stderr, code := text.end()
	assert.Zero(s, code, stderr)
	programs.terminate()
}
