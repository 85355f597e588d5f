package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
)

// pace is the least time between two looks at the key, so that a quarrel
// over it, or updates without end, can't become a busy loop.
const pace = 100 * time.Millisecond

// Run registers the node and keeps it registered until ctx ends; then it
// deregisters it, within a few seconds, and returns nil or what went wrong with
// that. It returns early only if the store was closed (ErrClosed) or does not
// take a lease with such a TTL (ErrInvalid). It may not run twice at once.
//
// It comes back by itself: after its lease was lost (with a new lease), after
// its key was deleted or overwritten by somebody who is no node, and however
// long the store was away. Every write carries a condition on the revision of
// the key that was just read.
//
// Of two processes with one key the later one, by its incarnation, wins. What
// an earlier one has left behind is taken over at once: a restart after a crash
// does not wait for a lease to expire. A process that finds a later one's entry
// was replaced: it gives its lease up, says so in its [Status], and stays
// passive, also when that entry disappears. (If the machine's clock went back
// between a crash and the restart, the crashed process counts as the later one
// while it is still listed: start again after that.)
func (r *Registration) Run(ctx context.Context) error {
	if err := r.turn.Begin(fmt.Sprintf("the registration of %q", r.key)); err != nil {
		return err
	}
	defer r.turn.End()
	err := errors.Join(r.keep(ctx), r.deregister(ctx))
	if r.isReplaced() {
		<-ctx.Done()
	}
	return err
}

// keep returns when ctx has ended, the node was replaced, or nothing can help.
func (r *Registration) keep(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { r.watch(ctx) })
	defer watch.Wait()
	defer cancel()

	for ctx.Err() == nil && !r.isReplaced() {
		err := r.settle(ctx)
		switch {
		case ctx.Err() != nil:
		case err == nil:
			r.writing.Worked()
			retry.Sleep(ctx, pace)
			r.await(ctx)
		case retry.Final(err):
			return err
		default:
			retry.Sleep(ctx, r.writing.Failed(err))
		}
	}
	return nil
}

// await waits until there may be something to settle.
func (r *Registration) await(ctx context.Context) {
	var lost <-chan struct{}
	if lease := r.currentLease(); lease != nil {
		lost = lease.Done()
	}
	select {
	case <-ctx.Done():
	case <-lost:
	case <-r.wake:
	}
}

// watch looks for changes of the key by others. A store that was closed is
// told by the next write.
func (r *Registration) watch(ctx context.Context) {
	_ = r.watching.Keep(ctx, func(ctx context.Context) error {
		var state backend.State
		for u, err := range r.store.WatchPrefix(ctx, r.key) {
			if err != nil {
				return err
			}
			r.watching.Worked()
			state.Apply(u)
			e, _ := state.Get(r.key)
			r.saw(e, u.Revision)
			drain, _ := state.Get(r.key + drainKey)
			r.sawDrain(drain)
		}
		return nil
	})
}

// saw takes in the state of the key that a watch has reached. It may be an old
// one, so it is only a reason to look; but a later process, once seen, is never
// forgotten.
//
// That there was an update is a reason too, even if it brings nothing new: when
// our Put and somebody's Delete were merged, the watch has the key absent
// before and after. backend.WatchKey would keep that to itself.
func (r *Registration) saw(e backend.Entry, upTo backend.Revision) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen, r.seenUpTo = e.Revision, upTo
	if r.giveWay(e) || r.seen != r.revision {
		r.nudge()
	}
}

// sawDrain takes in whether an operator has drained the node. The node goes on as
// before, for it is others who then send nothing; but a drain that somebody
// forgot years ago should be easy to find.
func (r *Registration) sawDrain(e backend.Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.drain
	r.drain = nil
	if e.Revision != 0 {
		drain := readDrain(e.Value)
		r.drain = &drain
	}
	switch now := r.drain; {
	case was == nil && now != nil:
		r.log.Warn("drained by an operator, others send no requests here", "by", now.By, "reason", now.Reason, "since", now.Since)
	case was != nil && now == nil:
		r.log.Info("no longer drained")
	}
}

// giveWay reports whether e is the entry of a later process; then this one is
// replaced for good. The caller holds mu.
func (r *Registration) giveWay(e backend.Entry) bool {
	id, ok := incarnation(e.Value)
	if !ok || id.Compare(r.incarnation) <= 0 {
		return false
	}
	if r.replaced == "" {
		r.replaced = id.String()
		r.since = time.Time{}
		r.log.Error("replaced by a later process with the same address, will not register again: restart this one, or advertise another address", "by", r.replaced)
	}
	return true
}
