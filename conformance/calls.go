package conformance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/seed27495941/seckill/backend"
)

// allClasses are the classes of errors that there are.
var allClasses = []error{
	backend.ErrNotFound, backend.ErrConflict, backend.ErrLeaseLost, backend.ErrInvalid, backend.ErrTooLarge,
	backend.ErrDenied, backend.ErrFull, backend.ErrUnavailable, backend.ErrUnknown, backend.ErrClosed,
}

// classes is what an error may match: see fails.
type classes []error

func is(class ...error) classes { return class }

// fails requires an error that matches exactly the classes of one of the
// alternatives and none of the others there are. The errors of contexts are
// required where they are listed. Elsewhere context.Canceled is refused, since
// nobody cancelled, but with ErrClosed: closing a store cancels what it was
// doing. context.DeadlineExceeded is not, since drivers have deadlines of their
// own.
func (t *proof) fails(what string, err error, alternatives ...classes) bool {
	t.Helper()
	if slices.ContainsFunc(alternatives, func(want classes) bool { return want.match(err) }) {
		return true
	}
	have := classes(slices.DeleteFunc(slices.Concat(allClasses, []error{context.Canceled, context.DeadlineExceeded}),
		func(class error) bool { return !errors.Is(err, class) }))
	t.Errorf("%s: the error matches %v, want one of %v: %v", what, have, alternatives, err)
	return false
}

func (want classes) match(err error) bool {
	for _, class := range allClasses {
		if errors.Is(err, class) != slices.Contains(want, class) {
			return false
		}
	}
	if slices.Contains(want, context.DeadlineExceeded) && !errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	return errors.Is(err, context.Canceled) == slices.Contains(want, context.Canceled) || slices.Contains(want, backend.ErrClosed)
}

// A call asks something of a store and returns the error.
type call func(ctx context.Context) error

// reads are the ways to ask for a key and what is under it. What comes with an
// error must be the zero value.
func (t *proof) reads(s backend.Store, k string) map[string]call {
	return map[string]call{
		"get": func(ctx context.Context) error {
			e, err := s.Get(ctx, k)
			if err != nil {
				assert.Equal(t, backend.Entry{Key: k}, e, "with the error %v", err)
			}
			return err
		},
		"list": func(ctx context.Context) error {
			entries, rev, err := backend.List(ctx, s, k)
			if err != nil {
				assert.Empty(t, entries, "with the error %v", err)
				assert.Zero(t, rev, "with the error %v", err)
			}
			return err
		},
	}
}

// watch is a watch of which nothing is expected but the error it ends with.
func (t *proof) watch(s backend.Store, prefix string) call {
	return func(ctx context.Context) error {
		var ended error
		for u, err := range s.WatchPrefix(ctx, prefix) {
			if err == nil {
				return fmt.Errorf("the watch of %q yielded an update that was not to come: %+v", prefix, u)
			}
			assert.Zero(t, u, "with the error %v", err)
			assert.NoError(t, ended, "the watch of %q went on after its error", prefix)
			ended = err
		}
		return ended
	}
}

// writes are the ways to change something. All their conditions hold for a key
// that does not exist.
func (t *proof) writes(s backend.Store, k string) map[string]call {
	put := func(opts ...backend.PutOption) call {
		return func(ctx context.Context) error {
			rev, err := s.Put(ctx, k, value("written"), opts...)
			if err != nil {
				assert.Zero(t, rev, "with the error %v", err)
			}
			return err
		}
	}
	return map[string]call{
		"put":                   put(),
		"put on a condition":    put(backend.If("never", 0)),
		"create":                put(backend.If(k, 0)),
		"delete":                func(ctx context.Context) error { return s.Delete(ctx, k) },
		"delete on a condition": func(ctx context.Context) error { return s.Delete(ctx, k, backend.If(k, 0)) },
		"lease":                 t.grant(s),
	}
}

// grant asks for a lease, of which there must be exactly one or an error.
func (t *proof) grant(s backend.Store) call {
	return func(ctx context.Context) error {
		l, err := s.Lease(ctx, shortTTL)
		assert.Equal(t, err != nil, l == nil, "the lease %v and the error %v", l, err)
		return err
	}
}

// everything is each call there is, but watches.
func (t *proof) everything(s backend.Store, k string) map[string]call {
	calls := t.reads(s, k)
	maps.Copy(calls, t.writes(s, k))
	return calls
}

// attempts are calls that were begun at the same time.
type attempts struct {
	t    *proof
	done chan struct{}
	errs map[string]error
}

// begin makes calls in the background.
func (t *proof) begin(ctx context.Context, calls map[string]call) *attempts {
	var (
		a  = &attempts{t: t, done: make(chan struct{}), errs: map[string]error{}}
		mu sync.Mutex
		wg sync.WaitGroup
	)
	for name, c := range calls {
		wg.Go(func() {
			err := c(ctx)
			mu.Lock()
			defer mu.Unlock()
			a.errs[name] = err
		})
	}
	go func() {
		defer close(a.done)
		wg.Wait()
	}()
	return a
}

// end waits for all calls and returns their errors.
func (a *attempts) end() map[string]error {
	a.t.Helper()
	a.t.wait(a.done, "the end of all calls")
	return a.errs
}

// attempt makes calls with a deadline, each counted from when it begins.
func (t *proof) attempt(limit time.Duration, calls map[string]call) map[string]error {
	t.Helper()
	limited := map[string]call{}
	for name, c := range calls {
		limited[name] = func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			return c(ctx)
		}
	}
	return t.begin(t.ctx, limited).end()
}

// within is attempt for calls that can be repeated. It requires that they end
// with their deadline, and not when some timeout of the driver's own is over.
// When the process did not get the time to send them it tries again.
func (t *proof) within(limit time.Duration, calls map[string]call) map[string]error {
	t.Helper()
	for {
		w := startStopwatch()
		errs := t.attempt(limit, calls)
		ran, stall := w.end()
		if stall > limit/3 && t.ctx.Err() == nil {
			continue
		}
		assert.Less(t, ran, limit+promptly/2, "calls with a deadline of %v", limit) // and a timeout is not near
		return errs
	}
}

// wait waits for a channel to be closed.
func (t *proof) wait(done <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-done:
	case <-t.ctx.Done():
		t.Fatalf("waiting for %s: %v", what, context.Cause(t.ctx))
	}
}

// eventually waits for a condition.
func (t *proof) eventually(what string, cond func() bool) {
	t.Helper()
	for !cond() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-t.ctx.Done():
			t.Fatalf("waiting for %s: %v", what, context.Cause(t.ctx))
		}
	}
}
