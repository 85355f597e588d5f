package breaker

import (
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	seconds = 10 // that a window spans, in as many histograms

	// Latencies in microseconds fall into 2^precision ranges for each power of two.
	precision = 5
	perPower  = 1 << precision
	mostBits  = 30 // some 18 minutes; longer ones are counted as that
	ranges    = (mostBits - precision + 1) * perPower
)

// A window counts latencies of the last seconds. It is safe for concurrent use, of
// which turn and clear are for one goroutine.
type window struct {
	now     atomic.Int32 // which histogram is counted in
	seconds [seconds]histogram
}

type histogram [ranges]atomic.Uint32

func (w *window) count(latency time.Duration) {
	w.seconds[w.now.Load()][rangeOf(latency)].Add(1)
}

// turn forgets the oldest second and begins a new one.
func (w *window) turn() {
	next := (w.now.Load() + 1) % seconds
	w.seconds[next].clear()
	w.now.Store(next)
}

func (w *window) clear() {
	for i := range w.seconds {
		w.seconds[i].clear()
	}
}

func (h *histogram) clear() {
	for i := range h {
		h[i].Store(0)
	}
}

// percentile99 is what 99 of 100 latencies are not above, as the lower end of a
// range; n is how many there are.
func (w *window) percentile99() (latency time.Duration, n int) {
	var sums [ranges]int
	for i := range w.seconds {
		for r := range sums {
			count := int(w.seconds[i][r].Load())
			sums[r] += count
			n += count
		}
	}
	above := n / 100
	for r := ranges - 1; r >= 0; r-- {
		if above -= sums[r]; above < 0 {
			return lowest(r), n
		}
	}
	return 0, n
}

// rangeOf is the range of a latency: one for each microsecond at first, and from
// 2·perPower on as many for each power of two.
func rangeOf(latency time.Duration) int {
	us := min(uint64(max(latency, 0)/time.Microsecond), 1<<mostBits-1)
	power := max(bits.Len64(us)-precision-1, 0)
	return power*perPower + int(us>>power)
}

// lowest is the lowest latency in a range.
func lowest(r int) time.Duration {
	power := max(r/perPower-1, 0)
	return time.Duration(r-power*perPower) << power * time.Microsecond
}
