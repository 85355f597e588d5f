package main

import (
	"encoding/json"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLockAndElect(t *testing.T) { eachStore(t, testLockAndElect) }

func testLockAndElect(t *testing.T, at server) {
	t.Helper()
	x := locks{shell{t, at.flags("lock-test/")}}
	x.runsACommand()
	x.passesSignals()
	x.excludes()
	x.endsTheCommand()
	x.hangsUp()
	x.elects()
	assert.Empty(t, x.ok("list", "--keys-only"), "nothing is left")
}

type locks struct{ shell }

// seckill adds the store's flags before what is to be run.
func (x locks) seckill(name string, args ...string) []string {
	return append(append([]string{name}, x.store...), args...)
}

func (x locks) runsACommand() {
	x.Log("a command has the lock's key and token, and passes on what it prints and how it ends")
	out, stderr, code := seckill(x.T, x.seckill("lock", "a", "--", "sh", "-c", `echo "$SECKILL_LOCK_KEY $SECKILL_LOCK_TOKEN"; echo oops >&2; exit 7`)...)
	assert.Equal(x, 7, code)
	assert.Equal(x, "oops\n", stderr)
	assert.Regexp(x, `^locks/a/[0-9A-Z]{26} \d+\n$`, out)

	_, stderr, code = seckill(x.T, x.seckill("lock", "a", "--", "sh", "-c", "kill -9 $$")...)
	assert.Equal(x, 128+9, code, stderr)

	x.Log("its flags are its own, and so is its input")
	c := newCommand(x.T, x.seckill("lock", "a", "--", "cat", "--", "-")...)
	c.cmd.Stdin = strings.NewReader("in and out")
	out, stderr, code = c.run()
	assert.Zero(x, code, stderr)
	assert.Equal(x, "in and out", out)

	x.Log("a seckill inside it has no complaint about the environment")
	self, err := os.Executable()
	require.NoError(x, err)
	out, stderr, code = seckill(x.T, x.seckill("lock", append([]string{"a", "--", self, "kv", "list", "--keys-only"}, x.store...)...)...)
	assert.Zero(x, code, stderr)
	assert.Empty(x, stderr)
	assert.Regexp(x, `^locks/a/[0-9A-Z]{26}\n$`, out)

	_, stderr, code = seckill(x.T, x.seckill("lock", "a", "--", "no-such-command")...)
	assert.Equal(x, exitUsage, code)
	assert.Contains(x, stderr, `"no-such-command": executable file not found`)
	_, stderr, code = seckill(x.T, x.seckill("lock", "a/", "--timeout=0s")...)
	assert.Equal(x, exitUsage, code)
	assert.Contains(x, stderr, "seckill: lock \"locks/a/\": invalid")
}

func (x locks) passesSignals() {
	x.Log("a signal ends the command, and it says how that went")
	c := start(x.T, []string{"ready"}, x.seckill("lock", "a", "--", "sh", "-c", `trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done`)...)
	require.NoError(x, c.cmd.Process.Signal(syscall.SIGTERM))
	out, stderr, code := c.end()
	assert.Equal(x, 5, code, stderr)
	assert.Equal(x, "ready\nbye\n", out)
}

func (x locks) excludes() {
	x.Log("one has the lock, others fail at once or after a time, or wait")
	holder := start(x.T, []string{"token"}, x.seckill("lock", "a", "--holder=me")...)
	assert.Regexp(x, `^locked\tlocks/a/[0-9A-Z]{26}\ttoken \d+\n$`, holder.out)
	for _, timeout := range []string{"0s", "300ms"} {
		out, stderr, code := seckill(x.T, x.seckill("lock", "a", "--timeout="+timeout, "--", "echo", "never")...)
		assert.Equal(x, exitConflict, code, stderr)
		assert.Empty(x, out)
		assert.Contains(x, stderr, `seckill: "locks/a" is locked by "me", in line since `)
	}
	waits := newCommand(x.T, x.seckill("lock", "a", "--output=json")...)
	require.NoError(x, waits.cmd.Start())
	require.Eventually(x, func() bool { return strings.Count(x.ok("list", "locks/a/", "--keys-only"), "\n") == 2 }, time.Minute, 20*time.Millisecond)
	assert.Empty(x, waits.out.String())
	holder.terminate()
	waits.prints(`"event":"locked"`)
	var told struct {
		Key   string `json:"key"`
		Token uint64 `json:"token"`
	}
	require.NoError(x, json.Unmarshal([]byte(waits.out.String()), &told))
	assert.Equal(x, strconv.FormatUint(told.Token, 10), strconv.FormatFloat(x.records("list", told.Key)[0]["revision"].(float64), 'f', -1, 64)) //nolint:errcheck // fails the test as well

	x.Log("who is interrupted while waiting leaves no place behind")
	impatient := newCommand(x.T, x.seckill("lock", "a", "--", "echo", "never")...)
	require.NoError(x, impatient.cmd.Start())
	require.Eventually(x, func() bool { return strings.Count(x.ok("list", "locks/a/", "--keys-only"), "\n") == 2 }, time.Minute, 20*time.Millisecond)
	require.NoError(x, impatient.cmd.Process.Signal(syscall.SIGINT))
	out, stderr, code := impatient.end()
	assert.Equal(x, exitFailure, code)
	assert.Equal(x, "seckill: received the signal \"interrupt\"\n", stderr)
	assert.Empty(x, out)
	waits.terminate()
}

func (x locks) endsTheCommand() {
	x.Log("when the lock is lost the command is ended, at first politely")
	c := start(x.T, []string{"ready"}, x.seckill("lock", "a", "--", "sh", "-c", `trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done`)...)
	x.ok("delete", strings.TrimSpace(x.ok("list", "locks/a/", "--keys-only")))
	out, stderr, code := c.end()
	assert.Equal(x, exitFailure, code)
	assert.Equal(x, "ready\nbye\n", out)
	assert.Contains(x, stderr, "seckill: the lock was lost, ending the command: lease lost: somebody deleted or overwrote the key")
	assert.Contains(x, stderr, "seckill: the lock was lost and the command ended: ")

	stubborn := start(x.T, []string{"ready"}, x.seckill("lock", "a", "--", "sh", "-c", `trap '' TERM; echo ready; while :; do sleep 0.05; done`)...)
	x.ok("delete", strings.TrimSpace(x.ok("list", "locks/a/", "--keys-only")))
	_, _, code = stubborn.end()
	assert.Equal(x, exitFailure, code)

	alone := start(x.T, []string{"token"}, x.seckill("lock", "a")...)
	x.ok("delete", strings.TrimSpace(x.ok("list", "locks/a/", "--keys-only")))
	_, stderr, code = alone.end()
	assert.Equal(x, exitFailure, code)
	assert.Contains(x, stderr, "seckill: the lock was lost: lease lost")
}

func (x locks) hangsUp() {
	// Tests that run under nohup(1) ignore the signal, and so would what they start.
	// What is caught here begins with the default there: execve(2).
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGHUP)
	defer signal.Stop(caught)

	x.Log("who has no command to pass it to ends when the terminal is closed, and nobody else waits for it for ever")
	holder := start(x.T, []string{"token"}, x.seckill("lock", "a", "--ttl=1s")...)
	waits := newCommand(x.T, x.seckill("lock", "a", "--ttl=1s", "--", "echo", "never")...)
	require.NoError(x, waits.cmd.Start())
	require.Eventually(x, func() bool { return strings.Count(x.ok("list", "locks/a/", "--keys-only"), "\n") == 2 }, time.Minute, 20*time.Millisecond)
	for _, c := range []*command{waits, holder} {
		require.NoError(x, c.cmd.Process.Signal(syscall.SIGHUP))
		out, _, code := c.end()
		assert.Equal(x, -1, code, "a signal has ended it")
		assert.NotContains(x, out, "never")
	}
	require.Eventually(x, func() bool { return x.ok("list", "locks/a/", "--keys-only") == "" }, time.Minute, 20*time.Millisecond)

	x.Log("a command gets it, unless it is to outlive the terminal")
	for before, ends := range map[string]string{"": "bye", "trap '' HUP;": "stayed"} {
		self, err := os.Executable()
		require.NoError(x, err)
		c := newCommand(x.T)
		script := `trap 'echo bye; exit 0' HUP; echo ready; read line; echo stayed`
		c.cmd.Path, c.cmd.Args = "/bin/sh", append([]string{"sh", "-c", before + `exec "$@"`, "sh", self}, x.seckill("lock", "a", "--", "sh", "-c", script)...)
		input, err := c.cmd.StdinPipe()
		require.NoError(x, err)
		require.NoError(x, c.cmd.Start())
		c.prints("ready")
		require.NoError(x, c.cmd.Process.Signal(syscall.SIGHUP))
		if ends == "bye" {
			c.prints("bye")
		}
		require.NoError(x, input.Close())
		out, stderr, code := c.end()
		assert.Zero(x, code, stderr)
		assert.Equal(x, "ready\n"+ends+"\n", out)
	}
}

func (x locks) elects() {
	x.Log("one leads, everybody is told, and another one follows")
	observer := start(x.T, []string{"none\n"}, x.seckill("elect", "e", "--observe")...)
	first := start(x.T, []string{"elected\tfirst\tterm "}, x.seckill("elect", "e", "--id=first", "--value=10.0.0.1:8082")...)
	observer.prints("\nleader\tfirst\tterm ", "\t10.0.0.1:8082\n")
	second := newCommand(x.T, x.seckill("elect", "e", "--id=second", "--output=json")...)
	require.NoError(x, second.cmd.Start())
	require.Eventually(x, func() bool { return strings.Count(x.ok("list", "elections/e/candidates/", "--keys-only"), "\n") == 2 }, time.Minute, 20*time.Millisecond)
	first.terminate()
	second.prints(`{"event":"elected","id":"second","term":`)
	observer.prints("\nleader\tsecond\tterm ")
	programs := start(x.T, []string{`{"event":"leader","id":"second","term":`}, x.seckill("elect", "e", "--observe", "--output=json")...)
	second.terminate()
	programs.prints(`{"event":"none"}`)
	programs.terminate()
	observer.terminate()
}
