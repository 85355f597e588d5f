package servers

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A script plays the guard: it answers every command with the next line, once it is told to.
type script struct {
	commands chan string
	answers  chan string
}

func (*script) source() string { return "script" }

func (s *script) launch(_ context.Context, _ string, _ []string, stdout, _ io.Writer) (io.WriteCloser, func() error, error) {
	in, out := io.Pipe()
	return out, func() error {
		for lines := bufio.NewScanner(in); lines.Scan(); {
			s.commands <- lines.Text()
			// In two halves, as pipes may deliver.
			answer := <-s.answers + "\n"
			for _, half := range []string{answer[:1], answer[1:]} {
				if _, err := io.WriteString(stdout, half); err != nil {
					return err
				}
			}
		}
		return nil
	}, nil
}

// The answer to a command that nobody waited for is not taken for the answer to the next.
func TestWardenLateAnswer(t *testing.T) {
	s := &script{commands: make(chan string, 2), answers: make(chan string, 2)}
	w, err := hire(t.Context(), s, "", nil)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = w.do(ctx, "stop")
	require.ErrorIs(t, err, context.DeadlineExceeded)

	s.answers <- "error late"
	s.answers <- "ok"
	answer, err := w.do(t.Context(), "cont")
	require.NoError(t, err)
	require.Equal(t, "ok", answer)
	require.Equal(t, "stop", <-s.commands)
	require.Equal(t, "cont", <-s.commands)
	require.NoError(t, w.close())

	_, err = w.do(t.Context(), "kill")
	require.Error(t, err, "a guard that is gone answers nothing")
}

// A start that is over before anybody looks is known to be over.
func TestWardenShortRun(t *testing.T) {
	s := &script{commands: make(chan string, 1), answers: make(chan string, 1)}
	w, err := hire(t.Context(), s, "", nil)
	require.NoError(t, err)
	require.Nil(t, w.last())
	s.answers <- "started 1\nexited exit status 3"
	_, err = w.do(t.Context(), "start")
	require.NoError(t, err)
	<-w.last().done
	require.Equal(t, "exit status 3", w.last().status)
	require.NoError(t, w.close())
}

// guarded starts a guard around a shell and returns its process and directory.
func guarded(t *testing.T, script string) (*warden, *os.Process, string) {
	guard, err := guardBinary(testContext(t))
	require.NoError(t, err)
	l := &processes{guard: guard, binary: "/bin/sh"}
	name := fmt.Sprintf("seckill-guard-test-%d-%d", os.Getpid(), time.Now().UnixNano())
	w, err := hire(t.Context(), l, name, []string{"-c", script})
	require.NoError(t, err)
	_, err = w.do(t.Context(), "start")
	require.NoError(t, err)

	stat, err := os.ReadFile("/proc/" + w.last().pid + "/stat")
	require.NoError(t, err)
	parent, err := strconv.Atoi(strings.Fields(string(stat))[3])
	require.NoError(t, err)
	process, err := os.FindProcess(parent)
	require.NoError(t, err)
	return w, process, dataDir(name)
}

func needProc(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("looks into /proc")
	}
}

// Signals do not keep the guard from cleaning up; the server has signals as it should.
func TestGuardOutlivesSignals(t *testing.T) {
	needProc(t)
	w, guard, dir := guarded(t, "exec sleep 1000")
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE} {
		require.NoError(t, guard.Signal(s))
	}
	_, err := w.do(t.Context(), "term")
	require.NoError(t, err)
	<-w.last().done
	require.Contains(t, w.last().status, "terminated")
	require.DirExists(t, dir)
	require.NoError(t, w.close())
	require.NoDirExists(t, dir)
}

// Even a guard that is killed itself takes its server along.
func TestKilledGuard(t *testing.T) {
	needProc(t)
	w, guard, dir := guarded(t, "exec sleep 1000")
	defer os.RemoveAll(dir) // which nobody is left to do
	require.NoError(t, guard.Kill())
	<-w.gone
	require.Eventually(t, func() bool {
		_, err := os.Stat("/proc/" + w.last().pid)
		return err != nil
	}, 10*time.Second, 10*time.Millisecond)
	require.ErrorContains(t, w.close(), "killed")
}

// What etcd and Consul would read as settings does not reach them, and files stay inside the directory.
func TestGuardKeepsServersApart(t *testing.T) {
	needProc(t)
	t.Setenv("ETCD_NAME", "wrong")
	t.Setenv("CONSUL_HTTP_ADDR", "wrong")
	w, _, dir := guarded(t, "env; pwd; exec sleep 1000")
	require.NoError(t, w.put(t.Context(), "a/b", []byte("content")))
	content, err := os.ReadFile(filepath.Join(dir, "a", "b"))
	require.NoError(t, err)
	require.Equal(t, "content", string(content))
	require.ErrorContains(t, w.put(t.Context(), "../b", nil), "leads out")
	_, err = w.do(t.Context(), "dance")
	require.ErrorContains(t, err, `unknown command "dance"`)

	require.Eventually(t, func() bool { return strings.Contains(w.log.String(), dir+"\n") }, 10*time.Second, 10*time.Millisecond)
	require.NotContains(t, w.log.String(), "wrong")
	require.NoError(t, w.close())
}

func TestGuardUsage(t *testing.T) {
	guard, err := guardBinary(testContext(t))
	require.NoError(t, err)
	out, err := exec.Command(guard).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "usage:")
}

func TestTail(t *testing.T) {
	var log tail
	fmt.Fprint(&log, "short")
	require.Equal(t, "short", log.String())
	for i := range 10 * tailSize / 10 {
		fmt.Fprintf(&log, "%9d\n", i)
	}
	text := log.String()
	require.True(t, strings.HasPrefix(text, "…"))
	require.LessOrEqual(t, len(text), 2*tailSize+len("…"))
	require.True(t, strings.HasSuffix(text, fmt.Sprintf("%9d\n", 10*tailSize/10-1)))
	require.Len(t, strings.Split(excerpt(text), "\n"), 15)
	require.Equal(t, "a\nb", excerpt("a\nb\n"))
	require.Equal(t, "(it printed nothing)", excerpt(" \n"))
}
