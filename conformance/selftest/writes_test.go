package selftest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/conformance"
)

// writes are broken in what they read and write: guarantees 1 to 3.
func writes() []defect {
	return []defect{{
		name:   "stale-get",
		wrong:  "Get answers from a copy that is up to a second old",
		seen:   "reads with Consul's default consistency, etcd's WithSerializable",
		cases:  []string{"linearizable/write-is-read-by-another-client", "concurrency/linearizable"},
		breaks: each(func(s conformance.Store) conformance.Store { return &staleGet{Store: s, copies: map[string]copied{}} }),
	}, {
		name:   "stale-first-update",
		wrong:  "a watch begins with the first update that the last one of its prefix began with, a second ago at most",
		seen:   "caches that hand a new follower what the old ones know",
		cases:  []string{"linearizable/first-update-beside-an-old-watch", "linearizable/write-is-read-by-another-client", "concurrency/linearizable"},
		breaks: each(func(s conformance.Store) conformance.Store { return &staleWatch{Store: s, firsts: map[string]first{}} }),
	}, {
		name:   "lists-in-two-reads",
		wrong:  "the first update of a watch is put together from two reads of different moments",
		seen:   "lists by the page without etcd's WithRev",
		cases:  []string{"lease/keys-vanish-together", "lease/revoked-keys-vanish-together", "concurrency/linearizable", "concurrency/watches-agree"},
		breaks: each(func(s conformance.Store) twoReads { return twoReads{s} }),
	}, {
		name:   "claims-to-be-complete",
		wrong:  "the first update says that it is complete up to a revision that was read after the keys",
		cases:  []string{"concurrency/watches-agree"},
		breaks: each(func(s conformance.Store) claimsTooMuch { return claimsTooMuch{s} }),
	}, {
		name:   "reads-its-revision-back",
		wrong:  "Put learns the revision it made by reading the key afterwards",
		seen:   "libkv on Consul",
		cases:  []string{"conditions/delete-race", "concurrency/linearizable"},
		breaks: each(func(s conformance.Store) readsBack { return readsBack{s} }),
	}, {
		name:   "ignores-conditions-on-other-keys",
		wrong:  "Put looks at conditions on its own key only",
		cases:  []string{"conditions/other-key", "conditions/sixty-four", "conditions/fencing-race"},
		breaks: each(func(s conformance.Store) ignoresOthers { return ignoresOthers{s} }),
	}, {
		name:   "ignores-conditions-of-delete",
		wrong:  "Delete takes conditions and does not look at them",
		cases:  []string{"conditions/delete", "conditions/delete-race"},
		breaks: each(func(s conformance.Store) deletesAnyway { return deletesAnyway{s} }),
	}, {
		name:   "ignores-conditions-under-its-own-lease",
		wrong:  "Put ignores a condition on its key when that hangs on the lease of the Put already",
		seen:   "Consul's lock by the session that holds it is an update, whatever the index",
		cases:  []string{"lease/rewritten-under-it", "conditions/whatever-the-lease"},
		breaks: each(func(s conformance.Store) ignoresUnderLease { return ignoresUnderLease{s} }),
	}, {
		name:   "takes-one-condition",
		wrong:  "Put looks at the first condition only",
		cases:  []string{"conditions/sixty-four", "conditions/other-key"},
		breaks: each(func(s conformance.Store) takesOne { return takesOne{s} }),
	}, {
		name:   "checks-before-it-writes",
		wrong:  "Put reads the keys of its conditions and then writes, in two steps",
		seen:   "get-then-put locks",
		cases:  []string{"conditions/one-creator", "conditions/fencing-race", "conditions/delete-race", "linearizable/no-lost-update", "concurrency/linearizable"},
		breaks: each(func(s conformance.Store) checksFirst { return checksFirst{s} }),
	}, {
		name:   "conflict-unread",
		wrong:  "Put reports success though a condition failed and nothing was written",
		seen:   "dapr: Txn.Succeeded unread",
		cases:  []string{"conditions/own-key", "conditions/one-creator", "concurrency/linearizable"},
		breaks: each(func(s conformance.Store) succeeds { return succeeds{s} }),
	}, {
		name:  "conflict-without-its-key",
		wrong: "a conflict does not tell which condition failed",
		cases: []string{"conditions/own-key", "conditions/other-key", "conditions/several-fail"},
		breaks: each(func(s conformance.Store) telling {
			return telling{s, func(_ bool, err error) error {
				if errors.Is(err, backend.ErrConflict) {
					return backend.ErrConflict
				}
				return err
			}}
		}),
	}, {
		name:   "conflict-names-the-first-condition",
		wrong:  "a conflict names the first condition that was given, whichever failed",
		cases:  []string{"conditions/other-key", "conditions/sixty-four", "conditions/several-fail"},
		breaks: each(func(s conformance.Store) namesFirst { return namesFirst{s} }),
	}, {
		name:   "conditions-by-prefix",
		wrong:  "a condition is about all keys that begin with the one it names",
		seen:   "etcd's compares with WithPrefix",
		cases:  []string{"conditions/exact-key"},
		breaks: each(func(s conformance.Store) checksPrefixes { return checksPrefixes{s} }),
	}, {
		name:   "one-condition-per-key",
		wrong:  "conditions are kept by their key, so that the last one for a key replaces the others",
		cases:  []string{"conditions/contradiction"},
		breaks: each(func(s conformance.Store) keepsLast { return keepsLast{s} }),
	}, {
		name:   "revision-with-a-conflict",
		wrong:  "Put returns the store's revision with a conflict",
		seen:   "the header of an etcd transaction that did not succeed",
		cases:  []string{"errors/refusals", "conditions/several-fail"},
		breaks: each(func(s conformance.Store) tellsRevision { return tellsRevision{s} }),
	}, {
		name:  "conflict-as-not-found",
		wrong: "Delete on a wrong revision says that the key was not found",
		seen:  "kvtools/etcdv3",
		cases: []string{"conditions/delete"},
		breaks: each(func(s conformance.Store) telling {
			return telling{s, func(write bool, err error) error {
				return reclassed(err, backend.ErrConflict, backend.ErrNotFound)
			}}
		}),
	}, {
		name:   "delete-of-nothing-fails",
		wrong:  "Delete of an absent key says that it was not found",
		cases:  []string{"conditions/delete"},
		breaks: each(func(s conformance.Store) missesIt { return missesIt{s} }),
	}, {
		name:   "deletes-by-prefix",
		wrong:  "Delete removes every key that begins like the one it was given",
		seen:   "service registries: to deregister port 80 removes 8080",
		cases:  []string{"keys/odd-ones-round-trip"},
		breaks: each(func(s conformance.Store) deletesPrefix { return deletesPrefix{s} }),
	}, {
		name:   "same-bytes-keep-the-revision",
		wrong:  "Put of the bytes that are there already is no write: the revision stays",
		seen:   "Consul's set of the same value and flags",
		cases:  []string{"revisions/same-bytes-twice", "revisions/same-bytes-one-winner"},
		breaks: each(func(s conformance.Store) keepsRevision { return keepsRevision{s} }),
	}, {
		name:  "revision-restarts-after-delete",
		wrong: "the revision is the version of the key, which begins at 1 again when the key was deleted",
		seen:  "dskit",
		cases: []string{"revisions/recreated-key", "revisions/grow-over-all-keys", "concurrency/linearizable"},
		breaks: func(*memory.Server) wrap {
			v := &versions{numbers: map[backend.Revision]backend.Revision{0: 0}}
			return func(s conformance.Store) conformance.Store { return perKey{s, v} }
		},
	}}
}

