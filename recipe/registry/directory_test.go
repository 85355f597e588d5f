package registry_test

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/registry"
)

// follow makes a directory and runs it.
func follow(t *testing.T, s backend.Store) (*registry.Directory, *changes) {
	t.Helper()
	d := registry.NewDirectory(s, "", nil)
	seen := &changes{}
	d.Subscribe(seen.add)
	stores.Start(t, d.Run)
	return d, seen
}

// changes is what a subscriber was told.
type changes struct {
	mu  sync.Mutex
	all []registry.Change
}

func (c *changes) add(change registry.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, change)
}

func (c *changes) last() registry.Change {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all[len(c.all)-1]
}

func (c *changes) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.all)
}

func ids(nodes []registry.Node) []string {
	out := []string{}
	for _, n := range nodes {
		out = append(out, n.ID)
	}
	return out
}

func value(addr string) string { return fmt.Sprintf(`{"addr":%q,"proto":"http","version":"v1"}`, addr) }

func TestDirectoryFollowsNodes(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		d, seen := follow(t, s.Open(t))
		<-d.Synced()
		assert.Empty(t, d.Nodes())
		assert.Zero(t, seen.len(), "no nodes are no change")

		b, stopB := run(t, s.Open(t), registry.Config{Node: registry.Node{Addr: "10.0.0.2:80", Proto: "http", Labels: map[string]string{"zone": "b"}}})
		stores.Wait(t, "joined", func() bool { return len(d.Nodes()) == 1 })
		assert.Equal(t, b.Status().Node, d.Nodes()[0], "with its id")
		s.Put(t, "nodes/10-0-0-1-80", value("10.0.0.1:80"))
		stores.Wait(t, "joined", func() bool { return len(d.Nodes()) == 2 })
		assert.Equal(t, []string{"10-0-0-1-80", "10-0-0-2-80"}, ids(d.Nodes()), "in order")
		assert.Empty(t, d.Problems())
		assert.Less(t, d.Staleness(), time.Minute)

		require.NoError(t, b.Update(func(n *registry.Node) { n.Weight = 5 }))
		stores.Wait(t, "updated", func() bool { n, ok := d.Node("10-0-0-2-80"); return ok && n.Weight == 5 })
		stores.Wait(t, "told", func() bool { return len(seen.last().Updated) == 1 })

		require.NoError(t, stopB())
		stores.Wait(t, "left", func() bool { _, ok := d.Node("10-0-0-2-80"); return !ok })
	})
}

// Published code never told that the last instance had left: an empty list
// looked like no news.
func TestLastDepartureIsTold(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		d, seen := follow(t, s.Open(t))
		_, stop := register(t, s.Open(t), first)
		stores.Wait(t, "joined", func() bool { return len(d.Nodes()) == 1 })
		require.NoError(t, stop())
		stores.Wait(t, "told", func() bool { return seen.len() == 2 })
		assert.Equal(t, []string{"10-10-11-12-8080"}, ids(seen.last().Left))
		assert.Empty(t, seen.last().Nodes)
		assert.Empty(t, d.Nodes())
	})
}

// A node that dies without a word is gone when its lease is.
func TestDeathIsTold(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		d, _ := follow(t, s.Open(t))
		dying := s.Open(t)
		lease, err := dying.Lease(t.Context(), stores.ShortestTTL)
		require.NoError(t, err)
		put(t, dying, node(first), backend.WithLease(lease))
		stores.Wait(t, "joined", func() bool { return len(d.Nodes()) == 1 })

		closer, ok := dying.(interface{ Close() error })
		require.True(t, ok)
		require.NoError(t, closer.Close()) // ends the renewal, revokes nothing
		stores.Wait(t, "gone", func() bool { return len(d.Nodes()) == 0 })
	})
}

func TestMalformedEntriesAreLeftOut(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		for key, value := range map[string]string{
			"nodes/a":   `null`,
			"nodes/b":   `{"addr":"10.0.0.1:80"`,
			"nodes/c":   `{"addr":80}`,
			"nodes/d":   `[]`,
			"nodes/e":   `"10.0.0.1:80"`,
			"nodes/f":   ` `,
			"nodes/g":   `{}`,
			"nodes/h":   `{"addr":"0.0.0.0:80"}`,
			"nodes/i":   value("10.0.0.1:80") + `x`,
			"nodes/j":   `{"addr":"10.0.0.1:80","labels":["x"]}`,
			"nodes/k":   "\xff\xfe",
			"nodes/l/m": value("10.0.0.1:80"),
			"nodes/z":   `{"addr":"10.0.0.9:80","later":{"than":["this version"]},"weight":2}`,
			"nodesx":    value("10.0.0.1:80"), // not in the directory at all
		} {
			s.Put(t, key, value)
		}
		d, seen := follow(t, s.Open(t))
		<-d.Synced()
		require.Equal(t, []string{"z"}, ids(d.Nodes()), "newer nodes may say more")
		assert.Equal(t, 2, d.Nodes()[0].Weight)
		var named []string
		for _, p := range d.Problems() {
			named = append(named, p.Key)
			require.Error(t, p.Err)
			assert.NotZero(t, p.Revision)
		}
		assert.Equal(t, []string{"nodes/a", "nodes/b", "nodes/c", "nodes/d", "nodes/e", "nodes/f", "nodes/g", "nodes/h", "nodes/i", "nodes/j", "nodes/k", "nodes/l/m"}, named)

		assert.ErrorContains(t, d.Problems()[0].Err, "null")

		s.Put(t, "nodes/a", value("10.0.0.1:80"))
		s.Delete(t, "nodes/b")
		s.Put(t, "nodes/z", `null`)
		stores.Wait(t, "put right", func() bool { return len(d.Problems()) == 11 && fmt.Sprint(ids(d.Nodes())) == "[a]" })
		stores.Wait(t, "told that a spoilt node left", func() bool { return fmt.Sprint(ids(seen.last().Nodes)) == "[a]" })
	})
}

