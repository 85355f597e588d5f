package memory

import (
	"context"
	"math"
	"time"
)

// Never is a delay of answers that never come: see [Store.Delay].
const Never time.Duration = math.MaxInt64

// Cut separates the store from its server until Mend: calls fail as
// ErrUnavailable, watches stand still, leases are not renewed.
func (s *Store) Cut() {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.cut = true
}

// Delay makes every answer to the store come d after its request was carried
// out. A call that ends before has an outcome that is not known: a write was
// applied, and fails as ErrUnknown. With [Never] watches stand still as well.
// Mend ends it.
func (s *Store) Delay(d time.Duration) {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.late = d
}

// Mend ends a Cut and a Delay. Watches that stood still begin again with a
// snapshot.
func (s *Store) Mend() {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	deaf := s.cut || s.late == Never
	s.cut, s.late = false, 0
	if deaf {
		s.server.beginAgain(func(w *watch) bool { return w.store == s })
	}
}

// Pause makes the server stand still until Resume, as SIGSTOP does: calls wait,
// watches and expiry too. A write that ends before is not applied, and fails as
// ErrUnknown, because its caller can't know.
func (s *Server) Pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.paused == nil {
		s.paused = make(chan struct{})
	}
}

// Resume ends a Pause. Leases that were not renewed in time end now.
func (s *Server) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.paused == nil {
		return
	}
	close(s.paused)
	s.paused = nil
	for _, id := range s.overdue {
		s.revoke(id)
	}
	s.overdue = nil
	// Those that were opened meanwhile or missed something.
	s.beginAgain(func(w *watch) bool { return !w.begun })
}

func (s *Server) beginAgain(which func(*watch) bool) {
	for w := range s.watches {
		if which(w) {
			s.begin(w)
		}
	}
}

// hears reports whether what happens on the server reaches a watch; if it does
// not, the watch has to begin again. The caller holds the server's lock.
func (w *watch) hears() bool {
	heard := !w.store.cut && w.store.late != Never && w.store.server.paused == nil
	w.begun = w.begun && heard
	return heard
}

// lock locks the server as soon as it is not paused, or returns false when ctx
// ends before.
func (s *Server) lock(ctx context.Context) bool {
	for {
		s.mu.Lock()
		paused := s.paused
		if paused == nil {
			return true
		}
		s.mu.Unlock()
		select {
		case <-paused:
		case <-ctx.Done():
			return false
		}
	}
}

// await waits for d and returns true, or false when ctx ends before.
func await(ctx context.Context, d time.Duration) bool {
	if d == 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
