package slot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
)

// DefaultWaiting is how many requests may wait to be looked at, and as many for units,
// unless a [Config] says otherwise.
const DefaultWaiting = 4096

// queued is how many of them the queue takes; where more may wait, they do so before it.
const queued = 4096

// forsakeEvery is how often those who wait for units are looked through for some that
// have given up.
const forsakeEvery = 200 * time.Millisecond

// longestWait bounds the wait for a deadline: the clock may be set meanwhile.
const longestWait = 10 * time.Second

// followAgain is the pause before the pool is followed again.
const followAgain = time.Second

// farewell bounds the release of a slot.
const farewell = 2500 * time.Millisecond

// A Config says which slot to own, and as whom.
type Config struct {
	Store       backend.Store
	Event       ulid.ULID
	Slot        int
	Incarnation ulid.ULID // of this process

	// Terms are the event as it is now. It must not block. Slots and PerUser never
	// change after publishing.
	Terms func() record.Event

	// Waiting is how many requests may wait to be looked at, and as many for units, as
	// of now: those who wait already stay when it becomes less. It must not block.
	// nil: DefaultWaiting.
	Waiting func() int

	Logger *slog.Logger
}

// An Owner decides for a slot as long as it is Run. Its other methods are safe for
// concurrent use.
type Owner struct {
	store backend.Store
	event ulid.ULID
	slot  int
	self  ulid.ULID
	terms func() record.Event
	most  func() int // may wait
	log   *slog.Logger

	guard  backend.Condition // the slot's record is as the takeover left it
	epoch  uint64
	tenure ulid.ULID // names this takeover, and what has come of it

	queue chan *request
	asked atomic.Int64  // who wait to be looked at
	ended chan struct{} // closed when Run returns
	units atomic.Int64  // what Held tells

	// What follows is Run's own.
	ledger    *ledger.Ledger
	granted   int64 // units of this slot, as the pool says
	returning int64 // of these: on their way back to the pool
	held      int64 // of these: in orders, as the log says
	next      batch
	writing   *batch    // nil: none
	confirmed time.Time // when it was last asked whether the slot is still this owner's
	seq       uint64
	waiting   []*request // for units, first come, first served
	pool      pooled
	asking    bool // a change of the pool is under way
	lost      int  // how many of these, one after the other, came too late
	written   chan error
	moved     chan movement
	seen      chan pooled
}

// A pooled is the pool as it was at a revision.
type pooled struct {
	record.Pool
	revision backend.Revision
}

// A batch is decisions that are written together, and the answers that wait for
// that. One without decisions has answers to those who only read or are refused: in
// place of the write, the store is asked whether the slot is still this owner's.
type batch struct {
	entries []record.Entry
	size    int
	held    int64 // units in orders after it
	peak    int64 // the most of them after any of its entries
	answers []answer
}

type answer struct {
	to    *request
	reply reply
}

// A request waits for a decision.
type request struct {
	ctx  context.Context
	read bool         // it is about what is, and must not hear what was
	need func() int64 // units that it takes; of those only that may wait for them

	// try decides, free being the units that are there. ErrNoUnits makes the
	// request wait for more; then refuse decides if there are none to come.
	try    func(free int64) (*record.Entry, reply)
	refuse func() (*record.Entry, reply)

	done chan reply // takes one without blocking
}

type reply struct {
	order   ledger.Order
	orders  []ledger.Order
	buyers  *Buyers
	created bool
	err     error
}

// Epoch is the slot's with this owner.
func (o *Owner) Epoch() uint64 { return o.epoch }

// Held is how many units are in orders, as far as the log says.
func (o *Owner) Held() int64 { return o.units.Load() }

// Run decides until ctx ends; then it finishes what was decided, gives the slot
// up, and returns nil. It returns ErrDeposed when another owner has taken over,
// record.ErrCorrupt when the store does not say what it must, what the store
// refuses, or why it was not reached at the end. It runs once.
func (o *Owner) Run(ctx context.Context) error {
	defer close(o.ended)
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	watched := o.watchPool(work)
	// What is on its way when the end comes has some time to get through.
	hurry := context.AfterFunc(ctx, func() { time.AfterFunc(farewell, cancel) })
	err := o.decide(ctx, work)
	hurry()
	cancel()
	<-watched
	o.settle()
	o.dismiss()
	if err == nil {
		o.release(ctx)
	}
	return err
}