// Consul's own pages make a "folder" as an empty key with a slash at the end.
func TestFolderIsNoProblem(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		s.Put(t, "nodes/", "")
		d, _ := follow(t, s.Open(t))
		<-d.Synced()
		assert.Empty(t, d.Nodes())
		assert.Empty(t, d.Problems())
	})
}

// Nodes that join while the directory starts are not lost between reading the
// list and watching it.
func TestNoGapAtTheStart(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		const nodes = 60
		store := s.Open(t)
		d, _ := follow(t, s.Open(t))
		followers := []*registry.Directory{d}
		for i := range nodes {
			_, err := store.Put(t.Context(), fmt.Sprintf("nodes/%03d", i), []byte(value("10.0.0.1:80")))
			require.NoError(t, err)
			if i%10 == 0 {
				late, _ := follow(t, store)
				followers = append(followers, late)
			}
		}
		for _, f := range followers {
			stores.Wait(t, "all", func() bool { return len(f.Nodes()) == nodes })
		}
	})
}

// A first failure must not be remembered as an empty list.
func TestFirstFailureIsNoEmptyList(t *testing.T) {
	inBubble(t, func(t *testing.T, x *fault) {
		put(t, x.other, node(first))
		var calls atomic.Int64
		x.store.Set(stores.Hooks{Watch: always(backend.ErrDenied, &calls)})
		d, seen := follow(t, x.store)
		time.Sleep(time.Hour)
		select {
		case <-d.Synced():
			t.Error("nothing was heard yet")
		default:
		}
		assert.Negative(t, d.Staleness())
		assert.Zero(t, seen.len())
		at, err := d.LastError()
		require.ErrorIs(t, err, backend.ErrDenied)
		assert.LessOrEqual(t, time.Since(at), 5*time.Second)
		assert.Less(t, calls.Load(), int64(3000))

		x.store.Set(stores.Hooks{})
		<-d.Synced()
		assert.Len(t, d.Nodes(), 1)
	})
}

func TestOutageKeepsTheList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		store := space.Client(t)
		space.Put(t, "nodes/a", value("10.0.0.1:80"))
		space.Put(t, "nodes/b", value("10.0.0.2:80"))
		d, seen := follow(t, store)
		<-d.Synced()

		store.Cut()
		space.Delete(t, "nodes/a")
		space.Put(t, "nodes/c", value("10.0.0.3:80"))
		time.Sleep(time.Hour)
		assert.Equal(t, []string{"a", "b"}, ids(d.Nodes()))
		assert.GreaterOrEqual(t, d.Staleness(), time.Hour-time.Minute)

		store.Mend()
		stores.Wait(t, "caught up", func() bool { return fmt.Sprint(ids(d.Nodes())) == "[b c]" })
		synctest.Wait()
		change := seen.last()
		assert.Equal(t, []string{"a"}, ids(change.Left))
		assert.Equal(t, []string{"c"}, ids(change.Joined))

		told := seen.len()
		space.Server.LoseHistory()
		synctest.Wait()
		assert.Equal(t, told, seen.len(), "the same nodes again are no change")
	})
}

// A closed watch channel made published code spin.
func TestWatchThatEndsDoesNotSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var opened atomic.Int64
		follow(t, brief{stores.NewMemory().Open(t), &opened})
		time.Sleep(time.Minute)
		assert.Less(t, opened.Load(), int64(1000))
	})
}

// brief is a store, against its contract, whose watches end without an error.
type brief struct {
	backend.Store
	opened *atomic.Int64
}

func (b brief) WatchPrefix(context.Context, string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		b.opened.Add(1)
		yield(backend.Update{Snapshot: true}, nil)
	}
}

func TestDirectoryEndsWithItsStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := stores.NewMemory().Client(t)
		d := registry.NewDirectory(store, registry.DefaultDir, nil)
		go func() { <-d.Synced(); _ = store.Close() }()
		require.ErrorIs(t, d.Run(t.Context()), backend.ErrClosed)
		for _, dir := range []string{"/nodes/", "nodes"} {
			bad := registry.NewDirectory(stores.NewMemory().Open(t), dir, nil)
			require.ErrorIs(t, bad.Run(t.Context()), backend.ErrInvalid)
		}
	})
}

func TestListsBelongToTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		space.Put(t, "nodes/a", value("10.0.0.1:80"))
		d, seen := follow(t, space.Open(t))
		<-d.Synced()
		d.Nodes()[0].ID = "spoilt"
		seen.last().Nodes[0].ID = "spoilt"
		assert.Equal(t, []string{"a"}, ids(d.Nodes()))
	})
}