// staleGet keeps what it read for a second.
type staleGet struct {
	conformance.Store
	mu     sync.Mutex
	copies map[string]copied
}

type copied struct {
	entry backend.Entry
	err   error
	at    time.Time
}

func (s *staleGet) Get(ctx context.Context, key string) (backend.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.copies[key]
	if !ok || time.Since(c.at) > time.Second {
		c.at = time.Now()
		c.entry, c.err = s.Store.Get(ctx, key)
		s.copies[key] = c
	}
	e := c.entry
	if c.err == nil {
		e.Value = append([]byte{}, e.Value...)
	}
	return e, c.err
}

// staleWatch keeps first updates for a second.
type staleWatch struct {
	conformance.Store
	mu     sync.Mutex
	firsts map[string]first
}

type first struct {
	update backend.Update
	at     time.Time
}

func (s *staleWatch) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		s.mu.Lock()
		f, ok := s.firsts[prefix]
		s.mu.Unlock()
		if ok && time.Since(f.at) < time.Second && !yield(cloned(f.update), nil) {
			return
		}
		begun := false
		for u, err := range s.Store.WatchPrefix(ctx, prefix) {
			if !begun && err == nil {
				begun = true
				s.mu.Lock()
				s.firsts[prefix] = first{cloned(u), time.Now()}
				s.mu.Unlock()
			}
			if !yield(u, err) {
				return
			}
		}
	}
}

func cloned(u backend.Update) backend.Update {
	u.Puts = slices.Clone(u.Puts)
	for i := range u.Puts {
		u.Puts[i].Value = append([]byte{}, u.Puts[i].Value...)
	}
	return u
}

// readFirst reads the first update of a watch.
func readFirst(ctx context.Context, s conformance.Store, prefix string) (backend.Update, error) {
	for u, err := range s.WatchPrefix(ctx, prefix) {
		return u, err
	}
	return backend.Update{}, errors.New("no update")
}

type twoReads struct{ conformance.Store }

