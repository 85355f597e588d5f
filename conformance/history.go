package conformance

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/seed27495941/seckill/backend"
)

// A history records what the clients of a store did and what they were told, so
// that it can be checked afterwards: see check. Each value is written once. It
// is safe for concurrent use.
type history struct {
	t     *proof
	dir   string // all its keys are under it
	began time.Time

	mu         sync.Mutex
	operations []*operation
	watches    int
}

// record begins the history of the keys under dir, of which there are none yet.
func (t *proof) record(dir string) *history { return &history{t: t, dir: dir, began: time.Now()} }

// An operation is a call as its client saw it, or an update of a watch.
type operation struct {
	client int
	kind   kind
	key    string              // of get, put and delete
	value  string              // of put
	lease  string              // of put, "" for none; of revoke
	conds  []backend.Condition // of put and delete
	watch  int                 // of told, from 1
	nth    int                 // of told: which update of its watch, from 0

	called, returned time.Duration // since the history began

	class    error // nil for success, else one of the classes of package backend
	revision backend.Revision
	entries  []backend.Entry // what get, list and told had
	conflict backend.ConflictError

	open uint64 // of a write that is open: a bit of its own, see prepare
}

type kind string

const (
	opGet    kind = "get"
	opList   kind = "list" // entries are all there are, complete up to revision
	opTold   kind = "told" // by a watch: entries and revision are what it adds up to
	opPut    kind = "put"
	opDelete kind = "delete"
	opRevoke kind = "revoke"
	opEnd    kind = "end" // of all that returned: see prepare
)

// classesOf are the classes that an operation may end with, beside success.
var classesOf = map[kind][]error{
	opGet:    {backend.ErrNotFound, backend.ErrUnavailable},
	opList:   {backend.ErrUnavailable},
	opPut:    {backend.ErrConflict, backend.ErrUnavailable, backend.ErrUnknown},
	opDelete: {backend.ErrConflict, backend.ErrUnavailable, backend.ErrUnknown},
	opRevoke: {backend.ErrUnavailable, backend.ErrUnknown},
}

// writes reports whether it may change the store.
func (o *operation) writes() bool {
	return o.kind == opPut || o.kind == opDelete || o.kind == opRevoke
}

// A client is a store whose calls and watches are recorded.
type client struct {
	backend.Store
	number  int
	history *history
}

// client records what is done with s. Numbers tell clients apart.
func (h *history) client(number int, s backend.Store) *client {
	return &client{Store: s, number: number, history: h}
}

// Get implements backend.Store.
func (c *client) Get(ctx context.Context, key string) (backend.Entry, error) {
	o := c.begin(&operation{kind: opGet, key: key})
	e, err := c.Store.Get(ctx, key)
	switch {
	case err == nil:
		o.entries = []backend.Entry{e}
	case e.Value != nil || e.Revision != 0 || e.Lease != "":
		c.history.t.Errorf("get %q: both %+v and the error %v", key, e, err)
	}
	if e.Key != key {
		c.history.t.Errorf("get %q: the entry is of %q", key, e.Key)
	}
	c.end(o, err)
	return e, err
}

// Put implements backend.Store.
func (c *client) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	resolved, err := backend.ResolvePut(key, value, opts...)
	if err != nil {
		return 0, err
	}
	o := &operation{kind: opPut, key: key, value: string(value), conds: resolved.Conditions}
	if resolved.Lease != nil {
		o.lease = resolved.Lease.ID()
	}
	c.begin(o)
	o.revision, err = c.Store.Put(ctx, key, value, opts...)
	if (err == nil) == (o.revision == 0) {
		c.history.t.Errorf("put %q: revision %d and the error %v", key, o.revision, err)
	}
	c.end(o, err)
	return o.revision, err
}

// Delete implements backend.Store.
func (c *client) Delete(ctx context.Context, key string, conds ...backend.Condition) error {
	o := c.begin(&operation{kind: opDelete, key: key, conds: conds})
	err := c.Store.Delete(ctx, key, conds...)
	c.end(o, err)
	return err
}

// list reads all keys of the history.
func (c *client) list(ctx context.Context) error {
	o := c.begin(&operation{kind: opList})
	var err error
	o.entries, o.revision, err = backend.List(ctx, c.Store, c.history.dir)
	c.end(o, err)
	return err
}

