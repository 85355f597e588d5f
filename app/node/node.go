// Package node is a process's place in the cluster: it follows the cluster
// config and the list of nodes, is registered if buyers come to it, and watches over
// what is tried of the config if operators do. None of this waits for the store or ends with it: a node starts
// while the store is away, and goes on with what it knows when it goes away.
package node

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
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
// Register and Supervise have been called.
type Node struct {
	cfg       Config
	contact   *contact
	published *dynconf.Config[string] // or on trial, as it was written; "" for nothing
	directory *registry.Directory
	started   time.Time
	draining  atomic.Bool

	// changing is held while the config in force is changed and told, so that
	// followers hear of changes one at a time and in order. It guards followers, and
	// who writes current.
	changing  sync.Mutex
	current   atomic.Pointer[config]
	followers []func(settings.Cluster)
	pushed    chan struct{} // holds a token after the override has changed

	place    *place           // nil: buyers do not come to this one
	versions *history.History // nil: operators do not, as the following
	rollouts *rollout.Controller
}

// New makes a node that follows the cluster config; Run has to run. Errors:
// backend.ErrInvalid for defaults that can't be used.
func New(cfg Config) (*Node, error) {
	n := &Node{cfg: cfg, contact: &contact{Store: cfg.Store}, started: time.Now(), pushed: make(chan struct{}, 1)}
	first := &config{defaults: cfg.Defaults}
	if err := first.settle(""); err != nil {
		return nil, fmt.Errorf("%w: %w", backend.ErrInvalid, err)
	}
	n.current.Store(first)
	var err error
	n.published, err = dynconf.New(n.contact, settings.ConfigKey, dynconf.Options[string]{
		Decode: n.decode,
		Report: n.report,
		Logger: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	n.directory = registry.NewDirectory(n.contact, registry.DefaultDir, cfg.Log)
	cfg.Level.Set(first.inForce.Level())
	n.published.Subscribe(func(_, _ string) {
		err := n.change(func(*config) {})
		if err == nil {
			return
		}
		// What is meant for all nodes counts more than what one was given for a while.
		if !n.endOverride("what is published now can't be used below it: "+err.Error(), func(*Override) bool { return true }) {
			cfg.Log.Error("the published config can't be put in force, what is in force stays", "error", err)
		}
	})
	return n, nil
}

// report tells others how the node stands with the published config and with
// what is rolled out.
func (n *Node) report(r dynconf.Report) {
	if n.place == nil {
		return
	}
	tell := func(to *registry.Registration) error { return rollout.Tell(to, settings.ConfigKey, r) }
	if err := n.place.each(tell); err != nil {
		n.cfg.Log.Error("can't report on the config", "error", err)
	}
}

// A Listing is what others are told about a node that buyers come to.
type Listing struct {
	Addr        string    // where buyers' requests go
	RPC         string    // where other nodes do
	Ops         string    // where metrics and status are, "": nobody is told
	Incarnation ulid.ULID // of the process
	TTL         time.Duration

	// Vacated is closed when the process whose place this one takes has ended; nil:
	// there was none.
	Vacated <-chan struct{}
}

// Register makes the node one that buyers come to; Announce has to run. Errors:
// backend.ErrInvalid for an address that nobody can connect to.
func (n *Node) Register(l Listing) error {
	config := registry.Config{
		Node: registry.Node{
			Addr: l.Addr, RPC: l.RPC, Ops: l.Ops, Incarnation: l.Incarnation.String(),
			Proto: "http", Version: n.cfg.Version, Config: hash(n.InForce()),
		},
		TTL:    l.TTL,
		Logger: n.cfg.Log,
	}
	create := func(c registry.Config) (*registry.Registration, error) { return registry.NewRegistration(n.contact, c) }
	place, err := newPlace(config, create, l.Vacated)
	if err != nil {
		return err
	}
	n.place = place
	n.published.SetNode(dynconf.Node{ID: place.id()})
	return nil
}

// Registered reports whether the node is listed, as far as it can know at this
// moment: see [registry.Registration.Registered].
func (n *Node) Registered() bool { return n.place.registered() }

// Directory is the list of the nodes.
func (n *Node) Directory() *registry.Directory { return n.directory }

// Supervise makes the node one that publishes versions of the cluster config, and ends
// rollouts that fail. Versions that come by other means are recorded by who does the
// admins' jobs.
func (n *Node) Supervise() error {
	versions, err := history.New(n.contact, settings.ConfigKey, history.Options{Check: n.published.Check, Logger: n.cfg.Log})
	if err != nil {
		return err
	}
	controller, err := rollout.New(rollout.Config{
		Store:   n.contact,
		Key:     settings.ConfigKey,
		History: versions,
		Nodes:   n.directory,
		Check:   n.published.Check,
		Logger:  n.cfg.Log,
	})
	if err != nil {
		return err
	}
	n.versions, n.rollouts = versions, controller
	return nil
}

// Versions are those of the cluster config, Rollouts what is tried of it. Both are nil
// unless the node supervises.
func (n *Node) Versions() *history.History { return n.versions }

// Rollouts is described at [Node.Versions].
func (n *Node) Rollouts() *rollout.Controller { return n.rollouts }

// ConfigFaults tells everything that is wrong with a cluster config, for people who edit
// it; nil: it could be in force here.
func (n *Node) ConfigFaults(raw []byte) []settings.ConfigFault {
	return n.current.Load().defaults.Faults(raw)
}

// Run follows the cluster config and the nodes, and supervises if it is to, until
// ctx ends; it logs when the store goes away and when it is back. Errors:
// backend.ErrClosed for a store that was closed.
func (n *Node) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.published.Run(ctx) })
	group.Go(func() error { return n.directory.Run(ctx) })
	group.Go(func() error {
		n.contact.tell(ctx, n.cfg.Log)
		return nil
	})
	group.Go(func() error {
		n.endOverrides(ctx)
		return nil
	})
	if n.rollouts != nil {
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
	if await(ctx, n.published.Synced()) && await(ctx, n.directory.Synced()) {
		return n.place.run(ctx)
	}
	return nil
}

// Drain makes the node not ready, and has it say so to others: it is about to stop.
func (n *Node) Drain() {
	n.draining.Store(true)
	n.Leave()
}

// Leave tells other nodes that this process is about to stop, and nobody else: another
// process answers at its address by now.
func (n *Node) Leave() {
	if n.place == nil {
		return
	}
	if err := n.place.update(func(node *registry.Node) { node.Draining = true }); err != nil {
		n.cfg.Log.Error("can't tell that the node is about to stop", "error", err)
	}
}
