package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// A Server answers HTTP on a listener, which it takes over.
type Server struct {
	Name     string
	Listener net.Listener
	Handler  http.Handler
}

// A service is a server that runs.
//
// It ends in a way that loses no request. http.Server.Shutdown does not: it
// closes connections that seem idle, and on some of them a request has just
// been sent, or even read. So a service first closes the listener, then tells each
// client with its next answer that the connection ends with it, and calls Shutdown
// when all have gone.
type service struct {
	Server
	http     *http.Server
	life     context.Context // that of requests ends with it
	cutOff   atomic.Bool     // a request was under way then
	open     connections
	retiring atomic.Bool
	serving  chan struct{} // closed when no connection comes any more
	err      error         // why, if that was no wish; readable after serving
}

func newService(ctx context.Context, s Server, log *slog.Logger) *service {
	v := &service{Server: s, life: ctx, serving: make(chan struct{})}
	v.http = &http.Server{
		Handler:           v,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      2 * time.Minute, // as long as a CPU profile may take
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnState:         v.open.note,
	}
	return v
}

// serve accepts connections until the service retires; an error before that goes
// to fail.
func (v *service) serve(fail context.CancelCauseFunc) {
	defer close(v.serving)
	err := v.http.Serve(v.Listener)
	if v.retiring.Load() {
		return
	}
	v.err = fmt.Errorf("%s server: %w", v.Name, err)
	fail(v.err)
}

// ServeHTTP implements http.Handler.
func (v *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if v.retiring.Load() {
		w.Header().Set("Connection", "close")
	}
	v.Handler.ServeHTTP(w, r)
	if v.life.Err() != nil {
		v.cutOff.Store(true)
	}
}

// retire takes no more connections, and lets those that there are end with their
// next answer. It may be called more than once.
func (v *service) retire() {
	if !v.retiring.Swap(true) {
		_ = v.Listener.Close() // whatever it says, nothing comes from it
	}
	<-v.serving
}

// drain retires and waits until all connections have gone. Those on which nothing
// is asked for as long as quiet are closed. When ctx ends, the requests in flight are cut
// off, which is an error.
func (v *service) drain(ctx context.Context, quiet time.Duration) error {
	v.retire()
	gone := v.open.none()
	timer := time.AfterFunc(quiet, func() { v.http.SetKeepAlivesEnabled(false) })
	defer timer.Stop()
	select {
	case <-gone:
	case <-ctx.Done():
	}
	if v.http.Shutdown(ctx) == nil && !v.cutOff.Load() {
		return v.err
	}
	return errors.Join(v.err, fmt.Errorf("%s server: requests were cut off: %w", v.Name, context.Cause(ctx)), v.http.Close())
}

// connections counts those that are open.
type connections struct {
	mu    sync.Mutex
	count int
	zero  chan struct{} // if somebody waits: closed when there are none
}

// note is a hook of http.Server. That calls it with StateNew before it accepts the
// next connection, so once it has stopped accepting all are counted.
func (c *connections) note(_ net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		c.count++
	case http.StateClosed, http.StateHijacked:
		c.count--
	case http.StateActive, http.StateIdle:
	}
	if c.count == 0 && c.zero != nil {
		close(c.zero)
		c.zero = nil
	}
}

// none is closed once there are no connections. No new ones may come.
func (c *connections) none() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	zero := make(chan struct{})
	if c.count == 0 {
		close(zero)
		return zero
	}
	c.zero = zero
	return zero
}
