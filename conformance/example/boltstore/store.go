package boltstore

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/seed27495941/seckill/backend"
)

// A Store is one client of a [File]. It implements [backend.Store].
type Store struct {
	file *File
	life *backend.Lifetime
}

var _ backend.Store = (*Store)(nil)

// Close ends the store: calls fail, watches end, leases are renewed no more.
func (s *Store) Close() error {
	s.life.Close()
	return nil
}

// do is the file's do, within the life of the store and the time of a call.
func (s *Store) do(ctx context.Context, turns chan struct{}, op, key string, work func() error) error {
	ctx, leave, err := s.life.Call(ctx, backend.DefaultTimeout)
	if err != nil {
		return err
	}
	defer leave()
	return s.file.do(ctx, turns, op, key, work)
}

// write makes a change and returns its revision.
func (s *Store) write(ctx context.Context, op, key string, change func(*txn) error) (backend.Revision, error) {
	var made backend.Revision
	err := s.do(ctx, s.file.turn, op, key, func() (err error) {
		made, err = s.file.commit(change)
		return err
	})
	if err != nil {
		return 0, err
	}
	return made, nil
}

// Put implements [backend.Store].
func (s *Store) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	o, err := backend.ResolvePut(key, value, opts...)
	if err != nil {
		return 0, err
	}
	own, err := s.own(o.Lease)
	if err != nil {
		return 0, err
	}
	e := backend.Entry{Key: key, Value: clone(value)}
	rev, err := s.write(ctx, "put", key, func(t *txn) error {
		if err := t.check(o.Conditions); err != nil {
			return err
		}
		if own != nil {
			e.Lease = own.ID()
			if err := t.granted(e.Lease); err != nil {
				return err
			}
		}
		return t.put(e)
	})
	if own != nil && errors.Is(err, backend.ErrLeaseLost) {
		own.Lose(err)
	}
	return rev, err
}

// Get implements [backend.Store].
func (s *Store) Get(ctx context.Context, key string) (backend.Entry, error) {
	if err := backend.CheckKey(key); err != nil {
		return backend.Entry{Key: key}, err
	}
	var e backend.Entry
	err := s.do(ctx, s.file.reads, "get", key, func() error {
		return s.file.view(func(t *txn) (err error) {
			e, err = t.get(key)
			return err
		})
	})
	switch {
	case err != nil:
		return backend.Entry{Key: key}, err
	case e.Revision == 0:
		return e, fmt.Errorf("%q: %w", key, backend.ErrNotFound)
	}
	return e, nil
}

// Delete implements [backend.Store].
func (s *Store) Delete(ctx context.Context, key string, conds ...backend.Condition) error {
	if err := backend.CheckDelete(key, conds); err != nil {
		return err
	}
	conds = slices.Clone(conds)
	_, err := s.write(ctx, "delete", key, func(t *txn) error {
		if err := t.check(conds); err != nil {
			return err
		}
		return t.remove(key)
	})
	return err
}

// clone copies a value; an empty one is not nil.
func clone(value []byte) []byte { return append([]byte{}, value...) }
