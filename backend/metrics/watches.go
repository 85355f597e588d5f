package metrics

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/internal/outcome"
)

// watches are those that are open, and what came of all so far.
type watches struct {
	updates, puts, deletes, resyncs prometheus.Counter
	failures                        *prometheus.CounterVec

	mu    sync.Mutex
	heard map[*watch]time.Time // of each open watch, its last update, or when it was opened
}

func newWatches() *watches {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "seckill_store_watch_" + name, Help: help})
	}
	w := &watches{
		heard:   map[*watch]time.Time{},
		updates: counter("updates_total", "Updates that watches got, those that confirm that nothing has changed included."),
		puts:    counter("puts_total", "Entries in updates, those of snapshots included."),
		deletes: counter("deletes_total", "Deleted keys in updates, those that a snapshot implies not included."),
		resyncs: counter("resyncs_total", "Snapshots after the first of a watch: it could not go on from where it was."),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "seckill_store_watch_failures_total",
			Help: "Watches that an error ended after their first update.",
		}, []string{"result"}),
	}
	for _, o := range outcome.All() {
		if o.Failed() {
			w.failures.WithLabelValues(o.String())
		}
	}
	return w
}

func (w *watches) collectors() []prometheus.Collector {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "seckill_store_" + name, Help: help}, value)
	}
	return []prometheus.Collector{
		w.updates, w.puts, w.deletes, w.resyncs, w.failures,
		gauge("open_watches", "Watches that are open.", w.count),
		gauge("watch_staleness_seconds", "The longest time since an update that any open watch has seen; 0 without one.", w.staleness),
	}
}

func (w *watches) count() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return float64(len(w.heard))
}

func (w *watches) staleness() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	now, longest := time.Now(), time.Duration(0)
	for _, heard := range w.heard {
		longest = max(longest, now.Sub(heard))
	}
	return longest.Seconds()
}

// A watch is one range over a sequence of updates.
type watch struct {
	all    *watches
	list   *meter
	opened time.Time
	begun  bool // its first update came
}

func (w *watches) open(list *meter) *watch {
	one := &watch{all: w, list: list, opened: time.Now()}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard[one] = one.opened
	return one
}

func (w *watch) close() {
	w.all.mu.Lock()
	defer w.all.mu.Unlock()
	delete(w.all.heard, w)
}

// note takes in what the watch yields.
func (w *watch) note(ctx context.Context, u backend.Update, err error) {
	if !w.begun {
		w.list.done(w.opened, outcome.OfWatch(ctx, err))
	}
	switch {
	case err == nil:
		w.update(u)
	case w.begun && ctx.Err() == nil:
		w.all.failures.WithLabelValues(outcome.Of(err).String()).Inc()
	}
}

func (w *watch) update(u backend.Update) {
	if u.Snapshot && w.begun {
		w.all.resyncs.Inc()
	}
	w.begun = true
	w.all.updates.Inc()
	w.all.puts.Add(float64(len(u.Puts)))
	w.all.deletes.Add(float64(len(u.Deletes)))

	w.all.mu.Lock()
	defer w.all.mu.Unlock()
	w.all.heard[w] = time.Now()
}
