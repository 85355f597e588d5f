package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
)

// Receive waits for an item and claims it. Each item it returns has to be ended by
// [Item.Ack] or [Item.Nack]. It may be called by several goroutines at once, and
// before Run.
//
// Trouble with the store is retried until ctx ends, with context.Cause(ctx) as the
// error then. Other errors: ErrClosed when Run has returned or the store was
// closed.
func (c *Consumer) Receive(ctx context.Context) (*Item, error) {
	lostRace := false
	for {
		picked, err := c.await(ctx, lostRace)
		if err != nil {
			return nil, err
		}
		item, err := c.take(ctx, picked)
		lostRace = errors.Is(err, backend.ErrConflict)
		switch {
		case ctx.Err() != nil && item == nil:
			return nil, context.Cause(ctx)
		case err == nil && item != nil:
			c.claiming.Worked()
			return item, nil
		case err == nil, lostRace:
		case retry.Final(err):
			return nil, err
		default:
			retry.Sleep(ctx, c.claiming.Failed(err))
		}
	}
}

// A choice is an item to claim, as it was when it was chosen.
type choice struct {
	record  *record
	id      string
	shard   int
	item    backend.Entry
	claimed backend.Revision
	former  string // consumer, whose claim does not count if it is gone
	attempt int    // that this will be
	self    *incarnation
	gate    backend.Revision
}

// await waits until there is an item to claim, and makes its shard busy: items of
// a shard are claimed one after the other, so that none overtakes another.
func (c *Consumer) await(ctx context.Context, anyOf bool) (choice, error) {
	for {
		picked, due, moved := c.choose(anyOf)
		if picked.record != nil {
			return picked, nil
		}
		if err := c.pause(ctx, due, moved); err != nil {
			return choice{}, err
		}
	}
}

// pause waits until there is news, or until due if that is not zero.
func (c *Consumer) pause(ctx context.Context, due time.Time, moved <-chan struct{}) error {
	var timer <-chan time.Time
	if !due.IsZero() {
		t := time.NewTimer(time.Until(due))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.ended:
		return fmt.Errorf("%w: the consumer of %q does not run any more", backend.ErrClosed, c.queue.dir)
	case <-moved:
	case <-timer:
	}
	return nil
}

// choose picks an item, if there is any. due is when there may be one without
// news, moved is closed when there is news.
func (c *Consumer) choose(anyOf bool) (picked choice, due time.Time, moved <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.view
	gate, open := v.gate.Get(c.queue.gateKey())
	if c.self == nil || !v.complete || c.queue.settings.Gated && !open {
		return choice{}, time.Time{}, c.moved
	}
	r, due := v.next(time.Now(), anyOf)
	if r == nil {
		return choice{}, due, c.moved
	}
	r.shard.busy = true
	picked = choice{
		record: r, id: r.id, shard: r.shard.number, item: r.item, claimed: r.claimed,
		attempt: r.attempts() + 1, self: c.self, gate: gate.Revision,
	}
	if r.stands() && r.claim.By != c.self.id {
		picked.former = r.claim.By
	}
	return picked, due, c.moved
}

// take claims an item that was chosen. It returns nil without an error for one
// that is dead now.
func (c *Consumer) take(ctx context.Context, p choice) (*Item, error) {
	if most := c.queue.settings.MaxAttempts; most > 0 && p.attempt > most {
		err := c.bury(ctx, p)
		c.done(p, func() {
			if err == nil || errors.Is(err, backend.ErrConflict) {
				c.leaveAlone(p)
			}
		})
		return nil, err
	}
	made := claim{Item: p.item.Revision, Attempt: p.attempt, By: p.self.id}
	rev, err := c.claim(ctx, p, made)
	var conflict *backend.ConflictError
	c.done(p, func() {
		switch {
		case err == nil:
			p.record.ours = rev
			c.view.wrote(p.record, made, rev)
		case errors.As(err, &conflict) && conflict.Key == p.self.key:
			c.lose(p.self) // which says nothing about the item
		case errors.Is(err, backend.ErrConflict):
			c.leaveAlone(p)
		}
	})
	if err != nil {
		return nil, err
	}
	return newItem(c, p, made, rev), nil
}

