package lock

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
)

// A follower is the goroutine that looks after all places of a Lock: it is
// started by the first and ended, and waited for, by the last.
//
// It works for the process's first place only. While that waits, the follower
// watches the key before it, of whichever process; when that is gone it reads the
// line. While that has the lock, the follower watches its own key. The others in
// the process are behind, so nothing that happens is about them before. That
// makes one watch, and a number of requests for each hand-over that does not
// depend on how many wait, here or elsewhere.
type follower struct {
	again context.CancelFunc // makes it look anew; guarded by the lock's mu
	end   context.CancelFunc
	done  chan struct{}
}

var errWatchEnded = errors.New("the watch ended without an error")

// join takes in a new place.
func (l *Lock) join(p *place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, _ := slices.BinarySearchFunc(l.places, p.rev, func(q *place, rev backend.Revision) int { return cmp.Compare(q.rev, rev) })
	l.places = slices.Insert(l.places, i, p)
	switch {
	case l.follower == nil:
		l.follow()
	case l.first() == p:
		l.follower.again()
	}
}

// leave takes a place out, which ends it.
func (l *Lock) leave(p *place) {
	l.mu.Lock()
	i := slices.Index(l.places, p)
	if i < 0 {
		l.mu.Unlock()
		return
	}
	f := l.follower
	if l.first() == p {
		f.again()
	}
	p.end(p.lease.Err())
	l.places = slices.Delete(l.places, i, i+1)
	last := len(l.places) == 0
	if last {
		l.follower, l.head = nil, backend.Entry{}
	}
	l.mu.Unlock()
	if last {
		f.end()
		<-f.done
	}
}

// first is the first place of this process that is not lost, or nil. The caller
// holds mu.
func (l *Lock) first() *place {
	if live := l.live(); len(live) > 0 {
		return live[0]
	}
	return nil
}

// live are the places that are not lost. The caller holds mu.
func (l *Lock) live() []*place {
	return slices.DeleteFunc(slices.Clone(l.places), func(p *place) bool { return p.err != nil })
}

// end marks a place as lost. The caller holds the lock's mu.
func (p *place) end(err error) {
	if p.err == nil {
		p.err = err
		close(p.lost)
	}
}

// follow starts the follower. The caller holds mu.
func (l *Lock) follow() {
	ctx, end := context.WithCancel(context.Background())
	f := &follower{again: func() {}, end: end, done: make(chan struct{})}
	l.follower = f
	go func() {
		defer close(f.done)
		for ctx.Err() == nil {
			round, again := context.WithCancel(ctx)
			l.look(round, l.begin(f, again))
			again()
		}
	}()
}

// begin returns the places that a round is about. Whatever joins or leaves from
// now on, and matters, ends the round.
func (l *Lock) begin(f *follower, again context.CancelFunc) []*place {
	l.mu.Lock()
	defer l.mu.Unlock()
	f.again = again
	return l.live()
}

// look is one round: it returns when it is time to look again.
func (l *Lock) look(ctx context.Context, places []*place) {
	switch {
	case l.loseExpired(places):
		return // others may have joined behind them meanwhile
	case len(places) == 0:
		<-ctx.Done()
		return
	}
	ctx, cancel := backend.WithLeaseContext(ctx, places[0].lease)
	defer cancel()
	err := l.settle(ctx, places)
	switch {
	case err == nil || ctx.Err() != nil:
	case curable(err):
		retry.Sleep(ctx, l.reading.Failed(err))
	default:
		for _, p := range places {
			l.lose(p, err)
		}
	}
}

// loseExpired ends places whose lease is over; false if there are none.
func (l *Lock) loseExpired(places []*place) bool {
	expired := false
	for _, p := range places {
		if !p.lease.Valid() {
			l.lose(p, p.lease.Err())
			expired = true
		}
	}
	return expired
}

// settle reads the line and waits for the one change in it that matters next. The
// places are from before the read, so those that it lacks are gone.
func (l *Lock) settle(ctx context.Context, places []*place) error {
	line, err := l.list(ctx)
	if err != nil {
		return err
	}
	l.reading.Worked()
	for _, p := range places {
		if !p.in(line) {
			l.lose(p, p.gone())
		}
	}
	i := slices.IndexFunc(line, func(e backend.Entry) bool { return e.Key == places[0].key && e.Revision == places[0].rev })
	if i < 0 {
		return nil
	}
	l.see(line[0])
	if i == 0 {
		l.grant(places[0])
		return l.await(ctx, line[0])
	}
	return l.await(ctx, line[i-1])
}

// await returns when a key is not as it was any more, or when it is time to look
// because it can't be watched.
func (l *Lock) await(ctx context.Context, was backend.Entry) error {
	err := l.watch(ctx, was)
	switch {
	case err == nil:
		l.watching.Worked()
	case ctx.Err() == nil && curable(err):
		retry.Sleep(ctx, l.watching.Failed(err))
		return nil
	}
	return err
}

func (l *Lock) watch(ctx context.Context, was backend.Entry) error {
	for e, err := range backend.WatchKey(ctx, l.store, was.Key) {
		if err != nil {
			return err
		}
		if e.Revision != was.Revision {
			return nil
		}
	}
	return backend.Failure(ctx, backend.ErrUnavailable, "watch", was.Key, errWatchEnded)
}

func (l *Lock) grant(p *place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-p.granted:
	default:
		close(p.granted)
	}
}

// lose ends a place that its owner has not given up.
func (l *Lock) lose(p *place, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-p.granted:
		if p.err == nil && !errors.Is(err, backend.ErrClosed) {
			l.log.Warn("the lock was lost", "key", p.key, "token", uint64(p.rev), "error", err)
		}
	default:
	}
	p.end(err)
}

// why tells why a place was lost, nil if it was not.
func (l *Lock) why(p *place) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return p.err
}

// see remembers who has the lock.
func (l *Lock) see(head backend.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.head = head
}

func (l *Lock) seen() backend.Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head
}
