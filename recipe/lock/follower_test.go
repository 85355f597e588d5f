package lock

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
)

// Somebody joins behind a place whose lease is over, in the moment before the
// follower notices that: the newcomer is the first now, and nothing else will tell
// the follower so.
func TestJoinsBehindAnExpiredPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := memory.NewServer()
		store := server.Open()
		defer func() { assert.NoError(t, store.Close()) }()
		l, err := New(store, "locks/a", Config{})
		require.NoError(t, err)
		enqueue := func() *place {
			p, err := l.enqueue(t.Context())
			require.NoError(t, err)
			return p
		}

		// The follower's rounds are run by hand.
		ctx, end := context.WithCancel(t.Context())
		defer end()
		l.follower = &follower{again: func() {}, end: end}
		expired := enqueue()
		l.join(expired)
		round, again := context.WithCancel(ctx)
		defer again()
		places := l.begin(l.follower, again)
		require.Equal(t, []*place{expired}, places)
		require.NoError(t, expired.lease.Close(t.Context()))
		next := enqueue()
		l.join(next)

		done := make(chan struct{})
		go func() {
			defer close(done)
			l.look(round, places)
		}()
		synctest.Wait()
		select {
		case <-done:
		default:
			end()
			<-done
			assert.Fail(t, "the follower waits for somebody to join")
		}
		assert.Equal(t, []*place{next}, l.begin(l.follower, again))
		require.ErrorIs(t, expired.err, backend.ErrClosed)
		require.NoError(t, next.lease.Close(t.Context()))
	})
}
