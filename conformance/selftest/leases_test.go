package selftest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/conformance"
)

// leases are broken in what hangs on a lease, and in what its holder is told:
// guarantee 4.
func leases() []defect {
	return []defect{{
		name:   "drops-the-lease",
		wrong:  "Put does not attach the key to the lease it was given",
		seen:   "cilium on Consul",
		cases:  []string{"lease/granted", "lease/close-takes-its-keys"},
		breaks: each(func(s conformance.Store) dropsLease { return dropsLease{s} }),
	}, {
		name:  "keeps-the-old-lease",
		wrong: "Put without a lease leaves the key on the one it hung on",
		seen:  "Consul's plain set",
		cases: []string{"lease/freed-key-stays"},
		breaks: func(*memory.Server) wrap {
			all := &holders{byID: map[string]holder{}}
			return func(s conformance.Store) conformance.Store { return keepsLease{registered{s, all}} }
		},
	}, {
		name:  "close-deletes-moved-keys",
		wrong: "Close of a lease deletes all keys that were ever put with it",
		seen:  "etcd #22082: a stale unlock deletes a newer lock",
		cases: []string{"lease/moved-key-outlives-its-old-lease", "lease/freed-key-stays", "lease/a-thousand-keys"},
		breaks: each(func(s conformance.Store) conformance.Store {
			return collecting{s, func(ctx context.Context, l backend.Lease, keys []string) error {
				for _, key := range keys {
					if err := s.Delete(ctx, key); err != nil {
						return err
					}
				}
				return l.Close(ctx)
			}}
		}),
	}, {
		name:  "keys-vanish-one-by-one",
		wrong: "Close of a lease deletes its keys one after another",
		cases: []string{"lease/keys-vanish-together", "watch/lease-expiry-is-seen"},
		breaks: each(func(s conformance.Store) conformance.Store {
			return collecting{s, func(ctx context.Context, l backend.Lease, keys []string) error {
				for _, key := range keys {
					if e, err := s.Get(ctx, key); err == nil && e.Lease == l.ID() {
						time.Sleep(roundTrip)
						if err := s.Delete(ctx, key); err != nil {
							return err
						}
					}
				}
				return l.Close(ctx)
			}}
		}),
	}, {
		name:  "close-does-not-revoke",
		wrong: "Close of a lease stops its renewal and leaves the keys until it expires",
		cases: []string{"lease/close-takes-its-keys", "lease/a-thousand-keys", "lease/closed-by-several"},
		breaks: each(func(s conformance.Store) leasing {
			return leasing{s, func(l backend.Lease) backend.Lease { return justStops{held{l}} }}
		}),
	}, {
		name:  "lock-delay",
		wrong: "a key whose lease was closed can't be put under another for 15 seconds",
		seen:  "consul #4508: a lock-delay of 0 is sent as 15s",
		cases: []string{"lease/put-again-after-close"},
		breaks: func(*memory.Server) wrap {
			d := &delays{until: map[string]time.Time{}}
			return func(s conformance.Store) conformance.Store { return delaysLocks{d.collect(s), d} }
		},
	}, {
		name:  "grants-less",
		wrong: "a lease is granted for half of what was asked",
		cases: []string{"lease/granted"},
		breaks: each(func(s conformance.Store) grants {
			return grants{s, func(ttl time.Duration) time.Duration { return ttl / 2 }}
		}),
	}, {
		name:  "cuts-the-ttl-to-seconds",
		wrong: "a TTL is cut to whole seconds, and one below a second is 0",
		seen:  "kvtools/etcdv3",
		cases: []string{"lease/granted"},
		breaks: each(func(s conformance.Store) grants {
			return grants{s, func(ttl time.Duration) time.Duration { return ttl.Truncate(time.Second) }}
		}),
	}, {
		name:   "lies-about-the-ttl",
		wrong:  "a lease is granted for half of what TTL tells",
		cases:  []string{"lease/not-before-its-ttl"},
		breaks: each(func(s conformance.Store) liesAboutTTL { return liesAboutTTL{s} }),
	}, {
		name:  "expires-late",
		wrong: "a lease is granted for 20 seconds more than TTL tells",
		cases: []string{"lease/expires", "lease/raised-ttl-is-told"},
		breaks: each(func(s conformance.Store) tellsTTL {
			return tellsTTL{s, func(granted, _ time.Duration) time.Duration { return granted - late }, late}
		}),
	}, {
		name:  "tells-the-ttl-asked-for",
		wrong: "TTL tells what was asked for, though the store has raised it",
		cases: []string{"lease/raised-ttl-is-told"},
		breaks: each(func(s conformance.Store) tellsTTL {
			return tellsTTL{s, func(_, asked time.Duration) time.Duration { return asked }, 0}
		}),
	}, {
		name:   "no-lease-and-no-error",
		wrong:  "Lease returns (nil, nil) for a TTL of nothing",
		cases:  []string{"lease/ttl-out-of-range"},
		breaks: each(func(s conformance.Store) grantsNothing { return grantsNothing{s} }),
	}, {
		name:   "ends-with-the-context-of-its-grant",
		wrong:  "a lease is closed when the context that it was asked for with ends",
		cases:  []string{"lease/kept-alive"},
		breaks: each(func(s conformance.Store) endsWithContext { return endsWithContext{s} }),
	}, {
		name:  "renews-once",
		wrong: "a lease is renewed once and then no more",
		seen:  "keep-alive answers that nobody drains; a renewal goroutine that ends with its first error",
		cases: []string{"lease/kept-alive", "lease/two-hundred", "lease/outlives-a-restart"},
		breaks: func(server *memory.Server) wrap {
			return func(s conformance.Store) conformance.Store {
				return leasing{s, func(l backend.Lease) backend.Lease {
					// As the store would end it a TTL after a renewal at a third of the first.
					time.AfterFunc(l.TTL()*4/3, func() { server.ExpireLease(l.ID()) })
					return held{l}
				}}
			}
		},
	}, {
		name:   "gives-up-at-the-first-failure",
		wrong:  "a lease is lost when one renewal has failed, though its TTL has not passed",
		cases:  []string{"lease/kept-through-a-short-cut"},
		breaks: each(func(s conformance.Store) leasing { return leasing{s, lostAtFirst(s)} }),
	}, {
		name:   "asks-for-its-leases",
		wrong:  "what keeps a lease alive asks the store every 100ms whether it is there",
		cases:  []string{"lease/cost-of-fifty"},
		breaks: each(func(s conformance.Store) leasing { return leasing{s, asking(s)} }),
	}, {
		name:  "valid-past-the-ttl",
		wrong: "Valid is true until Close, though the store does not answer and the TTL has passed",
		cases: []string{"lease/lost-by-the-holders-clock", "lease/lost-while-cut-off", "lease/revoked-by-others"},
		breaks: each(func(s conformance.Store) leasing {
			return leasing{s, func(l backend.Lease) backend.Lease { return staysValid{held{l}} }}
		}),
	}, {
		name:  "done-stays-open",
		wrong: "Done is closed by Close alone: nobody is told that a lease was lost",
		seen:  "service registries whose renewal errors are swallowed",
		cases: []string{"lease/lost-by-the-holders-clock", "lease/revoked-by-others", "lease/lost-while-cut-off"},
		waits: "waiting for the end of lease",
		breaks: each(func(s conformance.Store) leasing {
			return leasing{s, func(l backend.Lease) backend.Lease { return &neverDone{held: held{l}, done: make(chan struct{})} }}
		}),
	}, {
		name:  "close-tries-once",
		wrong: "Close of a lease returns for ever what its first call did",
		seen:  "sync.Once around a request",
		cases: []string{"lease/closed-while-the-server-is-paused"},
		breaks: each(func(s conformance.Store) leasing {
			return leasing{s, func(l backend.Lease) backend.Lease { return &closesOnce{held: held{l}} }}
		}),
	}, {
		name:  "closed-with-its-store",
		wrong: "Close of a lease is no error when its store was closed before, though the keys stay",
		cases: []string{"lease/closed-after-its-store"},
		breaks: each(func(s conformance.Store) leasing {
			return leasing{s, func(l backend.Lease) backend.Lease { return closesQuietly{held{l}} }}
		}),
	}, {
		name:  "never-says-why",
		wrong: "Err of a lease is nil also when it was lost or closed",
		cases: []string{"lease/closed", "lease/revoked-by-others"},
		breaks: each(func(s conformance.Store) leasing {
			return leasing{s, func(l backend.Lease) backend.Lease { return saysNothing{held{l}} }}
		}),
	}, {
		name:   "puts-without-the-lost-lease",
		wrong:  "Put with a lease that was lost writes the key without one",
		cases:  []string{"lease/put-on-a-lost-one", "lease/closed", "lease/revoked-by-others", "lease/put-beside-its-close", "lease/put-and-its-close-under-way"},
		breaks: each(func(s conformance.Store) putsAnyway { return putsAnyway{s} }),
	}, {
		name:   "attaches-before-it-checks",
		wrong:  "Put hangs the key on its lease, and then looks at the conditions",
		seen:   "Consul's acquire and cas, one after the other",
		cases:  []string{"lease/conflict-attaches-nothing", "conditions/whatever-the-lease"},
		breaks: each(func(s conformance.Store) attachesFirst { return attachesFirst{s} }),
	}, {
		name:   "loss-untold-by-put",
		wrong:  "Put with a lease that the store has ended fails, and the lease is not told",
		cases:  []string{"lease/put-on-a-lost-one"},
		waits:  "waiting for the end of lease",
		breaks: each(func(s conformance.Store) tellsNoLease { return tellsNoLease{leasing{s, newUntold}} }),
	}, {
		name:  "takes-leases-of-other-stores",
		wrong: "Put takes a lease that another store holds",
		cases: []string{"lease/of-another-store"},
		breaks: func(*memory.Server) wrap {
			all := &holders{byID: map[string]holder{}}
			return func(s conformance.Store) conformance.Store { return takesOthers{registered{s, all}} }
		},
	}, {
		name:   "closing-the-store-revokes",
		wrong:  "closing the store revokes its leases",
		cases:  []string{"lease/closing-a-store-revokes-nothing", "lease/not-before-its-ttl"},
		breaks: each(func(s conformance.Store) conformance.Store { return &revokesAll{Store: s} }),
	}, {
		name:  "leaks-a-goroutine-per-lease",
		wrong: "what keeps a lease alive runs on when the lease and its store are closed",
		seen:  "service registries: the keep-alive goroutine never ends",
		cases: []string{"watch/goroutines-end"},
		breaks: each(func(s conformance.Store) leasing {
			return leasing{s, func(l backend.Lease) backend.Lease {
				go func() { <-make(chan struct{}) }()
				return held{l}
			}}
		}),
	}}
}

