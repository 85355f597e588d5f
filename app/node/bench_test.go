package node_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/node"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
)

// How long it takes until a config is in force everywhere, from when an operator begins
// to write it: an operation is a change that all of ten nodes have taken in, each with
// a store client of its own.
func BenchmarkConfigChange(b *testing.B) {
	stores.BenchServer(b, func(b *testing.B, s stores.Space) {
		const nodes = 10
		changes := make(chan seen, nodes)
		for i := range nodes {
			follow(b, s.Open(b), i, changes)
		}
		operator := s.Open(b)
		each, all := hdrhistogram.New(1, time.Minute.Microseconds(), 3), hdrhistogram.New(1, time.Minute.Microseconds(), 3)
		change := func(n int) time.Time {
			began := time.Now()
			_, err := operator.Put(b.Context(), settings.ConfigKey, fmt.Appendf(nil, `{"rateLimit":{"low":%d}}`, n))
			require.NoError(b, err)
			return began
		}
		await := func(n int, took func(time.Time)) {
			for heard := 0; heard < nodes; {
				if c := <-changes; c.low == n {
					took(c.at)
					heard++
				}
			}
		}
		change(1) // all follow from here on
		await(1, func(time.Time) {})
		b.ResetTimer()
		for n := range b.N {
			began := change(n + 2)
			var last time.Duration
			await(n+2, func(at time.Time) {
				last = max(last, at.Sub(began))
				require.NoError(b, each.RecordValue(at.Sub(began).Microseconds()))
			})
			require.NoError(b, all.RecordValue(last.Microseconds()))
		}
		b.StopTimer()
		for _, p := range []float64{50, 99, 100} {
			b.ReportMetric(float64(each.ValueAtPercentile(p))/1000, fmt.Sprintf("ms/node-p%v", p))
			b.ReportMetric(float64(all.ValueAtPercentile(p))/1000, fmt.Sprintf("ms/all-p%v", p))
		}
	})
}

// seen is that a node has a config in force.
type seen struct {
	low int
	at  time.Time
}

// follow runs a node that tells which configs it has in force.
func follow(b *testing.B, s backend.Store, number int, changes chan<- seen) {
	b.Helper()
	loaded, err := settings.Load(settings.Sources{})
	require.NoError(b, err)
	n, err := node.New(node.Config{
		Store: s, Version: "v1", Defaults: loaded.Config,
		Log: slog.New(slog.DiscardHandler), Level: new(slog.LevelVar),
	})
	require.NoError(b, err, number)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	n.FollowConfig(func(c settings.Cluster) {
		select {
		case changes <- seen{c.RateLimit.Low, time.Now()}:
		case <-ctx.Done():
		}
	})
	go func() { done <- n.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		require.NoError(b, <-done)
	})
}
