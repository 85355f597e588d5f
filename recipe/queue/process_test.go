package queue_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/conformance/servers"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/queue"
)

// join starts a consumer in a process that plays a role.
func join(ctx context.Context, s backend.Store, cfg queue.Config) (c *queue.Consumer, leave func() error, err error) {
	q, err := queue.New(s, dir, cfg)
	if err != nil {
		return nil, nil, err
	}
	if c, err = queue.NewConsumer(q, queue.ConsumerConfig{TTL: stores.ShortestTTL}); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	return c, func() error { cancel(); return <-ended }, nil
}

// work is a process with as many workers as its argument says. The work on an item
// is a key that must be written once. It tells what it has acknowledged.
func work(ctx context.Context, s backend.Store, p *stores.Parent) error {
	workers, err := strconv.Atoi(p.Args[0])
	if err != nil {
		return err
	}
	c, leave, err := join(ctx, s, queue.Config{})
	if err != nil {
		return err
	}
	working, ctx := errgroup.WithContext(ctx)
	for range workers {
		working.Go(func() error {
			for {
				item, err := c.Receive(ctx)
				switch {
				case errors.Is(err, context.Canceled):
					return nil
				case err != nil:
					return err
				}
				if err := finish(ctx, s, item); err != nil {
					return err
				}
				p.Say("acked %s", item.ID)
			}
		})
	}
	return errors.Join(working.Wait(), leave())
}

// finish works on an item and acknowledges it.
func finish(ctx context.Context, s backend.Store, item *queue.Item) error {
	key := "done/" + item.ID
	_, err := s.Put(ctx, key, nil, backend.If(key, 0), item.Guard())
	var conflict *backend.ConflictError
	if err != nil && (!errors.As(err, &conflict) || conflict.Key != key || item.Attempt == 1) {
		return err
	}
	return item.Ack(ctx)
}

// Consumers are killed all the time. What was put is done, each item once, by the
// store's own record, and acknowledged once, by what those say who did it.
func TestConsumersAreKilled(t *testing.T) {
	t.Parallel()
	size := map[servers.Kind]int{servers.Etcd: 1000, servers.Consul: 300}
	if os.Getenv("SECKILL_TEST_FULL") != "" {
		size = map[servers.Kind]int{servers.Etcd: 100_000, servers.Consul: 10_000}
	}
	stores.EachServer(t, func(t *testing.T, s stores.Space) {
		n := size[servers.Etcd]
		if strings.HasSuffix(t.Name(), string(servers.Consul)) {
			n = size[servers.Consul]
		}
		testKilled(t, s, n)
	})
}

func testKilled(t *testing.T, s stores.Space, items int) {
	const processes, workers = 3, 8
	kills := 10 + items/2000
	store := s.Open(t)
	begun := time.Now()
	fill(t, open(t, store, queue.Config{}), items)
	filled := time.Since(begun)

	var running [processes]*stores.Process
	said := make(chan string)
	var listening sync.WaitGroup
	start := func(i int) {
		p := stores.Spawn(t, s, "worker", strconv.Itoa(workers))
		running[i] = p
		listening.Go(func() {
			for line := range p.Said {
				said <- line
			}
		})
	}
	for i := range running {
		start(i)
	}
	begun = time.Now()
	acked := map[string]int{}
	killed := 0
	// Those that were killed may have kept to themselves what they did last.
	for len(acked) < items-killed*workers || len(left(t, store)) > 0 {
		select {
		case line := <-said:
			acked[strings.TrimPrefix(line, "acked ")]++
		case <-time.After(100 * time.Millisecond):
		}
		if killed < kills && len(acked) >= (killed+1)*items/(2*kills) {
			i := rand.N(processes)
			running[i].Kill()
			start(i)
			killed++
		}
	}
	took := time.Since(begun)
	go func() {
		for i := range running {
			running[i].Kill()
		}
		listening.Wait()
		close(said)
	}()
	for line := range said {
		acked[strings.TrimPrefix(line, "acked ")]++
	}
	for id, n := range acked {
		assert.Equal(t, 1, n, "%s was acknowledged so often", id)
	}
	done, _, err := backend.List(t.Context(), store, "done/")
	require.NoError(t, err)
	assert.Len(t, done, items)
	assert.Equal(t, kills, killed)
	t.Logf("%d items put in %v (%.0f/s), worked on by %d processes in %v (%.0f/s) with %d of them killed; %d acknowledgements told",
		items, filled, float64(items)/filled.Seconds(), processes, took, float64(items)/took.Seconds(), killed, len(acked))
}

