package slot

import (
	"context"
	"fmt"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
)

// replay reads a slot's log into a ledger. All of it is from before epoch.
func replay(ctx context.Context, s backend.Store, event ulid.ULID, slot int, epoch uint64, l *ledger.Ledger) error {
	entries, _, err := backend.List(ctx, s, record.LogDir(event, slot))
	if err != nil {
		return err
	}
	var last record.Place
	for _, e := range entries {
		at, err := record.ParseLogKey(event, slot, e.Key)
		if err != nil {
			return fmt.Errorf("%w: %w", record.ErrCorrupt, err)
		}
		if !at.Follows(last) || at.Epoch >= epoch {
			return fmt.Errorf("%w: %s comes after %s and before epoch %d: batches are missing, or written by nobody who could", record.ErrCorrupt, e.Key, last, epoch)
		}
		last = at
		b, err := record.DecodeBatch(event, slot, at, e.Value)
		if err != nil {
			return err
		}
		for _, entry := range b.Entries {
			if err := l.Apply(entry); err != nil {
				return fmt.Errorf("%s: %w", e.Key, err)
			}
		}
	}
	return nil
}

// Read replays the log of a slot whose sale is closed. Nothing is written to it any
// more, so what it amounts to stays true; as long as it is there: whoever deletes it
// has to say so before, and the caller has to see that afterwards.
//
// Errors: ErrOpen; record.ErrCorrupt; backend.ErrNotFound where there is no such
// slot; and those of the store.
func Read(ctx context.Context, s backend.Store, event ulid.ULID, slot int, perUser int64) (*ledger.Ledger, error) {
	e, err := s.Get(ctx, record.SlotKey(event, slot))
	if err != nil {
		return nil, err
	}
	r, err := record.DecodeSlot(e)
	switch {
	case err != nil:
		return nil, err
	case r.Owner != record.Closed:
		return nil, fmt.Errorf("%w: slot %d of sale %s", ErrOpen, slot, event)
	}
	l := ledger.New(perUser)
	return l, replay(ctx, s, event, slot, r.Epoch, l)
}
