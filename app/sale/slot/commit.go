package slot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
)

const (
	// maxEntry is more than any entry takes in a batch.
	maxEntry = 64 + record.MaxUser + record.MaxRequest + record.MaxPayment

	// maxGather is when a batch takes no more: what one more decision adds still
	// fits.
	maxGather = record.MaxBatch - 1024 - maxEntry
)

// maxAnswers is how many wait for one batch.
const maxAnswers = 4096

// confirmEvery is how often the store is asked at most whether the slot is still
// this owner's. Those who read, or are refused, in between are answered together.
const confirmEvery = 50 * time.Millisecond

// again is the pause before a write is repeated.
const again = 50 * time.Millisecond

func pause(ctx context.Context) { pauseFor(ctx, again) }

func pauseFor(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (b *batch) add(e record.Entry, held int64) {
	b.entries = append(b.entries, e)
	b.size += 40 + len(e.User) + len(e.Request) + len(e.Payment)
	b.held, b.peak = held, max(b.peak, held)
}

func (b *batch) isFull() bool { return b.size >= maxGather || len(b.answers) >= maxAnswers }

func (b *batch) isEmpty() bool { return len(b.entries) == 0 && len(b.answers) == 0 }

// startWriting writes what was decided, unless a batch is on its way. If nothing
// was, and somebody reads, it has the store asked.
func (o *Owner) startWriting(ctx context.Context) error {
	switch {
	case o.writing != nil || o.next.isEmpty():
		return nil
	case len(o.next.entries) == 0:
		o.startConfirming(ctx)
		return nil
	}
	full := record.Batch{
		Event: o.event, Slot: o.slot, Place: record.Place{Epoch: o.epoch, Seq: o.seq + 1},
		Owner: o.self, Entries: o.next.entries,
	}
	value, err := full.Encode()
	if err != nil {
		return err
	}
	writing := o.next
	o.writing, o.next = &writing, batch{}
	o.seq++
	key := record.LogKey(o.event, o.slot, full.Place)
	go func() { o.written <- o.commit(ctx, key, value) }()
	return nil
}

// startConfirming asks the store for the slot's record, if that was not done just
// now. It begins after all that is to be answered with it was read.
func (o *Owner) startConfirming(ctx context.Context) {
	if time.Since(o.confirmed) < confirmEvery {
		return
	}
	reading := o.next
	o.writing, o.next, o.confirmed = &reading, batch{}, time.Now()
	go func() { o.written <- o.confirm(ctx) }()
}

// confirm finds out whether the slot is this owner's: nil if it was so at some
// moment after the call, ErrDeposed if not. Any other error leaves that open.
func (o *Owner) confirm(ctx context.Context) error {
	for {
		e, err := o.store.Get(ctx, o.guard.Key)
		switch {
		case err == nil && e.Revision == o.guard.Revision:
			return nil
		case err == nil, errors.Is(err, backend.ErrNotFound):
			return ErrDeposed
		case !retryable(err) || ctx.Err() != nil:
			return fmt.Errorf("read %s: %w", o.guard.Key, err)
		}
		pause(ctx)
	}
}

// commit writes a batch until it is known what became of it: nil if it is in the
// log, ErrDeposed if it is not and never will be. Any other error leaves that open.
func (o *Owner) commit(ctx context.Context, key string, value []byte) error {
	for {
		_, err := o.store.Put(ctx, key, value, backend.If(key, 0), o.guard)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, backend.ErrConflict):
			return o.readBack(ctx, key, value)
		case !retryable(err) || ctx.Err() != nil:
			return fmt.Errorf("write %s: %w", key, err)
		}
		pause(ctx)
	}
}

// readBack tells what a conflict means: an earlier try of the same write has
// landed, or there is another owner. (The conditions can fail for no other reason.)
func (o *Owner) readBack(ctx context.Context, key string, value []byte) error {
	for {
		e, err := o.store.Get(ctx, key)
		switch {
		case errors.Is(err, backend.ErrNotFound):
			return ErrDeposed
		case err == nil && bytes.Equal(e.Value, value):
			return nil
		case err == nil:
			return fmt.Errorf("%w: %s has been written by somebody else", record.ErrCorrupt, key)
		case !retryable(err) || ctx.Err() != nil:
			return fmt.Errorf("read %s: %w", key, err)
		}
		pause(ctx)
	}
}

// retryable reports whether trying again may help.
func retryable(err error) bool {
	return !errors.Is(err, backend.ErrClosed) &&
		(errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrUnknown))
}

// wrote takes note of what became of the batch that was being written.
func (o *Owner) wrote(err error) error {
	b := o.writing
	o.writing = nil
	if err != nil {
		o.fail(b, ErrUndecided)
		return err
	}
	if len(b.entries) > 0 {
		o.held = b.held
		o.units.Store(o.held)
	}
	for _, a := range b.answers {
		a.to.done <- a.reply
	}
	return nil
}
