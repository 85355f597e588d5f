package slot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
)

// A movement is what became of a change of the pool.
type movement struct {
	pool    pooled
	applied bool
	change  int64 // of the units granted to this slot
	err     error
}

// startMoving changes the pool if that is called for, unless a change is on its
// way.
func (o *Owner) startMoving(ctx context.Context) {
	if o.asking || o.pool.revision == 0 {
		return
	}
	next, ok := o.plan()
	if !ok {
		return
	}
	change := next.Granted[o.slot] - o.pool.Granted[o.slot]
	if change < 0 {
		o.returning = -change
	}
	o.asking = true
	from, lost := o.pool, o.lost
	go func() { o.moved <- o.move(ctx, from, next, change, lost) }()
}

// plan is the pool as this slot wants it, false if as it is.
func (o *Owner) plan() (next record.Pool, ok bool) {
	if o.pool.Granted[o.slot] != o.granted {
		return record.Pool{}, false // an old picture: ours is from our own last change
	}
	next = o.pool.Clone()
	lack := o.lack()
	switch {
	case lack > 0 && next.Free() >= lack || lack > 0 && next.Free() > 0 && !next.Scarce:
		o.take(&next, lack)
	case lack > 0:
		next.Scarce = true
	}
	if next.Scarce {
		o.giveBack(&next, lack)
	}
	next.Settle()
	return next, !equal(next, o.pool.Pool)
}

// lack is how many units those who wait need beyond what is there. While they are
// more than can be had, it is what the first of them needs. It looks at no more of them
// than tell that: it is called all the time, and they can be many.
func (o *Owner) lack() int64 {
	if len(o.waiting) == 0 {
		return 0
	}
	free, most := o.free(), o.pool.Free()
	need := int64(0)
	for _, r := range o.waiting {
		if need += r.need(); need-free > most {
			return max(o.waiting[0].need()-free, 0)
		}
	}
	return max(need-free, 0)
}

// take grants the slot units. While there are many it takes some ahead, the fewer
// the emptier the pool; while they are scarce no more than are needed.
func (o *Owner) take(p *record.Pool, lack int64) {
	share := p.Free() / int64(2*len(p.Granted))
	if p.Scarce && share > plenty {
		p.Scarce = false
		clear(p.Empty)
	}
	amount := lack
	if !p.Scarce {
		amount = max(lack, share)
	}
	p.Granted[o.slot] += min(amount, p.Free())
	p.Empty[o.slot] = false
}

// plenty is a share of the pool with which units are not scarce any more.
const plenty = 8

// giveBack returns what can be spared, and says whether everything is sold.
func (o *Owner) giveBack(p *record.Pool, lack int64) {
	took := p.Granted[o.slot] - o.pool.Granted[o.slot]
	if spare := o.spare(); took == 0 && spare > 0 && (len(o.waiting) == 0 || lack > 0) {
		p.Granted[o.slot] -= spare
	}
	p.Empty[o.slot] = p.Granted[o.slot] == o.held && o.ledger.Held() == o.held
}

// spare is what is in no order, whatever becomes of the decisions that are not in
// the log yet.
func (o *Owner) spare() int64 {
	most := max(o.held, o.next.most(), o.writing.most())
	return max(o.granted-most, 0)
}

// move makes one change of the pool and finds out what became of it. lost is how many
// before it, one after the other, were not made because another slot's was.
func (o *Owner) move(ctx context.Context, from pooled, to record.Pool, change int64, lost int) movement {
	key := record.PoolKey(o.event)
	value, err := json.Marshal(to)
	if err != nil {
		return movement{err: err}
	}
	for {
		rev, err := o.store.Put(ctx, key, value, backend.If(key, from.revision), o.guard)
		var conflict *backend.ConflictError
		switch {
		case err == nil:
			return movement{pool: pooled{to, rev}, applied: true, change: change}
		case errors.As(err, &conflict) && conflict.Key != key:
			return movement{err: ErrDeposed}
		case errors.As(err, &conflict):
			pauseFor(ctx, stepAside(o.slot, lost))
			return o.lookBack(ctx, from, change)
		case !retryable(err) || ctx.Err() != nil:
			return movement{err: fmt.Errorf("write %s: %w", key, err)}
		}
		pause(ctx)
	}
}

// stepAside is how long a slot waits that has met another one at the pool. They all
// come at once when a sale begins; if they came again at once, only one of them would
// get through each time. The more often one is met the longer it waits, each slot a
// time of its own.
func stepAside(slot, lost int) time.Duration {
	const shortest, longest = 8 * time.Millisecond, 256 * time.Millisecond
	window := min(shortest<<min(lost, 8), longest)
	return time.Duration(rand.New(rand.NewPCG(uint64(slot), uint64(lost))).Int64N(int64(window))) //nolint:gosec // no secret
}

// lookBack tells by the pool whether a change was made: nobody but a slot's owner
// changes what it is granted. The pool has moved on, so a try that has not landed
// never will.
func (o *Owner) lookBack(ctx context.Context, from pooled, change int64) movement {
	for {
		now, err := readPool(ctx, o.store, o.event)
		switch {
		case err == nil:
			applied := now.Granted[o.slot] == from.Granted[o.slot]+change
			return movement{pool: now, applied: applied, change: change}
		case !retryable(err) || ctx.Err() != nil:
			return movement{err: err}
		}
		pause(ctx)
	}
}

// movedUnits takes note of what became of a change of the pool.
func (o *Owner) movedUnits(m movement) error {
	o.returning = 0
	if m.err != nil {
		return m.err
	}
	if m.applied {
		o.granted += m.change
		o.lost = 0
	} else {
		o.lost++
	}
	if m.pool.revision > o.pool.revision {
		o.pool = m.pool
	}
	return nil
}

// exhausted reports whether an order for so many units can get none any more:
// the sale is sold out, or what is left is too little and nobody has more to give.
func (o *Owner) exhausted(need int64) bool {
	p := o.pool
	if p.revision == 0 || p.SoldOut {
		return p.SoldOut
	}
	if !p.Scarce || p.Free() >= need || o.asking {
		return false
	}
	for _, empty := range p.Empty {
		if !empty {
			return false
		}
	}
	return true
}

// most is how many units orders have at most while the batch's fate is open.
func (b *batch) most() int64 {
	if b == nil {
		return 0
	}
	return b.peak
}

func equal(a, b record.Pool) bool {
	if a.Total != b.Total || a.Scarce != b.Scarce || a.SoldOut != b.SoldOut {
		return false
	}
	for k := range a.Granted {
		if a.Granted[k] != b.Granted[k] || a.Empty[k] != b.Empty[k] {
			return false
		}
	}
	return true
}
