package memory

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/seed27495941/seckill/backend"
)

// heartbeat is how often an idle watch confirms that nothing has changed.
const heartbeat = 10 * time.Second

// A Store is one client of a [Server]. It implements [backend.Store].
type Store struct {
	server *Server
	life   *backend.Lifetime

	// guarded by server.mu
	cut  bool
	late time.Duration
}

var _ backend.Store = (*Store)(nil)

var (
	errCut  = errors.New("the connection is cut")
	errGone = errors.New("the server does not know it")
)

// New opens a store on a server of its own.
func New() *Store { return NewServer().Open() }

// Open opens a store on the server.
func (s *Server) Open() *Store {
	return &Store{server: s, life: backend.NewLifetime()}
}

// Close ends the store: calls fail, watches end, leases are renewed no more.
func (s *Store) Close() error {
	s.life.Close()
	return nil
}

// call runs f on the server under its lock, as one request would. uncertain is
// the class of the error when no answer comes: ErrUnknown for what writes.
func (s *Store) call(ctx context.Context, uncertain error, op, key string, f func() error) error {
	ctx, release, err := s.life.Call(ctx, backend.DefaultTimeout)
	if err != nil {
		return err
	}
	defer release()
	if !s.server.lock(ctx) {
		return backend.Failure(ctx, uncertain, op, key, nil)
	}
	cut, late := s.cut, s.late
	if !cut {
		err = f()
	}
	s.server.mu.Unlock()
	switch {
	case cut:
		return backend.Failure(ctx, backend.ErrUnavailable, op, key, errCut)
	case !await(ctx, late):
		return backend.Failure(ctx, uncertain, op, key, nil)
	}
	return err
}

// Put implements [backend.Store].
func (s *Store) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (rev backend.Revision, err error) {
	o, err := backend.ResolvePut(key, value, opts...)
	if err != nil {
		return 0, err
	}
	own, err := s.ownLease(o.Lease)
	if err != nil {
		return 0, err
	}
	err = s.call(ctx, backend.ErrUnknown, "put", key, func() error {
		if err := s.server.check(o.Conditions); err != nil {
			return err
		}
		if own == nil {
			rev = s.server.put(key, clone(value), "")
			return nil
		}
		if _, ok := s.server.leases[own.ID()]; !ok {
			own.Lose(errGone)
			return fmt.Errorf("put %q: %w: %w", key, backend.ErrLeaseLost, own.Err())
		}
		rev = s.server.put(key, clone(value), own.ID())
		return nil
	})
	if err != nil {
		return 0, err
	}
	return rev, nil
}

// ownLease checks that a lease, if there is one, is of this store and lasts.
func (s *Store) ownLease(l backend.Lease) (*lease, error) {
	if l == nil {
		return nil, nil
	}
	own, ok := l.(*lease)
	if !ok || own.store != s {
		return nil, fmt.Errorf("%w: lease %s is not of this store", backend.ErrInvalid, l.ID())
	}
	if !own.Valid() {
		return nil, fmt.Errorf("%w: lease %s: %w", backend.ErrLeaseLost, l.ID(), own.Err())
	}
	return own, nil
}

// Get implements [backend.Store].
func (s *Store) Get(ctx context.Context, key string) (backend.Entry, error) {
	e := backend.Entry{Key: key}
	if err := backend.CheckKey(key); err != nil {
		return e, err
	}
	var stored backend.Entry
	err := s.call(ctx, backend.ErrUnavailable, "get", key, func() error {
		var ok bool
		if stored, ok = s.server.entries[key]; !ok {
			return fmt.Errorf("%q: %w", key, backend.ErrNotFound)
		}
		return nil
	})
	if err != nil {
		return e, err
	}
	stored.Value = clone(stored.Value)
	return stored, nil
}

// Delete implements [backend.Store].
func (s *Store) Delete(ctx context.Context, key string, conds ...backend.Condition) error {
	if err := backend.CheckDelete(key, conds); err != nil {
		return err
	}
	return s.call(ctx, backend.ErrUnknown, "delete", key, func() error {
		if err := s.server.check(conds); err != nil {
			return err
		}
		if _, ok := s.server.entries[key]; ok {
			s.server.delete(key)
		}
		return nil
	})
}

// WatchPrefix implements [backend.Store].
func (s *Store) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		if err := backend.CheckPrefix(prefix); err != nil {
			yield(backend.Update{}, err)
			return
		}
		ctx, release, err := s.life.Call(ctx, 0)
		if err != nil {
			yield(backend.Update{}, err)
			return
		}
		defer release()
		w := s.watch(prefix)
		defer s.unwatch(w)
		for {
			u, err := w.next(ctx)
			if !yield(u, err) || err != nil {
				return
			}
		}
	}
}

func (s *Store) watch(prefix string) *watch {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	w := &watch{store: s, prefix: prefix, feed: backend.NewFeed()}
	s.server.watches[w] = struct{}{}
	s.server.begin(w)
	return w
}

func (s *Store) unwatch(w *watch) {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	delete(s.server.watches, w)
}

// next waits for what the feed has, confirming in between that nothing has
// changed.
func (w *watch) next(ctx context.Context) (backend.Update, error) {
	for {
		beat, cancel := context.WithTimeout(ctx, heartbeat)
		u, err := w.feed.Next(beat)
		cancel()
		switch {
		case err == nil:
			return u, nil
		case ctx.Err() != nil:
			return u, context.Cause(ctx) // and not that of the beat
		}
		w.confirm()
	}
}

func (w *watch) confirm() {
	s := w.store.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.hears() {
		w.feed.Send(backend.Update{Revision: s.revision})
	}
}
