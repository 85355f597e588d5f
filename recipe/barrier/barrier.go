package barrier

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
)

// The values of a barrier's key. It is never deleted: a write that was lost on its
// way could put it back.
const (
	held     = "held"
	released = "released"
)

// A Barrier holds others back until it is released. It is safe for concurrent use
// and has nothing to close.
type Barrier struct {
	store backend.Store
	key   string
}

// New names the barrier at a key. Nothing is sent before it is used. Errors:
// ErrInvalid.
func New(s backend.Store, key string) (*Barrier, error) {
	if err := backend.CheckKey(key); err != nil {
		return nil, err
	}
	return &Barrier{s, key}, nil
}

// Hold puts the barrier up. If it is up already that is no error: whoever releases
// it, it is down for all.
//
// A write of unknown outcome is repeated. Errors: those of [backend.Store.Put] but
// ErrLeaseLost, and with ErrUnknown also what ended the last try.
func (b *Barrier) Hold(ctx context.Context) error { return b.set(ctx, held) }

// Release takes the barrier down. If it is down already that is no error. Errors:
// as for Hold.
func (b *Barrier) Release(ctx context.Context) error { return b.set(ctx, released) }

// Wait waits until the barrier is down; whatever its key says but "released" is up.
// Trouble with the store is retried until ctx ends, with context.Cause(ctx) as the
// error then; ErrClosed if the store was closed.
func (b *Barrier) Wait(ctx context.Context) error {
	loop := retry.New(nil, "wait for the barrier")
	waiting, down := context.WithCancel(ctx)
	defer down()
	err := loop.Keep(waiting, func(ctx context.Context) error {
		for e, err := range backend.WatchKey(ctx, b.store, b.key) {
			if err != nil {
				return err
			}
			loop.Worked()
			if isDown(e) {
				down()
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return context.Cause(ctx)
}

func isDown(e backend.Entry) bool { return e.Revision == 0 || string(e.Value) == released }

// set writes in any case, and on the condition of what it has read. So whatever is
// still on its way from before, its own lost tries too, is refused from then on.
func (b *Barrier) set(ctx context.Context, value string) error {
	loop := retry.New(nil, "set the barrier")
	doubt := false
	for {
		_, err := backend.Modify(ctx, b.store, b.key, func(backend.Entry) ([]byte, error) { return []byte(value), nil })
		unknown := errors.Is(err, backend.ErrUnknown)
		switch {
		case unknown && ctx.Err() == nil:
			doubt = true
			retry.Sleep(ctx, loop.Failed(err))
		case err != nil && doubt && !unknown:
			return fmt.Errorf("%w: %w", backend.ErrUnknown, err)
		default:
			return err
		}
	}
}
