package audit

import (
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// A maker makes IDs, each greater than the one before, also when the clock goes back a
// little. When it goes back by more the IDs before were too far ahead: the next ones go by
// the clock again, or all that is recorded from then on would be dated in the future.
type maker struct {
	mu      sync.Mutex
	entropy *ulid.MonotonicEntropy
	last    uint64 // milliseconds
}

func newMaker() *maker { return &maker{entropy: ulid.Monotonic(rand.Reader, 0)} }

func (m *maker) next() ulid.ULID {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = later(m.last, ulid.Now())
	id, err := ulid.New(m.last, m.entropy)
	if err != nil { // no room above the last one in this millisecond
		m.last++
		id = ulid.MustNew(m.last, m.entropy)
	}
	return id
}

// later is the time of the next ID, in milliseconds, after one at last.
func later(last, now uint64) uint64 {
	if last > now+uint64(ahead.Milliseconds()) {
		return now
	}
	return max(last, now)
}

// idOf is the ID of something that happens once, at a time: the same whoever makes it.
func idOf(at time.Time, what ...string) ulid.ULID {
	id := firstOf(at)
	h := sha256.New()
	for _, text := range what {
		_, _ = h.Write(append([]byte(text), 0)) // a hash takes anything
	}
	_ = id.SetEntropy(h.Sum(nil)[:10]) // it is of that length
	return id
}