type dropsLease struct{ conformance.Store }

func (s dropsLease) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	o, err := backend.ResolvePut(key, value, opts...)
	if err != nil {
		return 0, err
	}
	o.Lease = nil
	return s.Store.Put(ctx, key, value, options(o)...)
}

// holders knows who holds which lease.
type holders struct {
	mu   sync.Mutex
	byID map[string]holder
}

type holder struct {
	store conformance.Store
	lease backend.Lease
}

func (h *holders) of(lease string) (holder, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	found, ok := h.byID[lease]
	return found, ok
}

type registered struct {
	conformance.Store
	holders *holders
}

func (s registered) Lease(ctx context.Context, ttl time.Duration) (backend.Lease, error) {
	l, err := s.Store.Lease(ctx, ttl)
	if err == nil {
		s.holders.mu.Lock()
		defer s.holders.mu.Unlock()
		s.holders.byID[l.ID()] = holder{s.Store, l}
	}
	return l, err
}

type keepsLease struct{ registered }

func (s keepsLease) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	o, err := backend.ResolvePut(key, value, opts...)
	if err != nil {
		return 0, err
	}
	if e, err := s.Get(ctx, key); err == nil && o.Lease == nil {
		if h, ok := s.holders.of(e.Lease); ok {
			o.Lease = h.lease
			return h.store.Put(ctx, key, value, options(o)...)
		}
	}
	return s.Store.Put(ctx, key, value, opts...)
}

