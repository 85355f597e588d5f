// Command guard is the parent of one test server and the reason why none is ever left behind.
//
//	guard DIR PROGRAM [ARG...]
//
// It makes DIR, runs PROGRAM in it when told to, and does what the lines on its standard input say. When that input ends,
// because the test closed it or because the test died in whatever way, guard kills the server, removes DIR and exits. There is no
// other way to end it gently: signals are ignored, so that a ctrl-C meant for the tests cannot cut the cleaning short. The same
// program does this as an ordinary process and as PID 1 of a container.
//
// Every command is answered by exactly one line, "ok", "started PID" or "error TEXT":
//
//	file NAME BASE64   write a file into DIR
//	start              run PROGRAM
//	kill               SIGKILL; answered when the server is gone
//	term               SIGTERM; answered at once
//	stop               SIGSTOP; answered when every thread stands still
//	cont               SIGCONT
//
// Between answers stands "exited STATUS" whenever the server ended. What the server prints goes to guard's standard error, and behind
// all of it, once it has ended, "guard: PID ended: STATUS".
package main

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

func main() {
	// The server's parent-death signal is bound to the thread that started it: this one, which lives as long as the process.
	runtime.LockOSThread()
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: guard DIR PROGRAM [ARG...]")
		os.Exit(2)
	}
	// Caught and dropped rather than ignored: an ignored signal would stay ignored in the server. SIGPIPE is among them because the
	// test that reads our output may die first.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGPIPE)

	s := &server{dir: os.Args[1], command: os.Args[2:]}
	if err := s.obeyUntilEOF(); err != nil {
		fmt.Fprintln(os.Stderr, "guard:", err)
		os.Exit(1)
	}
}

type server struct {
	dir     string
	command []string

	process *os.Process
	exited  chan struct{} // nil before the first start, closed when the server is gone

	say sync.Mutex // one line at a time on standard output
}

func (s *server) obeyUntilEOF() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		answer, err := s.obey(lines.Text())
		if err != nil {
			answer = "error " + strings.ReplaceAll(err.Error(), "\n", " ")
		}
		s.tell(answer)
		if strings.HasPrefix(answer, "started ") {
			go s.wait()
		}
	}
	if s.running() {
		if err := s.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		<-s.exited
	}
	return errors.Join(lines.Err(), os.RemoveAll(s.dir))
}

func (s *server) obey(line string) (answer string, err error) {
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "file":
		name, content, _ := strings.Cut(rest, " ")
		return "ok", s.write(name, content)
	case "start":
		return s.start()
	}
	if !s.running() {
		return "", errors.New("the server is not running")
	}
	switch verb {
	case "kill":
		if err = s.process.Kill(); err == nil {
			<-s.exited
		}
	case "term":
		err = s.process.Signal(syscall.SIGTERM)
	case "stop":
		if err = s.process.Signal(syscall.SIGSTOP); err == nil {
			err = awaitStopped(s.process.Pid)
		}
	case "cont":
		err = s.process.Signal(syscall.SIGCONT)
	default:
		err = fmt.Errorf("unknown command %q", verb)
	}
	if errors.Is(err, os.ErrProcessDone) {
		err = nil // it ended by itself meanwhile; "exited" says so
	}
	return "ok", err
}

func (s *server) write(name, content string) error {
	if !filepath.IsLocal(name) {
		return fmt.Errorf("file name %q leads out of the server's directory", name)
	}
	b, err := base64.StdEncoding.DecodeString(content)
	if err != nil {
		return err
	}
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

func (s *server) start() (string, error) {
	if s.running() {
		return "", errors.New("the server is running already")
	}
	cmd := exec.Command(s.command[0], s.command[1:]...)
	cmd.Dir = s.dir
	// Temporary files go away with the rest; an image built from scratch has no /tmp at all.
	cmd.Env = append(environment(), "TMPDIR="+s.dir)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = attributes()
	if err := cmd.Start(); err != nil {
		return "", err
	}
	s.process, s.exited = cmd.Process, make(chan struct{})
	return fmt.Sprint("started ", cmd.Process.Pid), nil
}

func (s *server) running() bool {
	if s.exited == nil {
		return false
	}
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

// wait reaps the server that was just started and tells how it ended.
func (s *server) wait() {
	process, exited := s.process, s.exited
	state, err := process.Wait()
	status := state.String()
	if err != nil {
		status = err.Error()
	}
	fmt.Fprintf(os.Stderr, "guard: %d ended: %s\n", process.Pid, status)
	s.tell("exited " + status)
	close(exited)
}

func (s *server) tell(line string) {
	s.say.Lock()
	defer s.say.Unlock()
	fmt.Println(line)
}

// environment leaves out what etcd and Consul would take for settings: a server has those of its test and no others.
func environment() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "ETCD_") && !strings.HasPrefix(e, "CONSUL_") {
			env = append(env, e)
		}
	}
	return env
}
