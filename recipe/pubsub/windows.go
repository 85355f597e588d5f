package pubsub

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/seed27495941/seckill/backend"
)

// windows are the leases that messages hang on, the oldest first. Messages are
// published under one lease for as long as the retention, and taken away with
// it, all in one request, after as long again.
type windows struct {
	opened chan struct{} // holds a token when there is a new one

	mu     sync.Mutex
	list   []window
	closed bool
}

type window struct {
	lease backend.Lease
	since time.Time
}

// current is the lease to publish under, nil if it is time for a new one.
func (w *windows) current(retention time.Duration) (backend.Lease, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, fmt.Errorf("publisher %w", backend.ErrClosed)
	}
	if len(w.list) == 0 {
		return nil, nil
	}
	if last := w.list[len(w.list)-1]; last.lease.Valid() && time.Since(last.since) < retention {
		return last.lease, nil
	}
	return nil, nil
}

func (w *windows) open(lease backend.Lease) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, window{lease, time.Now()})
	select {
	case w.opened <- struct{}{}:
	default:
	}
}

// oldest tells since when the oldest window is open.
func (w *windows) oldest() (since time.Time, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.list) == 0 {
		return time.Time{}, false
	}
	return w.list[0].since, true
}

// removeOlder forgets the windows opened before and returns their leases.
func (w *windows) removeOlder(before time.Time) (leases []backend.Lease) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = slices.DeleteFunc(w.list, func(each window) bool {
		old := !each.since.After(before)
		if old {
			leases = append(leases, each.lease)
		}
		return old
	})
	return leases
}

// drop forgets a window that has no messages any more.
func (w *windows) drop(lease backend.Lease) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = slices.DeleteFunc(w.list, func(each window) bool { return each.lease == lease })
}

// close lets no window be used again and returns the leases there are.
func (w *windows) close() (leases []backend.Lease) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, each := range w.list {
		leases = append(leases, each.lease)
	}
	return leases
}
