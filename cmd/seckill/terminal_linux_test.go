package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/conformance/servers"
	"github.com/seed27495941/seckill/internal/stores"
)

const ctrlC, ctrlD = "\x03", "\x04"

// A terminal is one that somebody types at, and a command in its foreground. What the
// command prints is in out and err, as ever.
type terminal struct {
	*command
	keys  *os.File
	shown *lockedBuffer // what the terminal shows of what is typed
	heard int           // of err, in bytes
}

// atTerminal starts a command at a terminal.
func atTerminal(t *testing.T, env []string, args ...string) *terminal {
	t.Helper()
	keys, screen := openTerminal(t)
	x := &terminal{command: newCommand(t, args...), keys: keys, shown: &lockedBuffer{}}
	var reading sync.WaitGroup
	reading.Go(func() { _, _ = io.Copy(x.shown, keys) }) // until it is closed
	t.Cleanup(func() {
		_ = x.cmd.Process.Kill() // it may have ended
		_ = x.wait()
		_ = screen.Close()
		_ = keys.Close()
		reading.Wait()
		if t.Failed() {
			t.Logf("seckill %s\n%s%s\nshown: %q", strings.Join(args, " "), x.out, x.err, x.shown)
		}
	})
	x.cmd.Stdin, x.cmd.Env = screen, append(x.cmd.Env, env...)
	x.cmd.SysProcAttr.Setsid, x.cmd.SysProcAttr.Setctty = true, true
	require.NoError(t, x.cmd.Start())
	return x
}

// openTerminal makes a terminal: what is typed goes into keys, out of which comes what the
// terminal shows, and programs have the screen.
func openTerminal(t *testing.T) (keys, screen *os.File) {
	t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("needs terminals: %v", err)
	}
	t.Cleanup(func() { _ = keys.Close() })
	number := 0
	control(t, keys, func(fd int) (err error) {
		if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err == nil {
			number, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		}
		return err
	})
	screen, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = screen.Close() })
	return keys, screen
}

func control(t *testing.T, keys *os.File, do func(fd int) error) {
	t.Helper()
	raw, err := keys.SyscallConn()
	require.NoError(t, err)
	var failed error
	require.NoError(t, raw.Control(func(fd uintptr) { failed = do(int(fd)) }))
	require.NoError(t, failed)
}

// asked waits until the command asks something, after what it asked before.
func (x *terminal) asked(what string) {
	x.Helper()
	stores.Wait(x, what, func() bool {
		at := strings.Index(x.err.String()[x.heard:], what)
		if at >= 0 {
			x.heard += at + len(what)
		}
		return at >= 0
	})
}

func (x *terminal) types(keys string) {
	x.Helper()
	_, err := x.keys.WriteString(keys)
	require.NoError(x, err)
}

// hides reports whether the terminal does not show what is typed.
func (x *terminal) hides() (hidden bool) {
	x.Helper()
	control(x.T, x.keys, func(fd int) error {
		state, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		hidden = err == nil && state.Lflag&unix.ECHO == 0
		return err
	})
	return hidden
}

// answers waits for a question whose answer nobody is to see, and types it.
func (x *terminal) answers(question, secret string) {
	x.Helper()
	x.asked(question + ": ")
	stores.Wait(x, "a terminal that hides what is typed", x.hides)
	x.types(secret)
}

func (x *terminal) ends(code int, message string) {
	x.Helper()
	out, stderr, got := x.end()
	assert.Equal(x, code, got, stderr)
	assert.Contains(x, out+stderr, message)
	assert.False(x, x.hides(), "what is typed next is shown again")
}

// A typist operates by a terminal, and has no other flags than where the admin is.
type typist struct {
	*testing.T
	env   []string
	flags []string
}

func (p typist) at(t *testing.T, args ...string) *terminal {
	t.Helper()
	return atTerminal(t, p.env, append(args, p.flags...)...)
}

