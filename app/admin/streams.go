package admin

import (
	"context"
	"sync"

	"github.com/seed27495941/seckill/app/admin/access"
)

// mostStreams bounds how many streams one user has, here and on the pages: each is a
// connection, and looks again and again.
const mostStreams = 20

// streams counts those that go on, by user. The zero value has none.
type streams struct {
	mu sync.Mutex
	of map[string]int
}

// begin reports whether a user may have one more, which has to end then.
func (s *streams) begin(user string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[user] == mostStreams {
		return false
	}
	if s.of == nil {
		s.of = map[string]int{}
	}
	s.of[user]++
	return true
}

func (s *streams) end(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[user]--; s.of[user] == 0 {
		delete(s.of, user)
	}
}

// BeginStream lets who asks be told what is new, until end is called. Errors: problems:
// throttled, if too many streams of the user go on.
func (s *Service) BeginStream(ctx context.Context) (end func(), err error) {
	who, _ := access.FromContext(ctx)
	if !s.streams.begin(who.Name) {
		return nil, problem(throttled, "Too many of your pages and streams are open").With("Retry-After", "10")
	}
	return func() { s.streams.end(who.Name) }, nil
}
