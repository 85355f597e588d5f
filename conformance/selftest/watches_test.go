package selftest

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/conformance"
)

// watches are broken in what a watch tells: guarantee 5.
func watches() []defect {
	return []defect{{
		name:   "gap-after-the-snapshot",
		wrong:  "a watch reads the prefix and then follows it from now, not from the revision it has read",
		seen:   "most discovery code: get, then watch",
		cases:  []string{"watch/no-gap", "watch/snapshot-then-changes"},
		breaks: each(func(s conformance.Store) fromNow { return fromNow{s} }),
	}, {
		name:   "drops-deletes-at-resync",
		wrong:  "after history was lost a watch tells the keys that are there, and not those that are gone",
		cases:  []string{"watch/outlives-a-cut", "concurrency/watches-agree-under-network-faults"},
		breaks: each(func(s conformance.Store) watching { return watching{s, tellsWhatIsThere} }),
	}, {
		name:   "deaf-after-history-lost",
		wrong:  "after history was lost a watch waits for a revision that does not come",
		seen:   "go-kit #997: the index of blocking queries is not reset",
		cases:  []string{"watch/history-lost"},
		waits:  "another snapshot",
		breaks: each(func(s conformance.Store) watching { return watching{s, untilResync} }),
	}, {
		name:   "resumes-behind-another-store",
		wrong:  "a watch goes on with the changes when another store is behind the address",
		seen:   "etcd's clientv3 resumes after a restore without a word",
		cases:  []string{"watch/store-replaced", "watch/store-replaced-by-one-ahead"},
		waits:  "the truth of the new store",
		breaks: each(func(s conformance.Store) watching { return watching{s, oneSnapshot} }),
	}, {
		name:   "waits-for-the-old-revision",
		wrong:  "a watch drops what is older than it has seen, also when the store was replaced",
		cases:  []string{"watch/store-replaced"},
		waits:  "the truth of the new store",
		breaks: each(func(s conformance.Store) watching { return watching{s, onlyNewer} }),
	}, {
		name:   "busy-after-history-lost",
		wrong:  "after history was lost a watch asks again and again without a pause",
		seen:   "go-kit #1214, go-zero #3364",
		cases:  []string{"watch/quiet-after-history-lost"},
		breaks: each(func(s conformance.Store) busyLoop { return busyLoop{s} }),
	}, {
		name:   "snapshots-for-changes",
		wrong:  "each change is told as a snapshot of the whole prefix",
		cases:  []string{"watch/empty-prefix-of-nothing", "watch/tells-what-get-tells"},
		breaks: each(func(s conformance.Store) watching { return watching{s, alwaysWhole} }),
	}, {
		name:  "drops-the-final-slash",
		wrong: "a watch of \"dir/\" covers \"dir\" and \"dir2/a\" too",
		seen:  "kvtools/etcdv3: List(\"dir\") returns dir2/y",
		cases: []string{"watch/prefix-is-literal"},
		breaks: each(func(s conformance.Store) renamed {
			return renamed{s, func(prefix string) string { return strings.TrimSuffix(prefix, "/") }}
		}),
	}, {
		name:  "prefix-is-a-directory",
		wrong: "a watch of \"dir\" covers what is under \"dir/\" only",
		cases: []string{"watch/prefix-is-literal"},
		breaks: each(func(s conformance.Store) renamed {
			return renamed{s, func(prefix string) string {
				if prefix != "" && !strings.HasSuffix(prefix, "/") {
					prefix += "/"
				}
				return prefix
			}}
		}),
	}, {
		name:   "polls",
		wrong:  "a watch reads the prefix every 50ms",
		seen:   "go-cloud etcdvar: 7,620 requests in 3s on an idle variable",
		cases:  []string{"watch/idle-is-quiet", "watch/absent-prefix-beside-a-busy-neighbour"},
		breaks: each(func(s conformance.Store) polls { return polls{s} }),
	}, {
		name:   "reads-again-at-each-change",
		wrong:  "each watch reads its prefix anew when something has changed",
		seen:   "watches that are taken for a bell",
		cases:  []string{"watch/requests-of-many"},
		breaks: each(func(s conformance.Store) readsAgain { return readsAgain{s} }),
	}, {
		name:  "a-connection-per-watch",
		wrong: "each watch holds a connection, of which the server allows 200",
		seen:  "blocking queries of Consul, http_max_conns_per_client",
		cases: []string{"watch/five-hundred"},
		breaks: func(*memory.Server) wrap {
			connections := make(chan struct{}, 200)
			return func(s conformance.Store) conformance.Store { return connects{s, connections} }
		},
	}, {
		name:   "leaks-a-goroutine-per-watch",
		wrong:  "a goroutine of each watch never ends",
		cases:  []string{"watch/goroutines-of-an-open-store"},
		breaks: each(func(s conformance.Store) leaks { return leaks{s} }),
	}, {
		name:   "queues-without-bound",
		wrong:  "what a slow consumer has not taken is queued, update by update",
		seen:   "etcd's clientv3",
		cases:  []string{"watch/slow-consumer", "watch/slow-consumer-memory", "watch/cancelled-while-its-consumer-works"},
		breaks: each(func(s conformance.Store) queues { return queues{s, 1024, false} }),
	}, {
		name:   "drops-what-is-not-taken",
		wrong:  "what a slow consumer has no room for is thrown away",
		cases:  []string{"watch/slow-consumer"},
		breaks: each(func(s conformance.Store) queues { return queues{s, 1, true} }),
	}, {
		name:   "slow-consumer-blocks-the-others",
		wrong:  "a consumer that has not come back keeps the store's other watches from being told",
		cases:  []string{"watch/slow-consumer"},
		waits:  "the last write",
		breaks: each(func(s conformance.Store) conformance.Store { return &oneAtATime{Store: s} }),
	}, {
		name:   "misses-the-end-of-leases",
		wrong:  "a watch does not tell that a key vanished with its lease",
		seen:   "kratos #3310: the departure of the last instance is never told",
		cases:  []string{"watch/lease-expiry-is-seen", "concurrency/watches-agree"},
		breaks: each(func(s conformance.Store) watching { return watching{s, keepsLeased} }),
	}, {
		name:   "splits-updates",
		wrong:  "what happened in one write is told in several updates",
		cases:  []string{"watch/lease-expiry-is-seen", "lease/revoked-keys-vanish-together", "concurrency/watches-agree"},
		breaks: each(func(s conformance.Store) watching { return watching{s, oneByOne} }),
	}, {
		name:   "older-after-newer",
		wrong:  "a watch tells a version of a key, and then the one before it",
		cases:  []string{"watch/tells-what-get-tells", "concurrency/watches-agree"},
		breaks: each(func(s conformance.Store) watching { return watching{s, repeatsTheLast} }),
	}, {
		name:   "opens-at-once",
		wrong:  "WatchPrefix reads the prefix when it is called, and each range begins with that",
		cases:  []string{"watch/range-is-a-new-watch", "watch/requests-of-many"},
		breaks: each(func(s conformance.Store) eager { return eager{s} }),
	}, {
		name:   "no-confirmations",
		wrong:  "an idle watch never confirms that nothing has changed",
		cases:  []string{"watch/confirmed"},
		waits:  "a confirmation",
		after:  45 * time.Second,
		breaks: each(func(s conformance.Store) watching { return watching{s, onlyChanges} }),
	}, {
		name:   "ends-with-its-neighbour",
		wrong:  "the end of one watch ends the store's other watches",
		cases:  []string{"watch/neighbours", "watch/broken-off"},
		breaks: each(func(s conformance.Store) conformance.Store { return &endTogether{Store: s} }),
	}, {
		name:   "ends-without-an-error",
		wrong:  "a watch ends and does not say why",
		seen:   "closed watch channels that are read in a loop",
		cases:  []string{"watch/ends-with-its-context", "watch/ends-with-its-store"},
		breaks: each(func(s conformance.Store) endsSilently { return endsSilently{s} }),
	}, {
		name:   "ends-with-its-connection",
		wrong:  "a watch whose connection breaks ends, and leaves it to its caller to begin again",
		seen:   "discovery code that learns nothing more after a restart of its store",
		cases:  []string{"watch/outlives-a-restart", "watch/outlives-a-cut", "errors/cut-off"},
		breaks: each(func(s conformance.Store) endsBroken { return endsBroken{s} }),
	}, {
		name:   "takes-its-leave",
		wrong:  "a watch that ends tells the server, and waits for the answer",
		cases:  []string{"watch/ends-while-the-store-is-away"},
		breaks: each(func(s conformance.Store) takesLeave { return takesLeave{s} }),
	}, {
		name:   "notices-the-end-late",
		wrong:  "a watch that waits looks at its context with the next update",
		cases:  []string{"watch/ends-with-its-context"},
		breaks: each(func(s conformance.Store) noticesLate { return noticesLate{s} }),
	}, {
		name:  "outlives-its-store",
		wrong: "closing the store does not end its watches",
		cases: []string{"watch/ends-with-its-store"},
		waits: "does not end",
		breaks: func(server *memory.Server) wrap {
			return func(s conformance.Store) conformance.Store { return watchesApart{s, server.Open()} }
		},
	}, {
		name:  "put-retains-the-value",
		wrong: "what the caller does to a value that it has put changes the store",
		cases: []string{"watch/values-are-the-callers"},
		breaks: func(*memory.Server) wrap {
			v := &values{byRevision: map[backend.Revision][]byte{}}
			return func(s conformance.Store) conformance.Store { return retains{s, v} }
		},
	}, {
		name:  "get-shares-the-value",
		wrong: "what a caller does to a value that it got changes what others get",
		cases: []string{"watch/values-are-the-callers"},
		breaks: func(*memory.Server) wrap {
			v := &values{byRevision: map[backend.Revision][]byte{}}
			return func(s conformance.Store) conformance.Store { return sharesGets{s, v} }
		},
	}, {
		name:  "watches-share-the-value",
		wrong: "what a consumer does to a value in a change changes what the other watches tell",
		cases: []string{"watch/values-are-the-callers"},
		breaks: func(*memory.Server) wrap {
			v := &values{byRevision: map[backend.Revision][]byte{}}
			return func(s conformance.Store) conformance.Store { return watching{s, v.share} }
		},
	}}
}

