// Package app puts the services of one process together.
package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/control"
	"github.com/seed27495941/seckill/app/gate"
	"github.com/seed27495941/seckill/app/gate/blacklist"
	"github.com/seed27495941/seckill/app/node"
	"github.com/seed27495941/seckill/app/ops"
	"github.com/seed27495941/seckill/app/process"
	"github.com/seed27495941/seckill/app/sale"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/app/tracing"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/metrics"
	"github.com/seed27495941/seckill/backend/trace"
)

// Options say what a process is.
type Options struct {
	Settings settings.Settings
	Loaded   settings.Loaded // where Settings came from, to follow their file
	Store    backend.Store
	Version  string
	Log      *slog.Logger
	Level    *slog.LevelVar // follows the cluster config

	API   bool // serve buyers
	Admin bool // serve operators

	// FirstPassword is told the password of the first operator, if this process made that
	// one: see [access.Config]. Needed where Admin is.
	FirstPassword func(user, oneTime string)

	// Ready is called, if given, once everything is ready for the first time.
	Ready func(Addresses)
}

// Addresses are where the services listen, nil for those that do not run.
type Addresses struct {
	API   net.Addr
	RPC   net.Addr
	Admin net.Addr
	Ops   net.Addr
}

// Run runs the services until stop ends, and then ends them in order; when
// abort ends, at once. See [process.Run]. All addresses are taken before
// anything is said to anybody.
func Run(stop, abort context.Context, o Options) error {
	diagnoser, _ := o.Store.(backend.Diagnoser)
	measured := metrics.New(o.Store)
	o.Store = measured
	if o.Settings.Trace.Endpoint != "" {
		spans, err := tracing.Start(abort, tracing.Config{Endpoint: o.Settings.Trace.Endpoint, Version: o.Version, Log: o.Log})
		if err != nil {
			return err
		}
		defer spans.Close(abort)
		// Keys name nodes and sales, never buyers.
		o.Store = trace.New(measured, spans.Provider(), trace.Options{System: o.Settings.Backend, WholeKeys: true})
	}
	return run(stop, abort, o, measured, diagnoser)
}

func run(stop, abort context.Context, o Options, measured *metrics.Store, diagnoser backend.Diagnoser) (err error) {
	n, err := node.New(node.Config{
		Store:    o.Store,
		Backend:  o.Settings.Backend,
		Version:  o.Version,
		Defaults: o.Settings.Config,
		Log:      o.Log,
		Level:    o.Level,
	})
	if err != nil {
		return err
	}
	file, err := settings.NewFile(o.Loaded, n.SetDefaults, o.Log)
	if err != nil {
		return err
	}
	seat, err := process.TakeSeat(stop, process.SeatConfig{PIDFile: o.Settings.PIDFile, Log: o.Log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, seat.Close(abort)) }()
	b := &builder{Options: o, seat: seat, node: n, file: file, measured: measured, diagnoser: diagnoser, sources: control.Sources{"settings": file.Reload}}
	if err := b.build(stop, abort); err != nil {
		if stop.Err() != nil {
			err = nil // it was not to be
		}
		return errors.Join(err, b.close())
	}
	return process.Run(stop, abort, process.Plan{
		Log:          o.Log,
		Servers:      b.servers,
		Background:   append(b.background, n.Run, file.Run, b.tellReady),
		Announced:    b.announced,
		Seat:         seat,
		Warm:         b.awaitReady,
		Draining:     b.drain,
		DrainTimeout: o.Settings.DrainTimeout,
	})
}

// A builder gathers the parts of a process.
type builder struct {
	Options
	seat       *process.Seat
	node       *node.Node
	desk       *sale.Desk // nil: this process has nothing to do with sales
	own        ulid.ULID  // incarnation under which it is listed, if buyers come to it
	file       *settings.File
	sources    control.Sources // that can be loaded again
	measured   *metrics.Store
	diagnoser  backend.Diagnoser // nil: the store's driver has none
	access     *access.Access    // nil: operators do not come here
	gate       *gate.Gate        // nil: buyers do not come here, as the following
	ready      func() error      // why they should not, in words for them
	blacklist  *blacklist.List   // nil too: there is no file
	shared     <-chan struct{}   // closed when the gate has a share of the cluster's rates
	drained    <-chan struct{}   // closed when it will have none: see drained
	servers    []process.Server
	background []process.Task
	announced  []process.Task
	draining   []func()
	addresses  Addresses
	closers    []io.Closer // of listeners, should the rest fail
}

// build takes what the process needs. ctx is the process's life; stop ends before, when
// it is told to stop.
func (b *builder) build(stop, ctx context.Context) (err error) {
	if b.API {
		if err := b.sell(stop, ctx); err != nil {
			return err
		}
	}
	if b.Admin {
		if err := b.administer(ctx); err != nil {
			return err
		}
	}
	if b.addresses.Ops, err = b.serve(ctx, "ops", b.Settings.Ops, ops.New(b.status, b.measured)); err != nil {
		return err
	}
	if b.API {
		return b.register()
	}
	return nil
}

func (b *builder) serve(ctx context.Context, name string, at settings.Listener, handler http.Handler) (net.Addr, error) {
	listener, err := b.seat.Listen(ctx, name, at.Bind, "--"+name+"-bind")
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, listener)
	b.servers = append(b.servers, process.Server{Name: name, Listener: listener, Handler: handler})
	return listener.Addr(), nil
}

// tellReady calls Ready when it is time.
func (b *builder) tellReady(ctx context.Context) error {
	if b.awaitReady(ctx) == nil && b.Ready != nil {
		b.Ready(b.addresses)
	}
	return nil
}

// awaitReady waits until the process can serve as well as any other one: at a place that
// an operator has drained, not at all.
func (b *builder) awaitReady(ctx context.Context) error {
	if err := b.node.AwaitReady(ctx); err != nil {
		return err
	}
	if b.access != nil {
		if err := b.access.AwaitReady(ctx); err != nil {
			return err
		}
	}
	if b.shared == nil {
		return nil
	}
	select {
	case <-b.shared:
		return nil
	case <-b.drained:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// status is what the process says about itself.
func (b *builder) status() ops.Status {
	s := ops.Status{Status: b.node.Status()}
	s.Settings = b.file.Status()
	if b.gate != nil {
		at := b.gate.Status()
		s.Gate = &at
		if err := b.ready(); err != nil {
			s.Ready, s.NotReady = false, err.Error()
		}
	}
	return s
}

// drain is called when the process is about to stop. If another one answers at its
// address by now, buyers need not know.
func (b *builder) drain() {
	if b.gate != nil {
		b.gate.Drain()
	}
	if b.seat.HandedOver() {
		b.node.Leave()
	} else {
		b.node.Drain()
	}
	for _, f := range b.draining {
		f()
	}
}

// close gives the addresses back.
func (b *builder) close() error {
	var errs []error
	for _, c := range b.closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
