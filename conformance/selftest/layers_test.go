package selftest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/conformance"
)

// A line leads to a server. Another one may be put at its end, and the server
// may be full.
type line struct {
	full *atomic.Bool

	mu    sync.Mutex
	used  []*memory.Store // the last one is in use
	epoch context.Context // ends when the line leads elsewhere
	move  context.CancelFunc
}

// lead puts another server at the end of the line.
func (l *line) lead(s *memory.Store) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.move != nil {
		l.move()
	}
	l.used = append(l.used, s)
	l.epoch, l.move = context.WithCancel(context.Background())
}

// end is where the line leads, and for how long.
func (l *line) end() (*memory.Store, context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.used[len(l.used)-1], l.epoch
}

func (l *line) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.used {
		_ = s.Close()
	}
	return nil
}

func (l *line) Lease(ctx context.Context, ttl time.Duration) (backend.Lease, error) {
	s, _ := l.end()
	return s.Lease(ctx, ttl)
}

func (l *line) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	if l.full.Load() {
		return 0, fmt.Errorf("put %q: %w", key, backend.ErrFull)
	}
	s, _ := l.end()
	return s.Put(ctx, key, value, opts...)
}

func (l *line) Get(ctx context.Context, key string) (backend.Entry, error) {
	s, _ := l.end()
	return s.Get(ctx, key)
}

func (l *line) Delete(ctx context.Context, key string, conds ...backend.Condition) error {
	s, _ := l.end()
	return s.Delete(ctx, key, conds...)
}

var errReplaced = errors.New("there is another server")

func (l *line) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		for again := true; again; {
			again = l.follow(ctx, prefix, yield)
		}
	}
}

// follow watches the server that is there, and reports whether it was replaced.
func (l *line) follow(ctx context.Context, prefix string, yield func(backend.Update, error) bool) (replaced bool) {
	s, epoch := l.end()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	leave := func() { cancel(errReplaced) }
	defer context.AfterFunc(epoch, leave)() //nolint:contextcheck // it says how long the server is there
	for u, err := range s.WatchPrefix(ctx, prefix) {
		if errors.Is(err, errReplaced) {
			return true
		}
		if !yield(u, err) {
			return false
		}
	}
	return false
}

// counted counts what is asked of memory. What memory refuses would not have
// been sent.
type counted struct {
	conformance.Store
	requests *atomic.Int64
}

func (s counted) count(err error) {
	if !errors.Is(err, backend.ErrInvalid) && !errors.Is(err, backend.ErrTooLarge) {
		s.requests.Add(1)
	}
}

func (s counted) Lease(ctx context.Context, ttl time.Duration) (backend.Lease, error) {
	l, err := s.Store.Lease(ctx, ttl)
	s.count(err)
	return l, err
}

func (s counted) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	rev, err := s.Store.Put(ctx, key, value, opts...)
	s.count(err)
	return rev, err
}

func (s counted) Get(ctx context.Context, key string) (backend.Entry, error) {
	e, err := s.Store.Get(ctx, key)
	s.count(err)
	return e, err
}

func (s counted) Delete(ctx context.Context, key string, conds ...backend.Condition) error {
	err := s.Store.Delete(ctx, key, conds...)
	s.count(err)
	return err
}

func (s counted) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		s.count(backend.CheckPrefix(prefix))
		s.Store.WatchPrefix(ctx, prefix)(yield)
	}
}

// guarded is the store of a guest, who has rights until their context ends.
type guarded struct {
	conformance.Store
	rights context.Context
}

func (s guarded) allow(op, key string, prefixes ...string) error {
	covered := slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
	if covered && s.rights.Err() == nil {
		return nil
	}
	return denied(op, key)
}

func denied(op, key string) error { return fmt.Errorf("%s %q: %w", op, key, backend.ErrDenied) }

func (s guarded) read(key string) error { return s.allow("read", key, "guest/", "shown/") }

func (s guarded) write(key string, conds []backend.Condition) error {
	err := s.allow("write", key, "guest/")
	for _, c := range conds {
		err = errors.Join(err, s.read(c.Key))
	}
	return err
}

func (s guarded) Lease(ctx context.Context, ttl time.Duration) (backend.Lease, error) {
	if err := s.allow("lease", "", ""); err != nil {
		return nil, err
	}
	return s.Store.Lease(ctx, ttl)
}

func (s guarded) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	o, err := backend.ResolvePut(key, value, opts...)
	if err != nil {
		return 0, err
	}
	if err := s.write(key, o.Conditions); err != nil {
		return 0, err
	}
	return s.Store.Put(ctx, key, value, opts...)
}

func (s guarded) Get(ctx context.Context, key string) (backend.Entry, error) {
	if err := s.read(key); err != nil {
		return backend.Entry{Key: key}, err
	}
	return s.Store.Get(ctx, key)
}

func (s guarded) Delete(ctx context.Context, key string, conds ...backend.Condition) error {
	if err := s.write(key, conds); err != nil {
		return err
	}
	return s.Store.Delete(ctx, key, conds...)
}

func (s guarded) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		if err := s.read(prefix); err != nil {
			yield(backend.Update{}, err)
			return
		}
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		strip := func() { cancel(denied("watch", prefix)) }
		defer context.AfterFunc(s.rights, strip)() //nolint:contextcheck // the rights have a context of their own
		s.Store.WatchPrefix(ctx, prefix)(yield)
	}
}
