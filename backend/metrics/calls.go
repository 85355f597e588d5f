package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed27495941/seckill/backend/internal/outcome"
)

// buckets are seconds: from a read that a server nearby answers from memory to
// twice the time a call has without a deadline of its own.
var buckets = []float64{.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// meters are what all calls are counted and timed with.
type meters struct {
	durations *prometheus.HistogramVec
	results   *prometheus.CounterVec
}

func newMeters() meters {
	return meters{
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "seckill_store_call_duration_seconds",
			Help:    "How long calls of the store took, whatever came of them. A list is the time to a watch's first update.",
			Buckets: buckets,
		}, []string{"operation"}),
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "seckill_store_calls_total",
			Help: "Calls of the store that have ended, by what came of them.",
		}, []string{"operation", "result"}),
	}
}

func (m meters) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.durations, m.results}
}

// A meter counts and times the calls of one operation.
type meter struct {
	duration prometheus.Observer
	results  [outcome.Count]prometheus.Counter
}

// of makes the meter of an operation. All results are there from the beginning:
// the first failure would be no increase of a series that begins with it.
func (m meters) of(operation string) *meter {
	one := &meter{duration: m.durations.WithLabelValues(operation)}
	for _, o := range outcome.All() {
		one.results[o] = m.results.WithLabelValues(operation, o.String())
	}
	return one
}

// done notes a call that ended just now.
func (m *meter) done(began time.Time, result outcome.Outcome) {
	m.duration.Observe(time.Since(began).Seconds())
	m.results[result].Inc()
}