// fill puts items from several producers at once.
func fill(t testing.TB, q *queue.Queue, items int) {
	t.Helper()
	const producers = 16
	var filling errgroup.Group
	for p := range producers {
		filling.Go(func() error {
			for i := p; i < items; i += producers {
				if err := q.PutID(t.Context(), fmt.Sprint(i), []byte("order")); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, filling.Wait())
}

// left lists the items in the queue.
func left(t *testing.T, s backend.Store) (ids []string) {
	t.Helper()
	entries, _, err := backend.List(t.Context(), s, dir+"shards/")
	require.NoError(t, err)
	for _, e := range entries {
		if _, id, ok := strings.Cut(e.Key, "/items/"); ok {
			ids = append(ids, id)
		}
	}
	return ids
}

// hold is a process that holds an item until it is told to finish it.
func hold(ctx context.Context, s backend.Store, p *stores.Parent) error {
	c, leave, err := join(ctx, s, queue.Config{})
	if err != nil {
		return err
	}
	item, err := c.Receive(ctx)
	if err != nil {
		return err
	}
	p.Say("holds %s", item.ID)
	<-p.Told
	_, err = s.Put(ctx, "result", []byte("paused"), item.Guard())
	p.Say("wrote: conflict %v", errors.Is(err, backend.ErrConflict))
	err = item.Ack(ctx)
	p.Say("acked: lost %v", errors.Is(err, queue.ErrLost))
	<-item.Lost()
	p.Say("noticed")
	again, err := c.Receive(ctx)
	if err != nil {
		return err
	}
	err = again.Ack(ctx)
	p.Say("acked again %s", again.ID)
	return errors.Join(err, leave())
}

// A process that stands still for longer than its lease lasts, and goes on as if
// nothing had been.
func TestPausedConsumer(t *testing.T) {
	t.Parallel()
	stores.EachServer(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		q := open(t, store, queue.Config{})
		put(t, q, "a")
		p := stores.Spawn(t, s, "holder")
		require.Equal(t, "a", p.Await(t, "holds"))
		p.Pause(t)
		c, stop := consume(t, q)
		item := receive(t, c)
		assert.Equal(t, 2, item.Attempt)
		_, err := store.Put(t.Context(), "result", []byte("good"), item.Guard())
		require.NoError(t, err)
		p.Resume(t)
		p.Tell(t, "go on")
		assert.Equal(t, "conflict true", p.Await(t, "wrote:"))
		assert.Equal(t, "lost true", p.Await(t, "acked:"))
		p.Await(t, "noticed")
		require.NoError(t, item.Ack(t.Context()))
		require.NoError(t, stop())
		e, err := store.Get(t.Context(), "result")
		require.NoError(t, err)
		assert.Equal(t, "good", string(e.Value))

		put(t, q, "b")
		assert.Equal(t, "b", p.Await(t, "acked again"), "it is a consumer again")
		p.Stop(t)
		awaitEmpty(t, store)
	})
}

// The server stands still for longer than the lease, and is killed and started.
func TestServerComesAndGoes(t *testing.T) {
	t.Parallel()
	stores.EachOwn(t, func(t *testing.T, s stores.Space, cluster *servers.Cluster) {
		store := s.Open(t)
		q := open(t, store, queue.Config{})
		c, _ := consume(t, q)
		put(t, q, "a")
		item := receive(t, c)
		require.NoError(t, cluster.Node(0).Pause(t.Context()))
		<-item.Lost()
		require.NoError(t, cluster.Node(0).Resume(t.Context()))
		item = receive(t, c)
		assert.GreaterOrEqual(t, item.Attempt, 2)

		received := make(chan *queue.Item)
		go func() {
			next, err := c.Receive(t.Context())
			assert.NoError(t, err)
			received <- next
		}()
		require.NoError(t, cluster.Node(0).Kill(t.Context()))
		<-item.Lost()
		require.NoError(t, cluster.Node(0).Start(t.Context()))
		item = <-received
		assert.Equal(t, "a", item.ID)
		assert.GreaterOrEqual(t, item.Attempt, 3)
		stores.Wait(t, "acknowledged", func() bool { return item.Ack(t.Context()) == nil })
		stores.Wait(t, "put", func() bool { return q.PutID(t.Context(), "b", nil) == nil })
		require.NoError(t, receive(t, c).Ack(t.Context()))
		awaitEmpty(t, store)
	})
}