func (s twoReads) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		old, err := readFirst(ctx, s.Store, prefix)
		if err != nil {
			yield(old, err)
			return
		}
		time.Sleep(10 * roundTrip)
		for u, err := range s.Store.WatchPrefix(ctx, prefix) {
			if u.Snapshot {
				u.Puts = append(page(old.Puts, 0), page(u.Puts, 1)...)
				slices.SortFunc(u.Puts, func(a, b backend.Entry) int { return cmp.Compare(a.Revision, b.Revision) })
			}
			if !yield(u, err) {
				return
			}
		}
	}
}

// page is one of two parts of the keys.
func page(entries []backend.Entry, n uint8) []backend.Entry {
	return slices.DeleteFunc(slices.Clone(entries), func(e backend.Entry) bool { return e.Key[len(e.Key)-1]%2 != n })
}

type claimsTooMuch struct{ conformance.Store }

func (s claimsTooMuch) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		for u, err := range s.Store.WatchPrefix(ctx, prefix) {
			if u.Snapshot {
				time.Sleep(roundTrip)
				if later, err := readFirst(ctx, s.Store, prefix); err == nil {
					u.Revision = later.Revision
				}
			}
			if !yield(u, err) {
				return
			}
		}
	}
}

type readsBack struct{ conformance.Store }

func (s readsBack) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	if _, err := s.Store.Put(ctx, key, value, opts...); err != nil {
		return 0, err
	}
	time.Sleep(roundTrip)
	e, err := s.Get(ctx, key)
	return e.Revision, err
}

type ignoresOthers struct{ conformance.Store }

func (s ignoresOthers) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	o, err := backend.ResolvePut(key, value, opts...)
	if err != nil {
		return 0, err
	}
	o.Conditions = slices.DeleteFunc(o.Conditions, func(c backend.Condition) bool { return c.Key != key })
	return s.Store.Put(ctx, key, value, options(o)...)
}

type deletesAnyway struct{ conformance.Store }

func (s deletesAnyway) Delete(ctx context.Context, key string, conds ...backend.Condition) error {
	if err := backend.CheckDelete(key, conds); err != nil {
		return err
	}
	return s.Store.Delete(ctx, key)
}

type ignoresUnderLease struct{ conformance.Store }

func (s ignoresUnderLease) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	o, err := backend.ResolvePut(key, value, opts...)
	if err != nil {
		return 0, err
	}
	if e, err := s.Get(ctx, key); err == nil && e.Lease != "" && e.Lease == leaseID(o.Lease) {
		o.Conditions = slices.DeleteFunc(o.Conditions, func(c backend.Condition) bool { return c.Key == key })
	}
	return s.Store.Put(ctx, key, value, options(o)...)
}

type takesOne struct{ conformance.Store }

func (s takesOne) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	o, err := backend.ResolvePut(key, value, opts...)
	if err != nil {
		return 0, err
	}
	o.Conditions = o.Conditions[:min(1, len(o.Conditions))]
	return s.Store.Put(ctx, key, value, options(o)...)
}

type checksFirst struct{ conformance.Store }

func (s checksFirst) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	o, err := backend.ResolvePut(key, value, opts...)
	if err != nil {
		return 0, err
	}
	for _, c := range o.Conditions {
		e, err := s.Get(ctx, c.Key)
		if err != nil && !errors.Is(err, backend.ErrNotFound) {
			return 0, err
		}
		if e.Revision != c.Revision {
			return 0, &backend.ConflictError{Key: c.Key, Want: c.Revision, Have: e.Revision}
		}
	}
	time.Sleep(roundTrip)
	o.Conditions = nil
	return s.Store.Put(ctx, key, value, options(o)...)
}

type succeeds struct{ conformance.Store }

func (s succeeds) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	rev, err := s.Store.Put(ctx, key, value, opts...)
	if !errors.Is(err, backend.ErrConflict) {
		return rev, err
	}
	_, rev, err = backend.List(ctx, s.Store, key) // an answer has the store's revision
	return rev, err
}

type namesFirst struct{ conformance.Store }

func (s namesFirst) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	rev, err := s.Store.Put(ctx, key, value, opts...)
	if errors.Is(err, backend.ErrConflict) {
		o, _ := backend.ResolvePut(key, value, opts...)
		return 0, &backend.ConflictError{Key: o.Conditions[0].Key, Want: o.Conditions[0].Revision}
	}
	return rev, err
}

type checksPrefixes struct{ conformance.Store }

func (s checksPrefixes) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	o, err := backend.ResolvePut(key, value, opts...)
	if err != nil {
		return 0, err
	}
	for _, c := range o.Conditions {
		entries, _, err := backend.List(ctx, s.Store, c.Key)
		if err != nil {
			return 0, err
		}
		for _, e := range entries {
			if e.Revision != c.Revision {
				return 0, &backend.ConflictError{Key: c.Key, Want: c.Revision, Have: e.Revision}
			}
		}
	}
	return s.Store.Put(ctx, key, value, opts...)
}

