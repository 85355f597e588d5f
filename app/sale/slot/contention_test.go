package slot_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
)

// distant is a store some way off, which makes one write after the other, and counts
// those of the pool.
type distant struct {
	backend.Store
	line chan struct{}
	pool *atomic.Int64
}

func (d distant) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	if key == record.PoolKey(event) {
		d.pool.Add(1)
	}
	time.Sleep(trip)
	defer time.Sleep(trip)
	d.line <- struct{}{}
	defer func() { <-d.line }()
	time.Sleep(trip / 30)
	return d.Store.Put(ctx, key, value, opts...)
}

// When all slots come to the pool at the same moment they do not keep one another
// from it.
func TestManySlotsMeetAtThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slots = 64
		w := newWorld(t, 1, slots, 10_000)
		var pool atomic.Int64
		w.nodes[0].store = distant{w.nodes[0].store, make(chan struct{}, 1), &pool}
		for k := range slots {
			require.NoError(t, w.take(t.Context(), w.nodes[0], k))
		}
		var buyers sync.WaitGroup
		for i := range 4 * slots {
			buyers.Go(func() {
				assert.NoError(t, w.insist(t.Context(), ledger.Demand{User: fmt.Sprint("u", i), Request: "1", Quantity: 1}))
			})
		}
		buyers.Wait()
		w.stop()
		assert.Less(t, pool.Load(), int64(slots*slots/6), "writes of the pool")
		assert.Empty(t, w.check())
	})
}
