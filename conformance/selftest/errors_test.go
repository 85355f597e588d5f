package selftest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/conformance"
)

// failures are broken in what they say when something goes wrong, and in how
// long they try: guarantees 6 and 8.
func failures() []defect {
	return []defect{{
		name:  "unknown-as-unavailable",
		wrong: "a write that may have been applied is said not to have been",
		cases: []string{
			"context/deadline-on-the-wire", "errors/reply-lost", "errors/connection-lost-before-the-reply", "errors/cuts-among-writes",
			"errors/modify-after-a-lost-reply", "concurrency/linearizable-under-network-faults",
		},
		breaks: each(func(s conformance.Store) telling {
			return telling{s, func(_ bool, err error) error { return reclassed(err, backend.ErrUnknown, backend.ErrUnavailable) }}
		}),
	}, {
		name:  "unavailable-as-unknown",
		wrong: "a write that was certainly not sent is said to have an unknown outcome",
		cases: []string{"errors/unreachable", "context/deadline-before-sending"},
		breaks: each(func(s conformance.Store) telling {
			return telling{s, func(write bool, err error) error {
				if !write {
					return err
				}
				return reclassed(err, backend.ErrUnavailable, backend.ErrUnknown)
			}}
		}),
	}, {
		name:  "errors-lose-their-class",
		wrong: "errors are wrapped as text",
		seen:  "fmt.Errorf with %v",
		cases: []string{"conditions/own-key", "errors/closed", "errors/unreachable", "errors/refusals"},
		breaks: each(func(s conformance.Store) telling {
			return telling{s, func(_ bool, err error) error { return fmt.Errorf("store: %v", err) }} //nolint:errorlint // that is the defect
		}),
	}, {
		name:   "takes-on-the-class-of-its-cause",
		wrong:  "the error of a call that was cancelled wraps the context's cause, whatever class that is of",
		seen:   "%w with context.Cause",
		cases:  []string{"context/cause-adds-no-class"},
		breaks: each(func(s conformance.Store) wrapsCause { return wrapsCause{s} }),
	}, {
		name:  "errors-lose-their-cause",
		wrong: "an error matches its class, and neither the context's error nor its cause",
		cases: []string{"context/deadline-on-the-wire", "context/cancelled-while-the-server-is-paused", "context/ended-before"},
		breaks: each(func(s conformance.Store) telling {
			return telling{s, func(_ bool, err error) error {
				for _, class := range []error{backend.ErrUnavailable, backend.ErrUnknown} {
					if errors.Is(err, class) {
						return class
					}
				}
				return err
			}}
		}),
	}, {
		name:   "leaves-writes-behind",
		wrong:  "a write whose deadline passes goes on, and is said not to have been made",
		seen:   "calls that race with a timer",
		cases:  []string{"errors/deadlines-among-writes"},
		breaks: each(func(s conformance.Store) leavesBehind { return leavesBehind{s} }),
	}, {
		name:   "close-waits-for-calls",
		wrong:  "closing the store waits for the calls that are under way, for 5 seconds at most",
		seen:   "graceful shutdown",
		cases:  []string{"errors/closed-while-replies-are-lost", "errors/closed-while-the-server-is-paused"},
		breaks: each(func(s conformance.Store) conformance.Store { return &closesGracefully{Store: s} }),
	}, {
		name:  "closed-as-unavailable",
		wrong: "a closed store says that it is unavailable",
		cases: []string{"errors/closed", "watch/ends-with-its-store"},
		breaks: each(func(s conformance.Store) telling {
			return telling{s, func(_ bool, err error) error { return reclassed(err, backend.ErrClosed, backend.ErrUnavailable) }}
		}),
	}, {
		name:  "denied-as-not-found",
		wrong: "a key that one may not read is said not to exist",
		seen:  "Consul answers an anonymous token so",
		cases: []string{"errors/wrong-credentials", "errors/missing-rights"},
		breaks: each(func(s conformance.Store) telling {
			return telling{s, func(write bool, err error) error {
				if write {
					return err
				}
				return reclassed(err, backend.ErrDenied, backend.ErrNotFound)
			}}
		}),
	}, {
		name:  "denied-as-conflict",
		wrong: "a write that one may not make is said to have met a conflict",
		seen:  "Consul answers 409 to both",
		cases: []string{"errors/wrong-credentials", "errors/missing-rights"},
		breaks: each(func(s conformance.Store) telling {
			return telling{s, func(write bool, err error) error {
				if !write {
					return err
				}
				return reclassed(err, backend.ErrDenied, backend.ErrConflict)
			}}
		}),
	}, {
		name:  "full-as-unavailable",
		wrong: "a store without space says that it is unavailable",
		cases: []string{"errors/store-full"},
		breaks: each(func(s conformance.Store) telling {
			return telling{s, func(_ bool, err error) error { return reclassed(err, backend.ErrFull, backend.ErrUnavailable) }}
		}),
	}, {
		name:   "empty-when-denied",
		wrong:  "a prefix that one may not read is an empty snapshot",
		seen:   "Consul filters a list and answers 404",
		cases:  []string{"errors/wrong-credentials", "errors/missing-rights"},
		breaks: each(func(s conformance.Store) emptyFor { return emptyFor{s, backend.ErrDenied} }),
	}, {
		name:   "empty-when-rights-are-lost",
		wrong:  "when the rights are taken away a watch tells that all keys are gone",
		seen:   "Consul filters a list and answers 404",
		cases:  []string{"errors/rights-lost-during-a-watch"},
		breaks: each(func(s conformance.Store) emptiesWhenDenied { return emptiesWhenDenied{s} }),
	}, {
		name:   "empty-when-unreachable",
		wrong:  "a store that can't be reached is an empty snapshot",
		seen:   "discovery code that remembers its first failure as an empty list",
		cases:  []string{"errors/unreachable", "errors/cut-off", "watch/outlives-a-cut", "watch/outlives-a-pause"},
		breaks: each(func(s conformance.Store) emptyFor { return emptyFor{s, backend.ErrUnavailable} }),
	}, {
		name:   "opens-with-its-server-only",
		wrong:  "a store can't be opened while its server is away",
		seen:   "services that crash when etcd starts after them",
		cases:  []string{"errors/unreachable", "context/deadline-before-sending"},
		breaks: each(func(s conformance.Store) asksToOpen { return asksToOpen{s} }),
	}, {
		name:   "remembers-its-first-failure",
		wrong:  "a store that was once unavailable stays so",
		seen:   "clients that are set up once, with the error they met",
		cases:  []string{"errors/unreachable"},
		waits:  "watchdog",
		breaks: each(func(s conformance.Store) conformance.Store { return remembering(s) }),
	}, {
		name:   "sends-writes-again",
		wrong:  "a write whose reply does not come is sent again",
		seen:   "clients and proxies that retry every request",
		cases:  []string{"errors/reply-lost", "errors/connection-lost-before-the-reply"},
		breaks: each(func(s conformance.Store) sendsAgain { return sendsAgain{s} }),
	}, {
		name:   "context-ignored-on-the-wire",
		wrong:  "a context that ends while a request is under way ends nothing",
		cases:  []string{"context/deadline-on-the-wire", "context/cancelled-on-the-wire", "context/cancelled-while-the-server-is-paused"},
		breaks: each(func(s conformance.Store) timed { return timed{s, context.WithoutCancel} }),
	}, {
		name:  "no-request-timeout",
		wrong: "a call without a deadline waits for its answer for ever",
		cases: []string{"context/without-a-deadline"},
		waits: "the end of all calls",
		breaks: each(func(s conformance.Store) timed {
			return timed{s, func(ctx context.Context) context.Context {
				if _, ok := ctx.Deadline(); ok {
					return ctx
				}
				return endless{ctx}
			}}
		}),
	}}
}