// leaveAlone sets an item aside until there is news, unless there has been: what
// the choice went by has changed already, and nothing more need follow.
func (c *Consumer) leaveAlone(p choice) {
	gate, _ := c.view.gate.Get(c.queue.gateKey())
	if p.record.item.Revision == p.item.Revision && p.record.claimed == p.claimed && gate.Revision == p.gate {
		c.view.setAside(p.record)
		return
	}
	c.view.consider(p.record)
}

// done makes the shard of a choice free for the next one.
func (c *Consumer) done(p choice, f func()) {
	c.change(func() {
		p.record.shard.busy = false
		f()
	})
}

// claim writes a claim. Whether one of unknown outcome was made is told by the
// next try: the conditions of both can't hold.
func (c *Consumer) claim(ctx context.Context, p choice, made claim) (rev backend.Revision, err error) {
	q := c.queue
	conds := append(c.standing(p), backend.If(p.self.key, p.self.revision))
	if q.settings.Gated {
		conds = append(conds, backend.If(q.gateKey(), p.gate))
	}
	doubt := false
	err = insist(ctx, c.claiming, &doubt, func() (err error) {
		rev, err = q.putClaim(ctx, p.shard, p.id, made, conds)
		return err
	})
	if !doubt || !errors.Is(err, backend.ErrConflict) {
		return rev, err
	}
	have, rev, readErr := c.readClaim(ctx, p.shard, p.id)
	switch {
	case readErr != nil:
		return 0, readErr
	case !have.same(made):
		return 0, err
	}
	return rev, nil
}

// readClaim reads a claim back, to find out about a write of unknown outcome.
// Errors: ErrUnknown, if ctx ended before.
func (c *Consumer) readClaim(ctx context.Context, shard int, id string) (have claim, rev backend.Revision, err error) {
	doubt := true
	err = insist(ctx, c.claiming, &doubt, func() error {
		e, err := c.queue.store.Get(ctx, c.queue.claimKey(shard, id))
		if err != nil && !errors.Is(err, backend.ErrNotFound) {
			return err
		}
		have, rev = claim{}, e.Revision
		if rev != 0 {
			have = c.decode(e)
		}
		return nil
	})
	return have, rev, err
}

// standing are the conditions that an item is as it was when it was chosen, and
// whoever had it is gone.
func (c *Consumer) standing(p choice) []backend.Condition {
	q := c.queue
	conds := []backend.Condition{
		backend.If(q.itemKey(p.shard, p.id), p.item.Revision),
		backend.If(q.claimKey(p.shard, p.id), p.claimed),
	}
	if p.former != "" {
		conds = append(conds, backend.If(q.consumerKey(p.former), 0))
	}
	return conds
}

// bury moves an item to the dead ones, in steps that anybody can repeat. The first
// is to take it from its last holder, whose lease is over, but who could acknowledge
// it nevertheless while it is in both places.
func (c *Consumer) bury(ctx context.Context, p choice) error {
	q := c.queue
	if p.former != "" {
		rev, err := q.putClaim(ctx, p.shard, p.id, claim{Item: p.item.Revision, Attempt: p.attempt - 1}, c.standing(p))
		if err != nil {
			return err
		}
		p.claimed, p.former = rev, ""
	}
	key := q.deadKey(p.id)
	dead, err := q.store.Get(ctx, key)
	if err != nil && !errors.Is(err, backend.ErrNotFound) {
		return err
	}
	if dead.Revision == 0 || !bytes.Equal(dead.Value, p.item.Value) {
		opts := []backend.PutOption{backend.If(key, dead.Revision)}
		for _, cond := range c.standing(p) {
			opts = append(opts, cond)
		}
		if dead.Revision, err = q.store.Put(ctx, key, p.item.Value, opts...); err != nil {
			return err
		}
	}
	conds := append(c.standing(p), backend.If(key, dead.Revision))
	if err := q.store.Delete(ctx, q.itemKey(p.shard, p.id), conds...); err != nil {
		return err
	}
	c.log.Warn("an item is dead", "item", p.id, "attempts", p.attempt-1, "key", key)
	_ = q.deleteClaim(ctx, p.shard, p.id, p.claimed) // else it is left over
	return nil
}
