package slot

import (
	"context"
	"errors"
	"fmt"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
)

// Take makes this process the owner of a slot, whoever was it before: whether it
// should is the caller's business. It deposes the former owner, reads what that
// has left behind, and returns an owner that has to be Run.
//
// Errors: ErrClosed; record.ErrCorrupt for a slot, pool or log that can't be what
// owners have written; backend.ErrNotFound where there is no such sale;
// backend.ErrConflict if another process took it at the same moment; and those of
// the store.
func Take(ctx context.Context, cfg Config) (*Owner, error) {
	o := newOwner(cfg)
	if err := o.takeOver(ctx); err != nil {
		return nil, fmt.Errorf("take slot %d of sale %s: %w", o.slot, o.event, err)
	}
	// Everything below is read after the takeover, and therefore final.
	var err error
	if o.pool, err = readPool(ctx, o.store, o.event); err != nil {
		return nil, err
	}
	if o.slot >= len(o.pool.Granted) {
		return nil, fmt.Errorf("%w: %s has %d slots, there is no slot %d", record.ErrCorrupt, record.PoolKey(o.event), len(o.pool.Granted), o.slot)
	}
	o.granted = o.pool.Granted[o.slot]
	if err := o.replay(ctx); err != nil {
		return nil, err
	}
	o.log.Info("took the slot", "epoch", o.epoch, "orders", o.ledger.Len(), "units", o.held, "granted", o.granted)
	return o, nil
}

func newOwner(cfg Config) *Owner {
	most := cfg.Waiting
	if most == nil {
		most = func() int { return DefaultWaiting }
	}
	return &Owner{
		store: cfg.Store, event: cfg.Event, slot: cfg.Slot, self: cfg.Incarnation, terms: cfg.Terms, most: most,
		log:     cfg.Logger.With("sale", cfg.Event, "slot", cfg.Slot),
		ledger:  ledger.New(cfg.Terms().PerUser),
		queue:   make(chan *request, queued),
		ended:   make(chan struct{}),
		written: make(chan error, 1),
		moved:   make(chan movement, 1),
		seen:    make(chan pooled),
	}
}

// takeOver changes the slot's record. If the outcome is not known the record
// tells.
func (o *Owner) takeOver(ctx context.Context) error {
	key := record.SlotKey(o.event, o.slot)
	o.tenure = ulid.Make()
	takeover := o.tenure.String()
	for {
		e, err := o.store.Get(ctx, key)
		if err != nil {
			return err
		}
		was, err := record.DecodeSlot(e)
		if err != nil {
			return err
		}
		if was.Owner == record.Closed {
			return ErrClosed
		}
		switch {
		case o.epoch == 0 || was.Epoch < o.epoch: // not taken over yet
		case was.Takeover == takeover:
			o.guard = backend.If(key, e.Revision)
			return nil
		default:
			return &backend.ConflictError{Key: key, Have: e.Revision}
		}
		mine := record.Slot{Owner: o.self.String(), Epoch: was.Epoch + 1, Takeover: takeover}
		rev, err := backend.PutJSON(ctx, o.store, key, mine, backend.If(key, e.Revision))
		switch {
		case err == nil:
			o.guard, o.epoch = backend.If(key, rev), mine.Epoch
			return nil
		case !errors.Is(err, backend.ErrUnknown):
			return err
		}
		o.epoch = mine.Epoch
		pause(ctx)
		if ctx.Err() != nil {
			return err
		}
	}
}

func readPool(ctx context.Context, s backend.Store, event ulid.ULID) (pooled, error) {
	e, err := s.Get(ctx, record.PoolKey(event))
	if err != nil {
		return pooled{}, err
	}
	p, err := record.DecodePool(e)
	return pooled{p, e.Revision}, err
}

// replay reads the log into the ledger.
func (o *Owner) replay(ctx context.Context) error {
	if err := replay(ctx, o.store, o.event, o.slot, o.epoch, o.ledger); err != nil {
		return err
	}
	o.held = o.ledger.Held()
	o.units.Store(o.held)
	if o.held > o.granted {
		return fmt.Errorf("%w: slot %d of sale %s has %d units in orders and was granted %d", record.ErrCorrupt, o.slot, o.event, o.held, o.granted)
	}
	return nil
}