// run runs a command that has nobody to ask.
func (p typist) run(t *testing.T, args ...string) (out, stderr string, code int) {
	t.Helper()
	c := newCommand(t, append(args, p.flags...)...)
	c.cmd.Env = append(c.cmd.Env, p.env...)
	return c.run()
}

// TestAtATerminal has somebody type at one, with an admin that has a certificate.
func TestAtATerminal(t *testing.T) {
	authority := servers.NewAuthority(t)
	cert, key := authority.Issue(t, "admin.test")
	dir := t.TempDir()
	file := func(name string, text []byte) string {
		name = filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(name, text, 0o700)) // some are programs
		return name
	}
	up := startUp(t, "--backend=memory", "--admin-tls-cert="+file("cert.pem", cert), "--admin-tls-key="+file("key.pem", key))
	stores.Wait(t, "there is a first operator", func() bool { return strings.Contains(up.err.String(), "log in as") })
	oneTime := regexp.MustCompile(`log in as admin with the password ([A-Z0-9]+),`).FindStringSubmatch(up.err.String())[1]
	url := up.found(`operators +(https://\S+)`)
	p := typist{T: t, env: []string{"XDG_STATE_HOME=" + dir}, flags: []string{"--admin=" + url, "--admin-ca=" + file("ca.pem", authority.PEM)}}

	t.Run("certificates", func(t *testing.T) {
		_, stderr, code := seckill(t, "whoami", "--admin="+url)
		assert.Equal(t, exitFailure, code)
		assert.Contains(t, stderr, "can't be reached: tls: failed to verify certificate: x509: certificate signed by unknown authority")
		_, stderr, code = seckill(t, "whoami", "--admin="+url, "--admin-ca="+file("other.pem", servers.NewAuthority(t).PEM))
		assert.Equal(t, exitFailure, code)
		assert.Contains(t, stderr, "signed by unknown authority")
		_, stderr, code = seckill(t, "whoami", "--admin="+url, "--admin-ca="+file("none.pem", nil))
		assert.Equal(t, exitUsage, code)
		assert.Contains(t, stderr, "none.pem: expected certificates in PEM")
	})
	t.Run("passwords", func(t *testing.T) { p.passwords(t, oneTime) })
	t.Run("questions", p.questions)
	t.Run("replacements", func(t *testing.T) { p.replacements(t, file) })
	t.Run("editors", func(t *testing.T) {
		p.editors(t, func(script string) []string {
			return append(p.env, "EDITOR="+file("editor", []byte("#!/bin/sh\n"+script)))
		})
	})
}

func (p typist) passwords(t *testing.T, oneTime string) {
	x := p.at(t, "login")
	x.answers("Password of admin", oneTime+"\n")
	x.answers("New password", "correct horse battery\n")
	x.answers("New password again", "correct horse buttery\n")
	x.ends(exitFailure, "that was another one: the password has not been changed")

	x = p.at(t, "login")
	x.answers("Password of admin", ctrlC)
	x.ends(exitFailure, `received the signal "interrupt"`)

	x = p.at(t, "login")
	x.answers("Password of admin", "\n")
	x.ends(exitUsage, "password of admin: nothing was given")

	x = p.at(t, "login")
	x.answers("Password of admin", oneTime+"\n")
	x.answers("New password", "correct horse battery\n")
	x.answers("New password again", "correct horse battery\n")
	x.ends(0, "password changed, logged in as admin (admin)\n")
	assert.NotContains(t, x.shown.String(), "horse")
	assert.NotContains(t, x.shown.String(), oneTime)

	out, stderr, code := p.run(t, "whoami")
	assert.Zero(t, code, stderr)
	assert.Equal(t, "admin (admin, by session)\n", out)
}

