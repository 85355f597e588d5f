package sale_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/seed27495941/seckill/app/sale"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/rpc"
	"github.com/seed27495941/seckill/app/sale/slot"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/registry"
)

// BenchmarkSoldOut measures what a request costs that comes too late, at the process
// that owns the slots, and at one that has to ask it: the time of one (with so many
// waiting at a time), both processes' CPU time, and what it costs the others.
func BenchmarkSoldOut(b *testing.B) {
	for _, waiting := range []int{1, 1000, 15_000} {
		b.Run(fmt.Sprint("waiting=", waiting), func(b *testing.B) {
			stores.BenchServer(b, func(b *testing.B, space stores.Space) {
				m := openMarket(b, space)
				b.Run("owner", func(b *testing.B) { m.measure(b, m.owner, waiting) })
				b.Run("other", func(b *testing.B) { m.measure(b, m.other, waiting) })
			})
		})
	}
}

// A market is a sale that is sold out, with a process that owns its slots and another
// one that asks it.
type market struct {
	event        event.Event
	owner, other *sale.Desk
	gets         atomic.Int64 // of the store
	questions    atomic.Int64 // to the owner
	buyers       atomic.Int64
}

// marketSlots are enough for those who wait to find a place.
const marketSlots = 8

func openMarket(b *testing.B, space stores.Space) *market {
	b.Helper()
	m, s := &market{}, space.Open(b)
	now := time.Now().Truncate(time.Millisecond)
	e, err := event.Create(b.Context(), s, record.Event{
		Title: "t", SKU: "s", Price: record.Price{Currency: "EUR"}, Window: record.Window{Opens: now, Closes: now.Add(time.Hour)},
		Total: 100, PerUser: 1, Slots: marketSlots, PayWithin: 3600,
	})
	require.NoError(b, err)
	m.event, err = event.Publish(b.Context(), s, e.ID)
	require.NoError(b, err)

	m.owner = openStall(b, &counting{s, &m.gets}, "10.0.0.1:8080", grpc.StreamInterceptor(
		func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			return handler(srv, &countingStream{stream, &m.questions})
		}))
	d := registry.NewDirectory(s, "", silent)
	m.other = sale.New(sale.Config{
		Store: s, Directory: d, Incarnation: ulid.Make(), Valid: func() bool { return true }, Dial: dial, Logger: silent,
	})
	stores.Start(b, d.Run)
	stores.Start(b, m.other.Run)

	for sold := false; !sold; sold = m.owner.SoldOut(e.ID) && m.other.SoldOut(e.ID) {
		err := m.ask(b.Context(), m.other)
		require.True(b, err == nil || errors.Is(err, slot.ErrSoldOut) || errors.Is(err, slot.ErrUndecided) || errors.Is(err, sale.ErrNoSale), "%v", err)
	}
	return m
}

// ask is a buyer who comes for the first time.
func (m *market) ask(ctx context.Context, d *sale.Desk) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, _, err := d.Order(ctx, m.event.ID, ledger.Demand{User: fmt.Sprint("u", m.buyers.Add(1)), Request: "1", Quantity: 1})
	return err
}

func (m *market) measure(b *testing.B, d *sale.Desk, waiting int) {
	b.Helper()
	b.ReportAllocs()
	gets, questions, cpu := m.gets.Load(), m.questions.Load(), cpuTime(b)
	var left atomic.Int64
	left.Store(int64(b.N))
	var mu sync.Mutex
	var took []time.Duration
	var buyers sync.WaitGroup
	b.ResetTimer()
	for range waiting {
		buyers.Go(func() {
			var mine []time.Duration
			for left.Add(-1) >= 0 {
				begun := time.Now()
				if err := m.ask(b.Context(), d); !errors.Is(err, slot.ErrSoldOut) {
					b.Errorf("expected to hear that it is sold out: %v", err)
				}
				mine = append(mine, time.Since(begun))
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, mine...)
		})
	}
	buyers.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64((cpuTime(b)-cpu).Nanoseconds())/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1e3, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1e3, "p99-ms")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
	b.ReportMetric(float64(m.gets.Load()-gets)/b.Elapsed().Seconds(), "gets/s")
	b.ReportMetric(float64(m.questions.Load()-questions)/b.Elapsed().Seconds(), "questions/s")
}

// cpuTime is what this process has used.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// counting counts the reads of a store.
type counting struct {
	backend.Store
	gets *atomic.Int64
}

func (c *counting) Get(ctx context.Context, key string) (backend.Entry, error) {
	c.gets.Add(1)
	return c.Store.Get(ctx, key)
}

// countingStream counts the questions that come.
type countingStream struct {
	grpc.ServerStream
	questions *atomic.Int64
}

func (c *countingStream) RecvMsg(m any) error {
	err := c.ServerStream.RecvMsg(m)
	if asked, ok := m.(*rpc.Questions); ok {
		c.questions.Add(int64(len(asked.GetQuestions())))
	}
	return err
}
