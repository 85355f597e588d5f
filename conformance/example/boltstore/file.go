// Package boltstore keeps the contract of package backend in one bbolt file. It
// is the worked example of docs/drivers.md: small enough to be read in one go,
// it passes the whole conformance suite, and no program of this module uses it.
//
// A [File] is what a server is to other drivers, each [Store] opened on it a
// client of its own. bbolt locks the file: one process at a time has it open,
// so all clients live in that process. It also trusts the file: one that was
// scribbled over may end the process. "bbolt check" finds that out before.
package boltstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/seed27495941/seckill/backend"
)

// maxReads is how many reads may be at work at a time.
const maxReads = 64

// A File is an open bbolt file that keeps a store. It is safe for concurrent
// use. See [Open].
type File struct {
	db     *bbolt.DB
	life   *backend.Lifetime
	reads  chan struct{}          // holds a token for each read at work
	turn   chan struct{}          // holds a token while a write is at work
	expiry map[string]*time.Timer // of each lease; used by who has the turn

	mu      sync.Mutex
	watches map[*watch]struct{}
}

// Open opens the file, and makes it if there is none, with bbolt's options. It
// does not wait for another process to close it.
//
// Errors: ErrUnavailable (another process has it open, the disk fails, it is
// damaged), ErrDenied, ErrFull, ErrInvalid (it is no bbolt file).
func Open(path string, options bbolt.Options) (*File, error) {
	options.Timeout = time.Nanosecond // for the file's lock; 0 would be for ever
	db, err := bbolt.Open(path, 0o600, &options)
	if err != nil {
		return nil, failure(context.Background(), "open", path, err)
	}
	f := &File{
		db:      db,
		life:    backend.NewLifetime(),
		reads:   make(chan struct{}, maxReads),
		turn:    make(chan struct{}, 1),
		expiry:  map[string]*time.Timer{},
		watches: map[*watch]struct{}{},
	}
	if err := f.prepare(); err != nil {
		return nil, errors.Join(failure(context.Background(), "open", path, err), f.Close())
	}
	return f, nil
}

// prepare makes the buckets, reads all there is, and starts the time of each
// lease. Nobody knows when it was last renewed: its whole TTL is on the safe
// side, and what etcd and Consul give when their leader changes.
func (f *File) prepare() error {
	err := f.db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists([]byte(keysBucket))
		_, err2 := tx.CreateBucketIfNotExists([]byte(leasesBucket))
		return errors.Join(err, err2)
	})
	if err != nil {
		return err
	}
	return f.view(func(t *txn) error {
		if _, err := t.under(""); err != nil {
			return err
		}
		return t.leases.ForEach(func(id, text []byte) error {
			ttl, err := time.ParseDuration(string(text))
			if err == nil {
				f.arm(string(id), ttl)
			}
			return err
		})
	})
}

// Open opens a store on the file.
func (f *File) Open() *Store { return &Store{file: f, life: backend.NewLifetime()} }

// Close waits for transactions that are at work and closes the file; its stores
// are to be closed before. Leases stay in the file. It can be repeated.
func (f *File) Close() error {
	f.life.Close()
	for _, timer := range f.expiry { // nobody gets the turn any more
		timer.Stop()
	}
	return f.db.Close()
}

// do runs work for a call as soon as there is a place among turns. bbolt knows
// no context and a disk may hang, so it runs in a goroutine that Close waits
// for, and the call leaves when ctx ends. Until work has begun that means that
// nothing was done; from then on the outcome of a write is open. Work must
// neither touch what belongs to the caller nor return by variables that are
// read after an error.
func (f *File) do(ctx context.Context, turns chan struct{}, op, key string, work func() error) error {
	select {
	case turns <- struct{}{}:
	case <-ctx.Done():
		return backend.Failure(ctx, backend.ErrUnavailable, op, key, nil)
	}
	done := make(chan error, 1)
	err := f.life.Go(func(context.Context) {
		defer func() { <-turns }()
		done <- work()
	})
	if err != nil {
		<-turns
		return err
	}
	select {
	case err := <-done:
		return failure(ctx, op, key, err)
	case <-ctx.Done():
		if turns == f.reads {
			return backend.Failure(ctx, backend.ErrUnavailable, op, key, nil)
		}
		return backend.Failure(ctx, backend.ErrUnknown, op, key, nil)
	}
}

// commit makes a change and tells the watches: before the next write begins, so
// that they are told in order. The caller has the turn.
func (f *File) commit(change func(*txn) error) (backend.Revision, error) {
	tx, err := f.db.Begin(true)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	t := within(tx)
	if err := change(t); err != nil {
		return 0, err
	}
	switch err := tx.Commit(); {
	case errors.Is(err, berrors.ErrMaxSizeReached):
		return 0, err // bbolt asks for space before it writes
	case err != nil:
		f.lose()
		return 0, fmt.Errorf("%w: %w", errCommit, err)
	}
	f.tell(t.done)
	return t.done.Revision, nil
}

// view looks at what was committed last.
func (f *File) view(look func(*txn) error) error {
	return f.db.View(func(tx *bbolt.Tx) error { return look(within(tx)) })
}

// errCommit marks what went wrong while a transaction was written to disk. That
// it was not applied is not said with it: the last step may have failed.
var errCommit = errors.New("commit")

// failure gives an error its class.
func failure(ctx context.Context, op, key string, err error) error {
	class := backend.ErrUnavailable // no commit was begun
	switch {
	case err == nil:
		return nil
	case errors.Is(err, backend.ErrNotFound), errors.Is(err, backend.ErrConflict), errors.Is(err, backend.ErrLeaseLost):
		return err
	case errors.Is(err, errCommit) && errors.Is(err, syscall.ENOSPC):
		class, err = backend.ErrFull, fmt.Errorf("%w: %w", backend.ErrUnknown, err)
	case errors.Is(err, errCommit):
		class = backend.ErrUnknown
	case errors.Is(err, berrors.ErrMaxSizeReached):
		class = backend.ErrFull
	case errors.Is(err, fs.ErrPermission):
		class = backend.ErrDenied
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrVersionMismatch), errors.Is(err, berrors.ErrChecksum):
		class = backend.ErrInvalid
	}
	return backend.Failure(ctx, class, op, key, err)
}
