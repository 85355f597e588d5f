package registry

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/internal/retry"
)

// A Directory is a live list of the nodes, as they say about themselves. It
// reads from memory and goes on with what it knows when the store is away.
// Being listed is a hint, never a proof, that a node is alive.
//
// Somebody has to [Directory.Run] it. It is safe for concurrent use.
type Directory struct {
	dir     string
	log     *slog.Logger
	mirror  *backend.Mirror
	loop    *retry.Loop
	current atomic.Pointer[listing]

	known map[string]result // by key; Run's own

	mu          sync.Mutex
	subscribers []func(Change)
}

// A Change is what became different at one moment. Nodes are in the order of
// their ids.
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
	nodes    []Node
	problems []Problem
}

// A result is what an entry was found to be: a node, or a problem if err is set.
type result struct {
	node     Node
	revision backend.Revision
	err      error
}

// NewDirectory prepares the list of the nodes under dir, which ends with a
// slash; empty, it is DefaultDir. A nil logger is silent.
func NewDirectory(s backend.Store, dir string, log *slog.Logger) *Directory {
	if dir == "" {
		dir = DefaultDir
	}
	d := &Directory{
		dir:   dir,
		log:   retry.Logger(log).With("dir", dir),
		known: map[string]result{},
	}
	d.loop = retry.New(d.log, "follow the nodes")
	d.mirror = backend.NewMirror(heard{s, d.loop.Worked}, dir, d.changed)
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
// is the caller's; labels are shared and must not be modified.
//
// The list is empty as long as no answer has come: see [Directory.Synced].
func (d *Directory) Nodes() []Node { return slices.Clone(d.current.Load().nodes) }

// Node finds a node by its id.
func (d *Directory) Node(id string) (Node, bool) {
	nodes := d.current.Load().nodes
	i, ok := slices.BinarySearchFunc(nodes, id, func(n Node, id string) int { return strings.Compare(n.ID, id) })
	if !ok {
		return Node{}, false
	}
	return nodes[i], true
}

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

// changed takes in a change of the mirror.
func (d *Directory) changed(u backend.Update) {
	var c Change
	for _, key := range u.Deletes {
		d.note(&c, key, result{}, false)
	}
	for _, e := range u.Puts {
		if folder := e.Key == d.dir; !folder {
			d.note(&c, e.Key, d.read(e), true)
		}
	}
	now := d.list()
	d.current.Store(now)
	if len(c.Joined)+len(c.Updated)+len(c.Left) == 0 {
		return
	}
	for _, nodes := range []*[]Node{&c.Joined, &c.Updated, &c.Left} {
		slices.SortFunc(*nodes, byID)
	}
	c.Nodes = now.nodes
	d.tell(c)
}

// read finds out what an entry is.
func (d *Directory) read(e backend.Entry) result {
	n, err := decode(e.Value)
	n.ID = strings.TrimPrefix(e.Key, d.dir)
	if strings.Contains(n.ID, "/") {
		err = errors.New("the key is not directly in the directory")
	}
	if err != nil {
		d.log.Warn("not a node, left out", "key", e.Key, "revision", uint64(e.Revision), "error", err)
	}
	return result{node: n, revision: e.Revision, err: err}
}

// note remembers what a key has become, and adds to c what that means for those
// who see nodes only: a node whose value is spoilt has left.
func (d *Directory) note(c *Change, key string, now result, exists bool) {
	before, existed := d.known[key]
	was, is := existed && before.err == nil, exists && now.err == nil
	switch {
	case was && is:
		if !reflect.DeepEqual(before.node, now.node) {
			c.Updated = append(c.Updated, now.node)
		}
	case was:
		c.Left = append(c.Left, before.node)
	case is:
		c.Joined = append(c.Joined, now.node)
	}
	if exists {
		d.known[key] = now
	} else {
		delete(d.known, key)
	}
}

// list makes the listing of what is known.
func (d *Directory) list() *listing {
	l := &listing{}
	for _, key := range slices.Sorted(maps.Keys(d.known)) {
		if r := d.known[key]; r.err == nil {
			l.nodes = append(l.nodes, r.node)
		} else {
			l.problems = append(l.problems, Problem{Key: key, Revision: r.revision, Err: r.err})
		}
	}
	return l
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

func byID(a, b Node) int { return strings.Compare(a.ID, b.ID) }

// heard is a store that says when a watch has heard of it.
type heard struct {
	backend.Store
	hear func()
}

func (h heard) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		for u, err := range h.Store.WatchPrefix(ctx, prefix) {
			if err == nil {
				h.hear()
			}
			if !yield(u, err) {
				return
			}
		}
	}
}