type takesOthers struct{ registered }

func (s takesOthers) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	o, err := backend.ResolvePut(key, value, opts...)
	if err != nil {
		return 0, err
	}
	if h, ok := s.holders.of(leaseID(o.Lease)); ok {
		return h.store.Put(ctx, key, value, opts...)
	}
	return s.Store.Put(ctx, key, value, opts...)
}

// collecting remembers the keys that were put with each lease, for close.
type collecting struct {
	conformance.Store
	close func(ctx context.Context, l backend.Lease, keys []string) error
}

func (s collecting) Lease(ctx context.Context, ttl time.Duration) (backend.Lease, error) {
	l, err := s.Store.Lease(ctx, ttl)
	if err != nil {
		return nil, err
	}
	return &collected{held: held{l}, close: s.close}, nil
}

func (s collecting) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	rev, err := leasing{Store: s.Store}.Put(ctx, key, value, opts...)
	if err != nil {
		return 0, err
	}
	o, err := backend.ResolvePut(key, value, opts...)
	if l, ok := o.Lease.(*collected); ok {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.keys = append(l.keys, key)
	}
	return rev, err
}

type collected struct {
	held
	close func(ctx context.Context, l backend.Lease, keys []string) error

	mu   sync.Mutex
	keys []string
}

func (l *collected) Close(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.close(ctx, l.Lease, l.keys)
}

