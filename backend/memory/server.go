// Package memory is a store inside the process, for unit tests. It keeps the
// whole contract of package backend, proven by the conformance suite, starts no
// goroutine but those that keep leases alive, and runs under testing/synctest.
//
// A [Server] holds the data; each [Store] opened on it is a client of its own,
// as another process would be. The server can be told to misbehave: to lose
// its history or a lease; a store can be cut off from it.
package memory

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/seed27495941/seckill/backend"
)

// The bounds of a lease's TTL.
const (
	MinTTL = time.Second
	MaxTTL = 24 * time.Hour
)

// A Server holds the data that stores share. It is safe for concurrent use.
// See [NewServer].
type Server struct {
	mu        sync.Mutex
	revision  backend.Revision
	entries   map[string]backend.Entry
	leases    map[string]*grant
	lastLease int
	watches   map[*watch]struct{}
	paused    chan struct{} // nil while the server runs; closed by Resume
	overdue   []string      // leases that expired while it was paused
}

// A grant is a lease as the server sees it.
type grant struct {
	ttl      time.Duration
	deadline time.Time
	expiry   *time.Timer
}

// A watch is fed while it is registered with the server.
type watch struct {
	store  *Store
	prefix string
	feed   *backend.Feed
	begun  bool // it was fed a snapshot
}

// NewServer makes an empty server.
func NewServer() *Server {
	return &Server{
		entries: map[string]backend.Entry{},
		leases:  map[string]*grant{},
		watches: map[*watch]struct{}{},
	}
}

// ExpireLease ends a lease now, as if its holder had been silent for too long.
// It reports whether there was such a lease.
func (s *Server) ExpireLease(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revoke(id)
}

// expire ends a lease whose time has passed, unless it was renewed since its
// timer fired.
func (s *Server) expire(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch g, ok := s.leases[id]; {
	case !ok || !g.over():
	case s.paused != nil:
		s.overdue = append(s.overdue, id)
	default:
		s.revoke(id)
	}
}

// LoseHistory makes every watch begin again with a snapshot, as after a
// compaction or a restore.
func (s *Server) LoseHistory() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beginAgain(func(*watch) bool { return true })
}

// check returns the error of the first condition that fails.
func (s *Server) check(conds []backend.Condition) error {
	for _, c := range conds {
		if have := s.entries[c.Key].Revision; have != c.Revision {
			return &backend.ConflictError{Key: c.Key, Want: c.Revision, Have: have}
		}
	}
	return nil
}

func (s *Server) put(key string, value []byte, lease string) backend.Revision {
	s.revision++
	e := backend.Entry{Key: key, Value: value, Revision: s.revision, Lease: lease}
	s.entries[key] = e
	for w := range s.watches {
		if strings.HasPrefix(key, w.prefix) && w.hears() {
			e.Value = clone(value)
			w.feed.Send(backend.Update{Revision: s.revision, Puts: []backend.Entry{e}})
		}
	}
	return s.revision
}

// delete removes keys as one write: they vanish together.
func (s *Server) delete(keys ...string) {
	s.revision++
	for _, key := range keys {
		delete(s.entries, key)
	}
	for w := range s.watches {
		u := backend.Update{Revision: s.revision}
		for _, key := range keys {
			if strings.HasPrefix(key, w.prefix) {
				u.Deletes = append(u.Deletes, key)
			}
		}
		if len(u.Deletes) > 0 && w.hears() {
			w.feed.Send(u)
		}
	}
}

// begin feeds a watch the state as it is.
func (s *Server) begin(w *watch) {
	if !w.hears() {
		return
	}
	u := backend.Update{Snapshot: true, Revision: s.revision}
	for key, e := range s.entries {
		if strings.HasPrefix(key, w.prefix) {
			e.Value = clone(e.Value)
			u.Puts = append(u.Puts, e)
		}
	}
	w.feed.Send(u)
	w.begun = true
}

func (s *Server) grant(ttl time.Duration) string {
	s.lastLease++
	id := fmt.Sprintf("lease-%d", s.lastLease)
	s.leases[id] = &grant{
		ttl:      ttl,
		deadline: time.Now().Add(ttl),
		expiry:   time.AfterFunc(ttl, func() { s.expire(id) }),
	}
	return id
}

func (g *grant) over() bool { return !time.Now().Before(g.deadline) }

func (s *Server) renew(id string) bool {
	g, ok := s.leases[id]
	if !ok || g.over() { // its timer has fired and waits for the server
		return false
	}
	g.deadline = time.Now().Add(g.ttl)
	g.expiry.Reset(g.ttl)
	return true
}

func (s *Server) revoke(id string) bool {
	g, ok := s.leases[id]
	if !ok {
		return false
	}
	g.expiry.Stop()
	delete(s.leases, id)
	var keys []string
	for key, e := range s.entries {
		if e.Lease == id {
			keys = append(keys, key)
		}
	}
	s.delete(keys...)
	return true
}

// clone copies a value; an empty one stays non-nil.
func clone(value []byte) []byte { return append([]byte{}, value...) }