type keepsLast struct{ conformance.Store }

func (s keepsLast) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	o, err := backend.ResolvePut(key, value, opts...)
	if err != nil {
		return 0, err
	}
	byKey := map[string]backend.Condition{}
	for _, c := range o.Conditions {
		byKey[c.Key] = c
	}
	o.Conditions = slices.Collect(maps.Values(byKey))
	return s.Store.Put(ctx, key, value, options(o)...)
}

type tellsRevision struct{ conformance.Store }

func (s tellsRevision) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	rev, err := s.Store.Put(ctx, key, value, opts...)
	if errors.Is(err, backend.ErrConflict) {
		_, rev, _ = backend.List(ctx, s.Store, key)
	}
	return rev, err
}

type missesIt struct{ conformance.Store }

func (s missesIt) Delete(ctx context.Context, key string, conds ...backend.Condition) error {
	if _, err := s.Get(ctx, key); errors.Is(err, backend.ErrNotFound) {
		return err
	}
	return s.Store.Delete(ctx, key, conds...)
}

type deletesPrefix struct{ conformance.Store }

func (s deletesPrefix) Delete(ctx context.Context, key string, conds ...backend.Condition) error {
	if err := s.Store.Delete(ctx, key, conds...); err != nil {
		return err
	}
	entries, _, err := backend.List(ctx, s.Store, key)
	for _, e := range entries {
		err = errors.Join(err, s.Store.Delete(ctx, e.Key))
	}
	return err
}

type keepsRevision struct{ conformance.Store }

func (s keepsRevision) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	o, err := backend.ResolvePut(key, value, opts...)
	if err != nil {
		return 0, err
	}
	e, err := s.Get(ctx, key)
	same := err == nil && bytes.Equal(e.Value, value) && e.Lease == leaseID(o.Lease)
	if same && !slices.ContainsFunc(o.Conditions, func(c backend.Condition) bool { return c != backend.If(key, e.Revision) }) {
		return e.Revision, nil
	}
	return s.Store.Put(ctx, key, value, opts...)
}

// versions translates memory's revisions, which are those of the store, into
// versions of keys.
type versions struct {
	mu      sync.Mutex
	numbers map[backend.Revision]backend.Revision // by memory's
}

// perKey is a store whose revisions are versions of keys.
type perKey struct {
	conformance.Store
	versions *versions
}

func (s perKey) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	o, err := backend.ResolvePut(key, value, opts...)
	if err != nil {
		return 0, err
	}
	s.versions.mu.Lock()
	defer s.versions.mu.Unlock()
	if err := s.translate(ctx, o.Conditions); err != nil {
		return 0, err
	}
	before, err := s.Store.Get(ctx, key)
	if err != nil && !errors.Is(err, backend.ErrNotFound) {
		return 0, err
	}
	rev, err := s.Store.Put(ctx, key, value, options(o)...)
	if err != nil {
		return 0, err
	}
	s.versions.numbers[rev] = s.versions.numbers[before.Revision] + 1
	return s.versions.numbers[rev], nil
}

func (s perKey) Get(ctx context.Context, key string) (backend.Entry, error) {
	s.versions.mu.Lock()
	defer s.versions.mu.Unlock()
	e, err := s.Store.Get(ctx, key)
	e.Revision = s.versions.numbers[e.Revision]
	return e, err
}

func (s perKey) Delete(ctx context.Context, key string, conds ...backend.Condition) error {
	s.versions.mu.Lock()
	defer s.versions.mu.Unlock()
	conds = slices.Clone(conds)
	if err := s.translate(ctx, conds); err != nil {
		return err
	}
	return s.Store.Delete(ctx, key, conds...)
}

func (s perKey) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return watching{s.Store, func() func(backend.Update) []backend.Update {
		return func(u backend.Update) []backend.Update {
			s.versions.mu.Lock()
			defer s.versions.mu.Unlock()
			for i, e := range u.Puts {
				u.Puts[i].Revision = s.versions.numbers[e.Revision]
			}
			return []backend.Update{u}
		}
	}}.WatchPrefix(ctx, prefix)
}

// translate turns conditions on versions into conditions on memory's revisions.
func (s perKey) translate(ctx context.Context, conds []backend.Condition) error {
	for i, c := range conds {
		e, err := s.Store.Get(ctx, c.Key)
		if err != nil && !errors.Is(err, backend.ErrNotFound) {
			return err
		}
		if have := s.versions.numbers[e.Revision]; have != c.Revision {
			return &backend.ConflictError{Key: c.Key, Want: c.Revision, Have: have}
		}
		conds[i].Revision = e.Revision
	}
	return nil
}
