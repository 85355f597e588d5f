package consul

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/seed27495941/seckill/backend"
)

// MaxFollowed is how many prefixes the watches of one Store may follow at once,
// however many watches each has. Every followed prefix holds a connection.
const MaxFollowed = 128

const (
	// confirmEvery is the least time between two updates that only confirm.
	// With blockFor, one comes at least every 30s.
	confirmEvery = 5 * time.Second

	// After an answer that brought nothing the next query waits, longer each
	// time: that of an absent prefix returns at every write to the store.
	quietFirst = 100 * time.Millisecond
	quietMost  = time.Second

	retryFirst = 50 * time.Millisecond
	retryMost  = 5 * time.Second
)

// A hub follows one prefix for all its watches in a Store. It keeps the latest
// view only; each watch compares that with what it saw last, so that consumers
// of any speed see a merged history and none is waited for.
//
// A watch that joins must see a state at least as new as its beginning, so for
// it the prefix is read anew, once for all that wait at the time (fresh).
// Following, with blocking queries, begins when a watch wants a second update:
// a List is a single request, or two if it is of nothing.
type hub struct {
	store  *Store
	prefix string // physical
	ctx    context.Context
	cancel context.CancelFunc

	watches int // guarded by the store's mutex

	mu        sync.Mutex
	view      *view
	confirmed uint64    // counts the confirmations to be told
	told      time.Time // when consumers were last to be told something
	err       error     // the end of all watches
	trouble   error     // why the last read failed, nil if it did not
	moved     chan struct{}
	waiting   *round // the watches that the next read is for
	reading   bool
	following bool
}

// A round is one read of the prefix for those who asked before it began.
type round struct {
	done chan struct{}
	err  error // why there is no answer; written before done is closed
}

// join finds or makes the hub of a prefix. leave must be called.
func (s *Store) join(prefix string) (*hub, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hubs[prefix]
	if h == nil {
		ctx, cancel, err := s.life.Call(context.Background(), 0)
		if err != nil {
			return nil, err
		}
		h = &hub{store: s, prefix: prefix, ctx: ctx, cancel: cancel, view: &view{}, moved: make(chan struct{})}
		s.hubs[prefix] = h
	}
	h.watches++
	return h, nil
}

// leave ends the hub with its last watch.
func (s *Store) leave(h *hub) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.watches--
	if h.watches == 0 {
		h.cancel()
		s.forget(h)
	}
}

// forget lets the next watch begin a hub of its own. The caller holds mu.
func (s *Store) forget(h *hub) {
	if s.hubs[h.prefix] == h {
		delete(s.hubs, h.prefix)
	}
}

// fail ends all watches of the hub.
func (h *hub) fail(err error) {
	h.store.mu.Lock()
	h.store.forget(h)
	h.store.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = err
	h.wake()
}

// wake tells the watches to look. The caller holds mu.
func (h *hub) wake() {
	h.told = time.Now()
	close(h.moved)
	h.moved = make(chan struct{})
}

func (h *hub) current() *view {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.view
}

// What an answer was worth.
type worth int

const (
	nothing   worth = iota // nothing new
	news                   // something to be told
	lost                   // history was lost
	worthless              // it is from before history was lost
)

// offer takes in the answer to a query that was sent when begun was the view.
// Queries overlap, so an answer may be older than the view without anything
// being wrong; one older than begun tells that the index went back.
func (h *hub) offer(begun *view, l listing) worth {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case begun.history != h.view.history:
		return worthless
	case l.index >= begun.index && l.index < h.view.index:
		return nothing
	}
	next, told := h.view.after(l, l.index < begun.index)
	previous := h.view
	h.view = next
	switch {
	case next.history != previous.history:
		h.wake()
		return lost
	case told:
		h.wake()
		return news
	case time.Since(h.told) >= confirmEvery:
		h.confirmed++
		h.wake()
	}
	return nothing
}

// A sight is what a watch has seen of its hub.
type sight struct {
	view      *view
	confirmed uint64
}

// see is what there is to be seen now.
func (h *hub) see() sight {
	h.mu.Lock()
	defer h.mu.Unlock()
	return sight{view: h.view, confirmed: h.confirmed}
}

// next waits until there is something to be told to a watch that has seen last.
func (h *hub) next(ctx context.Context, last sight) (sight, error) {
	for {
		h.mu.Lock()
		now, err, moved := sight{view: h.view, confirmed: h.confirmed}, h.err, h.moved
		h.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return sight{}, context.Cause(ctx)
		case err != nil:
			return sight{}, err
		case now.view.serial != last.view.serial || now.confirmed != last.confirmed:
			return now, nil
		}
		select {
		case <-ctx.Done():
		case <-moved:
		}
	}
}