// revoke closes a lease. If that fails the store ends it at any later time, as
// if it were not known whether it did already.
func (c *client) revoke(ctx context.Context, l backend.Lease) error {
	o := c.begin(&operation{kind: opRevoke, lease: l.ID()})
	err := l.Close(ctx)
	c.end(o, err)
	return err
}

// WatchPrefix implements backend.Store. The prefix must cover the history. Each
// update is an operation that began with the watch: what it adds up to was in the
// store at some time until then, after what the update before it added up to.
func (c *client) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		h := c.history
		h.mu.Lock()
		h.watches++
		watch := h.watches
		h.mu.Unlock()
		began := h.now()
		var state backend.State
		nth := 0
		for u, err := range c.Store.WatchPrefix(ctx, prefix) {
			if err == nil {
				state.Apply(u)
				h.add(&operation{
					client: c.number, kind: opTold, watch: watch, nth: nth, called: began, returned: h.now(),
					entries: state.Entries(), revision: u.Revision,
				})
				nth++
			}
			if !yield(u, err) {
				return
			}
		}
	}
}

func (h *history) now() time.Duration { return time.Since(h.began) }

func (h *history) add(o *operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations = append(h.operations, o)
}

func (c *client) begin(o *operation) *operation {
	o.client, o.called = c.number, c.history.now()
	return o
}

// end adds an operation that is over.
func (c *client) end(o *operation, err error) {
	o.returned = c.history.now()
	if err != nil {
		o.class = c.history.classify(o, err)
	}
	if o.kind == opRevoke && err != nil {
		o.class = backend.ErrUnknown // the lease expires
	}
	c.history.add(o)
}

// classify finds the one class of an error.
func (h *history) classify(o *operation, err error) error {
	var found []error
	for _, class := range allClasses {
		if errors.Is(err, class) {
			found = append(found, class)
		}
	}
	if len(found) != 1 || !slices.Contains(classesOf[o.kind], found[0]) {
		h.t.Errorf("%s %q: the error matches %v, want one of %v: %v", o.kind, o.key, found, classesOf[o.kind], err)
		if o.writes() {
			return backend.ErrUnknown // for the check to go on
		}
		return backend.ErrUnavailable
	}
	if !errors.Is(err, backend.ErrConflict) {
		return found[0]
	}
	var conflict *backend.ConflictError
	if !errors.As(err, &conflict) {
		h.t.Errorf("%s %q: the conflict does not tell its condition: %v", o.kind, o.key, err)
		return backend.ErrUnavailable
	}
	if !slices.Contains(o.conds, backend.If(conflict.Key, conflict.Want)) {
		h.t.Errorf("%s %q: a conflict about a condition that was not given: %v", o.kind, o.key, err)
		return backend.ErrUnavailable
	}
	o.conflict = *conflict
	return found[0]
}

// writes counts the writes that ended with a class, nil for success.
func (h *history) writes(class error) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range h.operations {
		if o.writes() && errors.Is(o.class, class) {
			n++
		}
	}
	return n
}

// String describes an operation in one line.
func (o *operation) String() string {
	s := fmt.Sprintf("%s %q", o.kind, o.key)
	switch o.kind {
	case opList:
		s = "list"
	case opTold:
		s = fmt.Sprintf("watch %d, update %d", o.watch, o.nth)
	case opPut:
		s = fmt.Sprintf("put %q = %q", o.key, o.value)
	case opRevoke:
		s = "close"
	case opEnd:
		return "end"
	case opGet, opDelete:
	}
	if o.lease != "" {
		s += " lease " + o.lease
	}
	for _, c := range o.conds {
		s += fmt.Sprintf(" if %q is %d", c.Key, c.Revision)
	}
	return s + " → " + o.outcome()
}

func (o *operation) outcome() string {
	switch {
	case errors.Is(o.class, backend.ErrConflict):
		return o.conflict.Error()
	case o.class != nil:
		return o.class.Error()
	case o.kind == opPut:
		return fmt.Sprint("revision ", o.revision)
	case o.writes():
		return "ok"
	}
	s := ""
	for _, e := range o.entries {
		s += describe(e.Key, string(e.Value), e.Revision, e.Lease) + " "
	}
	if o.kind != opGet {
		s += fmt.Sprint("up to ", o.revision)
	}
	return s
}

func describe(key, value string, rev backend.Revision, lease string) string {
	s := fmt.Sprintf("%q = %q at %d", key, value, rev)
	if lease != "" {
		s += " on " + lease
	}
	return s
}
