package balance

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/seed27495941/seckill/internal/retry"
	"github.com/seed27495941/seckill/recipe/internal/run"
	"github.com/seed27495941/seckill/recipe/registry"
)

const (
	// memory is how long a node that is no longer listed is remembered, in case
	// the list runs empty, and how long it is kept once the list is refilled.
	memory = 30 * time.Second

	// silence of the store for this long makes a list stale: while it answers
	// it is heard of every 30 seconds.
	silence = time.Minute

	// recheck is how often a stale list is looked at: that it is fresh again is
	// told by no event.
	recheck = 5 * time.Second
)

// A Config says how a cluster is made of a directory's nodes. The zero value
// will do.
type Config struct {
	// Addr says where a node takes requests; one with an empty address is left
	// out. nil: at its Addr, where buyers go.
	Addr func(registry.Node) string

	Logger *slog.Logger // nil: silent
}

// A Cluster is the endpoints that requests may go to. It follows a directory,
// which somebody has to run; somebody has to [Cluster.Run] it, too. It is safe
// for concurrent use, and its methods never block but for Run.
type Cluster struct {
	directory *registry.Directory
	addr      func(registry.Node) string
	log       *slog.Logger
	dirty     chan struct{} // holds a token while the list may have changed
	synced    chan struct{}

	turn run.Turn // of Run

	mu      sync.Mutex
	known   map[string]known // by id
	status  Status
	refill  time.Time // when the list was not empty any more
	changed chan struct{}
	pickers []*Picker
}

// known is a node and since when it is not listed, zero if it is.
type known struct {
	node registry.Node
	left time.Time
}

// A Status tells what a cluster goes by.
type Status struct {
	// Synced says that the list has been read at all.
	Synced bool `json:"synced"`

	// Listed is how many nodes the registry lists, Endpoints where requests go.
	Listed    int        `json:"listed"`
	Endpoints []Endpoint `json:"endpoints"`

	// Kept is since when nodes are used though they are not listed, because the
	// list ran empty; zero if that is not so.
	Kept time.Time `json:"kept,omitzero"`

	// Fallback says that no node serves, and others are used: see
	// [registry.Serving].
	Fallback bool `json:"fallback,omitempty"`

	// Stale says that the store has not been heard of for a minute: the list is
	// what was known then.
	Stale bool `json:"stale,omitempty"`
}

// NewCluster prepares a cluster of a directory's nodes. It is told of the
// directory's changes for as long as that runs, so it should live as long.
func NewCluster(d *registry.Directory, cfg Config) *Cluster {
	c := &Cluster{
		directory: d,
		addr:      cfg.Addr,
		log:       retry.Logger(cfg.Logger),
		dirty:     make(chan struct{}, 1),
		synced:    make(chan struct{}),
		known:     map[string]known{},
		changed:   make(chan struct{}),
	}
	if c.addr == nil {
		c.addr = func(n registry.Node) string { return n.Addr }
	}
	d.Subscribe(func(registry.Change) {
		select {
		case c.dirty <- struct{}{}:
		default:
		}
	})
	return c
}

// Run follows the directory until ctx ends; then it returns nil. It may not run
// twice at once: that is ErrInvalid.
func (c *Cluster) Run(ctx context.Context) error {
	if err := c.turn.Begin("the cluster"); err != nil {
		return err
	}
	defer c.turn.End()
	select {
	case <-ctx.Done():
		return nil
	case <-c.directory.Synced():
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.dirty:
		case <-timer.C:
		}
		timer.Reset(c.refresh(time.Now()))
	}
}

// Synced is closed when the cluster knows its endpoints, if there are any.
func (c *Cluster) Synced() <-chan struct{} { return c.synced }

// Status tells what the cluster goes by now.
func (c *Cluster) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.status
	s.Endpoints = slices.Clone(s.Endpoints)
	return s
}

// Changed is closed with the next change of the status. Ask for it before the
// status, and none is missed.
func (c *Cluster) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// Picker makes a picker that follows the cluster as long as that lives. Errors:
// ErrInvalid for a policy that does not exist.
func (c *Cluster) Picker(policy Policy) (*Picker, error) {
	p, err := NewPicker(policy)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p.Update(c.status.Endpoints)
	c.pickers = append(c.pickers, p)
	return p, nil
}

