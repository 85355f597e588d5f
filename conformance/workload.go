package conformance

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
)

// A workload is what several clients do at the same time to a few keys that are
// new. All of it is recorded.
type workload struct {
	t       *proof
	history *history
	keys    []string
	workers []*worker
	watches []*tap
	hurry   atomic.Bool // calls have a short deadline

	mu    sync.Mutex
	known map[string]backend.Revision // what somebody was told last
}

// A worker is one client. Its leases don't end by themselves.
type worker struct {
	*client
	workload *workload
	lease    backend.Lease // nil: none at the moment
	doubt    string        // the key of a write of unknown outcome, or ""
	careful  bool          // it had one: in a hurry it makes no other
	puts     int

	calls, answers atomic.Int64
}

const (
	haste     = 300 * time.Millisecond // the deadline of calls in a hurry
	leaseTTL  = 10 * time.Minute
	breath    = 2 * time.Millisecond  // at most, between two calls of a worker
	awayPause = 20 * time.Millisecond // at most, after one that the store was away for

	// A worker that is so many calls ahead of another one, which hangs, goes on
	// slowly. What it would do meanwhile proves nothing more, and a history of ten
	// thousands of calls takes too long to check.
	ahead = 50
	idle  = 200 * time.Millisecond // at most, between two calls then
)

// gather makes a workload of n clients, which share stores.
func (t *proof) gather(stores []Store, n int) *workload {
	dir := key("workload", rand.Uint64(), "")
	l := &workload{t: t, history: t.record(dir), known: map[string]backend.Revision{}}
	for _, name := range []string{"a", "b", "c", "d"} {
		l.keys = append(l.keys, dir+name)
	}
	for i := range n {
		l.workers = append(l.workers, &worker{client: l.history.client(i, stores[i%len(stores)]), workload: l})
	}
	return l
}

// watch lets each of the stores follow the keys.
func (l *workload) watch(stores ...Store) {
	l.t.Helper()
	for i, s := range stores {
		l.watches = append(l.watches, l.t.tap(l.history.client(len(l.workers)+i, s), l.history.dir))
	}
}

// work lets each worker make n calls.
func (l *workload) work(n int) {
	var wg sync.WaitGroup
	for _, w := range l.workers {
		wg.Go(func() {
			for i := 0; i < n && !l.t.Failed(); i++ {
				w.step()
			}
		})
	}
	wg.Wait()
}

// during lets the workers work before, during and after f, in a hurry during f.
func (l *workload) during(f func()) {
	l.t.Helper()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	defer func() { close(stop); wg.Wait() }()
	for _, w := range l.workers {
		wg.Go(func() {
			for w.pause(l.pace(w), stop) && !l.t.Failed() {
				w.step()
			}
		})
	}
	l.answered(5)
	l.hurry.Store(true)
	l.attempt(1) // until the last call that has time is over
	f()
	l.hurry.Store(false)
	l.answered(5)
}

// pace is how long a worker pauses at most before its next call.
func (l *workload) pace(w *worker) time.Duration {
	for _, other := range l.workers {
		if w.calls.Load() > other.calls.Load()+ahead {
			return idle
		}
	}
	return breath
}

// attempt waits until each worker has made n more calls, whatever came of them.
func (l *workload) attempt(n int64) {
	l.t.Helper()
	l.more("calls", n, func(w *worker) int64 { return w.calls.Load() })
}

// answered waits until the store has answered n more calls of each worker.
func (l *workload) answered(n int64) {
	l.t.Helper()
	l.more("answers", n, func(w *worker) int64 { return w.answers.Load() })
}

func (l *workload) more(what string, n int64, count func(*worker) int64) {
	l.t.Helper()
	goals := map[*worker]int64{}
	for _, w := range l.workers {
		goals[w] = count(w) + n
	}
	l.eventually("more "+what, func() bool {
		for w, goal := range goals {
			if count(w) < goal {
				return false
			}
		}
		return true
	})
}

// eventually waits for a condition, or until something went wrong: the workers
// stop then.
func (l *workload) eventually(what string, cond func() bool) {
	l.t.Helper()
	l.t.eventually(what, func() bool { return l.t.Failed() || cond() })
}

