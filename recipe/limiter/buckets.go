package limiter

import (
	"maps"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// never is a wait that has no end.
const never = rate.InfDuration

// sweepPause is the least time between two searches for buckets to forget.
const sweepPause = time.Second

// buckets are those of the keys, up to a number, all with one rate and burst.
// They are safe for concurrent use.
type buckets struct {
	most int

	mu      sync.RWMutex
	rate    float64
	burst   int
	byKey   map[string]*bucket
	common  *bucket // of keys for which there is no room
	swept   time.Time
	changed chan struct{}
}

func newBuckets(most int) *buckets {
	return &buckets{most: most, byKey: map[string]*bucket{}, common: newBucket(0, 0), changed: make(chan struct{})}
}

// use calls f with the bucket of a key, which is not forgotten meanwhile.
func (b *buckets) use(key string, f func(*bucket)) {
	if b.useKnown(key, f) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	f(b.make(key))
}

func (b *buckets) useKnown(key string, f func(*bucket)) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	known, ok := b.byKey[key]
	if ok {
		f(known)
	}
	return ok
}

// make returns the bucket of a key, a new one if need be and if there is room.
// The caller holds mu.
func (b *buckets) make(key string) *bucket {
	if known, ok := b.byKey[key]; ok {
		return known
	}
	if len(b.byKey) >= b.most {
		b.sweep()
	}
	if len(b.byKey) >= b.most {
		return b.common
	}
	made := newBucket(b.rate, b.burst)
	b.byKey[key] = made
	return made
}

// sweep forgets the buckets that are full. The caller holds mu.
func (b *buckets) sweep() {
	now := time.Now()
	if now.Sub(b.swept) < sweepPause {
		return
	}
	b.swept = now
	maps.DeleteFunc(b.byKey, func(_ string, one *bucket) bool { return one.isFull() })
}

// set changes the rate and the burst of all buckets.
func (b *buckets) set(rate float64, burst int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.burst == 0 {
		// Buckets of a node without a share know of refusals only: the keys begin
		// as those that have not asked yet do.
		clear(b.byKey)
		b.common = newBucket(rate, burst)
	}
	b.rate, b.burst = rate, burst
	for _, one := range b.byKey {
		one.set(rate, burst)
	}
	b.common.set(rate, burst)
	close(b.changed)
	b.changed = make(chan struct{})
}

// changes is closed with the next set.
func (b *buckets) changes() <-chan struct{} {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.changed
}

func (b *buckets) len() int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return len(b.byKey)
}

// A bucket is a token bucket. Its lock is held from asking for the time to using
// it: a rate.Limiter that is told of an earlier time after a later one grants
// the time between twice.
type bucket struct {
	mu      sync.Mutex
	limiter *rate.Limiter
}

func newBucket(r float64, burst int) *bucket {
	return &bucket{limiter: rate.NewLimiter(rate.Limit(r), burst)}
}

func (b *bucket) allow(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.limiter.AllowN(time.Now(), n)
}

// reserve takes a token that comes after a wait, never if none ever does. cancel
// gives it back as far as that is possible.
func (b *bucket) reserve() (wait time.Duration, cancel func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	r := b.limiter.ReserveN(now, 1)
	return r.DelayFrom(now), func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		r.CancelAt(time.Now())
	}
}

func (b *bucket) isFull() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.limiter.TokensAt(time.Now()) >= float64(b.limiter.Burst())
}

func (b *bucket) set(r float64, burst int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.limiter.SetLimitAt(now, rate.Limit(r))
	b.limiter.SetBurstAt(now, burst)
}
