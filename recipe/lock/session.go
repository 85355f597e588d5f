package lock

import (
	"context"
	"errors"
	"sync"

	"github.com/seed27495941/seckill/backend"
)

// A Session can acquire a lock that it holds already: it gets another [Held] at
// once, and the lock is free when all of them were released. They share one
// acquisition, so token, guard and Lost are the same. It is safe for concurrent
// use.
type Session struct {
	lock      *Lock
	acquiring chan struct{} // holds a token while one of its goroutines acquires

	mu   sync.Mutex
	hold *hold // the last acquisition
}

// A hold is an acquisition with the number of those who have not released it.
type hold struct {
	held  *Held
	count int // guarded by the session's mu
}

var errAcquiring = errors.New("another goroutine of the session is acquiring it")

// Session makes a session that holds nothing.
func (l *Lock) Session() *Session {
	return &Session{lock: l, acquiring: make(chan struct{}, 1)}
}

// Acquire is [Lock.Acquire], re-entrant. Of several goroutines one waits in line,
// and the others for that one.
func (s *Session) Acquire(ctx context.Context) (*Held, error) {
	select {
	case s.acquiring <- struct{}{}:
	case <-ctx.Done():
		return nil, backend.Failure(ctx, backend.ErrUnavailable, "acquire", s.lock.name, errAcquiring)
	}
	return s.share(ctx, s.lock.Acquire)
}

// TryAcquire is [Lock.TryAcquire], re-entrant. While another goroutine of the
// session is acquiring the lock, that is ErrLocked too.
func (s *Session) TryAcquire(ctx context.Context) (*Held, error) {
	select {
	case s.acquiring <- struct{}{}:
	default:
		return nil, &LockedError{Name: s.lock.name, Holder: s.lock.holder, causes: []error{errAcquiring}}
	}
	return s.share(ctx, s.lock.TryAcquire)
}

// share returns another Held of what the session holds, or of what acquire gets.
func (s *Session) share(ctx context.Context, acquire func(context.Context) (*Held, error)) (*Held, error) {
	defer func() { <-s.acquiring }()
	if held := s.reenter(); held != nil {
		return held, nil
	}
	held, err := acquire(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold = &hold{held: held}
	return s.another(), nil
}

// reenter returns nil if the session does not hold the lock.
func (s *Session) reenter() *Held {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hold == nil || s.hold.count == 0 || s.hold.held.Err() != nil {
		return nil
	}
	return s.another()
}

// another counts one more. The caller holds mu.
func (s *Session) another() *Held {
	h := s.hold
	h.count++
	isLast := sync.OnceValue(func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		h.count--
		return h.count == 0
	})
	return &Held{lock: s.lock, place: h.held.place, release: func(ctx context.Context) error {
		if !isLast() {
			return nil
		}
		return h.held.Release(ctx)
	}}
}
