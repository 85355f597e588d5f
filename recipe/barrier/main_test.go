package barrier_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/barrier"
)

func TestMain(m *testing.M) {
	stores.Main(m, stores.Roles{"participant": participate})
}

const (
	key = "ready"
	dir = "double/"
)

// patience bounds waiting for what has to come.
const patience = time.Minute

func double(t testing.TB, s backend.Store, n int) *barrier.Double {
	t.Helper()
	d, err := barrier.NewDouble(s, dir, barrier.DoubleConfig{Participants: n, TTL: stores.ShortestTTL})
	require.NoError(t, err)
	return d
}

// entering is an Enter that is going on.
func entering(t testing.TB, d *barrier.Double) <-chan *barrier.Round {
	t.Helper()
	entered := make(chan *barrier.Round, 1)
	stores.Start(t, func(ctx context.Context) error {
		round, err := d.Enter(ctx)
		if err == nil {
			entered <- round
		}
		return err
	})
	return entered
}

func enter(t testing.TB, entered <-chan *barrier.Round) *barrier.Round {
	t.Helper()
	select {
	case round := <-entered:
		return round
	case <-time.After(patience):
		require.FailNow(t, "not in")
		return nil
	}
}

// leave has all of them leave at once, and fails if that takes too long.
func leave(t testing.TB, rounds ...*barrier.Round) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var leaving errgroup.Group
	for _, r := range rounds {
		leaving.Go(func() error { return r.Leave(ctx) })
	}
	require.NoError(t, leaving.Wait())
}

// stay checks that nothing comes for some time. (That has no event to wait for.)
func stay[T any](t testing.TB, c <-chan T) {
	t.Helper()
	select {
	case <-c:
		require.FailNow(t, "too early")
	case <-time.After(200 * time.Millisecond):
	}
}

func keys(t testing.TB, s backend.Store, prefix string) (found []string) {
	t.Helper()
	entries, _, err := backend.List(t.Context(), s, prefix)
	require.NoError(t, err)
	for _, e := range entries {
		found = append(found, e.Key)
	}
	return found
}

// participate is a process that enters, says so, and leaves when it is told to.
func participate(ctx context.Context, s backend.Store, p *stores.Parent) error {
	d, err := barrier.NewDouble(s, dir, barrier.DoubleConfig{Participants: 3, TTL: stores.ShortestTTL})
	if err != nil {
		return err
	}
	round, err := d.Enter(ctx)
	if err != nil {
		return err
	}
	p.Say("in")
	<-p.Told
	<-round.Lost()
	p.Say("lost")
	err = round.Leave(ctx)
	p.Say("out")
	return err
}
