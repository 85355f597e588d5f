package slot

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
)

// What those who wait lack is asked for after everything that happens to the slot, so it
// must not take the longer the more of them there are.
func TestLackOfMany(t *testing.T) {
	looked := 0
	o := &Owner{ledger: ledger.New(1), pool: pooled{record.NewPool(10, 2), 1}}
	lack := func(granted, others int64) int64 {
		looked, o.granted = 0, granted
		o.pool.Granted = []int64{granted, others}
		return o.lack()
	}
	assert.Zero(t, lack(0, 0), "nobody waits")
	for range 60_000 {
		o.waiting = append(o.waiting, &request{need: func() int64 { looked++; return 2 }})
	}
	assert.EqualValues(t, 2, lack(0, 10), "what the first of them needs")
	assert.LessOrEqual(t, looked, 2)
	assert.EqualValues(t, 1, lack(1, 0), "they need more than can be had")
	assert.LessOrEqual(t, looked, 7)
	assert.Zero(t, lack(3, 0))
	o.waiting = o.waiting[:3]
	assert.EqualValues(t, 5, lack(1, 0), "all of them")
	assert.EqualValues(t, 1, lack(1, 5), "of those for whom there is not enough, the first")
}
