package backend

import (
	"context"
	"iter"
	"time"
)

// A Store is a linearizable key-value store with leases and watches. It is
// safe for concurrent use. Closing it is the business of whoever opened it:
// the drivers' own types have a Close method.
//
// The package documentation lists the guarantees and the errors.
type Store interface {
	// Lease asks the store for a lease of at least ttl and keeps it alive
	// until it is closed or lost. The context bounds the grant only. A ttl
	// below the store's minimum is raised, and [Lease.TTL] says so; one that is
	// not positive or above the store's maximum is ErrInvalid.
	//
	// Errors: ErrInvalid, ErrDenied, ErrFull, ErrUnavailable, ErrUnknown (a
	// lease that nobody holds may have been granted; it expires by itself),
	// ErrClosed.
	Lease(ctx context.Context, ttl time.Duration) (Lease, error)

	// Put writes value under key if every condition among the options holds,
	// and returns the revision it made. Without [WithLease] the key is freed
	// from whatever lease it hung on; with it, it hangs on that one. The value
	// is not retained.
	//
	// Errors: ErrConflict, ErrLeaseLost, ErrInvalid, ErrTooLarge, ErrDenied,
	// ErrFull, ErrUnavailable, ErrUnknown, ErrClosed.
	Put(ctx context.Context, key string, value []byte, opts ...PutOption) (Revision, error)

	// Get reads a key. For an absent one it returns Entry{Key: key} and
	// ErrNotFound, so that the revision of the entry can be used in a
	// condition either way.
	//
	// Errors: ErrNotFound, ErrInvalid, ErrDenied, ErrUnavailable, ErrClosed.
	Get(ctx context.Context, key string) (Entry, error)

	// Delete removes a key if every condition holds. Deleting an absent key
	// without a condition on it is no error.
	//
	// Errors: those of Put but ErrLeaseLost. ErrFull comes only from stores that
	// need space to delete; etcd does not.
	Delete(ctx context.Context, key string, conds ...Condition) error

	// WatchPrefix follows all keys that start with prefix. A prefix is
	// literal: "dir/" covers "dir/a", neither "dir" nor "dir2/a"; "dir" covers
	// all three; the empty prefix covers everything. Keys and values that other
	// tools have written and that break the rules of guarantee 7 are left out.
	//
	// Each range over the sequence is a watch of its own, opened lazily and
	// closed when the range ends. The first update is a snapshot, at least as
	// new as every write acknowledged before the range began. Then come
	// changes; versions in between may be merged away. When history was lost
	// (compaction, another cluster or a smaller revision behind the same
	// address) the watch neither ends nor lies: it yields another snapshot.
	//
	// An update with neither puts nor deletes confirms that nothing has
	// changed: while the store answers, some update comes at least every
	// 30 seconds. What a slow consumer has not taken is merged, so memory is
	// bounded by the size of the prefix.
	//
	// Trouble that retrying may cure is retried inside, with backoff. The rest
	// is yielded once and ends the sequence: ErrInvalid, ErrDenied, ErrClosed,
	// and when ctx ends, context.Cause(ctx).
	WatchPrefix(ctx context.Context, prefix string) iter.Seq2[Update, error]
}

// A Revision numbers the writes of a store. That of a key is the number of the
// last Put to it; 0 means that the key does not exist. Revisions are compared
// within one store only; they are not consecutive.
type Revision uint64

// An Entry is a key with its value.
type Entry struct {
	Key      string
	Value    []byte // never nil for an existing key; the caller owns it
	Revision Revision
	Lease    string // ID of the lease it hangs on, "" for none
}

// An Update tells what a watch saw. It is complete up to Revision and names a
// key at most once. The receiver owns it.
type Update struct {
	// Snapshot says that Puts is the whole state under the prefix: what it
	// lacks is gone.
	Snapshot bool
	Revision Revision
	Puts     []Entry  // in revision order
	Deletes  []string // in no order: Consul does not tell a deletion's index
}

// A Lease is a promise of the store to keep keys until its holder has been
// silent for TTL. It renews itself in the background. Its methods are safe for
// concurrent use.
//
// Done and Valid go by the holder's clock, counted from when the last
// successful renewal was sent, so they give up before the store does. That is
// no mutual exclusion: see the package documentation. The clock is the
// runtime's monotonic one, which on Linux stands still while the machine is
// suspended.
type Lease interface {
	// ID names the lease as the store's own tools do.
	ID() string
	// TTL is the duration as granted, never less than asked for.
	TTL() time.Duration
	// Valid reports whether the lease can be relied on at this moment. Once
	// false it stays false.
	Valid() bool
	// Done is closed when the lease can't be relied on any more: it expired,
	// was revoked, or it or its store was closed.
	Done() <-chan struct{}
	// Err is nil until Done is closed. Then it says why: ErrLeaseLost, or
	// ErrClosed after Close of the lease or the store.
	Err() error
	// Close gives the lease up: its keys vanish now. It can be repeated; after
	// a failure it tries again. Keys that have left the lease are not touched.
	// A lease that the store has already ended is closed without an error.
	// When Close fails the lease is still over for its holder, and the store
	// ends it by expiry.
	Close(ctx context.Context) error
}
