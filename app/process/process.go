// Package process runs what one process is made of: HTTP servers, work in the
// background, and what is announced to others while it serves. It decides the
// order in which these begin and end.
package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
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

	// Seat is what the process takes over from another one, and hands over to
	// another one; nil: nothing.
	Seat *Seat

	// Warm returns once the process can serve as well as the one that it takes over
	// from, which serves until then: the background has got what it needs, and what is
	// announced is. If this process takes over from nobody Warm is not called.
	Warm func(ctx context.Context) error

	// Draining is called when the end begins, before anything else: from then
	// on the services are not ready, and answers that have no end, as streams of
	// events, come to one. If another process has taken the seat, new connections are that one's.
	Draining func()

	// DrainTimeout bounds how long requests in flight may take then.
	DrainTimeout time.Duration

	quiet time.Duration // quiet if 0
}

// Run runs the plan until stop ends, another process has taken the seat, or a
// part of it fails, and then ends it in order: Draining is called, what is announced is
// taken back, requests in flight are answered, the background ends. When abort ends, requests are cut
// off. All goroutines have returned when it does.
//
// No request is lost of clients that ask at least once a second: see docs/upgrade.md.
func Run(stop, abort context.Context, p Plan) error {
	stop, fail := context.WithCancelCause(stop)
	defer fail(nil)
	life, end := context.WithCancel(abort)
	defer end()
	welcome, takeBack := context.WithCancel(life)
	defer takeBack()

	background := start(life, fail, p.Background)
	announced := start(welcome, fail, p.Announced)
	services, failed := p.begin(stop, life, fail)
	var offering sync.WaitGroup
	offering.Go(func() { p.Seat.offer(stop, fail) })

	<-stop.Done()
	p.Log.Info("stopping", "because", context.Cause(stop))
	if p.Seat.HandedOver() {
		// Who comes again because this process ends is to find the other one.
		for _, v := range services {
			v.retire()
		}
	} else {
		notify(p.Log, "STOPPING=1")
	}
	p.Draining()
	takeBack()
	errs := []error{failed, announced.Wait(), p.drain(life, services)}
	end()
	offering.Wait()
	return errors.Join(append(errs, background.Wait())...)
}

// begin starts to serve: at once, or when the process whose place this one takes
// lets it.
func (p Plan) begin(stop, life context.Context, fail context.CancelCauseFunc) ([]*service, error) {
	err := p.Seat.step(stop, p.Warm)
	if err == nil {
		services := p.serve(life, fail)
		if err := p.Seat.settle(stop, p.Log); err != nil {
			fail(err)
			return services, err
		}
		return services, nil
	}
	if stop.Err() != nil {
		err = nil // it was not to be
	}
	for _, s := range p.Servers {
		err = errors.Join(err, s.Listener.Close())
	}
	fail(err)
	return nil, err
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

// quiet is how long clients that ask nothing are waited for when the process stops.
// Somebody waits for that, at a terminal perhaps. After a hand-over nobody does, and it is DrainTimeout.
const quiet = 2 * time.Second

// drain lets the servers answer what they have begun, all at once and within
// the time allowed, and cuts the rest off.
func (p Plan) drain(ctx context.Context, services []*service) error {
	ctx, cancel := context.WithTimeoutCause(ctx, p.DrainTimeout, fmt.Errorf("requests took longer than the %v allowed", p.DrainTimeout))
	defer cancel()
	patience := cmp.Or(p.quiet, quiet)
	if p.Seat.HandedOver() {
		patience = p.DrainTimeout
	}
	var group errgroup.Group
	for _, v := range services {
		group.Go(func() error { return v.drain(ctx, patience) })
	}
	return group.Wait()
}
