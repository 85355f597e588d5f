package rush_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// A fault happens again and again, about so long after the last one was over.
type fault struct {
	name  string
	every time.Duration
	do    func(ctx context.Context, s *shop) error // it undoes the fault too, whatever becomes of the test
}

var (
	kill = fault{"kill -9", 3 * time.Second, func(ctx context.Context, s *shop) error { return s.one(ctx, (*node).kill) }}

	// A node that stands still for longer than its lease, and goes on as if nothing
	// had been.
	faint = fault{"SIGSTOP past the lease", 3 * time.Second, func(ctx context.Context, s *shop) error { return s.one(ctx, (*node).faint) }}

	// What the first node sends gets to the store and is done; the replies get lost.
	// Until they come again it can't know what is in the log. Or it ends like that, or
	// others have taken its slots when it goes on.
	deaf        = fault{"replies dropped", 4 * time.Second, func(ctx context.Context, s *shop) error { return s.deafen(ctx, nil) }}
	deafKilled  = fault{"replies dropped, then kill -9", 5 * time.Second, func(ctx context.Context, s *shop) error { return s.deafen(ctx, (*node).crash) }}
	deafStopped = fault{"replies dropped, then SIGSTOP", 5 * time.Second, func(ctx context.Context, s *shop) error { return s.deafen(ctx, (*node).faint) }}

	// The store's leader stands still until there is another one, and some more.
	pauseLeader = fault{"leader paused", 12 * time.Second, func(ctx context.Context, s *shop) error {
		s.lead.Lock()
		defer s.lead.Unlock()
		if err := s.cluster.PauseLeader(ctx); err != nil {
			return err
		}
		stand(ctx, 2*time.Second)
		return s.cluster.Resume(ctx)
	}}

	killLeader = fault{"leader killed", 15 * time.Second, func(ctx context.Context, s *shop) error {
		s.lead.Lock()
		defer s.lead.Unlock()
		leader, err := s.cluster.Leader(ctx)
		if err != nil {
			return err
		}
		if err := leader.Kill(ctx); err != nil {
			return err
		}
		stand(ctx, time.Second)
		return leader.Start(ctx)
	}}
)

// one does something to a node, chosen at random among those that nothing is being
// done to.
func (s *shop) one(ctx context.Context, do func(n *node, ctx context.Context) error) error {
	for _, i := range rand.Perm(len(s.nodes)) {
		if n := s.nodes[i]; n.trouble.TryLock() {
			err := do(n, ctx)
			n.trouble.Unlock()
			return err
		}
	}
	return nil
}

// deafen keeps the store's replies from the first node for some time, and then does
// something more to it, if that is given.
func (s *shop) deafen(ctx context.Context, more func(n *node, ctx context.Context) error) error {
	n := s.nodes[0]
	n.trouble.Lock()
	defer n.trouble.Unlock()
	if err := s.mute.DropReplies(ctx); err != nil {
		return err
	}
	stand(ctx, 1500*time.Millisecond)
	var err error
	if more != nil {
		err = more(n, ctx)
	}
	return errors.Join(err, s.mute.Heal(ctx), n.awaitReady(ctx))
}

// storm has faults happen until stop is called. When that returns they are over,
// each has happened, and all nodes are ready.
func (s *shop) storm(all ...fault) (stop func()) {
	ctx, cancel := context.WithCancel(s.Context())
	counts := make([]int, len(all))
	var blowing errgroup.Group
	for i, f := range all {
		blowing.Go(func() error {
			for stand(ctx, f.every/2+rand.N(f.every)) {
				if err := f.do(context.WithoutCancel(ctx), s); err != nil {
					return fmt.Errorf("%s: %w", f.name, err)
				}
				counts[i]++
			}
			return nil
		})
	}
	over := sync.OnceValue(func() error {
		cancel()
		return blowing.Wait()
	})
	s.Cleanup(func() { _ = over() })
	return func() {
		require.NoError(s, over())
		for _, n := range s.nodes {
			require.NoError(s, n.awaitReady(s.Context()))
		}
		for i, f := range all {
			s.say("fault: %d × %s", counts[i], f.name)
			assert.NotZero(s, counts[i], f.name)
		}
	}
}

// stand waits, and reports whether there is a reason to go on: ctx has not ended.
func stand(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
