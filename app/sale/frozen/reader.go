package frozen

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/slot"
	"github.com/seed27495941/seckill/backend"
)

const (
	// maxOrders is how many orders are kept in memory, in logs that were read: some
	// 60 MB. One log that has more is kept alone.
	maxOrders = 100_000

	// maxReading is how many logs are read at the same time.
	maxReading = 2
)

// ErrArchived says that a sale's orders are not in the store any more.
var ErrArchived = errors.New("the sale is archived")

// A Reader reads logs, and keeps those that were asked for last. It is safe for
// concurrent use.
type Reader struct {
	store   backend.Store
	most    int           // orders to be kept
	reading chan struct{} // holds a token for each log that is being read

	mu      sync.Mutex
	logs    map[name]*list.Element
	recent  list.List              // of *kept, the last used first
	orders  int                    // in all of them
	awaited map[name]chan struct{} // being read; closed when that is over
}

type name struct {
	event ulid.ULID
	slot  int
}

type kept struct {
	name
	*Log
}

// NewReader makes a reader.
func NewReader(s backend.Store) *Reader {
	return &Reader{
		store: s, most: maxOrders, reading: make(chan struct{}, maxReading),
		logs: map[name]*list.Element{}, awaited: map[name]chan struct{}{},
	}
}

// Log is the log of a slot. Those who ask for the same one at the same time wait for
// one of them to read it. Errors: ErrArchived, slot.ErrOpen, record.ErrCorrupt;
// slot.ErrUndecided when the store does not answer or ctx ends.
func (r *Reader) Log(ctx context.Context, event ulid.ULID, slot int) (*Log, error) {
	n := name{event, slot}
	for {
		l, others := r.find(n)
		switch {
		case l != nil:
			return l, nil
		case others == nil:
			l, err := r.read(ctx, n)
			r.done(n, l)
			return l, err
		}
		select {
		case <-others:
		case <-ctx.Done():
			return nil, undecided(context.Cause(ctx))
		}
	}
}

// find finds a log, or else what is closed when whoever reads it is done; if both
// are nil the caller is to read it.
func (r *Reader) find(n name) (l *Log, others <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.logs[n]; ok {
		r.recent.MoveToFront(e)
		return of(e).Log, nil
	}
	if others, ok := r.awaited[n]; ok {
		return nil, others
	}
	r.awaited[n] = make(chan struct{})
	return nil, nil
}

// done keeps a log that was read, if it was, in place of those not used for the
// longest time.
func (r *Reader) done(n name, l *Log) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.awaited[n])
	delete(r.awaited, n)
	if l == nil {
		return
	}
	r.orders += l.ledger.Len()
	r.logs[n] = r.recent.PushFront(&kept{n, l})
	for r.orders > r.most && r.recent.Len() > 1 {
		last := of(r.recent.Back())
		r.recent.Remove(r.logs[last.name])
		delete(r.logs, last.name)
		r.orders -= last.ledger.Len()
	}
}

func of(e *list.Element) *kept {
	k, _ := e.Value.(*kept)
	return k
}

func (r *Reader) read(ctx context.Context, n name) (*Log, error) {
	select {
	case r.reading <- struct{}{}:
		defer func() { <-r.reading }()
	case <-ctx.Done():
		return nil, undecided(context.Cause(ctx))
	}
	l, err := r.replay(ctx, n)
	switch {
	case err == nil:
		return &Log{l}, nil
	case errors.Is(err, backend.ErrUnavailable) || ctx.Err() != nil:
		return nil, undecided(err)
	default:
		return nil, fmt.Errorf("read the log of slot %d of sale %s: %w", n.slot, n.event, err)
	}
}

func (r *Reader) replay(ctx context.Context, n name) (*ledger.Ledger, error) {
	// A reader asks nothing about what buyers may have: no limit is needed.
	l, replayed := slot.Read(ctx, r.store, n.event, n.slot, 0)
	// An event is archived before anything of its sale is deleted. So if it is not,
	// nothing was missing.
	e, err := event.Get(ctx, r.store, n.event)
	switch {
	case err != nil:
		return nil, err
	case e.Status == record.StatusArchived:
		return nil, ErrArchived
	}
	return l, replayed
}

func undecided(err error) error { return fmt.Errorf("%w: %w", slot.ErrUndecided, err) }
