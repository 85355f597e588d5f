package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/process"
	"github.com/seed27495941/seckill/internal/stores"
)

// patience bounds the wait for a condition. Nothing waits that long unless it fails.
const patience = time.Minute

// A node is what a process of these tests is told to be, in its environment. All
// successors of one get the same.
type nodeConfig struct {
	Test    int // pid, which no node outlives
	PIDFile string
	Listen  map[string]string // addresses by name
	Seated  string            // file that a process awaits when it has the seat; "" for none
	Ready   time.Duration
	Drain   time.Duration
}

const (
	nodeEnv  = "SECKILL_TEST_NODE"
	faultEnv = "SECKILL_TEST_FAULT" // what goes wrong in a process, or the file it waits for
)

// What can go wrong before a process is ready.
const (
	dies  = "dies"
	hangs = "hangs"
	falls = "falls" // dies between being let in and saying that it serves
)

// A falling handler ends the process when it begins to serve.
type falling struct{ slog.Handler }

func (f falling) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "listening" {
		os.Exit(3)
	}
	return f.Handler.Handle(ctx, r)
}

func isNode() bool { return os.Getenv(nodeEnv) != "" }

// runNode serves until it is told to stop, or replaced.
func runNode() error {
	var c nodeConfig
	if err := json.Unmarshal([]byte(os.Getenv(nodeEnv)), &c); err != nil {
		return err
	}
	go func() { // ends with the process
		if process.AwaitEnd(context.Background(), c.Test) == nil {
			os.Exit(9)
		}
	}()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("process", os.Getpid())
	if os.Getenv(faultEnv) == falls {
		log = slog.New(falling{log.Handler()})
	}
	stop, abort, release := process.Signals(context.Background())
	defer release()
	seat, err := process.TakeSeat(stop, process.SeatConfig{PIDFile: c.PIDFile, Log: log, ReadyTimeout: c.Ready})
	if err != nil {
		return err
	}
	if err := awaitFile(stop, c.Seated); err != nil {
		return errors.Join(err, seat.Close(abort))
	}
	draining := make(chan struct{})
	plan := process.Plan{Log: log, Seat: seat, Warm: warm, Draining: func() { close(draining) }, DrainTimeout: c.Drain}
	for name, address := range c.Listen {
		l, err := seat.Listen(stop, name, address, "--"+name)
		if err != nil {
			return errors.Join(err, seat.Close(abort))
		}
		plan.Servers = append(plan.Servers, process.Server{Name: name, Listener: l, Handler: answer(draining)})
	}
	return errors.Join(process.Run(stop, abort, plan), seat.Close(abort))
}

func warm(ctx context.Context) error {
	switch fault := os.Getenv(faultEnv); fault {
	case "", falls:
		return nil
	case dies:
		os.Exit(3)
	case hangs:
		<-ctx.Done()
	default:
		return awaitFile(ctx, fault)
	}
	return context.Cause(ctx)
}

// awaitFile waits until a file exists, if it has a name.
func awaitFile(ctx context.Context, name string) error {
	for name != "" {
		if _, err := os.Stat(name); err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

// answer answers with the pid, once the request's body is in. It takes its time if
// asked to: until a file exists.
func answer(draining <-chan struct{}) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		if r.URL.Path == "/stream" {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-draining
		}
		if file := r.URL.Query().Get("await"); file != "" {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			if awaitFile(r.Context(), file) != nil {
				return
			}
		}
		_, _ = fmt.Fprintln(w, os.Getpid())
	})
}

// A bench is a line of nodes.
type bench struct {
	*testing.T
	nodeConfig
	dir string
	at  string // address of the listener "web"
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{T: t, dir: stores.ShortDir(t), at: stores.FreeAddress(t)}
	b.nodeConfig = nodeConfig{
		Test: os.Getpid(), PIDFile: filepath.Join(b.dir, "pid"), Listen: map[string]string{"web": b.at},
		Ready: patience, Drain: patience,
	}
	t.Cleanup(func() {
		if text, err := os.ReadFile(b.logFile()); t.Failed() && err == nil {
			t.Logf("the nodes logged:\n%s", text)
		}
	})
	return b
}