// questions are asked before what can't be undone.
func (p typist) questions(t *testing.T) {
	x := p.at(t, create("--publish")...)
	x.asked("Publish Phone, which can't be changed then? [y/N] ")
	x.types("n\n")
	x.ends(exitFailure, "nothing was done")
	listed, stderr, code := p.run(t, "events", "list")
	require.Zero(t, code, stderr)
	assert.NotContains(t, listed, "Phone")

	id, stderr, code := p.run(t, create("--slots=1")...)
	require.Zero(t, code, stderr)
	id = strings.TrimSpace(id)
	x = p.at(t, "events", "publish", id)
	x.asked(fmt.Sprintf("Publish %s (Phone), which can't be changed then? [y/N] ", id))
	x.types("y\n")
	x.ends(0, id+" online\n")
	status := func(want string) {
		t.Helper()
		shown, stderr, code := p.run(t, "events", "show", id)
		assert.Zero(t, code, stderr)
		assert.Regexp(t, `(?m)^status +`+want+`$`, shown)
	}
	question := fmt.Sprintf("End the sale of %s (Phone) for good, with orders that are not paid left so? [y/N] ", id)
	for keys, message := range map[string]string{
		"\n": "nothing was done", "n\n": "nothing was done", "yes please\n": "nothing was done",
		ctrlD: "nothing was done: EOF", "y" + ctrlD + ctrlD: "nothing was done: EOF", ctrlC: `nothing was done: received the signal "interrupt"`,
	} {
		x := p.at(t, "events", "close", id)
		x.asked(question)
		x.types(keys)
		x.ends(exitFailure, message)
	}
	status("online")
	x = p.at(t, "events", "close", id)
	x.asked(question)
	x.types(" Yes \n")
	x.ends(0, id+" closed\n")
	status("closed")
}

// replacements: what a file changes is shown before it is asked whether that is meant.
func (p typist) replacements(t *testing.T, file func(name string, text []byte) string) {
	changes := func(args []string, diff, question, answer string, code int, message string) {
		t.Helper()
		x := p.at(t, args...)
		x.asked(diff)
		x.asked(question + "? [y/N] ")
		x.types(answer + "\n")
		x.ends(code, message)
	}
	set := func(text string) []string {
		return []string{"config", "set", file("config.json", []byte(text)), "--comment=x"}
	}
	const toAll = "Publish that, to all nodes"
	x := p.at(t, set(`{"logLevel":"loud"}`)...)
	x.asked("logLevel: ")
	x.ends(exitUsage, "the config can't be used")
	changes(set(loud), `+  "logLevel": "debug"`, toAll, "n", exitFailure, "nothing was done")
	changes(set(loud), `+  "logLevel": "debug"`, toAll, "y", 0, "published as revision ")
	changes(append(set(quiet), "--if-revision=0"), "-  \"logLevel\": \"debug\"\n+  \"logLevel\": \"error\"\n", toAll, "y", exitConflict, "(changed)")
	start := func(more ...string) []string {
		return append([]string{"config", "rollout", "start", file("config.json", []byte(quiet)), "--comment=x"}, more...)
	}
	changes(start("--percent=5"), `+  "logLevel": "error"`, "Try that on 5% of the nodes", "n", exitFailure, "nothing was done")
	changes(start("--percent=100"), `+  "logLevel": "error"`, "Try that on all nodes at once", "n", exitFailure, "nothing was done")
	changes(start("--percent=50"), `+  "logLevel": "error"`, "Try that on 50% of the nodes", "y", 0, "trial, 50% of the nodes")
	target := []string{"config", "rollout", "target", "--percent=100"}
	changes(target, quiet, "Try that on all nodes at once", "n", exitFailure, "nothing was done")
	_, stderr, code := p.run(t, append(target, "--label=zone=a")...)
	assert.Zero(t, code, stderr, "that are not all nodes")
	_, stderr, code = p.run(t, "config", "rollout", "abandon", "--comment=x", "--yes")
	require.Zero(t, code, stderr)
	_, stderr, code = p.run(t, "config", "delete", "--comment=x", "--yes")
	require.Zero(t, code, stderr)

	id, stderr, code := p.run(t, create()...)
	require.Zero(t, code, stderr)
	id = strings.TrimSpace(id)
	draft := []string{"events", "edit", id, "--file=" + file("draft.yaml", []byte("title: Tablet\nsku: t\ntotal: 5\nprice: {currency: EUR}\nwindow: {closes: 2040-01-01T00:00:00Z}\n"))}
	changes(draft, "-  \"title\": \"Phone\",\n", "Have the draft so", "n", exitFailure, "nothing was done")
	changes(draft, "+  \"title\": \"Tablet\",\n", "Have the draft so", "y", 0, id+" draft\n")
	_, stderr, code = p.run(t, "events", "delete", id, "--yes")
	require.Zero(t, code, stderr)
}

