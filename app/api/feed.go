package api

import (
	"context"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/gate"
	"github.com/seed27495941/seckill/app/sale/catalogue"
)

// usualPace is how long it is at least from one change of figures that is told to the
// next, unless operators say that what is shown may be older.
const usualPace = 500 * time.Millisecond

// pace is what it is for an event at present.
func (s *Service) pace(event ulid.ULID) time.Duration {
	if s.cfg.Gate.Switches(event).Cached {
		return gate.CachedAge
	}
	return usualPace
}

// A State is what streams tell of an event.
type State struct {
	Event  string          `json:"event"`
	Phase  catalogue.Phase `json:"phase" enum:"scheduled,open,sold_out,suspended,ended"`
	Opens  time.Time       `json:"opens"`
	Closes time.Time       `json:"closes"`
	Stock
}

func (s State) sameStock(other State) bool {
	if s.Remaining == nil || other.Remaining == nil {
		return s.Remaining == other.Remaining
	}
	return *s.Remaining == *other.Remaining
}

// A look is the state of an event, false if there is no such event, and what is
// closed when it may be another one.
type look func(event ulid.ULID) (state State, ok bool, changed <-chan struct{})

// feeds are one feed for each event that somebody follows.
type feeds struct {
	look      look
	pace      func(event ulid.ULID) time.Duration
	subscribe func(event ulid.ULID, f func()) (stop func()) // to figures

	mu  sync.Mutex
	all map[ulid.ULID]*feed
}

// A feed is looked at once for all streams of an event.
type feed struct {
	event     ulid.ULID
	followers int // guarded by feeds.mu
	end       context.CancelFunc
	nudged    chan struct{} // holds a token while figures may be others
	ended     chan struct{}

	mu    sync.Mutex
	state State
	ok    bool
	moved chan struct{} // closed and replaced with each state
}

// follow begins to follow an event; leave has to be called.
func (f *feeds) follow(event ulid.ULID) *feed {
	f.mu.Lock()
	defer f.mu.Unlock()
	if one, ok := f.all[event]; ok {
		one.followers++
		return one
	}
	// It ends when the last one leaves, not with the request that began it.
	ctx, end := context.WithCancel(context.Background())
	one := &feed{event: event, followers: 1, end: end, nudged: make(chan struct{}, 1), ended: make(chan struct{}), moved: make(chan struct{})}
	stop := f.subscribe(event, one.nudge)
	changed := one.update(f.look, true)
	go func() {
		defer close(one.ended)
		defer stop()
		one.run(ctx, f, changed)
	}()
	f.all[event] = one
	return one
}

// leave follows no more. The last one to leave waits for the feed's end.
func (f *feeds) leave(one *feed) {
	f.mu.Lock()
	one.followers--
	last := one.followers == 0
	if last {
		delete(f.all, one.event)
	}
	f.mu.Unlock()
	if last {
		one.end()
		<-one.ended
	}
}

// nudge tells that figures have changed.
func (f *feed) nudge() {
	select {
	case f.nudged <- struct{}{}:
	default:
	}
}

// run looks again whenever there may be something new: at the catalogue at once, at
// figures not too often.
func (f *feed) run(ctx context.Context, all *feeds, changed <-chan struct{}) {
	last, due := time.Now(), time.NewTimer(0)
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.nudged:
		case <-changed:
			changed = f.update(all.look, false)
		case <-due.C:
			changed, last = f.update(all.look, true), time.Now()
			continue
		}
		due.Reset(time.Until(last.Add(all.pace(f.event))))
	}
}

// update looks at the event, and says what is closed when it has to be done again. That
// nothing but figures has changed is news only if it is time for figures.
func (f *feed) update(look look, figures bool) (changed <-chan struct{}) {
	state, ok, changed := look(f.event)
	f.mu.Lock()
	defer f.mu.Unlock()
	if !figures && state.Phase == f.state.Phase {
		state.Stock = f.state.Stock
	}
	if ok == f.ok && state.Phase == f.state.Phase && state.sameStock(f.state) {
		return changed
	}
	f.state, f.ok = state, ok
	close(f.moved)
	f.moved = make(chan struct{})
	return changed
}

// current is the state, false if there is no such event any more, and what is
// closed when there is another one.
func (f *feed) current() (state State, ok bool, moved <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state, f.ok, f.moved
}