// refresh takes in the list as it is, and says when to do that again at the
// latest.
func (c *Cluster) refresh(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	listed := c.directory.Nodes()
	c.remember(listed, now)

	next := Status{Synced: true, Listed: len(listed), Kept: c.keptSince(len(listed) == 0, now)}
	nodes := listed
	if !next.Kept.IsZero() {
		nodes = c.all()
	}
	serving, fallback := registry.Serving(nodes)
	next.Endpoints, next.Fallback = endpoints(serving, c.addr), fallback
	staleness := c.directory.Staleness()
	next.Stale = staleness > silence
	c.publish(next)

	wait := recheck
	if !next.Stale {
		wait = silence - staleness + time.Millisecond
	}
	if !c.refill.IsZero() {
		wait = min(wait, c.refill.Add(memory).Sub(now))
	}
	return max(wait, 0)
}

// remember takes note of who is listed and who is no more. The caller holds mu,
// as with all that follow.
func (c *Cluster) remember(listed []registry.Node, now time.Time) {
	here := make(map[string]bool, len(listed))
	for _, n := range listed {
		here[n.ID] = true
		c.known[n.ID] = known{node: n}
	}
	for id, k := range c.known {
		if !here[id] && k.left.IsZero() {
			k.left = now
			c.known[id] = k
		}
	}
}

// keptSince decides whether nodes are used that are not listed, after it has
// forgotten those that have been gone for long.
func (c *Cluster) keptSince(empty bool, now time.Time) time.Time {
	kept := c.status.Kept
	if kept.IsZero() {
		maps.DeleteFunc(c.known, func(_ string, k known) bool { return !k.left.IsZero() && now.Sub(k.left) >= memory })
	}
	switch {
	case empty && kept.IsZero() && c.status.Synced:
		kept, c.refill = now, time.Time{}
	case empty:
		c.refill = time.Time{}
	case !kept.IsZero() && c.refill.IsZero():
		c.refill = now
	}
	if over := !c.refill.IsZero() && now.Sub(c.refill) >= memory; over {
		kept, c.refill = time.Time{}, time.Time{}
	}
	if len(c.known) == 0 {
		return time.Time{} // there is nothing to keep
	}
	return kept
}

// all is everybody known, drained who was when last listed, or is now: that a
// drain has vanished together with its node is no order to undrain it.
func (c *Cluster) all() []registry.Node {
	nodes := make([]registry.Node, 0, len(c.known))
	for id, k := range c.known {
		if drain, ok := c.directory.Drain(id); ok && k.node.Drain == nil {
			k.node.Drain = &drain
		}
		nodes = append(nodes, k.node)
	}
	return nodes
}

// publish makes a status the present one and tells of it.
func (c *Cluster) publish(next Status) {
	was := c.status
	c.status = next
	c.logChange(was, next)
	if !slices.Equal(was.Endpoints, next.Endpoints) {
		for _, p := range c.pickers {
			p.Update(next.Endpoints)
		}
	}
	if !was.Synced {
		close(c.synced)
	}
	if !was.equal(next) {
		close(c.changed)
		c.changed = make(chan struct{})
	}
}

func (s Status) equal(o Status) bool {
	return s.Synced == o.Synced && s.Listed == o.Listed && s.Fallback == o.Fallback && s.Stale == o.Stale &&
		s.Kept.Equal(o.Kept) && slices.Equal(s.Endpoints, o.Endpoints)
}

func (c *Cluster) logChange(was, now Status) {
	count := len(now.Endpoints)
	switch {
	case was.Kept.IsZero() && !now.Kept.IsZero():
		c.log.Warn("the registry lists no node any more, the last known ones are kept", "endpoints", count)
	case !was.Kept.IsZero() && now.Kept.IsZero():
		c.log.Info("nodes that are not listed are no longer kept", "endpoints", count)
	}
	switch {
	case !was.Stale && now.Stale:
		c.log.Warn("the store is silent, the last known nodes are used", "endpoints", count)
	case was.Stale && !now.Stale:
		c.log.Info("the store is heard of again", "endpoints", count)
	}
	switch {
	case !was.Fallback && now.Fallback:
		c.log.Warn("no node serves: requests go to those that are critical or about to stop", "endpoints", count)
	case was.Fallback && !now.Fallback:
		c.log.Info("there are nodes that serve again", "endpoints", count)
	}
}
