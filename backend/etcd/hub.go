package etcd

import (
	"context"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// A hub puts all watches of a store on one stream, so that idle ones cost one
// question for progress together. It does what clientv3's watcher does, but for
// one thing: a broken stream ends its watches, who then read their prefix
// again. clientv3 resumes them silently, on whatever server it finds.
type hub struct {
	store *Store
	turn  chan struct{} // holds a token while somebody joins

	mu   sync.Mutex
	line *line // that new watches join; nil: a new one
}

func newHub(s *Store) *hub { return &hub{store: s, turn: make(chan struct{}, 1)} }

// join begins a watch. Watches join one after the other, since the server does
// not say which one it refuses.
func (h *hub) join(ctx context.Context, f *follower) (l *line, err error) {
	select {
	case h.turn <- struct{}{}:
		defer func() { <-h.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if l := h.current(); l != nil {
		if err := l.begin(ctx, f); err == nil {
			return l, nil
		} else if !staleLogin(err) {
			return nil, err
		}
		// The stream still carries the login of when it was opened.
	}
	fault := h.store.try(ctx, func(call context.Context) error {
		if l, err = h.open(call); err != nil {
			return err
		}
		return l.begin(ctx, f)
	})
	if fault != nil {
		return nil, fault
	}
	return l, nil
}

// current is the line for new watches, with the caller as one of its users, or
// nil.
func (h *hub) current() *line {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.line == nil || h.line.ctx.Err() != nil {
		return nil
	}
	h.line.users++
	return h.line
}

// open makes a new line the current one, with the caller as its user. The line
// lives on when call ends.
func (h *hub) open(call context.Context) (*line, error) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(call))
	detach := context.AfterFunc(call, func() { cancel(context.Cause(call)) })
	stream, err := h.store.events.Watch(ctx, callOptions...)
	if !detach() && err == nil {
		err = context.Cause(call)
	}
	if err != nil {
		cancel(err)
		return nil, err
	}
	l := &line{
		hub:       h,
		stream:    stream,
		ctx:       ctx,
		cancel:    cancel,
		ended:     make(chan struct{}),
		answers:   make(chan *pb.WatchResponse, 1),
		watchdog:  time.AfterFunc(h.store.silence, func() { cancel(errSilent) }),
		users:     1,
		followers: map[int64]*follower{},
	}
	if err := h.store.life.Go(l.run); err != nil {
		l.watchdog.Stop()
		cancel(err)
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.line = l
	return l, nil
}

// release gives up a use of a line, and the line with its last one. It reports
// whether the line goes on.
func (h *hub) release(l *line) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	l.users--
	if l.users == 0 {
		l.cancel(errUnused)
		h.retireLocked(l)
	}
	return l.ctx.Err() == nil
}

// retire keeps new watches off a line.
func (h *hub) retire(l *line) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.retireLocked(l)
}

func (h *hub) retireLocked(l *line) {
	if h.line == l {
		h.line = nil
	}
}
