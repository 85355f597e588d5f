package access

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
)

// What was deleted here is so here, also if the copy is so late that it has yet to hear
// that there was such a key; and if the key is there again, so it is.
func TestWhatIsDeletedHereDoesNotComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &stores.Faulty{Store: stores.NewMemory().Open(t)}
		c := newCopy(store, slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		followed := make(chan error)
		go func() { followed <- c.follow(ctx, sessionsDir) }()
		const key = sessionsDir + "one"
		<-c.of(key).Synced()
		has := func() bool {
			_, err := c.get(ctx, key)
			return !errors.Is(err, backend.ErrNotFound)
		}
		put := func() backend.Revision {
			rev, err := store.Put(ctx, key, []byte("{}"))
			require.NoError(t, err)
			return rev
		}
		step := make(chan struct{})
		store.Set(stores.Hooks{Yield: func() { <-step }})
		put()
		synctest.Wait()
		require.NoError(t, store.Delete(ctx, key))
		c.await(ctx, key, 0)
		step <- struct{}{}
		synctest.Wait()
		_, there := c.of(key).Get(key)
		require.True(t, there, "the copy has heard that it was made")
		assert.False(t, has())
		close(step)
		synctest.Wait()
		assert.False(t, has())

		c.await(ctx, key, put())
		assert.True(t, has(), "it was made again, here")
		require.NoError(t, store.Delete(ctx, key))
		c.await(ctx, key, 0)
		put()
		synctest.Wait()
		assert.False(t, has(), "somebody else has made it again: who asks is told by the store")
		time.Sleep(mostStale + time.Second)
		assert.True(t, has())
		stop()
		require.NoError(t, <-followed)
	})
}