// unchanged tells an update as it is.
func unchanged(u backend.Update) []backend.Update { return []backend.Update{u} }

// fromNow takes the snapshot from one watch and the changes from the next.
type fromNow struct{ conformance.Store }

func (s fromNow) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		for u, err := range s.Store.WatchPrefix(ctx, prefix) {
			if !yield(u, err) || err != nil {
				return
			}
			break
		}
		time.Sleep(roundTrip)
		begun := false
		for u, err := range s.Store.WatchPrefix(ctx, prefix) {
			if !begun && err == nil {
				begun = true
				continue
			}
			if !yield(u, err) {
				return
			}
		}
	}
}

func tellsWhatIsThere() func(backend.Update) []backend.Update {
	begun := false
	return func(u backend.Update) []backend.Update {
		u.Snapshot = u.Snapshot && !begun
		begun = true
		return unchanged(u)
	}
}

func untilResync() func(backend.Update) []backend.Update {
	snapshots := 0
	return func(u backend.Update) []backend.Update {
		if u.Snapshot {
			snapshots++
		}
		if snapshots > 1 {
			return nil
		}
		return unchanged(u)
	}
}

func oneSnapshot() func(backend.Update) []backend.Update {
	begun := false
	return func(u backend.Update) []backend.Update {
		if u.Snapshot && begun {
			return nil
		}
		begun = true
		return unchanged(u)
	}
}

