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
	cut    bool // guarded by server.mu
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

// Cut separates the store from its server until Mend: calls fail as
// ErrUnavailable, watches stand still, leases are not renewed.
func (s *Store) Cut() {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.cut = true
}

// Mend ends a Cut. Watches begin again with a snapshot.
func (s *Store) Mend() {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	if !s.cut {
		return
	}
	s.cut = false
	for w := range s.server.watches {
		if w.store == s {
			s.server.begin(w)
		}
	}
}

// call runs f on the server under its lock, as one request would.
func (s *Store) call(ctx context.Context, op, key string, f func() error) error {
	ctx, release, err := s.life.Call(ctx, backend.DefaultTimeout)
	if err != nil {
		return err
	}
	defer release()
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	if s.cut {
		return backend.Failure(ctx, backend.ErrUnavailable, op, key, errCut)
	}
	return f()
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
	err = s.call(ctx, "put", key, func() error {
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
	return rev, err
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
	err := s.call(ctx, "get", key, func() error {
		stored, ok := s.server.entries[key]
		if !ok {
			return fmt.Errorf("%q: %w", key, backend.ErrNotFound)
		}
		e = stored
		e.Value = clone(e.Value)
		return nil
	})
	return e, err
}

// Delete implements [backend.Store].
func (s *Store) Delete(ctx context.Context, key string, conds ...backend.Condition) error {
	if err := backend.CheckDelete(key, conds); err != nil {
		return err
	}
	return s.call(ctx, "delete", key, func() error {
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
	if !w.store.cut {
		w.feed.Send(backend.Update{Revision: s.revision})
	}
}
