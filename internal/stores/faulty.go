package stores

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/seed27495941/seckill/backend"
)

// Faulty is a store whose calls can be made to fail. Each hook is optional and
// may be set anew at any time by Set.
type Faulty struct {
	backend.Store

	mu    sync.Mutex
	hooks Hooks
}

// Hooks come before a call, and the error of one replaces the call.
type Hooks struct {
	Lease func() error
	Get   func(key string) error
	Put   func(key string) error
	Del   func(key string) error
	Watch func(prefix string) error // yielded by the watch

	// Yield comes before an update is handed on; while it blocks, the watch
	// stands still as that of a slow consumer does.
	Yield func()

	// AfterPut replaces what a successful Put returns, AfterDel that of a Delete.
	AfterPut func(key string) error
	AfterDel func(key string) error
}

// Set replaces the hooks.
func (f *Faulty) Set(h Hooks) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hooks = h
}

func (f *Faulty) now() Hooks {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hooks
}

// Lease implements [backend.Store].
func (f *Faulty) Lease(ctx context.Context, ttl time.Duration) (backend.Lease, error) {
	if hook := f.now().Lease; hook != nil {
		if err := hook(); err != nil {
			return nil, err
		}
	}
	return f.Store.Lease(ctx, ttl)
}

// Get implements [backend.Store].
func (f *Faulty) Get(ctx context.Context, key string) (backend.Entry, error) {
	if err := call(f.now().Get, key); err != nil {
		return backend.Entry{Key: key}, err
	}
	return f.Store.Get(ctx, key)
}

// Put implements [backend.Store].
func (f *Faulty) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	if err := call(f.now().Put, key); err != nil {
		return 0, err
	}
	rev, err := f.Store.Put(ctx, key, value, opts...)
	if err == nil {
		err = call(f.now().AfterPut, key)
	}
	if err != nil {
		return 0, err
	}
	return rev, nil
}

// Delete implements [backend.Store].
func (f *Faulty) Delete(ctx context.Context, key string, conds ...backend.Condition) error {
	if err := call(f.now().Del, key); err != nil {
		return err
	}
	if err := f.Store.Delete(ctx, key, conds...); err != nil {
		return err
	}
	return call(f.now().AfterDel, key)
}

// WatchPrefix implements [backend.Store].
func (f *Faulty) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		if err := call(f.now().Watch, prefix); err != nil {
			yield(backend.Update{}, err)
			return
		}
		for u, err := range f.Store.WatchPrefix(ctx, prefix) {
			if hook := f.now().Yield; hook != nil {
				hook()
			}
			if !yield(u, err) {
				return
			}
		}
	}
}

func call(hook func(string) error, key string) error {
	if hook == nil {
		return nil
	}
	return hook(key)
}