func onlyNewer() func(backend.Update) []backend.Update {
	var last backend.Revision
	return func(u backend.Update) []backend.Update {
		if u.Revision < last {
			return nil
		}
		last = u.Revision
		return unchanged(u)
	}
}

type busyLoop struct{ conformance.Store }

func (s busyLoop) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var loop sync.WaitGroup
		defer loop.Wait()
		defer cancel()
		snapshots := 0
		for u, err := range s.Store.WatchPrefix(ctx, prefix) {
			if u.Snapshot {
				if snapshots++; snapshots == 2 {
					loop.Go(func() { s.ask(ctx) })
				}
			}
			if !yield(u, err) {
				return
			}
		}
	}
}

func (s busyLoop) ask(ctx context.Context) {
	for ctx.Err() == nil {
		_, _ = s.Get(ctx, "k")
		time.Sleep(roundTrip)
	}
}

func alwaysWhole() func(backend.Update) []backend.Update {
	var state backend.State
	return func(u backend.Update) []backend.Update {
		state.Apply(u)
		whole := cloned(backend.Update{Snapshot: true, Revision: u.Revision, Puts: state.Entries()})
		slices.SortFunc(whole.Puts, func(a, b backend.Entry) int { return int(a.Revision) - int(b.Revision) })
		return unchanged(whole)
	}
}

