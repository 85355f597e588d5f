// Package lock is a fair lock for processes, with a fencing token.
//
// Who wants the lock takes a lease and puts one key on it, once:
//
//	locks/report/01K9…  {"holder":"host-1/4711","since":"2026-11-21T03:04:05Z"}
//
// The key's revision is the place in line and the fencing token. The least
// revision has the lock; each waiter waits for the one before it, so a release
// wakes one process and not all. Giving the lock up, or no longer waiting for it,
// is ending the lease: the key vanishes with it, also when the process dies. A
// write of the key that arrives late finds the lease dead and does nothing. In
// the line are keys named by a ULID that hang on a lease; all others under the
// name are left alone and logged.
//
// # What it promises
//
// Whoever holds the lock has the key with the least revision, as a linearizable
// read has told. Revisions only grow, so as long as that key stays as it is
// nobody else can hold the lock. That is a condition of the store:
//
//	held, err := l.Acquire(ctx)
//	_, err = store.Put(ctx, "report", data, held.Guard())
//
// The write succeeds if the lock is held at the moment of the write, or fails
// with backend.ErrConflict.
//
// # What it does not promise
//
// Mutual exclusion of processes. One that was paused, or cut off, goes on
// believing for a while that it has the lock when another one has it already:
// [Held.Lost] tells it as soon as it can be known, which may be too late. Whatever
// is done without [Held.Guard] may be done by two at once. So a lock alone is fit
// to save work that is done twice, not to keep data right. A system other than the
// store can be protected if it remembers the greatest [Held.Token] that it has
// seen and refuses smaller ones (Kleppmann, "How to do distributed locking", 2016;
// Jepsen, "etcd 3.4.3", 2020, which found updates lost under etcd's locks).
package lock
