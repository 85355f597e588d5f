// Package node is a process's place in the cluster: it follows the cluster
// config, is registered if buyers come to it, and follows the list of nodes if
// operators do. None of this waits for the store or ends with it: a node starts
// while the store is away, and goes on with what it knows when it goes away.
package node

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/dynconf"
	"github.com/seed27495941/seckill/recipe/dynconf/history"
	"github.com/seed27495941/seckill/recipe/dynconf/rollout"
	"github.com/seed27495941/seckill/recipe/registry"
)

// A Config says what a node is made of.
type Config struct {
	Store    backend.Store
	Backend  string // the store's kind, to be shown
	Version  string
	Defaults settings.Cluster
	Log      *slog.Logger

	// Level follows the cluster config's logLevel.
	Level *slog.LevelVar
}

// A Node is one process of the cluster. It is safe for concurrent use once
// Register and Discover have been called.
type Node struct {
	cfg      Config
	contact  *contact
	config   *dynconf.Config[settings.Cluster]
	started  time.Time
	draining atomic.Bool

	registration *registry.Registration // nil: buyers do not come to this one
	directory    *registry.Directory    // nil: operators do not, as the following
	versions     *history.History
	rollouts     *rollout.Controller
}

// New makes a node that follows the cluster config; Run has to run.
func New(cfg Config) (*Node, error) {
	n := &Node{cfg: cfg, contact: &contact{Store: cfg.Store}, started: time.Now()}
	config, err := dynconf.New(n.contact, settings.ConfigKey, dynconf.Options[settings.Cluster]{
		Defaults: cfg.Defaults,
		Decode: func(raw []byte) (settings.Cluster, error) {
			return cfg.Defaults.Decode(backend.Entry{Key: settings.ConfigKey, Value: raw})
		},
		Validate: settings.Cluster.Validate,
		Report:   n.report,
		Logger:   cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	n.config = config
	n.apply(cfg.Defaults)
	config.Subscribe(func(_, now settings.Cluster) { n.apply(now) })
	return n, nil
}

// apply makes a cluster config count.
func (n *Node) apply(c settings.Cluster) {
	n.cfg.Level.Set(c.Level())
	if n.registration == nil {
		return
	}
	if err := n.registration.Update(func(node *registry.Node) { node.Config = hash(c) }); err != nil {
		n.cfg.Log.Error("can't tell the applied config", "error", err)
	}
}

// report tells others how the node stands with the published config and with
// what is rolled out.
func (n *Node) report(r dynconf.Report) {
	if n.registration == nil {
		return
	}
	if err := rollout.Tell(n.registration, settings.ConfigKey, r); err != nil {
		n.cfg.Log.Error("can't report on the config", "error", err)
	}
}

// hash names a config by what is in force, so that nodes that do the same show
// the same, whatever was published or left to defaults.
func hash(c settings.Cluster) string {
	encoded, err := json.Marshal(c)
	if err != nil {
		return "" // strings and numbers can be encoded
	}
	return dynconf.Hash(encoded)
}

// Register makes the node one that buyers come to, at an address that others
// can reach; Announce has to run. Errors: backend.ErrInvalid for an address
// that nobody can connect to.
func (n *Node) Register(addr string, ttl time.Duration) error {
	registration, err := registry.NewRegistration(n.contact, registry.Config{
		Node:   registry.Node{Addr: addr, Proto: "http", Version: n.cfg.Version, Config: hash(n.config.Load())},
		TTL:    ttl,
		Logger: n.cfg.Log,
	})
	if err != nil {
		return err
	}
	n.registration = registration
	n.config.SetNode(dynconf.Node{ID: registration.Status().Node.ID})
	return nil
}

// Discover makes the node one that knows all others, records the versions of
// the cluster config, and ends rollouts that fail.
func (n *Node) Discover() (*registry.Directory, error) {
	directory := registry.NewDirectory(n.contact, registry.DefaultDir, n.cfg.Log)
	versions, err := history.New(n.contact, settings.ConfigKey, history.Options{Check: n.config.Check, Logger: n.cfg.Log})
	if err != nil {
		return nil, err
	}
	controller, err := rollout.New(rollout.Config{
		Store:   n.contact,
		Key:     settings.ConfigKey,
		History: versions,
		Nodes:   directory,
		Check:   n.config.Check,
		Logger:  n.cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	n.directory, n.versions, n.rollouts = directory, versions, controller
	return directory, nil
}

// Run follows the cluster config, does what Discover says if it is to, until ctx
// ends, and logs when the store goes away and when it is back. Errors: backend.ErrClosed for a store that was closed.
func (n *Node) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.config.Run(ctx) })
	group.Go(func() error {
		n.contact.tell(ctx, n.cfg.Log)
		return nil
	})
	if n.directory != nil {
		group.Go(func() error { return n.directory.Run(ctx) })
		group.Go(func() error { return n.versions.Run(ctx) })
		group.Go(func() error { return n.rollouts.Run(ctx) })
	}
	return group.Wait()
}

// Published is the cluster config as it is in the store at this moment. Errors:
// those of [backend.Store.Get].
func (n *Node) Published(ctx context.Context) (backend.Entry, error) {
	return n.contact.Get(ctx, settings.ConfigKey)
}

// Announce lists the node as soon as it can serve, until ctx ends.
func (n *Node) Announce(ctx context.Context) error {
	select {
	case <-n.config.Synced():
		return n.registration.Run(ctx)
	case <-ctx.Done():
		return nil
	}
}

// Drain makes the node not ready: it is about to stop.
func (n *Node) Drain() { n.draining.Store(true) }
