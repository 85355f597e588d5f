// Package process runs what one process is made of: HTTP servers, work in the
// background, and what is announced to others while it serves. It decides the
// order in which these begin and end.
package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	services := p.serve(life, fail)
	announced := start(welcome, fail, p.Announced)

	<-stop.Done()
	p.Log.Info("stopping", "because", context.Cause(stop))
	p.Draining()
	takeBack()
	errs := []error{announced.Wait(), p.drain(life, services)}
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

// serve starts the servers. One that fails ends all.
func (p Plan) serve(ctx context.Context, fail context.CancelCauseFunc) []*service {
	services := make([]*service, 0, len(p.Servers))
	for _, s := range p.Servers {
		p.Log.Info("listening", "server", s.Name, "address", s.Listener.Addr().String())
		v := newService(ctx, s, p.Log.With("server", s.Name))
		services = append(services, v)
		go v.serve(fail) // drain waits for it
	}
	return services
}

// drain lets the servers answer what they have begun, all at once and within
// the time allowed, and cuts the rest off.
func (p Plan) drain(ctx context.Context, services []*service) error {
	ctx, cancel := context.WithTimeoutCause(ctx, p.DrainTimeout, fmt.Errorf("requests took longer than the %v allowed", p.DrainTimeout))
	defer cancel()
	var group errgroup.Group
	for _, v := range services {
		group.Go(func() error { return v.drain(ctx) })
	}
	return group.Wait()
}
