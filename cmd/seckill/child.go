package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/seed27495941/seckill/recipe/lock"
)

// grace is how long a command may take to end when the lock was lost.
const grace = 5 * time.Second

// A childError is the exit code of a command, which has said itself what there is
// to say.
type childError struct{ code int }

func (e childError) Error() string { return fmt.Sprintf("the command ended with %d", e.code) }

// findCommand tells before a lock is taken that there is nothing to run.
func findCommand(name string) error {
	if _, err := exec.LookPath(name); err != nil {
		return usageError{err}
	}
	return nil
}

// signals are those that this process gets for its command.
type signals chan os.Signal

// listen begins with those that end this process's own work too.
func listen() signals {
	s := make(signals, 8)
	s.add(syscall.SIGINT, syscall.SIGTERM)
	return s
}

// add leaves out what this process was told to ignore, as nohup does: the command
// ignores that as well.
func (s signals) add(all ...os.Signal) {
	for _, sig := range all {
		if !signal.Ignored(sig) {
			signal.Notify(s, sig)
		}
	}
}

func (s signals) stop() { signal.Stop(s) }

// runWhile runs a command to its end, and ends it when the lock is lost. Signals
// that end a process which waits or holds are for the command from now on.
func runWhile(held *lock.Held, s signals, command []string) error {
	s.add(syscall.SIGHUP, syscall.SIGQUIT)
	child := exec.Command(command[0], command[1:]...)
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	child.Env = append(os.Environ(), "SECKILL_LOCK_KEY="+held.Guard().Key, fmt.Sprintf("SECKILL_LOCK_TOKEN=%d", held.Token()))
	if err := child.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()

	lost := held.Lost()
	var kill <-chan time.Time
	for {
		select {
		case err := <-ended:
			if lost := held.Err(); lost != nil {
				return fmt.Errorf("the lock was lost and the command ended: %w", lost)
			}
			return passedOn(err)
		case sig := <-s:
			// What is typed at a terminal the command gets from there.
			if sig != syscall.SIGINT && sig != syscall.SIGQUIT || !isTerminal(os.Stdin) {
				_ = child.Process.Signal(sig) // it may have ended
			}
		case <-lost:
			fmt.Fprintf(os.Stderr, "seckill: the lock was lost, ending the command: %v\n", held.Err())
			_ = child.Process.Signal(syscall.SIGTERM) // it may have ended
			lost, kill = nil, time.After(grace)
		case <-kill:
			_ = child.Process.Kill() // it may have ended
		}
	}
}

// passedOn is how a command ended, in the terms of a shell.
func passedOn(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return childError{128 + int(status.Signal())}
	}
	return childError{exit.ExitCode()}
}
