package tasks

import (
	"context"
	"errors"
	"slices"

	"github.com/seed27495941/seckill/backend"
)

// A place is a worker that has room.
type place struct {
	worker   string
	revision backend.Revision
	tasks    int
	capacity int
}

// keepAssigning assigns whenever something has changed.
func (c *Console) keepAssigning(ctx context.Context) error {
	for _, synced := range []chan struct{}{c.workers.synced, c.tasks.synced, c.progress.synced} {
		select {
		case <-ctx.Done():
			return nil
		case <-synced:
		}
	}
	select {
	case <-c.synced:
	default:
		close(c.synced)
	}
	return c.loop.Keep(ctx, c.assignOnChanges)
}

func (c *Console) assignOnChanges(ctx context.Context) error {
	for {
		last, err := c.assignAll(ctx)
		if err != nil {
			return err
		}
		c.loop.Worked()
		c.seeOwnWrites(ctx, last)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-c.wake:
		}
	}
}

// seeOwnWrites waits until the tasks just assigned count as such, so that no
// worker gets more than it has room for. Nothing breaks if that takes too long.
func (c *Console) seeOwnWrites(ctx context.Context, last backend.Revision) {
	ctx, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	c.tasks.waitFor(ctx, last)
}

// assignAll gives the tasks that have no worker to those that have room, the
// task that has waited longest first. It returns the last revision it made.
func (c *Console) assignAll(ctx context.Context) (last backend.Revision, err error) {
	places := c.places()
	for _, r := range c.tasks.good() {
		rev, err := c.settle(ctx, r.value, leastLoaded(places))
		var conflict *backend.ConflictError
		switch {
		case errors.As(err, &conflict):
			// Somebody was quicker, the tables will tell.
			places = slices.DeleteFunc(places, func(p *place) bool { return c.worker(p.worker) == conflict.Key })
		case errors.Is(err, backend.ErrInvalid), errors.Is(err, backend.ErrTooLarge):
			c.log.Error("a task can't be assigned", "task", r.value.ID, "error", err)
		case err != nil:
			return last, err
		}
		last = max(last, rev)
	}
	return last, nil
}

// settle does with a task what is to be done, if anything. best is nil if no
// worker has room.
func (c *Console) settle(ctx context.Context, t Task, best *place) (backend.Revision, error) {
	gone, orphan := c.orphaned(t)
	switch {
	case orphan && t.Attempt >= c.maxAttempts:
		return c.giveUp(ctx, t, gone)
	case (orphan || t.State == Waiting) && best != nil:
		return c.assign(ctx, t, gone, best)
	}
	return 0, nil
}

// orphaned reports whether a task is assigned to a worker that is gone, and the
// condition that this is so: that the worker's key is as it was seen, absent or
// on no lease.
func (c *Console) orphaned(t Task) (gone []backend.Condition, orphan bool) {
	if t.State != Assigned {
		return nil, false
	}
	r, exists := c.workers.get(t.Worker)
	if exists && r.lease != "" {
		return nil, false
	}
	return []backend.Condition{backend.If(c.worker(t.Worker), r.revision)}, true
}

// assign gives a task to a worker, if both are as they were seen and the former
// worker, if any, is gone.
func (c *Console) assign(ctx context.Context, t Task, gone []backend.Condition, to *place) (backend.Revision, error) {
	former := t.Worker
	t.State, t.Worker, t.Assigned = Assigned, to.worker, now()
	t.Attempt++
	rev, err := c.write(ctx, t, append(gone, backend.If(c.worker(to.worker), to.revision)))
	if err != nil {
		return 0, err
	}
	to.tasks++
	c.log.Info("task assigned", "task", t.ID, "worker", t.Worker, "attempt", t.Attempt, "former", former)
	return rev, nil
}

// giveUp ends a task that has lost too many workers.
func (c *Console) giveUp(ctx context.Context, t Task, gone []backend.Condition) (backend.Revision, error) {
	t.State, t.Finished, t.Error = Failed, now(), "the worker was lost, at the last attempt allowed"
	rev, err := c.write(ctx, t, gone)
	if err == nil {
		c.log.Warn("task given up", "task", t.ID, "attempt", t.Attempt)
	}
	return rev, err
}

// write replaces a task as it was read. If the outcome is not known, the tables
// will tell.
func (c *Console) write(ctx context.Context, t Task, conds []backend.Condition) (backend.Revision, error) {
	key := c.task(t.ID)
	value, err := encodeTask(key, t)
	if err != nil {
		return 0, err
	}
	opts := []backend.PutOption{backend.If(key, t.Revision)}
	for _, cond := range conds {
		opts = append(opts, cond)
	}
	return c.store.Put(ctx, key, value, opts...)
}

// places lists the workers that take tasks, with what they have to do.
func (c *Console) places() []*place {
	load := c.load()
	var places []*place
	for _, r := range c.workers.good() {
		if w := r.value; !w.Leaving {
			places = append(places, &place{w.ID, r.revision, load[w.ID], w.Capacity})
		}
	}
	return places
}

// leastLoaded is the place with the least to do for its capacity, nil if none
// has room.
func leastLoaded(places []*place) *place {
	var best *place
	for _, p := range places {
		if p.tasks < p.capacity && (best == nil || p.tasks*best.capacity < best.tasks*p.capacity) {
			best = p
		}
	}
	return best
}
