// Package metrics counts and times what a program asks of a [backend.Store],
// for Prometheus.
//
//	store := metrics.New(driver)
//	err := registerer.Register(store) // *prometheus.Registry, or any other
//
// From then on the program uses store, which behaves as driver does. The
// metrics are called seckill_store_…; docs/metrics.md lists them, with what to
// alert on. A program with several stores tells them apart by a label, with
// [prometheus.WrapRegistererWith].
//
// Wrap the driver itself, innermost: other wrappers hide its ForeignKeys, and
// their work would count as the store's. A lease is handed on as the driver
// made it, so renewing and closing it are not timed.
package metrics

import (
	"context"
	"iter"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/internal/outcome"
)

// A Store is the store that was wrapped, and a collector of its metrics. It is
// safe for concurrent use, and works whether it is registered or not.
type Store struct {
	store backend.Store

	lease, put, get, del, list *meter

	leases     *leases
	watches    *watches
	collectors []prometheus.Collector
}

var (
	_ backend.Store        = (*Store)(nil)
	_ backend.Spacious     = (*Store)(nil)
	_ prometheus.Collector = (*Store)(nil)
)

// New wraps a store. Nothing is registered: the Store is to be given to a
// registerer, which returns an error, and does not panic, if it has such
// metrics already.
func New(store backend.Store) *Store {
	calls := newMeters()
	s := &Store{
		store:   store,
		lease:   calls.of("lease"),
		put:     calls.of("put"),
		get:     calls.of("get"),
		del:     calls.of("delete"),
		list:    calls.of("list"),
		leases:  newLeases(),
		watches: newWatches(),
	}
	s.collectors = append(calls.collectors(), s.leases.collectors()...)
	s.collectors = append(s.collectors, s.watches.collectors()...)
	if f, ok := store.(interface{ ForeignKeys() uint64 }); ok {
		s.collectors = append(s.collectors, prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "seckill_store_foreign_keys_total",
			Help: "Keys and values that watches left out because they break the rules for keys and values.",
		}, func() float64 { return float64(f.ForeignKeys()) }))
	}
	return s
}

// Describe implements [prometheus.Collector].
func (s *Store) Describe(descriptions chan<- *prometheus.Desc) {
	for _, c := range s.collectors {
		c.Describe(descriptions)
	}
}

// Collect implements [prometheus.Collector].
func (s *Store) Collect(metrics chan<- prometheus.Metric) {
	s.leases.sweep()
	for _, c := range s.collectors {
		c.Collect(metrics)
	}
}

// Lease implements [backend.Store].
func (s *Store) Lease(ctx context.Context, ttl time.Duration) (backend.Lease, error) {
	began := time.Now()
	l, err := s.store.Lease(ctx, ttl)
	s.lease.done(began, outcome.Of(err))
	if err == nil {
		s.leases.add(l)
	}
	return l, err
}

// Put implements [backend.Store].
func (s *Store) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	began := time.Now()
	rev, err := s.store.Put(ctx, key, value, opts...)
	s.put.done(began, outcome.Of(err))
	return rev, err
}

// Get implements [backend.Store].
func (s *Store) Get(ctx context.Context, key string) (backend.Entry, error) {
	began := time.Now()
	e, err := s.store.Get(ctx, key)
	s.get.done(began, outcome.Of(err))
	return e, err
}

// Delete implements [backend.Store].
func (s *Store) Delete(ctx context.Context, key string, conds ...backend.Condition) error {
	began := time.Now()
	err := s.store.Delete(ctx, key, conds...)
	s.del.done(began, outcome.Of(err))
	return err
}

// Space implements [backend.Spacious]. It is not timed: it is no call that a
// program's work waits for.
func (s *Store) Space(ctx context.Context) (backend.Space, error) {
	return backend.SpaceOf(ctx, s.store)
}

// WatchPrefix implements [backend.Store].
func (s *Store) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		w := s.watches.open(s.list)
		defer w.close()
		for u, err := range s.store.WatchPrefix(ctx, prefix) {
			w.note(ctx, u, err)
			if !yield(u, err) {
				return
			}
		}
	}
}
