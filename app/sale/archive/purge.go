package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
)

// ErrDiffers says that the store has something that the archive has not, or
// otherwise: nothing of it is deleted.
var ErrDiffers = errors.New("the store is not as it was archived")

const (
	// slow bounds the reading of a sale, of which there may be much.
	slow = 5 * time.Minute

	// atOnce is how many keys are deleted at a time.
	atOnce = 16
)

// Purge deletes from the store what is in an archive: first it checks the archive,
// sees that it is on the disk, and that what the store has of the sale is in it, byte
// by byte and at the same revisions. Then the event gets the status archived, and only then pool, slots and
// logs go, each on the condition that it is as it was archived, and the event as it
// is now. The event stays.
//
// It can be repeated after any failure, and goes on where it was. deleted, if not
// nil, is told of every key, from several goroutines.
//
// Errors: those of [Check]; those of the file system; event.ErrStatus unless the event is closed or archived;
// ErrDiffers; those of the store.
func Purge(ctx context.Context, s backend.Store, path string, deleted func()) error {
	a, err := Check(path)
	if err != nil {
		return err
	}
	if err := flushAll(path); err != nil {
		return fmt.Errorf("archive %s: %w", path, err)
	}
	p := &purge{store: s, archive: a, keys: map[string]backend.Entry{}, deleted: deleted}
	for _, e := range a.Sale.Entries {
		p.keys[e.Key] = e
	}
	tombstone, left, err := p.prepare(ctx)
	if err != nil {
		return err
	}
	return p.run(ctx, left, backend.If(record.EventKey(tombstone.ID), tombstone.Revision))
}

type purge struct {
	store   backend.Store
	archive Archive
	keys    map[string]backend.Entry
	deleted func()
}

// prepare compares store and archive, and makes the event a tombstone.
func (p *purge) prepare(ctx context.Context) (tombstone event.Event, left []backend.Entry, err error) {
	seen, left, err := p.read(ctx)
	if err != nil {
		return event.Event{}, nil, err
	}
	e, err := event.Decode(seen)
	if err != nil {
		return event.Event{}, nil, err
	}
	switch e.Status {
	case record.StatusArchived:
		return e, left, p.isTombstone(e)
	case record.StatusClosed:
		if err := same(p.archive.Sale.Event, seen); err != nil {
			return event.Event{}, nil, err
		}
		if len(left) != len(p.keys) {
			return event.Event{}, nil, fmt.Errorf("%w: it has %d keys of the sale, the archive %d", ErrDiffers, len(left), len(p.keys))
		}
		e, err = event.Archive(ctx, p.store, e)
		return e, left, err
	default:
		return event.Event{}, nil, fmt.Errorf("%w: event %s is %s, expected %q", event.ErrStatus, e.ID, e.Status, record.StatusClosed)
	}
}

// read reads the event, and what is left of the sale while it is as read: another
// purge may be at work.
func (p *purge) read(ctx context.Context) (seen backend.Entry, left []backend.Entry, err error) {
	key := record.EventKey(p.archive.Sale.ID)
	if seen, err = p.store.Get(ctx, key); err != nil {
		return seen, nil, err
	}
	for {
		if left, err = p.compare(ctx); err != nil {
			return seen, nil, err
		}
		now, err := p.store.Get(ctx, key)
		if err != nil || now.Revision == seen.Revision {
			return seen, left, err
		}
		seen = now
	}
}

// isTombstone sees that an event is the archived one, but for its status.
func (p *purge) isTombstone(e event.Event) error {
	content := e.Event
	content.Status = record.StatusClosed
	was, err := record.DecodeEvent(p.archive.Sale.Event)
	if err != nil {
		return err
	}
	now, err := json.Marshal(content)
	if err != nil {
		return err
	}
	before, err := json.Marshal(was)
	if err == nil && !bytes.Equal(now, before) {
		err = fmt.Errorf("%w: %s has another content", ErrDiffers, record.EventKey(e.ID))
	}
	return err
}

// compare reads what the store has of the sale, all of which must be archived.
func (p *purge) compare(ctx context.Context) ([]backend.Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, slow)
	defer cancel()
	left, _, err := backend.List(ctx, p.store, record.SaleDir(p.archive.Sale.ID))
	if err != nil {
		return nil, err
	}
	for _, e := range left {
		archived, ok := p.keys[e.Key]
		if !ok {
			return nil, fmt.Errorf("%w: %s is not in the archive", ErrDiffers, e.Key)
		}
		if err := same(archived, e); err != nil {
			return nil, err
		}
	}
	return left, nil
}

func same(archived, now backend.Entry) error {
	if archived.Revision != now.Revision || !bytes.Equal(archived.Value, now.Value) {
		return fmt.Errorf("%w: %s is at revision %d, was archived at %d", ErrDiffers, now.Key, now.Revision, archived.Revision)
	}
	return nil
}

// run deletes: the logs while the slots are still there to say that the sale is
// closed, then the slots, and the pool at last.
func (p *purge) run(ctx context.Context, left []backend.Entry, tombstone backend.Condition) error {
	id := p.archive.Sale.ID
	for _, part := range []string{"log/", "slots/", "pool"} {
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(atOnce)
		for _, e := range left {
			if strings.HasPrefix(e.Key, record.SaleDir(id)+part) && ctx.Err() == nil {
				group.Go(func() error { return p.remove(ctx, e, tombstone) })
			}
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	now, err := p.compare(ctx)
	if err == nil && len(now) > 0 {
		err = fmt.Errorf("%w: %s is there, and %d more keys: purge it again", ErrDiffers, now[0].Key, len(now)-1)
	}
	return err
}

// remove deletes one key. That somebody else has done so is no error.
func (p *purge) remove(ctx context.Context, e backend.Entry, tombstone backend.Condition) error {
	err := p.store.Delete(ctx, e.Key, backend.If(e.Key, e.Revision), tombstone)
	var conflict *backend.ConflictError
	if errors.As(err, &conflict) && conflict.Key == e.Key {
		_, err = p.store.Get(ctx, e.Key)
		switch {
		case err == nil:
			err = fmt.Errorf("%w: %s has been written meanwhile", ErrDiffers, e.Key)
		case errors.Is(err, backend.ErrNotFound):
			err = nil
		}
	}
	if err == nil && p.deleted != nil {
		p.deleted()
	}
	return err
}
