package process_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/process"
)

// A journal notes what happens, in order.
type journal struct {
	mu     sync.Mutex
	events []string
}

func (j *journal) note(event string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, event)
}

func (j *journal) task(name string) process.Task {
	return func(ctx context.Context) error {
		j.note(name + " begins")
		<-ctx.Done()
		j.note(name + " ends")
		return ctx.Err()
	}
}

// A slow service answers when it is allowed to, or its request is cut off.
type slow struct {
	at      net.Addr
	begun   chan struct{}
	release chan struct{}
}

func newSlow(at net.Addr) *slow {
	return &slow{at: at, begun: make(chan struct{}), release: make(chan struct{})}
}

func (s *slow) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/quick" {
		_, _ = io.WriteString(w, "quick")
		return
	}
	close(s.begun)
	select {
	case <-s.release:
		_, _ = io.WriteString(w, "done")
	case <-r.Context().Done():
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := process.Listen(t.Context(), "api", "127.0.0.1:0", "--api-bind")
	require.NoError(t, err)
	return l
}

func get(ctx context.Context, addr net.Addr) (string, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/", addr), http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// start runs a plan with one slow request under way.
func start(t *testing.T, p process.Plan) (service *slow, stop, abort context.CancelFunc, answer, ended chan error) {
	t.Helper()
	listener := listen(t)
	service = newSlow(listener.Addr())
	p.Log = slog.New(slog.DiscardHandler)
	p.Servers = []process.Server{{Name: "api", Listener: listener, Handler: service}}
	if p.Draining == nil {
		p.Draining = func() {}
	}
	aborting, abort := context.WithCancel(t.Context())
	stopping, stop := context.WithCancel(aborting)
	t.Cleanup(abort)

	answer, ended = make(chan error, 1), make(chan error, 1)
	go func() { ended <- process.Run(stopping, aborting, p) }()
	go func() {
		body, err := get(t.Context(), listener.Addr())
		if err == nil && body != "done" {
			err = fmt.Errorf("answer %q", body)
		}
		answer <- err
	}()
	<-service.begun
	return service, stop, abort, answer, ended
}

func TestTheEndHasAnOrder(t *testing.T) {
	j := &journal{}
	draining := make(chan struct{})
	service, stop, _, answer, ended := start(t, process.Plan{
		Background:   []process.Task{j.task("background")},
		Announced:    []process.Task{j.task("announced")},
		Draining:     func() { j.note("draining"); close(draining) },
		DrainTimeout: time.Minute,
	})
	stop()
	<-draining
	require.Eventually(t, func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		return len(j.events) == 4
	}, time.Minute, time.Millisecond)
	j.note("answered")
	close(service.release)

	require.NoError(t, <-answer)
	require.NoError(t, <-ended)
	assert.Equal(t, []string{"draining", "announced ends", "answered", "background ends"}, j.events[2:])
}

func TestASecondSignalCutsRequestsOff(t *testing.T) {
	_, stop, abort, answer, ended := start(t, process.Plan{DrainTimeout: time.Minute})
	stop()
	select {
	case err := <-ended:
		t.Fatalf("ended with a request in flight: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	abort()
	require.ErrorContains(t, <-ended, "api server: requests were cut off: context canceled")
	require.Error(t, <-answer)
}

func TestDrainingHasABound(t *testing.T) {
	_, stop, _, answer, ended := start(t, process.Plan{DrainTimeout: 20 * time.Millisecond})
	stop()
	require.ErrorContains(t, <-ended, "api server: requests were cut off: requests took longer than the 20ms allowed")
	require.Error(t, <-answer)
}

func TestAFailureStopsTheProcessInOrder(t *testing.T) {
	fault := errors.New("the store was closed")
	for name, plan := range map[string]func(process.Task) process.Plan{
		"background": func(task process.Task) process.Plan { return process.Plan{Background: []process.Task{task}} },
		"announced":  func(task process.Task) process.Plan { return process.Plan{Announced: []process.Task{task}} },
	} {
		t.Run(name, func(t *testing.T) {
			fail := make(chan struct{})
			p := plan(func(context.Context) error {
				<-fail
				return fault
			})
			p.DrainTimeout = time.Minute
			service, _, _, answer, ended := start(t, p)
			close(fail)
			close(service.release)
			require.NoError(t, <-answer)
			require.ErrorIs(t, <-ended, fault)
		})
	}
}

func TestAnAddressInUseIsNamedWithItsFlag(t *testing.T) {
	first := listen(t)
	defer first.Close()
	_, err := process.Listen(t.Context(), "api", first.Addr().String(), "--api-bind")
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.ErrorContains(t, err, fmt.Sprintf("api: %s is in use already, choose another address with --api-bind", first.Addr()))
}

func TestSignals(t *testing.T) {
	kill := func() { require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGTERM)) }
	stop, abort, release := process.Signals(t.Context())
	defer release()

	require.NoError(t, stop.Err())
	kill()
	<-stop.Done()
	require.EqualError(t, context.Cause(stop), `received the signal "terminated"`)
	require.NoError(t, abort.Err())
	kill()
	<-abort.Done()
	require.EqualError(t, context.Cause(abort), `received the signal "terminated"`)
}

func TestSignalsAreReleased(t *testing.T) {
	stop, abort, release := process.Signals(t.Context())
	release()
	require.Error(t, stop.Err())
	require.Error(t, abort.Err())
}
