package registry

import (
	"context"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
)

// A Directory is a live list of the nodes, as they say about themselves. It
// reads from memory and goes on with what it knows when the store is away.
// Being listed is a hint, never a proof, that a node is alive.
//
// Somebody has to [Directory.Run] it. It is safe for concurrent use.
type Directory struct {
	store   backend.Store
	dir     string
	log     *slog.Logger
	mirror  *backend.Mirror
	loop    *retry.Loop
	current atomic.Pointer[listing]

	known content // Run's own

	mu          sync.Mutex
	subscribers []func(Change)
}

// A Change is what became different at one moment. Nodes are in the order of
// their ids. If that is the drain of a node which is not listed, only Nodes is
// set: see [Directory.Drain].
type Change struct {
	Joined  []Node
	Updated []Node
	Left    []Node // as they were last seen
	Nodes   []Node // all that are listed now: none if the last one left
}

// A Problem is a key of the directory that is no node's.
type Problem struct {
	Key      string
	Revision backend.Revision
	Err      error
}

// A listing is one immutable state of the directory.
type listing struct {
	nodes    []Node // in the order of their ids
	problems []Problem
	drains   map[string]Drain // of nodes that are listed and others
}

func (l *listing) node(id string) (Node, bool) {
	i, ok := slices.BinarySearchFunc(l.nodes, id, func(n Node, id string) int { return strings.Compare(n.ID, id) })
	if !ok {
		return Node{}, false
	}
	return l.nodes[i], true
}

// NewDirectory prepares the list of the nodes under dir, which ends with a
// slash; empty, it is DefaultDir. A nil logger is silent.
func NewDirectory(s backend.Store, dir string, log *slog.Logger) *Directory {
	if dir == "" {
		dir = DefaultDir
	}
	d := &Directory{
		store: s,
		dir:   dir,
		log:   retry.Logger(log).With("dir", dir),
		known: newContent(dir),
	}
	d.loop = retry.New(d.log, "follow the nodes")
	d.mirror = backend.NewMirror(d.loop.Hearing(s), dir, d.changed)
	d.current.Store(&listing{})
	return d
}

// Run follows the nodes until ctx ends; then it returns nil. A watch that ends
// for any other reason is begun again, with a backoff; only a closed store
// (ErrClosed) or a bad directory (ErrInvalid) ends Run early.
func (d *Directory) Run(ctx context.Context) error {
	if err := checkDir(d.dir); err != nil {
		return err
	}
	return d.loop.Keep(ctx, d.mirror.Run)
}

// Nodes lists the nodes in the order of their ids. It never blocks. The slice
// is the caller's; what its nodes refer to is shared and must not be modified.
//
// The list is empty as long as no answer has come: see [Directory.Synced].
func (d *Directory) Nodes() []Node { return slices.Clone(d.current.Load().nodes) }

// Node finds a node by its id.
func (d *Directory) Node(id string) (Node, bool) { return d.current.Load().node(id) }

// Drain is an operator's word on the node with an id, listed or not.
func (d *Directory) Drain(id string) (drain Drain, drained bool) {
	drain, drained = d.current.Load().drains[id]
	return drain, drained
}

// Drains are the operators' words on all nodes, listed or not, by id. The map is the
// caller's.
func (d *Directory) Drains() map[string]Drain { return maps.Clone(d.current.Load().drains) }

// Problems lists the keys that were left out because their values are no
// node's, in order.
func (d *Directory) Problems() []Problem { return slices.Clone(d.current.Load().problems) }

// Synced is closed when the first state is in and subscribers have been told.
func (d *Directory) Synced() <-chan struct{} { return d.mirror.Synced() }

// Staleness is the time since the store last confirmed the list: see
// [backend.Mirror.Staleness].
func (d *Directory) Staleness() time.Duration { return d.mirror.Staleness() }

// LastError is the last trouble with the watch, over or not, and when it came;
// nil if there was none.
func (d *Directory) LastError() (time.Time, error) {
	last := d.loop.Last()
	return last.At, last.Err
}

// Subscribe has f called with each change from now on, one call at a time and
// in order, after the change can be read. f must not block: it holds up Run.
func (d *Directory) Subscribe(f func(Change)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.subscribers = append(d.subscribers, f)
}

// Fetch asks the store itself for the nodes, in the order of their ids: as
// current as every write acknowledged before the call. It is for the rare
// moment at which a copy that may be old won't do. Errors: those of
// [backend.List].
func (d *Directory) Fetch(ctx context.Context) ([]Node, error) {
	if err := checkDir(d.dir); err != nil {
		return nil, err
	}
	entries, _, err := backend.List(ctx, d.store, d.dir)
	if err != nil {
		return nil, err
	}
	now := newContent(d.dir)
	for _, e := range entries {
		now.take(e)
	}
	return now.listing().nodes, nil
}

// changed takes in a change of the mirror.
func (d *Directory) changed(u backend.Update) {
	before := d.current.Load()
	touched := map[string]struct{}{}
	touch := func(names []string) {
		for _, name := range names {
			touched[name] = struct{}{}
		}
	}
	for _, key := range u.Deletes {
		touch(d.known.take(backend.Entry{Key: key}))
	}
	for _, e := range u.Puts {
		touch(d.known.take(e))
		if r := d.known.results[strings.TrimPrefix(e.Key, d.dir)]; r.err != nil && r.revision == e.Revision {
			d.log.Warn("not a node, left out", "key", e.Key, "revision", uint64(e.Revision), "error", r.err)
		}
	}
	now := d.known.listing()
	d.current.Store(now)
	c := compare(before, now, slices.Sorted(maps.Keys(touched)))
	if len(c.Joined)+len(c.Updated)+len(c.Left) > 0 || !maps.Equal(before.drains, now.drains) {
		d.tell(c)
	}
}

// compare tells what has become of some names, in their order, for those who see
// nodes only: a node whose value is spoilt has left.
func compare(before, now *listing, names []string) Change {
	c := Change{Nodes: now.nodes}
	for _, name := range names {
		old, was := before.node(name)
		n, is := now.node(name)
		switch {
		case was && is && !reflect.DeepEqual(old, n):
			c.Updated = append(c.Updated, n)
		case was && !is:
			c.Left = append(c.Left, old)
		case is && !was:
			c.Joined = append(c.Joined, n)
		}
	}
	return c
}

func (d *Directory) tell(c Change) {
	d.mu.Lock()
	subscribers := slices.Clone(d.subscribers)
	d.mu.Unlock()
	for _, f := range subscribers {
		each := c
		each.Nodes = slices.Clone(c.Nodes)
		f(each)
	}
}
