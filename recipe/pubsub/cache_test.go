package pubsub_test

import (
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/conformance/servers"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/pubsub"
)

// changes is what a handler was told, as text.
type changes struct {
	mu  sync.Mutex
	all []string
}

func (c *changes) add(change pubsub.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if change.Deleted {
		c.all = append(c.all, "-"+change.Key)
		return
	}
	c.all = append(c.all, fmt.Sprintf("%s=%s", change.Key, change.Value))
}

func (c *changes) get() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string{}, c.all...)
}

func newCache(t *testing.T, s backend.Store) (c *pubsub.Cache, all *changes) {
	t.Helper()
	c, err := pubsub.NewCache(s, dir, nil)
	require.NoError(t, err)
	all = &changes{}
	c.HandlePrefix("", all.add)
	return c, all
}

func content(c *pubsub.Cache) map[string]string {
	all := map[string]string{}
	for key, value := range c.All() {
		all[key] = string(value)
	}
	return all
}

func TestCache(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		ctx := t.Context()
		s.Put(t, dir+"a", "1")
		s.Put(t, "events2", "no")
		c, all := newCache(t, s.Open(t))
		var one, below changes
		c.Handle("a", one.add)
		c.HandlePrefix("a/", below.add)
		assert.Negative(t, c.Staleness())
		stores.Start(t, c.Run)
		<-c.Synced()
		value, ok := c.Get("a")
		assert.True(t, ok)
		assert.Equal(t, "1", string(value))

		writer, _ := newCache(t, s.Open(t)) // needs no Run
		_, err := writer.Set(ctx, "a/b", []byte("2"))
		require.NoError(t, err)
		s.Delete(t, dir+"a")
		rev, err := c.Set(ctx, "c", []byte{})
		require.NoError(t, err)
		require.NoError(t, c.WaitFor(ctx, rev))
		assert.Equal(t, map[string]string{"a/b": "2", "c": ""}, content(c))
		require.NoError(t, writer.Delete(ctx, "a/b"))
		require.NoError(t, writer.Delete(ctx, "a/b"))
		stores.Wait(t, "deleted", func() bool { _, ok := c.Get("a/b"); return !ok })
		stores.Wait(t, "handlers were told", func() bool { return len(below.get()) == 2 })

		assert.Equal(t, []string{"a=1", "-a"}, one.get())
		assert.Equal(t, []string{"a/b=2", "-a/b"}, below.get())
		assert.Subset(t, []string{"a=1", "a/b=2", "-a", "c=", "-a/b"}, all.get())
		assert.Len(t, all.get(), 5)
		assert.GreaterOrEqual(t, c.Staleness(), time.Duration(0))

		_, err = c.Set(ctx, "../x", nil)
		require.ErrorIs(t, err, backend.ErrInvalid)
	})
}

// The latest value always arrives, however many there were before.
func TestCacheConverges(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		c, _ := newCache(t, s.Open(t))
		last := changes{}
		c.HandlePrefix("", last.add)
		stores.Start(t, c.Run)
		want := map[string]string{}
		for i := range 100 {
			key := fmt.Sprint("k", i%3)
			want[key] = fmt.Sprint(i)
			_, err := c.Set(t.Context(), key, []byte(want[key]))
			require.NoError(t, err)
		}
		stores.Wait(t, "the latest", func() bool { return maps.Equal(want, content(c)) })
		stores.Wait(t, "told", func() bool { all := last.get(); return len(all) > 0 && all[len(all)-1] == "k0=99" })
	})
}

func TestCacheGoesOnInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		client := space.Client(t)
		for _, key := range []string{"a", "b"} {
			space.Put(t, dir+key, "1")
		}
		c, all := newCache(t, client)
		stop := stores.Start(t, c.Run)
		<-c.Synced()

		client.Cut()
		space.Delete(t, dir+"a")
		space.Put(t, dir+"b", "2")
		time.Sleep(time.Hour)
		assert.Equal(t, map[string]string{"a": "1", "b": "1"}, content(c), "the last known")
		assert.GreaterOrEqual(t, c.Staleness(), time.Hour)
		client.Mend()
		synctest.Wait()
		assert.Equal(t, map[string]string{"b": "2"}, content(c))

		space.Server.LoseHistory()
		synctest.Wait()
		assert.Equal(t, []string{"a=1", "b=1", "-a", "b=2"}, all.get(), "what is known is not told again")

		require.NoError(t, stop())
		space.Delete(t, dir+"b")
		stores.Start(t, c.Run)
		synctest.Wait()
		assert.Empty(t, content(c))
		assert.Equal(t, "-b", all.get()[4])
		_, err := c.LastError()
		assert.NoError(t, err)
	})
}

func TestCacheSurvivesARestartOfTheStore(t *testing.T) {
	stores.EachOwn(t, func(t *testing.T, s stores.Space, c *servers.Cluster) {
		cache, _ := newCache(t, s.Open(t))
		stores.Start(t, cache.Run)
		s.Put(t, dir+"a", "1")
		stores.Wait(t, "there", func() bool { return len(content(cache)) == 1 })
		require.NoError(t, c.Node(0).Kill(t.Context()))
		assert.Len(t, content(cache), 1)
		require.NoError(t, c.Node(0).Start(t.Context()))
		stores.Wait(t, "written", func() bool { return cache.Delete(t.Context(), "a") == nil })
		stores.Wait(t, "gone", func() bool { return len(content(cache)) == 0 })
	})
}
