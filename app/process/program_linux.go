package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// A program is how a process was started, so that its successor can be started
// the same way.
type program struct {
	path string // as it was called: where a link leads is found out anew each time
	args []string
	dir  string
}

func thisProgram() (program, error) {
	dir, err := os.Getwd()
	if err != nil {
		return program{}, err
	}
	path, err := exec.LookPath(os.Args[0])
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil { // a name that is not the file's
		path, err = os.Executable()
	}
	return program{path: path, args: os.Args, dir: dir}, err
}

// A child is a process that this one has started.
type child struct {
	cmd   *exec.Cmd
	ended chan error // has the way it ended
	stop  context.CancelFunc
	done  chan struct{} // closed when nobody waits for the child any more
}

// start starts the program, or another executable in its stead. The child has this
// process's environment, directory and log.
func (p program) start(executable string) (*child, error) {
	if executable == "" {
		executable = p.path
	}
	cmd := exec.Command(executable)
	cmd.Args = p.args
	cmd.Dir = p.dir
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &child{cmd: cmd, ended: make(chan error, 1), stop: stop, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		if c.awaitEnd(ctx) == nil {
			c.ended <- cmd.Wait()
		}
	}()
	return c, nil
}

// awaitEnd waits for the child's end, or ctx's. (exec.Cmd.Wait waits for the
// child's only, and that is to outlive this process.)
func (c *child) awaitEnd(ctx context.Context) error {
	id, err := identify(c.cmd.Process.Pid)
	if errors.Is(err, errGone) {
		return nil
	}
	if err != nil {
		return err
	}
	g, err := hold(id)
	if errors.Is(err, errGone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer g.release()
	return g.awaitEnd(ctx)
}

// leave lets the child go its own way.
func (c *child) leave() {
	c.stop()
	<-c.done
}

func (c *child) kill() {
	_ = c.cmd.Process.Kill() // it may have ended
	<-c.done
	c.stop()
}

// startNext starts a successor and waits until it has taken over.
func (s *succession) startNext(ctx context.Context, executable string) (pid int, err error) {
	if !s.upgrading.TryLock() {
		return 0, errors.New("an upgrade is under way already")
	}
	defer s.upgrading.Unlock()
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	c, err := s.program.start(executable) //nolint:contextcheck // it outlives whoever asks
	if err != nil {
		return 0, err
	}
	s.cfg.Log.Info("started a successor", "pid", c.cmd.Process.Pid, "executable", c.cmd.Path)
	timer := time.NewTimer(s.cfg.ReadyTimeout)
	defer timer.Stop()
	select {
	case <-s.over:
	case err = <-c.ended:
		err = fmt.Errorf("the new process ended before it was ready, its log says why: %w", orClean(err))
	case <-timer.C:
		err = fmt.Errorf("the new process was not ready within %v", s.cfg.ReadyTimeout)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	// One that has been let in may serve already: it is not killed unless that has failed.
	for freed := s.rule(true); freed != nil; freed = s.rule(true) {
		select {
		case <-s.over:
			c.leave()
			return s.successor(), nil
		case <-freed:
		}
	}
	defer s.rule(false)
	c.kill()
	return 0, err
}

// orClean: a process that ends without an error was not to end at all.
func orClean(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

func (s *succession) successor() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next
}

// answerUpgrade starts a successor for somebody who asks, and tells how it went.
func (s *succession) answerUpgrade(ctx context.Context, w *wire, executable string) {
	pid, err := s.startNext(ctx, executable)
	if err != nil {
		s.cfg.Log.Error("no upgrade", "error", err)
		w.refuse(err)
		return
	}
	_ = w.send(message{Verb: done, PID: pid}) // whoever asked may have left
}