type justStops struct{ held }

func (l justStops) Close(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	cancel() // nothing is sent
	_ = l.Lease.Close(ctx)
	return nil
}

// delays knows until when keys can't be locked again.
type delays struct {
	mu    sync.Mutex
	until map[string]time.Time
}

func (d *delays) collect(s conformance.Store) collecting {
	return collecting{s, func(ctx context.Context, l backend.Lease, keys []string) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, key := range keys {
			d.until[key] = time.Now().Add(15 * time.Second)
		}
		return l.Close(ctx)
	}}
}

type delaysLocks struct {
	collecting
	delays *delays
}

func (s delaysLocks) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	s.delays.mu.Lock()
	until := s.delays.until[key]
	s.delays.mu.Unlock()
	if o, _ := backend.ResolvePut(key, value, opts...); o.Lease != nil && time.Now().Before(until) {
		return 0, backend.Failure(ctx, backend.ErrUnavailable, "put", key, errors.New("lock-delay"))
	}
	return s.collecting.Put(ctx, key, value, opts...)
}

// grants asks for another TTL.
type grants struct {
	conformance.Store
	ttl func(asked time.Duration) time.Duration
}

func (s grants) Lease(ctx context.Context, ttl time.Duration) (backend.Lease, error) {
	return s.Store.Lease(ctx, s.ttl(ttl))
}

type liesAboutTTL struct{ conformance.Store }

func (s liesAboutTTL) Lease(ctx context.Context, ttl time.Duration) (backend.Lease, error) {
	l, err := s.Store.Lease(ctx, ttl/2)
	if err != nil {
		return nil, err
	}
	return twice{held{l}}, nil
}

func (s liesAboutTTL) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	return leasing{Store: s.Store}.Put(ctx, key, value, opts...)
}

type twice struct{ held }

func (l twice) TTL() time.Duration { return 2 * l.Lease.TTL() }

// tellsTTL tells another TTL than the one granted, for which it asks for more.
type tellsTTL struct {
	conformance.Store
	ttl  func(granted, asked time.Duration) time.Duration
	more time.Duration
}

// late is beyond what the cases allow a store for the end of a short lease.
const late = 20 * time.Second

func (s tellsTTL) Lease(ctx context.Context, ttl time.Duration) (backend.Lease, error) {
	l, err := s.Store.Lease(ctx, max(ttl, memory.MinTTL)+s.more)
	if err != nil {
		return nil, err
	}
	return toldTTL{held{l}, s.ttl(l.TTL(), ttl)}, nil
}

func (s tellsTTL) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	return leasing{Store: s.Store}.Put(ctx, key, value, opts...)
}

type toldTTL struct {
	held
	ttl time.Duration
}

func (l toldTTL) TTL() time.Duration { return l.ttl }

type grantsNothing struct{ conformance.Store }

func (s grantsNothing) Lease(ctx context.Context, ttl time.Duration) (backend.Lease, error) {
	if ttl <= 0 {
		return nil, nil
	}
	return s.Store.Lease(ctx, ttl)
}

type endsWithContext struct{ conformance.Store }

func (s endsWithContext) Lease(ctx context.Context, ttl time.Duration) (backend.Lease, error) {
	l, err := s.Store.Lease(ctx, ttl)
	if err == nil {
		context.AfterFunc(ctx, func() { _ = l.Close(context.WithoutCancel(ctx)) })
	}
	return l, err
}