// watchPool follows the pool. What it returns is closed when that has ended.
func (o *Owner) watchPool(ctx context.Context) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			for e, err := range backend.WatchKey(ctx, o.store, record.PoolKey(o.event)) {
				if ctx.Err() != nil {
					break
				}
				if err != nil {
					o.log.Warn("the pool can't be followed", "error", err)
					break
				}
				p, err := record.DecodePool(e)
				if err != nil {
					o.log.Error("the pool can't be read", "error", err)
					continue
				}
				select {
				case o.seen <- pooled{p, e.Revision}:
				case <-ctx.Done():
				}
			}
			pauseFor(ctx, followAgain)
		}
	}()
	return done
}

// decide is the loop. It returns when ctx has ended and all that was decided is
// written, or when the slot is lost.
func (o *Owner) decide(ctx, work context.Context) error {
	deadline, confirm, forsake := time.NewTimer(0), time.NewTimer(0), time.NewTimer(0)
	defer deadline.Stop()
	defer confirm.Stop()
	defer forsake.Stop()
	forsaking := true // the timer is set
	stopping := ctx.Done()
	for {
		if err := o.proceed(work); err != nil {
			return err
		}
		if stopping == nil && o.writing == nil && !o.asking && len(o.next.entries) == 0 {
			return nil
		}
		if at, ok := o.ledger.NextDeadline(); ok && !o.next.isFull() {
			deadline.Reset(min(time.Until(at), longestWait))
		}
		if len(o.waiting) > 0 && !forsaking {
			forsake.Reset(forsakeEvery)
			forsaking = true
		}
		if o.writing == nil && !o.next.isEmpty() {
			confirm.Reset(time.Until(o.confirmed.Add(confirmEvery)))
		}
		var queue chan *request
		if stopping != nil && !o.next.isFull() {
			queue = o.queue
		}
		select {
		case <-stopping:
			stopping = nil
			o.dismissWaiting()
		case r := <-queue:
			o.consider(r)
		case err := <-o.written:
			if err := o.wrote(err); err != nil {
				return err
			}
		case m := <-o.moved:
			o.asking = false
			if err := o.movedUnits(m); err != nil {
				return err
			}
		case p := <-o.seen:
			if p.revision > o.pool.revision {
				o.pool = p
			}
		case <-deadline.C:
			o.expire()
		case <-confirm.C: // proceed does
		case <-forsake.C:
			forsaking = false
			o.forsake()
		}
	}
}

// proceed starts what can be started.
func (o *Owner) proceed(work context.Context) error {
	o.serveWaiting()
	if err := o.startWriting(work); err != nil {
		return err
	}
	o.startMoving(work)
	return nil
}

// settle waits for what is under way, which must not outlive Run. Nobody gets an
// answer out of it.
func (o *Owner) settle() {
	if o.writing != nil {
		if err := <-o.written; err != nil {
			o.log.Warn("the last batch is left to the next owner", "error", err)
		}
		o.fail(o.writing, ErrUndecided)
		o.writing = nil
	}
	if o.asking {
		<-o.moved
		o.asking = false
	}
	o.fail(&o.next, ErrUndecided)
}

// dismiss answers those who are still waiting: nothing was decided for them.
func (o *Owner) dismiss() {
	o.dismissWaiting()
	for {
		select {
		case r := <-o.queue:
			r.done <- reply{err: ErrUndecided}
		default:
			return
		}
	}
}

func (o *Owner) dismissWaiting() {
	for _, r := range o.waiting {
		r.done <- reply{err: ErrUndecided}
	}
	o.waiting = nil
}

// forsake lets go of those who wait for units and have given up.
func (o *Owner) forsake() {
	o.waiting = slices.DeleteFunc(o.waiting, func(r *request) bool {
		if r.ctx.Err() == nil {
			return false
		}
		r.done <- reply{err: ErrUndecided}
		return true
	})
}