// settle reads what has become of it all, lets the watches see the last write,
// and checks the history.
func (l *workload) settle() {
	l.t.Helper()
	w := l.workers[0]
	var last backend.Revision
	l.eventually("a last write", func() bool {
		var err error
		last, err = w.put(l.t.ctx, l.keys[0])
		return err == nil
	})
	for _, tap := range l.watches {
		tap.wait("the last write", func(s *backend.State) bool { return s.Revision() >= last })
		require.ErrorIs(l.t, tap.close(), errTapClosed)
	}
	l.eventually("a last list", func() bool { return w.list(l.t.ctx) == nil })
	for _, w := range l.workers {
		if w.lease != nil {
			_ = w.lease.Close(l.t.ctx) // else it expires
		}
	}
	l.history.check()
}

// pause waits for a part of most. It returns false when stop is closed or the
// case has to end.
func (w *worker) pause(most time.Duration, stop <-chan struct{}) bool {
	select {
	case <-stop:
		return false
	case <-w.workload.t.ctx.Done():
		return false
	case <-time.After(rand.N(most)):
		return true
	}
}

// step makes one call. After a write of unknown outcome a client only reads
// until it gets an answer, as it should, and until the hurry is over. That also
// bounds how many writes are open, and with them what a check costs.
func (w *worker) step() {
	ctx, cancel := context.WithCancel(w.workload.t.ctx)
	defer cancel()
	if w.workload.hurry.Load() {
		ctx, cancel = context.WithTimeout(ctx, haste)
		defer cancel()
	}
	k := w.workload.anyKey()
	var err error
	switch {
	case w.doubt != "":
		k = w.doubt
		err = w.get(ctx, k)
	case w.careful && w.workload.hurry.Load():
		err = w.get(ctx, k)
	default:
		err = w.anything(ctx, k)
	}
	w.calls.Add(1)
	switch {
	case errors.Is(err, backend.ErrUnavailable):
		w.pause(awayPause, nil)
	case errors.Is(err, backend.ErrUnknown):
		w.doubt, w.careful = k, true
	default:
		w.doubt = ""
		w.answers.Add(1)
	}
}

func (w *worker) anything(ctx context.Context, k string) error {
	l := w.workload
	switch n := rand.N(100); {
	case n < 30:
		return w.get(ctx, k)
	case n < 38:
		return w.list(ctx)
	case n < 78:
		opts := options(l.conditions(k))
		if w.lease != nil && rand.N(3) == 0 {
			opts = append(opts, backend.WithLease(w.lease))
		}
		_, err := w.put(ctx, k, opts...)
		return err
	case n < 95:
		err := w.Delete(ctx, k, l.conditions(k)...)
		if err == nil {
			l.learn(k, 0)
		}
		return l.learnFrom(err)
	default:
		return w.changeLease(ctx)
	}
}

func (w *worker) get(ctx context.Context, k string) error {
	e, err := w.Get(ctx, k)
	if err == nil || errors.Is(err, backend.ErrNotFound) {
		w.workload.learn(k, e.Revision)
	}
	return err
}

// put writes a value that nobody else writes.
func (w *worker) put(ctx context.Context, k string, opts ...backend.PutOption) (backend.Revision, error) {
	w.puts++
	rev, err := w.Put(ctx, k, value(w.number, ".", w.puts), opts...)
	if err == nil {
		w.workload.learn(k, rev)
	}
	return rev, w.workload.learnFrom(err)
}

// changeLease takes a lease, or gives up the one there is.
func (w *worker) changeLease(ctx context.Context) (err error) {
	if w.lease == nil {
		w.lease, err = w.Lease(ctx, leaseTTL)
		return err
	}
	l := w.lease
	w.lease = nil
	return w.revoke(ctx, l)
}

func (l *workload) anyKey() string { return l.keys[rand.N(len(l.keys))] }

// conditions are none, one or two, on a key itself and on another. They are
// about the latest revisions that anybody knows, some of which have passed.
func (l *workload) conditions(k string) []backend.Condition {
	l.mu.Lock()
	defer l.mu.Unlock()
	var conds []backend.Condition
	if rand.N(2) == 0 {
		conds = append(conds, backend.If(k, l.known[k]))
	}
	if other := l.anyKey(); other != k && rand.N(3) == 0 {
		conds = append(conds, backend.If(other, l.known[other]))
	}
	return conds
}

func (l *workload) learn(k string, rev backend.Revision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known[k] = rev
}

// learnFrom learns what a conflict tells, and returns the error.
func (l *workload) learnFrom(err error) error {
	var conflict *backend.ConflictError
	if errors.As(err, &conflict) && conflict.Have != 0 {
		l.learn(conflict.Key, conflict.Have)
	}
	return err
}
