package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seed27495941/seckill/backend"
)

// ErrLost is the error of ending an item that is with somebody else by now, or
// gone. It comes with ErrConflict.
var ErrLost = errors.New("the item is not held any more")

// An Item was received by a [Consumer] and has to be ended. Its methods are safe
// for concurrent use.
type Item struct {
	ID       string
	Value    []byte
	Revision backend.Revision // its place in the queue
	Attempt  int              // from 1

	consumer *Consumer
	record   *record
	shard    int
	lost     <-chan struct{}
	claim    claim
	claimed  backend.Revision

	mu    sync.Mutex
	doubt bool // an Ack has an outcome that is not known
	acked bool
}

func newItem(c *Consumer, p choice, made claim, rev backend.Revision) *Item {
	return &Item{
		ID:       p.id,
		Value:    bytes.Clone(p.item.Value),
		Revision: p.item.Revision,
		Attempt:  made.Attempt,
		consumer: c,
		record:   p.record,
		shard:    p.shard,
		lost:     p.self.lost,
		claim:    made,
		claimed:  rev,
	}
}

// Guard is the condition that the claim is this one still. A write that carries it
// is refused as soon as the item is with somebody else, whatever this process
// knows about that:
//
//	store.Put(ctx, "results/"+item.ID, result, item.Guard())
func (i *Item) Guard() backend.Condition {
	return backend.If(i.consumer.queue.claimKey(i.shard, i.ID), i.claimed)
}

// Lost is closed when the item can't be relied on any more, because the consumer
// lost its lease or ended: work on it should stop. While nobody else has claimed
// it, it can still be acknowledged.
func (i *Item) Lost() <-chan struct{} { return i.lost }

// Ack takes the item out of the queue: it is done. Acknowledging twice is no
// error.
//
// Errors: ErrLost if it is with somebody else by now; ErrUnknown if ctx ended
// before the outcome was known, or if it can't be known any more, since the
// consumer lost its lease meanwhile; those of [backend.Store.Delete] otherwise.
// Unless it is lost, Ack can be called again.
func (i *Item) Ack(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.acked {
		return nil
	}
	c, key := i.consumer, i.consumer.queue.itemKey(i.shard, i.ID)
	err := insist(ctx, c.claiming, &i.doubt, func() error {
		return c.queue.store.Delete(ctx, key, backend.If(key, i.Revision), i.Guard())
	})
	if i.doubt && errors.Is(err, backend.ErrConflict) {
		err = i.wasAcked(ctx, err)
	}
	if err != nil {
		return i.failed(err)
	}
	i.acked = true
	if c.queue.deleteClaim(ctx, i.shard, i.ID, i.claimed) != nil {
		c.release(i) // the claim is left over
	}
	return nil
}

// wasAcked finds out what a conflict means after a Delete whose outcome was not
// known.
func (i *Item) wasAcked(ctx context.Context, conflict error) error {
	have, rev, err := i.consumer.readClaim(ctx, i.shard, i.ID)
	switch {
	case err != nil:
		return err
	case rev == i.claimed: // so it is the item that is gone, and nobody else may have done that
		return nil
	case have.Item == i.Revision: // the item was there for another claim
		return conflict
	default:
		return fmt.Errorf("%w: the claim is gone too", backend.ErrUnknown)
	}
}

// Nack returns the item to its place in the queue, to be handed out again after
// the delay, or to be dead if this was the last attempt.
//
// Errors: ErrLost if it is with somebody else by now; ErrInvalid for a negative
// delay; ErrUnknown if ctx ended before the outcome was known; those of
// [backend.Store.Put] otherwise.
func (i *Item) Nack(ctx context.Context, delay time.Duration) error {
	if delay < 0 {
		return fmt.Errorf("%w: delay %v", backend.ErrInvalid, delay)
	}
	c, q := i.consumer, i.consumer.queue
	back := claim{Item: i.Revision, Attempt: i.Attempt}
	if most := q.settings.MaxAttempts; delay > 0 && (most == 0 || i.Attempt < most) {
		back.NotBefore = time.Now().Add(delay).UTC().Round(time.Millisecond)
	}
	var rev backend.Revision
	doubt := false
	conds := []backend.Condition{i.Guard(), backend.If(q.itemKey(i.shard, i.ID), i.Revision)}
	err := insist(ctx, c.claiming, &doubt, func() (err error) {
		rev, err = q.putClaim(ctx, i.shard, i.ID, back, conds)
		return err
	})
	switch {
	case err == nil:
		c.change(func() { c.view.wrote(i.record, back, rev) })
		return nil
	case doubt && errors.Is(err, backend.ErrConflict):
		c.release(i)
		return nil // it is not with us any more, which is what was asked for
	default:
		return i.failed(err)
	}
}

// failed takes note that an item could not be ended.
func (i *Item) failed(err error) error {
	if !errors.Is(err, backend.ErrConflict) {
		return err
	}
	i.consumer.release(i)
	return fmt.Errorf("%w: %q: %w", ErrLost, i.ID, err)
}
