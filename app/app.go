// Package app puts the services of one process together.
package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/node"
	"github.com/seed27495941/seckill/app/ops"
	"github.com/seed27495941/seckill/app/process"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/app/tracing"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/metrics"
	"github.com/seed27495941/seckill/backend/trace"
)

// Options say what a process is.
type Options struct {
	Settings settings.Settings
	Store    backend.Store
	Version  string
	Log      *slog.Logger
	Level    *slog.LevelVar // follows the cluster config

	API   bool // serve buyers
	Admin bool // serve operators

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
	return run(stop, abort, o, measured)
}

func run(stop, abort context.Context, o Options, measured *metrics.Store) (err error) {
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
	seat, err := process.TakeSeat(stop, process.SeatConfig{PIDFile: o.Settings.PIDFile, Log: o.Log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, seat.Close(abort)) }()
	b := &builder{Options: o, seat: seat, node: n, measured: measured}
	if err := b.build(abort); err != nil {
		return errors.Join(err, b.close())
	}
	return process.Run(stop, abort, process.Plan{
		Log:          o.Log,
		Servers:      b.servers,
		Background:   append(b.background, n.Run, b.tellReady),
		Announced:    b.announced,
		Seat:         seat,
		Warm:         n.AwaitReady,
		Draining:     b.drain,
		DrainTimeout: o.Settings.DrainTimeout,
	})
}

// A builder gathers the parts of a process.
type builder struct {
	Options
	seat       *process.Seat
	node       *node.Node
	measured   *metrics.Store
	servers    []process.Server
	background []process.Task
	announced  []process.Task
	draining   []func()
	addresses  Addresses
	closers    []io.Closer // of listeners, should the rest fail
}

func (b *builder) build(ctx context.Context) (err error) {
	if b.API {
		if err := b.sell(ctx); err != nil {
			return err
		}
	}
	if b.Admin {
		if err := b.node.Supervise(); err != nil {
			return err
		}
		if b.addresses.Admin, err = b.serve(ctx, "admin", b.Settings.Admin, admin.New(b.Version, b.node)); err != nil {
			return err
		}
	}
	b.addresses.Ops, err = b.serve(ctx, "ops", b.Settings.Ops, ops.New(b.node.Status, b.measured))
	return err
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
	if b.node.AwaitReady(ctx) == nil && b.Ready != nil {
		b.Ready(b.addresses)
	}
	return nil
}

// drain is called when the process is about to stop. If another one answers at its
// address by now, buyers need not know.
func (b *builder) drain() {
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
