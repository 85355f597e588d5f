package consul

import (
	"context"
	"iter"

	"github.com/seed27495941/seckill/backend"
)

// WatchPrefix implements [backend.Store]. Beyond what the contract says, a
// watch ends with ErrUnavailable when the Store follows [MaxFollowed] other
// prefixes already; its first update, and so [backend.List], needs none.
func (s *Store) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		if err := backend.CheckPrefix(prefix); err != nil {
			yield(backend.Update{}, err)
			return
		}
		ctx, cancel, err := s.life.Call(ctx, 0)
		if err != nil {
			yield(backend.Update{}, err)
			return
		}
		defer cancel()
		if err := s.watch(ctx, s.root+prefix, yield); err != nil {
			yield(backend.Update{}, err)
		}
	}
}

// watch yields updates until the consumer has enough, which is no error.
func (s *Store) watch(ctx context.Context, prefix string, yield func(backend.Update, error) bool) error {
	h, err := s.join(prefix)
	if err != nil {
		return err
	}
	defer s.leave(h)
	if err := h.fresh(ctx); err != nil {
		return err
	}
	last := h.see()
	if !yield(last.view.snapshot(), nil) {
		return nil
	}
	if err := h.follow(); err != nil {
		return err
	}
	for {
		now, err := h.next(ctx, last)
		if err != nil {
			return err
		}
		if !yield(now.view.since(last.view), nil) {
			return nil
		}
		last = now
	}
}