// consider decides on a request, or lets it wait for units, if not too many do
// already. Whoever is waiting comes first.
func (o *Owner) consider(r *request) {
	o.asked.Add(-1)
	if r.ctx.Err() != nil {
		r.done <- reply{err: ErrUndecided}
		return
	}
	free := o.free()
	if len(o.waiting) > 0 {
		free = 0
	}
	e, rep := r.try(free)
	switch {
	case !errors.Is(rep.err, ledger.ErrNoUnits):
		o.conclude(r, e, rep)
	case len(o.waiting) >= o.most():
		r.done <- reply{err: ErrBusy}
	default:
		o.waiting = append(o.waiting, r)
	}
}

// conclude has a decision written and answered.
func (o *Owner) conclude(r *request, e *record.Entry, rep reply) {
	if e != nil {
		o.next.add(*e, o.ledger.Held())
	}
	switch {
	case r.read || len(o.next.entries) > 0 || mayBeOld(rep.err):
		o.next.answers = append(o.next.answers, answer{r, rep})
	case o.writing != nil:
		o.writing.answers = append(o.writing.answers, answer{r, rep})
	default:
		r.done <- rep
	}
}

// mayBeOld reports whether an answer has to be confirmed like what is read: a
// refusal, since a successor may have granted what is refused.
func mayBeOld(refusal error) bool { return refusal != nil && !errors.Is(refusal, ErrUndecided) }

// serveWaiting decides for those who wait, as far as there are units, or none to
// come.
func (o *Owner) serveWaiting() {
	for len(o.waiting) > 0 && !o.next.isFull() {
		r := o.waiting[0]
		var e *record.Entry
		var rep reply
		switch {
		case r.ctx.Err() != nil:
			rep = reply{err: ErrUndecided}
		default:
			if e, rep = r.try(o.free()); !errors.Is(rep.err, ledger.ErrNoUnits) {
				break
			}
			if !o.exhausted(r.need()) {
				return
			}
			e, rep = r.refuse()
		}
		o.waiting = o.waiting[1:]
		o.conclude(r, e, rep)
	}
}

// free is what new orders can have.
func (o *Owner) free() int64 { return o.granted - o.ledger.Held() - o.returning }

func (o *Owner) expire() {
	now := o.now()
	for !o.next.isFull() {
		e := o.ledger.Expire(now)
		if e == nil {
			return
		}
		o.next.add(*e, o.ledger.Held())
	}
}

// now is the time as records tell it.
func (o *Owner) now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

func (o *Owner) fail(b *batch, err error) {
	for _, a := range b.answers {
		a.to.done <- reply{err: err}
	}
	b.answers = nil
}

// release gives the slot up, so that another process need not wait for this one's
// lease.
func (o *Owner) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	_, err := backend.PutJSON(ctx, o.store, o.guard.Key, record.Slot{Owner: record.Nobody, Epoch: o.epoch}, o.guard)
	if err != nil && !errors.Is(err, backend.ErrConflict) {
		o.log.Warn("the slot was not released, its next owner will take it", "error", err)
	}
}

// do has a request decided. Errors: ErrBusy, ErrUndecided, or the decision's.
func (o *Owner) do(ctx context.Context, r *request) reply {
	r.ctx, r.done = ctx, make(chan reply, 1)
	select {
	case <-o.ended:
		return reply{err: ErrUndecided}
	default:
	}
	if o.asked.Add(1) > int64(o.most()) {
		o.asked.Add(-1)
		return reply{err: ErrBusy}
	}
	select {
	case o.queue <- r:
	case <-ctx.Done():
		o.asked.Add(-1)
		return reply{err: fmt.Errorf("%w: %w", ErrUndecided, context.Cause(ctx))}
	case <-o.ended:
		return reply{err: ErrUndecided}
	}
	select {
	case rep := <-r.done:
		return rep
	case <-ctx.Done():
		return reply{err: fmt.Errorf("%w: %w", ErrUndecided, context.Cause(ctx))}
	case <-o.ended:
		select {
		case rep := <-r.done:
			return rep
		default:
			return reply{err: ErrUndecided}
		}
	}
}
