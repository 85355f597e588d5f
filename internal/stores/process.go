package stores

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed27495941/seckill/backend"
)

// Roles are what a package's test binary can be started for as a child of
// itself, by name: see [Spawn].
type Roles map[string]func(ctx context.Context, s backend.Store, p *Parent) error

// A Parent is the test that a child process works for.
type Parent struct {
	Args []string      // as given to Spawn
	Told <-chan string // lines from Process.Tell; closed, as ctx ends, when the parent wants the end

	mu sync.Mutex
}

// Say sends the parent a line.
func (p *Parent) Say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Printf(format+"\n", args...)
}

// A Process is a child that plays a role on a store of its own, so that it can
// be paused and killed while the test goes on. It does not outlive the test.
type Process struct {
	Said <-chan string // the lines it said; closed when it has ended

	cmd   *exec.Cmd
	stdin io.WriteCloser
	log   *bytes.Buffer
	ended chan struct{}
	err   error // readable after ended
}

// assignment goes to a child in its environment.
type assignment struct {
	Role      string   `json:"role"`
	Args      []string `json:"args"`
	Kind      string   `json:"kind"`
	Endpoints []string `json:"endpoints"`
	Root      string   `json:"root"`
}

const assignmentEnv = "SECKILL_TEST_ROLE"

// Spawn starts a process of this test binary in one of the roles that were
// given to [Main]. The space is one on a server.
func Spawn(t testing.TB, s Space, role string, args ...string) *Process {
	t.Helper()
	on, ok := s.(interface{ assignment() assignment })
	if !ok {
		t.Fatalf("no process can be started on %T", s)
	}
	a := on.assignment()
	a.Role, a.Args = role, args
	env, err := json.Marshal(a)
	must(t, err)
	exe, err := os.Executable()
	must(t, err)

	p := &Process{log: &bytes.Buffer{}, ended: make(chan struct{})}
	p.cmd = exec.Command(exe)
	p.cmd.Env = append(os.Environ(), assignmentEnv+"="+string(env))
	p.cmd.Stderr = p.log
	p.cmd.SysProcAttr = DiesWithTests()
	p.stdin, err = p.cmd.StdinPipe()
	must(t, err)
	stdout, err := p.cmd.StdoutPipe()
	must(t, err)
	must(t, p.cmd.Start())
	p.listen(stdout)
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() && p.log.Len() > 0 {
			t.Logf("process %s %q logged:\n%s", role, args, p.log)
		}
	})
	return p
}

// mostSaid bounds what a child may say without being listened to.
const mostSaid = 1 << 16

func (p *Process) listen(stdout io.Reader) {
	said := make(chan string, mostSaid)
	p.Said = said
	go func() { // ends with the process; Kill waits for it
		defer close(p.ended)
		defer close(said)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			said <- lines.Text()
		}
		p.err = p.cmd.Wait()
	}()
}

// Tell sends the child a line.
func (p *Process) Tell(t testing.TB, line string) {
	t.Helper()
	_, err := io.WriteString(p.stdin, line+"\n")
	must(t, err)
}

// Await waits for a line that begins like this, and returns the rest of it.
func (p *Process) Await(t testing.TB, prefix string) string {
	t.Helper()
	var before []string
	for deadline := time.After(patience); ; {
		select {
		case line, ok := <-p.Said:
			if !ok {
				t.Fatalf("the process ended before it said %q, after %q: %v\n%s", prefix, before, p.err, p.log)
			}
			if rest, found := strings.CutPrefix(line, prefix); found {
				return strings.TrimSpace(rest)
			}
			before = append(before, line)
		case <-deadline:
			t.Fatalf("the process did not say %q within %v, but %q", prefix, patience, before)
		}
	}
}

// Pause stops the process in its tracks, as a long garbage collection or the
// suspension of a machine does. Nothing of it runs when Pause returns.
func (p *Process) Pause(t testing.TB) {
	t.Helper()
	must(t, p.cmd.Process.Signal(syscall.SIGSTOP))
	Wait(t, "the process is stopped", func() bool { return isStopped(p.cmd.Process.Pid) })
}

// Resume lets it go on.
func (p *Process) Resume(t testing.TB) {
	t.Helper()
	must(t, p.cmd.Process.Signal(syscall.SIGCONT))
}

// Kill ends it without a word, and waits for that.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}

// Stop asks it to end, and requires that it does without an error.
func (p *Process) Stop(t testing.TB) {
	t.Helper()
	_ = p.stdin.Close() // it may have ended
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("the process did not end within %v", patience)
	}
	if p.err != nil {
		t.Fatalf("the process: %v\n%s", p.err, p.log)
	}
}

// play is a child's main.
func (a assignment) play(roles Roles) (err error) {
	role, ok := roles[a.Role]
	if !ok {
		return fmt.Errorf("no role %q: give it to Main", a.Role)
	}
	i := slices.IndexFunc(kinds, func(k kind) bool { return string(k.Kind) == a.Kind })
	if i < 0 {
		return fmt.Errorf("no store %q", a.Kind)
	}
	s, err := kinds[i].open(a.Endpoints, a.Root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	told := make(chan string, mostSaid)
	go func() { // ends with stdin, or with the process
		defer close(told)
		defer cancel()
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			told <- lines.Text()
		}
	}()
	return role(ctx, s, &Parent{Args: a.Args, Told: told})
}

// child plays the role that the environment asks for; false if it does not.
func child(roles Roles) (code int, ok bool) {
	env, ok := os.LookupEnv(assignmentEnv)
	if !ok {
		return 0, false
	}
	var a assignment
	err := json.Unmarshal([]byte(env), &a)
	if err == nil {
		err = a.play(roles)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}
