package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/seed27495941/seckill/app"
	"github.com/seed27495941/seckill/app/process"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend/etcd/embed"
	"github.com/seed27495941/seckill/backend/memory"
)

type upCommand struct {
	DataDir   string `placeholder:"DIR" type:"path" env:"SECKILL_DATA_DIR" xor:"data" help:"Where the etcd inside keeps its data ($$XDG_STATE_HOME/seckill, or ~/.local/state/seckill)."`
	Ephemeral bool   `xor:"data" help:"Keep nothing."`
	Sample    bool   `help:"Have something to sell: make an event if none is selling. With a store inside that is done anyway."`
	apiFlags
	adminFlags
	serviceFlags
}

// Help is shown by seckill up --help.
func (*upCommand) Help() string {
	return `It starts a node for buyers, the service for operators and an etcd for the two of them, which is on 127.0.0.1:2379 if
that is free and on another port if not. With --endpoints, or --backend=consul, it uses the store that runs there
instead; with --backend=memory one that ends with the process.

It also makes, if the settings name none, keys for buyers' tokens and a secret for payments, beside the data.

    seckill up --ephemeral
    seckill up --backend=consul --sample`
}

// Run serves everybody until a signal comes.
func (c *upCommand) Run(p *program) (err error) {
	o := app.Options{API: true, Admin: true}
	if o.Loaded, err = p.load(); err != nil {
		return err
	}
	o.Settings = o.Loaded.Settings
	if o.Settings.PIDFile != "" {
		return usageError{errors.New("pid_file is for processes that another one can replace, seckill api and seckill admin: what is inside this one ends with it")}
	}
	o.Log, o.Level = logger(o.Settings)
	stop, abort, release := process.Signals(context.Background())
	defer release()

	place, err := c.place(stop, &o.Settings, o.Log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, place.close()) }()
	dev, err := newDevelopment(place.dir, &o.Settings)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dev.close()) }()
	o.Store = place.store
	o.Ready = func(at app.Addresses) {
		g := guide{settings: o.Settings, at: at, store: place.description, took: time.Since(p.started)}
		if c.Sample || place.inside {
			g.sample = sample(stop, place.store, o.Log)
		}
		g.print(os.Stdout)
	}
	return runServices(stop, abort, o)
}

// sample finds or makes an event to buy from; nil if that can't be done now.
func sample(ctx context.Context, s store, log *slog.Logger) *event.Event {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	e, err := event.Sample(ctx, s)
	if err != nil {
		log.Warn("no sample to sell", "error", err)
		return nil
	}
	return &e
}

// A place is a store, wherever it runs.
type place struct {
	store       store
	description string
	inside      bool          // in this process, so nobody else's
	dir         string        // for what is to be kept, "" for nothing
	server      *embed.Server // nil if it runs elsewhere
}

func (p place) close() error {
	err := p.store.Close()
	if p.server != nil {
		err = errors.Join(err, p.server.Close())
	}
	return err
}

// place finds or starts the store that the settings ask for. If it starts one
// the settings tell where it is from then on.
func (c *upCommand) place(ctx context.Context, s *settings.Settings, log *slog.Logger) (place, error) {
	if s.Backend == settings.Etcd && len(s.Store.Endpoints) == 0 {
		return c.embed(ctx, s, log)
	}
	if c.DataDir != "" || c.Ephemeral {
		return place{}, usageError{errors.New("--data-dir and --ephemeral are for the etcd inside, but the settings name another store")}
	}
	if s.Backend == settings.Memory {
		return place{store: memory.New(), description: "inside this process, ends with it", inside: true}, nil
	}
	dir, err := stateDir()
	if err != nil {
		return place{}, err
	}
	opened, err := open(*s)
	return place{store: opened, description: s.Backend + ", running elsewhere", dir: dir}, err
}

func (c *upCommand) embed(ctx context.Context, s *settings.Settings, log *slog.Logger) (place, error) {
	if s.Store.User != "" || s.Store.TLS.Enabled() {
		return place{}, usageError{errors.New("the etcd inside has neither users nor certificates: say with --endpoints which one is meant")}
	}
	config, err := c.embedConfig(log)
	if err != nil {
		return place{}, err
	}
	server, err := embed.Start(ctx, config)
	if errors.Is(err, syscall.EADDRINUSE) {
		config.ClientAddr = ""
		server, err = embed.Start(ctx, config)
	}
	if err != nil {
		return place{}, err
	}
	s.Store.Endpoints = []string{server.Endpoint()}
	opened, err := open(*s)
	if err != nil {
		return place{}, errors.Join(err, server.Close())
	}
	description := "etcd inside this process at " + server.Endpoint() + ", data in " + server.Dir()
	if c.Ephemeral {
		description += " until it ends"
	}
	return place{store: opened, description: description, inside: true, dir: config.Dir, server: server}, nil
}

func (c *upCommand) embedConfig(log *slog.Logger) (embed.Config, error) {
	config := embed.Config{Dir: c.DataDir, ClientAddr: "127.0.0.1:2379", Logger: log}
	if c.Ephemeral || c.DataDir != "" {
		return config, nil
	}
	var err error
	config.Dir, err = stateDir()
	return config, err
}

// stateDir is where programs keep what should survive them.
func stateDir() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "seckill"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", usageError{fmt.Errorf("no place for the data, give one with --data-dir, or --ephemeral: %w", err)}
	}
	return filepath.Join(home, ".local", "state", "seckill"), nil
}
