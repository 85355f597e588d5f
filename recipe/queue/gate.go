package queue

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
)

// A Trigger is a state of the queue at which its gate opens: see [AtLeast],
// [Present] and [Absent].
type Trigger struct {
	name string // the gate's value, for people

	// await waits until it is so and returns conditions under which it is so still.
	await func(ctx context.Context, q *Queue) ([]backend.Condition, error)
}

// AtLeast is that n items or more are in the queue. They can't become less while
// the gate is shut, unless by hand.
func AtLeast(n int) Trigger {
	return Trigger{fmt.Sprintf("at least %d items", n), func(ctx context.Context, q *Queue) ([]backend.Condition, error) {
		return nil, q.awaitCount(ctx, n)
	}}
}

// Present is that an item with this ID is in the queue.
func Present(id string) Trigger {
	return Trigger{fmt.Sprintf("item %q present", id), func(ctx context.Context, q *Queue) ([]backend.Condition, error) {
		return q.awaitItem(ctx, id, true)
	}}
}

// Absent is that no item with this ID is in the queue.
func Absent(id string) Trigger {
	return Trigger{fmt.Sprintf("item %q absent", id), func(ctx context.Context, q *Queue) ([]backend.Condition, error) {
		return q.awaitItem(ctx, id, false)
	}}
}

// OpenGate lets the consumers of a gated queue begin. The gate stays open, also
// for consumers to come, until somebody deletes its key: then no item is claimed
// any more. Opening an open gate is no error.
//
// Errors: ErrInvalid if the queue is not gated; those of [backend.Store.Put]. (A
// write of unknown outcome may open the gate later: once more if it was deleted
// meanwhile.)
func (q *Queue) OpenGate(ctx context.Context) error { return q.openGate(ctx, "signal") }

func (q *Queue) openGate(ctx context.Context, why string, conds ...backend.Condition) error {
	if err := q.checkGated(); err != nil {
		return err
	}
	if _, err := q.settle(ctx); err != nil {
		return err
	}
	opts := []backend.PutOption{backend.If(q.gateKey(), 0)}
	for _, c := range conds {
		opts = append(opts, c)
	}
	_, err := q.store.Put(ctx, q.gateKey(), []byte(why), opts...)
	var conflict *backend.ConflictError
	if errors.As(err, &conflict) && conflict.Key == q.gateKey() {
		return nil
	}
	return err
}

func (q *Queue) checkGated() error {
	if !q.settings.Gated {
		return fmt.Errorf("%w: the queue %q is not gated", backend.ErrInvalid, q.dir)
	}
	return nil
}

// OpenGateWhen waits until t is so and then opens the gate, on the condition that
// it is so still. It returns when the gate is open, whoever has opened it. Any
// number of processes may wait, so that one of them lives to do it.
//
// Trouble with the store is retried until ctx ends, with context.Cause(ctx) as the
// error then. Other errors: ErrInvalid, ErrClosed.
func (q *Queue) OpenGateWhen(ctx context.Context, t Trigger) error {
	if t.await == nil {
		return fmt.Errorf("%w: no trigger", backend.ErrInvalid)
	}
	if err := q.checkGated(); err != nil {
		return err
	}
	waiting, stop := context.WithCancel(ctx)
	defer stop()
	g, waiting := errgroup.WithContext(waiting)
	attempt := func(task string, f func(context.Context) error) {
		loop := retry.New(q.log, task)
		g.Go(func() error {
			return loop.Keep(waiting, func(ctx context.Context) error {
				err := f(ctx)
				if err == nil {
					stop()
				}
				return err
			})
		})
	}
	attempt("wait for the gate", q.awaitGate)
	attempt("wait for "+t.name, func(ctx context.Context) error {
		conds, err := t.await(ctx, q)
		if err != nil {
			return err
		}
		return q.openGate(ctx, t.name, conds...)
	})
	if err := g.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// awaitGate returns when the gate is open.
func (q *Queue) awaitGate(ctx context.Context) error {
	for e, err := range backend.WatchKey(ctx, q.store, q.gateKey()) {
		if err != nil || e.Revision != 0 {
			return err
		}
	}
	return context.Cause(ctx)
}

// awaitItem waits until an item is there, or is not.
func (q *Queue) awaitItem(ctx context.Context, id string, present bool) ([]backend.Condition, error) {
	if err := q.checkID(id); err != nil {
		return nil, err
	}
	key := q.itemKey(q.shardOf(id), id)
	for e, err := range backend.WatchKey(ctx, q.store, key) {
		switch {
		case err != nil:
			return nil, err
		case (e.Revision != 0) == present:
			return []backend.Condition{backend.If(key, e.Revision)}, nil
		}
	}
	return nil, context.Cause(ctx)
}

// awaitCount waits until there are n items.
func (q *Queue) awaitCount(ctx context.Context, n int) error {
	if n < 0 {
		return fmt.Errorf("%w: at least %d items", backend.ErrInvalid, n)
	}
	changed := make(chan struct{}, 1)
	changed <- struct{}{}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	var mirrors []*backend.Mirror
	for i := range q.settings.Shards {
		m := backend.NewMirror(q.store, q.shardDir(i)+itemsDir, func(backend.Update) {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
		mirrors = append(mirrors, m)
		g.Go(func() error { return m.Run(ctx) })
	}
	for {
		count := 0
		for _, m := range mirrors {
			count += m.Len()
		}
		if count >= n {
			stop()
			_ = g.Wait() // ended by us
			return nil
		}
		select {
		case <-ctx.Done():
			return g.Wait()
		case <-changed:
		}
	}
}
