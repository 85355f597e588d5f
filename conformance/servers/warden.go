package servers

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// A launcher puts a guard with its server somewhere: into a child process or into a container.
type launcher interface {
	// source is what Cluster.Source tells.
	source() string

	// launch starts the guard of the node called name, whose server takes args. The guard reads stdin, its answers go to stdout, the
	// server's log to stderr. wait returns when the guard is gone with all it kept; ctx bounds the launch alone.
	launch(ctx context.Context, name string, args []string, stdout, stderr io.Writer) (stdin io.WriteCloser, wait func() error, err error)
}

// A warden is the test's side of one guard: it sends the commands and keeps track of the server's runs.
type warden struct {
	log   tail
	stdin io.WriteCloser
	gone  chan struct{} // closed when the guard has ended
	err   error         // why, readable after gone

	turn    chan struct{} // held by the caller whose command is under way
	owed    int           // answers nobody waited for; guarded by turn
	answers chan string   // at most owed+1 are under way, so hear never blocks for long

	mu  sync.Mutex
	run *run
}

// A run is one life of the server, from start to exit.
type run struct {
	pid    string // as the guard sees it
	done   chan struct{}
	status string // readable after done
}

// guardPatience bounds the waiting for a guard to clean up, a matter of milliseconds unless a daemon hangs.
const guardPatience = 30 * time.Second

func hire(ctx context.Context, l launcher, name string, args []string) (*warden, error) {
	w := &warden{
		gone:    make(chan struct{}),
		turn:    make(chan struct{}, 1),
		answers: make(chan string, 16),
	}
	stdin, wait, err := l.launch(ctx, name, args, &lineWriter{each: w.hear}, &w.log)
	if err != nil {
		return nil, err
	}
	w.stdin = stdin
	go func() { // ends with the guard; close waits for it
		w.err = wait()
		w.ended("its guard is gone")
		close(w.gone)
	}()
	return w, nil
}

// hear takes one line from the guard, in the order in which things happened there.
func (w *warden) hear(line string) {
	if status, ok := strings.CutPrefix(line, "exited "); ok {
		w.ended(status)
		return
	}
	if pid, ok := strings.CutPrefix(line, "started "); ok {
		w.mu.Lock()
		w.run = &run{pid: pid, done: make(chan struct{})}
		w.mu.Unlock()
	}
	w.answers <- line
}

func (w *warden) ended(status string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.run != nil && w.run.alive() {
		w.run.status = status
		close(w.run.done)
	}
}

func (r *run) alive() bool {
	select {
	case <-r.done:
		return false
	default:
		return true
	}
}

// last is the run that was started last, nil before the first.
func (w *warden) last() *run {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.run
}

func (w *warden) put(ctx context.Context, name string, content []byte) error {
	_, err := w.do(ctx, "file "+name+" "+base64.StdEncoding.EncodeToString(content))
	return err
}

// do sends one command and waits for its answer.
func (w *warden) do(ctx context.Context, command string) (string, error) {
	select {
	case w.turn <- struct{}{}:
		defer func() { <-w.turn }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	for ; w.owed > 0; w.owed-- {
		if _, err := w.answer(ctx); err != nil {
			return "", err
		}
	}
	if _, err := io.WriteString(w.stdin, command+"\n"); err != nil {
		return "", fmt.Errorf("the server's guard does not listen: %w", err)
	}
	w.owed++
	answer, err := w.answer(ctx)
	if err != nil {
		return "", err
	}
	w.owed--
	if reason, failed := strings.CutPrefix(answer, "error "); failed {
		return "", errors.New(reason)
	}
	return answer, nil
}

func (w *warden) answer(ctx context.Context) (string, error) {
	select {
	case a := <-w.answers:
		return a, nil
	case <-w.gone:
		return "", errors.Join(fmt.Errorf("the server's guard is gone: %s", excerpt(w.log.String())), w.err)
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// close ends the guard, and with it the server and its data.
func (w *warden) close() error {
	w.stdin.Close()
	select {
	case <-w.gone:
		return w.err
	case <-time.After(guardPatience):
		return fmt.Errorf("the server's guard did not end within %s", guardPatience)
	}
}

// A lineWriter calls each for every whole line written to it.
type lineWriter struct {
	each func(line string)
	part []byte
}

func (l *lineWriter) Write(p []byte) (int, error) {
	l.part = append(l.part, p...)
	for {
		line, rest, found := bytes.Cut(l.part, []byte("\n"))
		if !found {
			return len(p), nil
		}
		l.each(string(line))
		l.part = rest
	}
}

// wholeLog returns the log when all that the run printed has arrived: it takes another way than the news that the run is over.
func (w *warden) wholeLog(r *run) string {
	mark := fmt.Sprintf("guard: %s ended: ", r.pid)
	for end := time.Now().Add(time.Second); ; time.Sleep(5 * time.Millisecond) {
		if log := w.log.String(); strings.Contains(log, mark) || time.Now().After(end) {
			return log
		}
	}
}

// excerpt is as much of a log as fits well into an error: how it began and how it ended.
func excerpt(log string) string {
	const head, foot = 4, 10
	log = strings.TrimSpace(log)
	if log == "" {
		return "(it printed nothing)"
	}
	lines := strings.Split(log, "\n")
	if len(lines) > head+foot {
		lines = slices.Concat(lines[:head], []string{"…"}, lines[len(lines)-foot:])
	}
	return strings.Join(lines, "\n")
}