// renamed watches another prefix.
type renamed struct {
	conformance.Store
	prefix func(string) string
}

func (s renamed) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	if backend.CheckPrefix(prefix) == nil {
		prefix = s.prefix(prefix)
	}
	return s.Store.WatchPrefix(ctx, prefix)
}

type polls struct{ conformance.Store }

func (s polls) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		var state backend.State
		var told time.Time
		for begun := false; ; begun = true {
			change, err := readFirst(ctx, s.Store, prefix)
			if err == nil && begun {
				change = state.Apply(change)
			} else {
				state.Apply(cloned(change))
			}
			news := !begun || err != nil || len(change.Puts)+len(change.Deletes) > 0
			if news || time.Since(told) > 10*time.Second {
				told = time.Now()
				if !yield(change, err) || err != nil {
					return
				}
			}
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
}

type readsAgain struct{ conformance.Store }

func (s readsAgain) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		for u, err := range s.Store.WatchPrefix(ctx, prefix) {
			if err == nil && !u.Snapshot {
				_, _ = readFirst(ctx, s.Store, prefix) // which would tell the same
			}
			if !yield(u, err) {
				return
			}
		}
	}
}

// connects has a connection for each watch, as long as there are some.
type connects struct {
	conformance.Store
	connections chan struct{}
}

func (s connects) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		select {
		case s.connections <- struct{}{}:
			defer func() { <-s.connections }()
			s.Store.WatchPrefix(ctx, prefix)(yield)
		default:
			yield(backend.Update{}, backend.Failure(ctx, backend.ErrUnavailable, "watch", prefix, nil))
		}
	}
}

type leaks struct{ conformance.Store }

func (s leaks) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		go func() { <-make(chan struct{}) }()
		s.Store.WatchPrefix(ctx, prefix)(yield)
	}
}

// queues has room for so many updates that were not taken.
type queues struct {
	conformance.Store
	room  int
	drops bool
}

func (s queues) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	type news struct {
		update backend.Update
		err    error
	}
	return func(yield func(backend.Update, error) bool) {
		inner, cancel := context.WithCancelCause(ctx)
		queue := make(chan news, s.room)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel(nil)
		wg.Go(func() {
			defer close(queue)
			for u, err := range s.Store.WatchPrefix(inner, prefix) {
				select {
				case queue <- news{u, err}:
				default:
					if s.drops && err == nil {
						continue
					}
					select {
					case queue <- news{u, err}:
					case <-inner.Done():
					}
				}
			}
		})
		for n := range queue {
			if !yield(n.update, n.err) {
				return
			}
		}
	}
}

// oneAtATime has one lock for all consumers.
type oneAtATime struct {
	conformance.Store
	mu sync.Mutex
}

func (s *oneAtATime) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		s.Store.WatchPrefix(ctx, prefix)(func(u backend.Update, err error) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return yield(u, err)
		})
	}
}

func keepsLeased() func(backend.Update) []backend.Update {
	leased := map[string]bool{}
	return func(u backend.Update) []backend.Update {
		u.Deletes = slices.DeleteFunc(u.Deletes, func(key string) bool { return leased[key] })
		for _, e := range u.Puts {
			leased[e.Key] = e.Lease != ""
		}
		return unchanged(u)
	}
}

func oneByOne() func(backend.Update) []backend.Update {
	return func(u backend.Update) []backend.Update {
		if u.Snapshot || len(u.Deletes) == 0 {
			return unchanged(u)
		}
		var split []backend.Update
		for _, key := range u.Deletes {
			split = append(split, backend.Update{Revision: u.Revision, Deletes: []string{key}})
		}
		u.Deletes = nil
		return append(split, u)
	}
}

func repeatsTheLast() func(backend.Update) []backend.Update {
	last := map[string]backend.Entry{}
	return func(u backend.Update) []backend.Update {
		told := unchanged(u)
		for _, e := range u.Puts {
			if before, ok := last[e.Key]; ok && !u.Snapshot {
				told = append(told, backend.Update{Revision: u.Revision, Puts: []backend.Entry{before}})
			}
			last[e.Key] = e
		}
		return told
	}
}

type eager struct{ conformance.Store }

