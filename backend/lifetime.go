package backend

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// DefaultTimeout bounds a call whose context has no deadline, unless the
// driver is configured otherwise.
const DefaultTimeout = 5 * time.Second

// A Lifetime ties the calls, watches and goroutines of a driver's store to its
// Close. It is safe for concurrent use.
type Lifetime struct {
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu sync.Mutex // orders Go before Close: a WaitGroup must not grow while it is waited for
	wg sync.WaitGroup
}

// NewLifetime begins the lifetime of a store.
func NewLifetime() *Lifetime {
	ctx, cancel := context.WithCancelCause(context.Background())
	return &Lifetime{ctx: ctx, cancel: cancel}
}

// Err is nil until Close begins, and ErrClosed from then on.
func (l *Lifetime) Err() error { return context.Cause(l.ctx) }

// Call derives the context of one call or watch: it ends with ctx, when the
// store is closed (with the cause ErrClosed) and, if ctx has no deadline, after
// timeout; a timeout of 0 sets none. The function returned releases it and must
// be called. Errors: ErrClosed, ErrUnavailable if ctx has ended already, so that
// nothing is sent then.
func (l *Lifetime) Call(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc, error) {
	if err := l.Err(); err != nil {
		return nil, nil, err
	}
	if ctx.Err() != nil {
		return nil, nil, Failure(ctx, ErrUnavailable, "call", "", nil)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(l.ctx, func() { cancel(l.Err()) })
	release := func() { stop(); cancel(nil) }
	if _, ok := ctx.Deadline(); ok || timeout == 0 {
		return ctx, release, nil
	}
	ctx, cancelTimeout := context.WithTimeout(ctx, timeout)
	return ctx, func() { cancelTimeout(); release() }, nil
}

// Go runs f in a goroutine that Close waits for. Its context ends with the
// lifetime. Errors: ErrClosed.
func (l *Lifetime) Go(f func(ctx context.Context)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.Err(); err != nil {
		return err
	}
	l.wg.Go(func() { f(l.ctx) })
	return nil
}

// Close ends every context given out and waits for the goroutines. It can be
// repeated.
func (l *Lifetime) Close() {
	l.mu.Lock()
	l.cancel(fmt.Errorf("store %w", ErrClosed))
	l.mu.Unlock()
	l.wg.Wait()
}