// logFile is a file and no pipe, because a pipe would end with the first node.
func (b *bench) logFile() string { return filepath.Join(b.dir, "log") }

// A started process is a child of the test.
type started struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // readable after ended
}

func (s *started) pid() int { return s.cmd.Process.Pid }

func (s *started) hasEnded() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// start starts a node.
func (b *bench) start(env ...string) *started {
	b.Helper()
	config, err := json.Marshal(b.nodeConfig)
	require.NoError(b, err)
	s := &started{cmd: exec.Command(os.Args[0]), ended: make(chan struct{})}
	s.cmd.Env = append(append(os.Environ(), "GORACE=atexit_sleep_ms=0", nodeEnv+"="+string(config)), env...)
	out, err := os.OpenFile(b.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(b, err)
	defer out.Close()
	s.cmd.Stdout, s.cmd.Stderr = out, out
	require.NoError(b, s.cmd.Start())
	go func() {
		defer close(s.ended)
		s.err = s.cmd.Wait()
	}()
	b.Cleanup(func() {
		_ = s.cmd.Process.Kill() // it may have ended
		<-s.ended
	})
	return s
}

// first starts a node that serves.
func (b *bench) first(env ...string) *started {
	b.Helper()
	s := b.start(env...)
	b.awaitServing(s.pid())
	return s
}

// awaitServing waits until a process answers, and the file names it.
func (b *bench) awaitServing(pid int) {
	b.Helper()
	b.await(fmt.Sprintf("process %d serves", pid), func() bool { return b.named() == pid && b.ask() == pid })
}

// ask is the pid of a process that answers, 0 for none.
func (b *bench) ask() int {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	pid, _ := post(b.Context(), &client, "http://"+b.at)
	return pid
}

func (b *bench) await(what string, so func() bool) {
	b.Helper()
	for deadline := time.Now().Add(patience); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}

// named is whom the PID file names, 0 for nobody.
func (b *bench) named() int {
	text, err := os.ReadFile(b.PIDFile)
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(line)
	require.NoError(b, err)
	return pid
}

// upgrade has the running process replaced, and returns the other one's pid.
func (b *bench) upgrade() int {
	b.Helper()
	pid, err := process.Upgrade(b.Context(), b.PIDFile, "")
	require.NoError(b, err)
	b.adopt(pid)
	b.awaitServing(pid)
	return pid
}

// adopt has a process that is no child of the test end with it.
func (b *bench) adopt(pid int) {
	b.Helper()
	p, err := os.FindProcess(pid)
	require.NoError(b, err)
	b.Cleanup(func() {
		_ = p.Kill() // it may have ended
		_ = process.AwaitEnd(context.Background(), pid)
	})
}

// script makes an executable that is a node with a fault.
func (b *bench) script(fault string) string {
	b.Helper()
	path := filepath.Join(b.dir, "faulty")
	text := fmt.Sprintf("#!/bin/sh\n%s='%s' exec '%s' \"$@\"\n", faultEnv, fault, os.Args[0])
	require.NoError(b, os.WriteFile(path, []byte(text), 0o700))
	return path
}

// requireEnd requires that a process ends well.
func (b *bench) requireEnd(s *started) {
	b.Helper()
	select {
	case <-s.ended:
		require.NoError(b, s.err)
	case <-time.After(patience):
		b.Fatalf("process %d has not ended", s.pid())
	}
}

func (b *bench) kill(pid int, sig syscall.Signal) {
	b.Helper()
	require.NoError(b, syscall.Kill(pid, sig))
}

// post asks who answers. It is not repeated by the client, as GET may be.
func post(ctx context.Context, client *http.Client, url string) (pid int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("who"))
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(body)))
}
