package limit

import (
	"sync"
	"time"
)

// A Bucket is a token bucket, which begins full. It is safe for concurrent use.
type Bucket struct {
	began time.Time

	mu    sync.Mutex
	limit Limit
	level level
}

// NewBucket makes a bucket. Errors: the limit is not valid.
func NewBucket(l Limit) (*Bucket, error) {
	if err := l.Validate(); err != nil {
		return nil, err
	}
	return &Bucket{began: time.Now(), limit: l, level: level{units: l.full()}}, nil
}

// Allow takes a token if there is one. Else it says when the next one comes; who
// is not alone in asking should add something of its own to that.
func (b *Bucket) Allow() (ok bool, retryAfter time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.level.take(b.limit, int64(time.Since(b.began)))
}

// SetLimit changes the limit at once. Tokens that are there stay, up to the new
// burst. Errors: the limit is not valid; then the old one stays.
func (b *Bucket) SetLimit(l Limit) error {
	if err := l.Validate(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.level.change(b.limit, l, int64(time.Since(b.began)))
	b.limit = l
	return nil
}

// Limit returns the limit in force.
func (b *Bucket) Limit() Limit {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.limit
}