// limits are broken in which keys and values they take: guarantee 7.
func limits() []defect {
	return []defect{{
		name:  "cleans-keys",
		wrong: "a key that breaks the rules is changed into one that does not",
		seen:  "path.Clean, and Consul's redirect of a/../b",
		cases: []string{"keys/refused"},
		breaks: each(func(s conformance.Store) otherKeys {
			return otherKeys{s, func(key string) string {
				if key == "" {
					return key
				}
				return strings.TrimLeft(path.Clean(key), "/")
			}}
		}),
	}, {
		name:  "unescapes-keys",
		wrong: "a key goes through a URL without being escaped",
		cases: []string{"keys/odd-ones-round-trip"},
		breaks: each(func(s conformance.Store) otherKeys {
			return otherKeys{s, func(key string) string {
				if plain, err := url.PathUnescape(key); err == nil {
					return plain
				}
				return key
			}}
		}),
	}, {
		name:   "escapes-keys",
		wrong:  "a key is stored in the form it has in a URL",
		cases:  []string{"keys/as-people-type-them"},
		breaks: each(func(s conformance.Store) otherKeys { return otherKeys{s, url.PathEscape} }),
	}, {
		name:   "wraps-values",
		wrong:  "a value is stored in an envelope that other tools don't know",
		seen:   "libraries that store a version, a codec or a checksum with each value",
		cases:  []string{"keys/as-people-type-them", "watch/sees-other-tools"},
		breaks: each(func(s conformance.Store) envelopes { return envelopes{watching{s, unwrapped}} }),
	}, {
		name:   "refuses-after-sending",
		wrong:  "Put asks the store for something before it looks at its arguments",
		cases:  []string{"keys/refused-before-sending"},
		breaks: each(func(s conformance.Store) asksFirst { return asksFirst{s} }),
	}, {
		name:   "value-limit-off-by-one",
		wrong:  "a value of 256 KiB is too large",
		cases:  []string{"values/bytes", "values/many-large-ones", "conditions/limits"},
		breaks: each(func(s conformance.Store) offByOne { return offByOne{s} }),
	}, {
		name:   "cuts-large-values",
		wrong:  "a value of more than 256 KiB is cut and stored",
		cases:  []string{"values/bytes"},
		breaks: each(func(s conformance.Store) cuts { return cuts{s} }),
	}, {
		name:   "nil-for-an-empty-value",
		wrong:  "Get returns nil for a value of no bytes",
		cases:  []string{"values/bytes"},
		breaks: each(func(s conformance.Store) nilValues { return nilValues{s} }),
	}, {
		name:  "nil-for-an-empty-value-in-watches",
		wrong: "watches tell nil for a value of no bytes",
		cases: []string{"values/bytes"},
		breaks: each(func(s conformance.Store) watching {
			return watching{s, func() func(backend.Update) []backend.Update {
				return func(u backend.Update) []backend.Update {
					for i, e := range u.Puts {
						u.Puts[i].Value = nilIfEmpty(e.Value)
					}
					return unchanged(u)
				}
			}}
		}),
	}}
}