// fresh waits until the view is at least as new as this call.
func (h *hub) fresh(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r, err := h.ask()
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return h.unanswered(ctx)
	case <-r.done:
		return r.err
	}
}

// unanswered is the error of a watch that ends before its first update.
func (h *hub) unanswered(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.trouble == nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w: %s", context.Cause(ctx), h.trouble.Error())
}

// ask joins the next read of the prefix.
func (h *hub) ask() (*round, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting == nil {
		h.waiting = &round{done: make(chan struct{})}
	}
	if !h.reading {
		if err := h.store.life.Go(h.read); err != nil {
			return nil, err
		}
		h.reading = true
	}
	return h.waiting, nil
}

// read reads the prefix as long as there are watches that ask for it.
func (h *hub) read(context.Context) {
	for {
		h.mu.Lock()
		r := h.waiting
		h.waiting = nil
		h.reading = r != nil
		h.mu.Unlock()
		if r == nil {
			return
		}
		r.err = h.readOnce()
		close(r.done)
	}
}

// readOnce takes in one fresh answer, or returns the error that ends the hub.
func (h *hub) readOnce() error {
	for failures := 0; ; failures++ {
		begun := h.current()
		l, err := h.list(0, 0, failures)
		h.note(err)
		if err == nil && h.offer(begun, l) != worthless {
			return nil
		}
		if h.over(err) || !sleep(h.ctx, backoff(failures)) {
			return h.end()
		}
	}
}

func (h *hub) note(trouble error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.trouble = trouble
}

// end is why a hub that is over has ended.
func (h *hub) end() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return h.err
	}
	return context.Cause(h.ctx)
}

// list reads the prefix. That there is nothing under it, for the first time or
// from now on, is not taken for true before it is known that the keys would be
// shown.
func (h *hub) list(index uint64, wait time.Duration, failures int) (listing, error) {
	l, err := h.store.list(h.ctx, h.prefix, index, wait, failures)
	stillEmpty := index > 0 && len(h.current().entries) == 0
	if err != nil || len(l.entries) > 0 || stillEmpty {
		return l, err
	}
	return l, h.store.mayRead(h.ctx, h.prefix)
}

// over reports whether an error ends the hub.
func (h *hub) over(err error) bool {
	if isDenied(err) {
		h.fail(backend.Failure(h.ctx, backend.ErrDenied, "watch", h.name(), err))
		return true
	}
	return h.ctx.Err() != nil
}

// name is the prefix as callers know it.
func (h *hub) name() string { return h.prefix[len(h.store.root):] }

// follow begins to follow the prefix, unless that is being done. Errors:
// ErrUnavailable when the Store follows too many already, ErrClosed.
func (h *hub) follow() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.following {
		return nil
	}
	select {
	case h.store.followed <- struct{}{}:
	default:
		return backend.Failure(h.ctx, backend.ErrUnavailable, "watch", h.name(), errBudget)
	}
	err := h.store.life.Go(func(context.Context) {
		defer func() { <-h.store.followed }()
		h.run()
	})
	if err != nil {
		<-h.store.followed
		return err
	}
	h.following = true
	return nil
}

var errBudget = fmt.Errorf("this Store follows %d prefixes already, its limit: each holds one of the 200 connections that Consul allows a client address by default", MaxFollowed)

// run is the loop of blocking queries. It begins without an index after an
// error and when history was lost, because an index of another history may not
// come for long.
func (h *hub) run() {
	index := h.current().index
	failures := 0
	quiet := quietFirst
	for wait := blockFirst; ; wait = min(2*wait, blockFor) {
		begun, sent := h.current(), time.Now()
		l, err := h.list(index, wait, failures)
		if err != nil {
			if h.over(err) || !sleep(h.ctx, backoff(failures)) {
				return
			}
			failures++
			index = 0
			continue
		}
		failures = 0
		switch worth := h.offer(begun, l); {
		case worth == lost || worth == worthless:
			index = 0
			if !sleep(h.ctx, quietFirst) {
				return
			}
			continue
		case worth == news || time.Since(sent) > quietMost:
			quiet = quietFirst
		default:
			if !sleep(h.ctx, quiet) {
				return
			}
			quiet = min(2*quiet, quietMost)
			if index > 0 && l.index == index {
				// So Consul answers when it gives up its state for one that is
				// restored: with what was, to those that wait.
				index = 0
				continue
			}
		}
		index = h.current().index
	}
}

// backoff is the pause after a number of failures in a row, spread out so that
// many processes don't come back at once.
func backoff(failures int) time.Duration {
	limit := min(retryFirst<<min(failures, 10), retryMost)
	return limit/2 + rand.N(limit/2)
}
