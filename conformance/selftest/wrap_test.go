package selftest

import (
	"context"
	"iter"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/conformance"
)

// A wrap puts a broken store around a sound one.
type wrap func(conformance.Store) conformance.Store

// breaks makes the wrap for the stores of one server, which may share something
// that is broken.
type breaks func(*memory.Server) wrap

// each breaks every store by itself.
func each[S conformance.Store](w func(conformance.Store) S) breaks {
	return func(*memory.Server) wrap {
		return func(s conformance.Store) conformance.Store { return w(s) }
	}
}

// sound is wrapped in all that the broken stores are made with, and is not
// broken.
func sound(s conformance.Store) conformance.Store {
	s = leasing{s, func(l backend.Lease) backend.Lease { return held{l} }}
	s = watching{s, func() func(backend.Update) []backend.Update {
		return func(u backend.Update) []backend.Update { return []backend.Update{u} }
	}}
	return telling{s, func(_ bool, err error) error { return err }}
}

// telling passes errors through tell, which learns whether something was to be
// written.
type telling struct {
	conformance.Store
	tell func(write bool, err error) error
}

func (s telling) Lease(ctx context.Context, ttl time.Duration) (backend.Lease, error) {
	l, err := s.Store.Lease(ctx, ttl)
	return l, s.pass(true, err)
}

func (s telling) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	rev, err := s.Store.Put(ctx, key, value, opts...)
	return rev, s.pass(true, err)
}

func (s telling) Get(ctx context.Context, key string) (backend.Entry, error) {
	e, err := s.Store.Get(ctx, key)
	return e, s.pass(false, err)
}

func (s telling) Delete(ctx context.Context, key string, conds ...backend.Condition) error {
	return s.pass(true, s.Store.Delete(ctx, key, conds...))
}

func (s telling) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		for u, err := range s.Store.WatchPrefix(ctx, prefix) {
			if !yield(u, s.pass(false, err)) {
				return
			}
		}
	}
}

func (s telling) pass(write bool, err error) error {
	if err == nil {
		return nil
	}
	return s.tell(write, err)
}

// watching changes what watches tell. Each range has a change of its own, which
// may remember what it saw.
type watching struct {
	conformance.Store
	begin func() (change func(backend.Update) []backend.Update)
}

func (s watching) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		change := s.begin()
		for u, err := range s.Store.WatchPrefix(ctx, prefix) {
			if err != nil {
				yield(u, err)
				return
			}
			for _, u := range change(u) {
				if !yield(u, nil) {
					return
				}
			}
		}
	}
}

// leasing hands out leases that are not the store's own.
type leasing struct {
	conformance.Store
	wrap func(backend.Lease) backend.Lease
}

func (s leasing) Lease(ctx context.Context, ttl time.Duration) (backend.Lease, error) {
	l, err := s.Store.Lease(ctx, ttl)
	if err != nil {
		return nil, err
	}
	return s.wrap(l), nil
}

func (s leasing) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	o, err := backend.ResolvePut(key, value, opts...)
	if err != nil {
		return 0, err
	}
	if l, ok := o.Lease.(interface{ granted() backend.Lease }); ok {
		o.Lease = l.granted()
	}
	return s.Store.Put(ctx, key, value, options(o)...)
}

// held is a lease that knows the one it is made of.
type held struct{ backend.Lease }

func (h held) granted() backend.Lease { return h.Lease }

// options are the options that add up to o.
func options(o backend.PutOptions) []backend.PutOption {
	var opts []backend.PutOption
	for _, c := range o.Conditions {
		opts = append(opts, c)
	}
	if o.Lease != nil {
		opts = append(opts, backend.WithLease(o.Lease))
	}
	return opts
}

// leaseID is the ID of a lease, "" for none.
func leaseID(l backend.Lease) string {
	if l == nil {
		return ""
	}
	return l.ID()
}

// roundTrip is how long memory's answers would take on a network, where that is
// what makes a defect visible.
const roundTrip = 2 * time.Millisecond
