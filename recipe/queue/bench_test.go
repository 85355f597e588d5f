package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/queue"
)

// tally counts claims, and those that came too late.
type tally struct {
	backend.Store
	claims, late *atomic.Int64
}

func (s tally) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	rev, err := s.Store.Put(ctx, key, value, opts...)
	if strings.Contains(key, "/claims/") {
		s.claims.Add(1)
		if errors.Is(err, backend.ErrConflict) {
			s.late.Add(1)
		}
	}
	return rev, err
}

// What it takes to work a backlog off: an operation is an item that was put before,
// is received and acknowledged. The size of the backlog is given by -benchtime, as
// 10000x.
func BenchmarkBacklog(b *testing.B) {
	for _, shards := range []int{queue.DefaultShards, 4 * queue.DefaultShards} {
		for _, consumers := range []int{1, 3} {
			b.Run(fmt.Sprintf("shards=%d/consumers=%d", shards, consumers), func(b *testing.B) {
				cfg := queue.Config{Shards: shards}
				stores.BenchServer(b, func(b *testing.B, s stores.Space) { benchBacklog(b, s, cfg, consumers) })
			})
		}
	}
}

func benchBacklog(b *testing.B, s stores.Space, cfg queue.Config, consumers int) {
	const workers = 8
	fill(b, open(b, s.Open(b), cfg), b.N)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var acked, claims, late atomic.Int64
	var working errgroup.Group
	b.ResetTimer()
	begun := time.Now()
	for range consumers {
		store := tally{s.Open(b), &claims, &late}
		c, _ := consume(b, open(b, store, cfg))
		for range workers {
			working.Go(func() error { return ackAll(ctx, cancel, c, &acked, int64(b.N)) })
		}
	}
	require.NoError(b, working.Wait())
	b.StopTimer()
	b.ReportMetric(float64(b.N)/time.Since(begun).Seconds(), "items/s")
	b.ReportMetric(float64(late.Load())/float64(b.N), "lost-races/item")
}

func ackAll(ctx context.Context, last func(), c *queue.Consumer, acked *atomic.Int64, n int64) error {
	for {
		item, err := c.Receive(ctx)
		switch {
		case errors.Is(err, context.Canceled):
			return nil
		case err != nil:
			return err
		}
		if err := item.Ack(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		if acked.Add(1) == n {
			last()
		}
	}
}
