package metrics

import (
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/internal/outcome"
)

// fewLeases are not worth looking through before another is added.
const fewLeases = 16

// leases are those granted that have not been seen to end. There is nobody to
// wait for the end of each: they are looked through when metrics are collected,
// and when there are twice as many as there were after the last time, so that
// no more are kept than that.
type leases struct {
	lost prometheus.Counter

	mu    sync.Mutex
	held  []backend.Lease
	limit int // of held, before it is looked through
}

func newLeases() *leases {
	return &leases{
		limit: fewLeases,
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "seckill_store_leases_lost_total",
			Help: "Leases that ended without being closed: they expired or were revoked.",
		}),
	}
}

func (l *leases) collectors() []prometheus.Collector {
	return []prometheus.Collector{l.lost, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "seckill_store_leases",
		Help: "Leases that are held.",
	}, func() float64 {
		l.mu.Lock()
		defer l.mu.Unlock()
		return float64(len(l.held))
	})}
}

func (l *leases) add(lease backend.Lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.held) >= l.limit {
		l.sweepLocked()
	}
	l.held = append(l.held, lease)
}

// sweep takes out the leases that have ended and counts the lost ones.
func (l *leases) sweep() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweepLocked()
}

func (l *leases) sweepLocked() {
	l.held = slices.DeleteFunc(l.held, func(lease backend.Lease) bool {
		select {
		case <-lease.Done():
		default:
			return false
		}
		if outcome.Of(lease.Err()) == outcome.LeaseLost {
			l.lost.Inc()
		}
		return true
	})
	l.limit = max(fewLeases, 2*len(l.held))
}
