package backend

import (
	"context"
	"errors"
	"iter"
	"strings"
	"time"
)

// Prefix is the part of a store under a prefix, with keys counted from there:
// in Prefix(s, "seckill/") the key "config" is the store's "seckill/config".
// Conditions and conflicts are translated too, so all keys of a write lie under
// the prefix. Leases are the store's own. The limit of [MaxKey] applies to the
// whole key. An invalid prefix makes every call fail with ErrInvalid.
func Prefix(s Store, prefix string) Store {
	if prefix == "" {
		return s
	}
	if err := CheckPrefix(prefix); err != nil {
		return refusing{err}
	}
	return &prefixed{store: s, prefix: prefix}
}

// refusing is a store that fails every call with one error.
type refusing struct{ err error }

func (r refusing) Lease(context.Context, time.Duration) (Lease, error) { return nil, r.err }

func (r refusing) Put(context.Context, string, []byte, ...PutOption) (Revision, error) {
	return 0, r.err
}

func (r refusing) Get(_ context.Context, key string) (Entry, error) {
	return Entry{Key: key}, r.err
}

func (r refusing) Delete(context.Context, string, ...Condition) error { return r.err }

func (r refusing) WatchPrefix(context.Context, string) iter.Seq2[Update, error] {
	return func(yield func(Update, error) bool) { yield(Update{}, r.err) }
}

type prefixed struct {
	store  Store
	prefix string
}

func (p *prefixed) Lease(ctx context.Context, ttl time.Duration) (Lease, error) {
	return p.store.Lease(ctx, ttl)
}

func (p *prefixed) Put(ctx context.Context, key string, value []byte, opts ...PutOption) (Revision, error) {
	o, err := ResolvePut(key, value, opts...)
	if err != nil {
		return 0, err
	}
	inner := make([]PutOption, 0, len(opts))
	for _, c := range o.Conditions {
		inner = append(inner, If(p.prefix+c.Key, c.Revision))
	}
	if o.Lease != nil {
		inner = append(inner, WithLease(o.Lease))
	}
	rev, err := p.store.Put(ctx, p.prefix+key, value, inner...)
	return rev, p.translate(err)
}

func (p *prefixed) Get(ctx context.Context, key string) (Entry, error) {
	if err := CheckKey(key); err != nil {
		return Entry{Key: key}, err
	}
	e, err := p.store.Get(ctx, p.prefix+key)
	e.Key = key
	return e, err
}

func (p *prefixed) Delete(ctx context.Context, key string, conds ...Condition) error {
	if err := CheckDelete(key, conds); err != nil {
		return err
	}
	inner := make([]Condition, len(conds))
	for i, c := range conds {
		inner[i] = If(p.prefix+c.Key, c.Revision)
	}
	return p.translate(p.store.Delete(ctx, p.prefix+key, inner...))
}

func (p *prefixed) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[Update, error] {
	return func(yield func(Update, error) bool) {
		if err := CheckPrefix(prefix); err != nil {
			yield(Update{}, err)
			return
		}
		for u, err := range p.store.WatchPrefix(ctx, p.prefix+prefix) {
			if !yield(p.strip(u), err) {
				return
			}
		}
	}
}

func (p *prefixed) Space(ctx context.Context) (Space, error) { return SpaceOf(ctx, p.store) }

// strip takes the prefix off an update's keys. A key that is not a key without
// it (the prefix "a" covers "a/b") is foreign here and left out.
func (p *prefixed) strip(u Update) Update {
	out := Update{Snapshot: u.Snapshot, Revision: u.Revision}
	for _, e := range u.Puts {
		if e.Key = strings.TrimPrefix(e.Key, p.prefix); CheckKey(e.Key) == nil {
			out.Puts = append(out.Puts, e)
		}
	}
	for _, key := range u.Deletes {
		if key = strings.TrimPrefix(key, p.prefix); CheckKey(key) == nil {
			out.Deletes = append(out.Deletes, key)
		}
	}
	return out
}

// translate takes the prefix off the key that a conflict names.
func (p *prefixed) translate(err error) error {
	var conflict *ConflictError
	if !errors.As(err, &conflict) {
		return err
	}
	return &ConflictError{
		Key:  strings.TrimPrefix(conflict.Key, p.prefix),
		Want: conflict.Want,
		Have: conflict.Have,
	}
}