func (s eager) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	snapshot, err := readFirst(ctx, s.Store, prefix)
	return func(yield func(backend.Update, error) bool) {
		if yield(cloned(snapshot), err) && err == nil {
			s.Store.WatchPrefix(ctx, prefix)(yield)
		}
	}
}

func onlyChanges() func(backend.Update) []backend.Update {
	return func(u backend.Update) []backend.Update {
		if !u.Snapshot && len(u.Puts)+len(u.Deletes) == 0 {
			return nil
		}
		return unchanged(u)
	}
}

// endTogether has one context for all watches that are open.
type endTogether struct {
	conformance.Store
	mu      sync.Mutex
	cancels map[*context.CancelCauseFunc]struct{}
}

func (s *endTogether) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer s.end()
		s.mu.Lock()
		if s.cancels == nil {
			s.cancels = map[*context.CancelCauseFunc]struct{}{}
		}
		s.cancels[&cancel] = struct{}{}
		s.mu.Unlock()
		s.Store.WatchPrefix(ctx, prefix)(yield)
	}
}

func (s *endTogether) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for cancel := range s.cancels {
		(*cancel)(errors.New("another watch has ended"))
	}
	clear(s.cancels)
}

type endsSilently struct{ conformance.Store }

func (s endsSilently) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		begun := false
		for u, err := range s.Store.WatchPrefix(ctx, prefix) {
			if err != nil && begun || !yield(u, err) {
				return
			}
			begun = true
		}
	}
}

// endsBroken takes a second snapshot for what it is: the connection was another.
type endsBroken struct{ conformance.Store }

func (s endsBroken) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		begun := false
		for u, err := range s.Store.WatchPrefix(ctx, prefix) {
			if u.Snapshot && begun {
				yield(backend.Update{}, backend.Failure(ctx, backend.ErrUnavailable, "watch", prefix, nil))
				return
			}
			begun = true
			if !yield(u, err) {
				return
			}
		}
	}
}

type takesLeave struct{ conformance.Store }

func (s takesLeave) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		s.Store.WatchPrefix(ctx, prefix)(func(u backend.Update, err error) bool {
			if err != nil {
				_, _ = s.Get(context.WithoutCancel(ctx), "farewell")
			}
			return yield(u, err)
		})
	}
}

type noticesLate struct{ conformance.Store }

func (s noticesLate) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		if ctx.Err() != nil {
			yield(backend.Update{}, context.Cause(ctx))
			return
		}
		for u, err := range s.Store.WatchPrefix(context.WithoutCancel(ctx), prefix) {
			if ctx.Err() != nil {
				yield(backend.Update{}, context.Cause(ctx))
				return
			}
			if !yield(u, err) {
				return
			}
		}
	}
}

// watchesApart has a store of its own for watches, which nobody closes.
type watchesApart struct {
	conformance.Store
	apart backend.Store
}

func (s watchesApart) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return s.apart.WatchPrefix(ctx, prefix)
}

// values are shared by all who should have one each.
type values struct {
	mu         sync.Mutex
	byRevision map[backend.Revision][]byte
}

// of is the value of a revision: the first that was given for it.
func (v *values) of(rev backend.Revision, value []byte) []byte {
	v.mu.Lock()
	defer v.mu.Unlock()
	if shared, ok := v.byRevision[rev]; ok {
		return shared
	}
	v.byRevision[rev] = value
	return value
}

func (v *values) share() func(backend.Update) []backend.Update {
	return func(u backend.Update) []backend.Update {
		for i, e := range u.Puts {
			u.Puts[i].Value = v.of(e.Revision, e.Value)
		}
		return unchanged(u)
	}
}

type retains struct {
	conformance.Store
	values *values
}

func (s retains) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	rev, err := s.Store.Put(ctx, key, value, opts...)
	if err == nil {
		s.values.of(rev, value)
	}
	return rev, err
}

func (s retains) Get(ctx context.Context, key string) (backend.Entry, error) {
	e, err := s.Store.Get(ctx, key)
	if err == nil {
		e.Value = slices.Clone(s.values.of(e.Revision, e.Value))
	}
	return e, err
}

type sharesGets struct {
	conformance.Store
	values *values
}

func (s sharesGets) Get(ctx context.Context, key string) (backend.Entry, error) {
	e, err := s.Store.Get(ctx, key)
	if err == nil {
		e.Value = s.values.of(e.Revision, e.Value)
	}
	return e, err
}