// reclassed is an error of one class as one of another.
func reclassed(err, from, to error) error {
	if !errors.Is(err, from) {
		return err
	}
	return reclassedError{err, from, to}
}

type reclassedError struct {
	error
	from, to error
}

func (e reclassedError) Is(target error) bool {
	switch target {
	case e.from:
		return false
	case e.to:
		return true
	}
	return errors.Is(e.error, target)
}

type wrapsCause struct{ conformance.Store }

func (s wrapsCause) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	rev, err := s.Store.Put(ctx, key, value, opts...)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return rev, err
}

type leavesBehind struct{ conformance.Store }

func (s leavesBehind) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	type outcome struct {
		rev backend.Revision
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		time.Sleep(roundTrip)
		rev, err := s.Store.Put(context.WithoutCancel(ctx), key, value, opts...)
		done <- outcome{rev, err}
	}()
	select {
	case o := <-done:
		return o.rev, o.err
	case <-ctx.Done():
		return 0, backend.Failure(ctx, backend.ErrUnavailable, "put", key, nil)
	}
}

type closesGracefully struct {
	conformance.Store
	calls sync.RWMutex // read-locked by those under way
}

func (s *closesGracefully) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	s.calls.RLock()
	defer s.calls.RUnlock()
	return s.Store.Put(ctx, key, value, opts...)
}

func (s *closesGracefully) Close() error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.calls.Lock()
		defer s.calls.Unlock()
	}()
	select {
	case <-ended:
	case <-time.After(backend.DefaultTimeout):
	}
	return s.Store.Close()
}

// emptyFor begins watches with an empty snapshot when there is an error of a
// class.
type emptyFor struct {
	conformance.Store
	class error
}

func (s emptyFor) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		probe, cancel := context.WithTimeout(ctx, 5*roundTrip)
		_, err := s.Get(probe, strings.TrimSuffix(prefix, "/")+"/probe")
		cancel()
		if errors.Is(err, s.class) && ctx.Err() == nil && !yield(backend.Update{Snapshot: true}, nil) {
			return
		}
		s.Store.WatchPrefix(ctx, prefix)(yield)
	}
}

type emptiesWhenDenied struct{ conformance.Store }

func (s emptiesWhenDenied) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		var last backend.Revision
		for u, err := range s.Store.WatchPrefix(ctx, prefix) {
			if last != 0 && errors.Is(err, backend.ErrDenied) && !yield(backend.Update{Snapshot: true, Revision: last}, nil) {
				return
			}
			last = u.Revision
			if !yield(u, err) {
				return
			}
		}
	}
}

