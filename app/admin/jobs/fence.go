package jobs

import (
	"context"
	"slices"

	"github.com/seed27495941/seckill/backend"
)

// A fenced store adds a condition to every write: that a term lasts.
type fenced struct {
	backend.Store
	guard backend.Condition
}

// Put implements [backend.Store].
func (f fenced) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	return f.Store.Put(ctx, key, value, append(slices.Clip(opts), f.guard)...)
}

// Delete implements [backend.Store].
func (f fenced) Delete(ctx context.Context, key string, conds ...backend.Condition) error {
	return f.Store.Delete(ctx, key, append(slices.Clip(conds), f.guard)...)
}

// Space implements [backend.Spacious].
func (f fenced) Space(ctx context.Context) (backend.Space, error) {
	return backend.SpaceOf(ctx, f.Store)
}