// every calls f every d until a lease is over.
func every(d time.Duration, l backend.Lease, f func()) {
	for {
		select {
		case <-l.Done():
			return
		case <-time.After(d):
			f()
		}
	}
}

func lostAtFirst(s conformance.Store) func(backend.Lease) backend.Lease {
	return func(l backend.Lease) backend.Lease {
		go every(l.TTL()/3, l, func() {
			_, err := s.Get(context.Background(), "renewal")
			if l, ok := l.(interface{ Lose(cause error) }); ok && errors.Is(err, backend.ErrUnavailable) {
				l.Lose(err)
			}
		})
		return held{l}
	}
}

func asking(s conformance.Store) func(backend.Lease) backend.Lease {
	return func(l backend.Lease) backend.Lease {
		go every(100*time.Millisecond, l, func() { _, _ = s.Get(context.Background(), "lease") })
		return held{l}
	}
}

type closesOnce struct {
	held
	once sync.Once
	err  error
}

func (l *closesOnce) Close(ctx context.Context) error {
	l.once.Do(func() { l.err = l.Lease.Close(ctx) })
	return l.err
}

type closesQuietly struct{ held }

func (l closesQuietly) Close(ctx context.Context) error {
	if err := l.Lease.Close(ctx); !errors.Is(err, backend.ErrClosed) {
		return err
	}
	return nil
}

// attachesFirst leaves behind what it would have done first.
type attachesFirst struct{ conformance.Store }

func (s attachesFirst) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	rev, err := s.Store.Put(ctx, key, value, opts...)
	if !errors.Is(err, backend.ErrConflict) {
		return rev, err
	}
	o, _ := backend.ResolvePut(key, value, opts...)
	if e, getErr := s.Get(ctx, key); getErr == nil && o.Lease != nil {
		_, _ = s.Store.Put(ctx, key, e.Value, backend.WithLease(o.Lease))
	}
	return 0, err
}

type staysValid struct{ held }

func (l staysValid) Valid() bool { return !errors.Is(l.Err(), backend.ErrClosed) }

type neverDone struct {
	held
	done chan struct{}
	once sync.Once
}

func (l *neverDone) Done() <-chan struct{} { return l.done }

func (l *neverDone) Close(ctx context.Context) error {
	l.once.Do(func() { close(l.done) })
	return l.Lease.Close(ctx)
}

type saysNothing struct{ held }

func (saysNothing) Err() error { return nil }

type putsAnyway struct{ conformance.Store }

func (s putsAnyway) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	rev, err := s.Store.Put(ctx, key, value, opts...)
	if !errors.Is(err, backend.ErrLeaseLost) {
		return rev, err
	}
	o, _ := backend.ResolvePut(key, value, opts...)
	o.Lease = nil
	return s.Store.Put(ctx, key, value, options(o)...)
}

type tellsNoLease struct{ leasing }

func (s tellsNoLease) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	rev, err := s.leasing.Put(ctx, key, value, opts...)
	o, _ := backend.ResolvePut(key, value, opts...)
	if l, ok := o.Lease.(*untold); ok && errors.Is(err, backend.ErrLeaseLost) {
		l.byPut.Store(true)
	}
	return rev, err
}

// untold is a lease that does not know that it was lost when a Put found out.
type untold struct {
	neverDone
	byPut atomic.Bool
}

func newUntold(l backend.Lease) backend.Lease {
	u := &untold{neverDone: neverDone{held: held{l}, done: make(chan struct{})}}
	go func() {
		<-l.Done()
		time.Sleep(roundTrip)
		if !u.byPut.Load() {
			u.once.Do(func() { close(u.done) })
		}
	}()
	return u
}

// revokesAll closes its leases when it is closed.
type revokesAll struct {
	conformance.Store
	mu   sync.Mutex
	held []backend.Lease
}

func (s *revokesAll) Lease(ctx context.Context, ttl time.Duration) (backend.Lease, error) {
	l, err := s.Store.Lease(ctx, ttl)
	if err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.held = append(s.held, l)
	}
	return l, err
}

func (s *revokesAll) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.held {
		_ = l.Close(context.Background())
	}
	s.held = nil
	return s.Store.Close()
}