type asksToOpen struct{ conformance.Store }

func (s asksToOpen) opened() error {
	if _, err := s.Get(context.Background(), "probe"); !errors.Is(err, backend.ErrNotFound) {
		return err
	}
	return nil
}

func remembering(s conformance.Store) telling {
	var mu sync.Mutex
	var first error
	return telling{failsWith{s, func() error {
		mu.Lock()
		defer mu.Unlock()
		return first
	}}, func(_ bool, err error) error {
		mu.Lock()
		defer mu.Unlock()
		if first == nil && errors.Is(err, backend.ErrUnavailable) {
			first = err
		}
		return err
	}}
}

// failsWith fails to write with an error, if there is one.
type failsWith struct {
	conformance.Store
	err func() error
}

func (s failsWith) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	if err := s.err(); err != nil {
		return 0, err
	}
	return s.Store.Put(ctx, key, value, opts...)
}

type sendsAgain struct{ conformance.Store }

func (s sendsAgain) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	for {
		try, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		rev, err := s.Store.Put(try, key, value, opts...)
		cancel()
		if ctx.Err() != nil || !errors.Is(err, backend.ErrUnknown) {
			return rev, err
		}
	}
}

// timed calls with another context, unless that has ended.
type timed struct {
	conformance.Store
	context func(context.Context) context.Context
}

func (s timed) on(ctx context.Context) context.Context {
	if ctx.Err() != nil {
		return ctx
	}
	return s.context(ctx)
}

func (s timed) Lease(ctx context.Context, ttl time.Duration) (backend.Lease, error) {
	return s.Store.Lease(s.on(ctx), ttl)
}

func (s timed) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	return s.Store.Put(s.on(ctx), key, value, opts...)
}

func (s timed) Get(ctx context.Context, key string) (backend.Entry, error) {
	return s.Store.Get(s.on(ctx), key)
}

func (s timed) Delete(ctx context.Context, key string, conds ...backend.Condition) error {
	return s.Store.Delete(s.on(ctx), key, conds...)
}

// endless is a context whose deadline is far away.
type endless struct{ context.Context }

func (endless) Deadline() (time.Time, bool) { return time.Now().Add(time.Hour), true }

// otherKeys makes another key of each.
type otherKeys struct {
	conformance.Store
	key func(string) string
}

func (s otherKeys) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	return s.Store.Put(ctx, s.key(key), value, opts...)
}

func (s otherKeys) Get(ctx context.Context, key string) (backend.Entry, error) {
	e, err := s.Store.Get(ctx, s.key(key))
	e.Key = key
	return e, err
}

func (s otherKeys) Delete(ctx context.Context, key string, conds ...backend.Condition) error {
	return s.Store.Delete(ctx, s.key(key), conds...)
}

// envelopes puts values into envelopes, which its watches open.
type envelopes struct{ watching }

const envelope = "v1:"

func (s envelopes) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	return s.watching.Put(ctx, key, append([]byte(envelope), value...), opts...)
}

func (s envelopes) Get(ctx context.Context, key string) (backend.Entry, error) {
	e, err := s.watching.Get(ctx, key)
	e.Value = bytes.TrimPrefix(e.Value, []byte(envelope))
	return e, err
}

func unwrapped() func(backend.Update) []backend.Update {
	return func(u backend.Update) []backend.Update {
		for i, e := range u.Puts {
			u.Puts[i].Value = bytes.TrimPrefix(e.Value, []byte(envelope))
		}
		return unchanged(u)
	}
}

type asksFirst struct{ conformance.Store }

func (s asksFirst) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	_, _ = s.Get(ctx, "where is the leader")
	return s.Store.Put(ctx, key, value, opts...)
}

type offByOne struct{ conformance.Store }

func (s offByOne) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	if len(value) >= backend.MaxValue {
		return 0, fmt.Errorf("%w: %d bytes", backend.ErrTooLarge, len(value))
	}
	return s.Store.Put(ctx, key, value, opts...)
}

type cuts struct{ conformance.Store }

func (s cuts) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	return s.Store.Put(ctx, key, value[:min(len(value), backend.MaxValue)], opts...)
}

type nilValues struct{ conformance.Store }

func (s nilValues) Get(ctx context.Context, key string) (backend.Entry, error) {
	e, err := s.Store.Get(ctx, key)
	e.Value = nilIfEmpty(e.Value)
	return e, err
}

func nilIfEmpty(value []byte) []byte {
	if len(value) == 0 {
		return nil
	}
	return value
}
