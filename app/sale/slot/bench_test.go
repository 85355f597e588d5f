package slot_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/slot"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
)

// BenchmarkOrders measures one slot, with a thousand buyers waiting at a time.
func BenchmarkOrders(b *testing.B) {
	var buyers atomic.Int64
	measure(b, "orders/s", func(ctx context.Context, o *slot.Owner) error {
		_, _, err := o.Order(ctx, ledger.Demand{User: fmt.Sprint("u", buyers.Add(1)), Request: "1", Quantity: 1})
		return err
	})
}

// BenchmarkReads measures how many look at their orders of one slot, as many at a
// time, while nobody orders: the store is asked whether what they see still holds.
func BenchmarkReads(b *testing.B) {
	measure(b, "reads/s", func(ctx context.Context, o *slot.Owner) error {
		_, err := o.OrdersOf(ctx, "u")
		return err
	})
}

func measure(b *testing.B, unit string, ask func(context.Context, *slot.Owner) error) {
	b.Helper()
	stores.BenchServer(b, func(b *testing.B, space stores.Space) {
		b.Helper()
		const total = record.MaxTotal
		s, event, now := space.Open(b), ulid.Make(), time.Now().Truncate(time.Millisecond)
		terms := record.Event{
			Window: record.Window{Opens: now, Closes: now.Add(time.Hour)},
			Total:  total, PerUser: 1, Slots: 1, PayWithin: 3600, Status: record.StatusOnline,
		}
		_, err := backend.PutJSON(b.Context(), s, record.PoolKey(event), record.NewPool(total, 1))
		require.NoError(b, err)
		_, err = backend.PutJSON(b.Context(), s, record.SlotKey(event, 0), record.Slot{})
		require.NoError(b, err)
		o, err := slot.Take(b.Context(), slot.Config{
			Store: s, Event: event, Incarnation: ulid.Make(), Terms: func() record.Event { return terms }, Logger: silent,
		})
		require.NoError(b, err)
		stop := stores.Start(b, o.Run)

		b.SetParallelism(500)
		b.ResetTimer()
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				if err := ask(context.WithoutCancel(b.Context()), o); err != nil {
					b.Error(err)
				}
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), unit)
		require.NoError(b, stop())
	})
}
