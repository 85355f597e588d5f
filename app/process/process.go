// Package process runs what one process is made of: HTTP servers, work in the
// background, and what is announced to others while it serves. It decides the
// order in which these begin and end.
package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

// A Task runs until its context ends. An error before that stops the process.
type Task func(ctx context.Context) error

// A Plan is what a process runs.
type Plan struct {
	Log     *slog.Logger
	Servers []Server

	// Background runs from the beginning until the last request is answered.
	Background []Task

	// Announced runs while new requests are welcome: the registration.
	Announced []Task

	// Draining is called when the end begins, before anything else: from then
	// on the services are not ready.
	Draining func()

	// DrainTimeout bounds how long requests in flight may take then.
	DrainTimeout time.Duration
}

// A Server answers HTTP on a listener, which it takes over.
type Server struct {
	Name     string
	Listener net.Listener
	Handler  http.Handler
}

// Run runs the plan until stop ends or a part of it fails, and then ends it in
// order: Draining is called, what is announced is taken back, requests in
// flight are answered, the background ends. When abort ends, requests are cut
// off. All goroutines have returned when it does.
func Run(stop, abort context.Context, p Plan) error {
	stop, fail := context.WithCancelCause(stop)
	defer fail(nil)
	life, end := context.WithCancel(abort)
	defer end()
	welcome, takeBack := context.WithCancel(life)
	defer takeBack()

	background := start(life, fail, p.Background)
	servers, serving := p.serve(life, fail)
	announced := start(welcome, fail, p.Announced)

	<-stop.Done()
	p.Log.Info("stopping", "because", context.Cause(stop))
	p.Draining()
	takeBack()
	errs := []error{announced.Wait(), p.drain(life, servers), serving.Wait()}
	end()
	return errors.Join(append(errs, background.Wait())...)
}

// start runs tasks. One that fails ends all.
func start(ctx context.Context, fail context.CancelCauseFunc, tasks []Task) *errgroup.Group {
	group := &errgroup.Group{}
	for _, task := range tasks {
		group.Go(func() error {
			err := task(ctx)
			if err != nil && ctx.Err() == nil {
				fail(err)
				return err
			}
			return nil
		})
	}
	return group
}

func (p Plan) serve(ctx context.Context, fail context.CancelCauseFunc) ([]*http.Server, *errgroup.Group) {
	group := &errgroup.Group{}
	servers := make([]*http.Server, len(p.Servers))
	for i, s := range p.Servers {
		p.Log.Info("listening", "server", s.Name, "address", s.Listener.Addr().String())
		server := newServer(ctx, s.Handler, p.Log.With("server", s.Name))
		servers[i] = server
		group.Go(func() error {
			err := server.Serve(s.Listener)
			if errors.Is(err, http.ErrServerClosed) {
				return nil
			}
			err = fmt.Errorf("%s server: %w", s.Name, err)
			fail(err)
			return err
		})
	}
	return servers, group
}

func newServer(ctx context.Context, handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      2 * time.Minute, // as long as a CPU profile may take
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
}

// drain lets the servers answer what they have begun, all at once and within
// the time allowed, and cuts the rest off.
func (p Plan) drain(ctx context.Context, servers []*http.Server) error {
	ctx, cancel := context.WithTimeoutCause(ctx, p.DrainTimeout, fmt.Errorf("requests took longer than the %v allowed", p.DrainTimeout))
	defer cancel()
	var group errgroup.Group
	for i, server := range servers {
		group.Go(func() error {
			if server.Shutdown(ctx) == nil {
				return nil
			}
			return errors.Join(fmt.Errorf("%s server: requests were cut off: %w", p.Servers[i].Name, context.Cause(ctx)), server.Close())
		})
	}
	return group.Wait()
}