// editors: what was edited is published if that is meant. Else it is kept, and where is told.
func (p typist) editors(t *testing.T, program func(script string) []string) {
	edit := func(script string) *terminal {
		t.Helper()
		x := atTerminal(t, program(script), append([]string{"config", "edit", "--comment=x"}, p.flags...)...)
		x.asked("editing")
		return x
	}
	kept := func(x *terminal, message, text string) {
		t.Helper()
		x.ends(exitFailure, message)
		file := regexp.MustCompile(`the text is in (\S+)\n$`).FindStringSubmatch(x.err.String())
		require.Len(t, file, 2, x.err)
		have, err := os.ReadFile(file[1])
		require.NoError(t, err)
		assert.Equal(t, text, string(have))
		_, stderr, code := p.run(t, "config", "get")
		assert.Equal(t, exitFailure, code)
		assert.Contains(t, stderr, "no config is published")
	}
	const loudly = `echo '` + loud + `' > "$1"; echo editing >&2; `

	x := edit(loudly + "exec sleep 60")
	x.types(ctrlC)
	kept(x, "editor: signal: interrupt; the text is in ", loud+"\n")

	x = edit(loudly)
	x.asked("Publish that, to all nodes? [y/N] ")
	x.types(ctrlC)
	kept(x, `nothing was done: received the signal "interrupt"; the text is in `, loud+"\n")

	x = edit(`echo '{"logLevel":"loud"}' > "$1"; echo editing >&2`)
	x.asked("logLevel: ")
	x.asked("Enter edits it again, Ctrl-D gives up ")
	x.types("\n")
	x.asked("editing")
	x.asked("Enter edits it again, Ctrl-D gives up ")
	x.types(ctrlC)
	_, stderr, code := x.end()
	assert.Equal(t, exitUsage, code)
	assert.Regexp(t, `the config can't be used; the text is in \S+\n$`, stderr)

	// An editor that knows what to do with Ctrl-C, as vi does, goes on, and so does the command.
	x = edit("trap 'echo interrupted >&2; exit 0' INT; " + loudly + "while :; do sleep 0.1; done")
	x.types(ctrlC)
	x.asked("interrupted")
	x.asked("Publish that, to all nodes? [y/N] ")
	x.types("y\n")
	x.ends(0, "published as revision ")
	left, err := filepath.Glob(filepath.Join(x.cmd.Dir, "seckill-config-*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

// What the store has can't have a terminal do anything; what is no terminal gets it as it is.
func TestTerminalsGetNoOrders(t *testing.T) {
	text := "a\tb\r\n\x1b[2K\u009b1A\x9b\u202e\"é\"\n"
	keys, screen := openTerminal(t)
	require.NoError(t, printer{to: screen}.value(backend.Entry{Value: []byte(text + "end")}))
	shown, err := bufio.NewReader(keys).ReadString('d')
	require.NoError(t, err)
	assert.Equal(t, "a\tb\\r\n\\x1b[2K\\u009b1A\\x9b\\u202e\"é\"\nend", strings.ReplaceAll(shown, "\r\n", "\n"), "the terminal's own ends of lines aside")
	var piped bytes.Buffer
	require.NoError(t, printer{to: &piped}.value(backend.Entry{Value: []byte(text)}))
	assert.Equal(t, text, piped.String())
}
