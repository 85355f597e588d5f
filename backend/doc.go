// Package backend is the contract of a coordination store: five methods that
// etcd and Consul can both keep, and what a caller may rely on with either.
//
// A [Store] holds small values under keys that people can type. Locks, fencing
// tokens, queues, registries, versioned settings and stock escrow are built
// from two ideas: a write may be conditioned on the revision of any keys
// ([If]), and a key may hang on a lease ([WithLease]). The drivers live in the
// subpackages etcd, consul and memory; package conformance proves them.
//
// # Guarantees
//
// They are numbered; the conformance suite refers to the numbers.
//
//  1. Linearizable: Get, the first update of WatchPrefix, and every write.
//  2. Atomic: a write and its conditions are one step. A failed condition is
//     [ErrConflict], names its key, and changes nothing.
//  3. Revisions: every successful Put makes a new [Revision], greater than any
//     before it in the store, even when the bytes are the same: of two Puts
//     conditioned on one revision of the key they write at most one succeeds.
//     Deleting and recreating a key never brings an old revision back. This
//     holds within one incarnation of a store: a restore from a backup may
//     start a new one.
//  4. Leases: keys put with a lease vanish together when it ends: not before
//     its TTL has passed since the last renewal, unless it is revoked, and
//     normally within 2×TTL + 2s. See [Lease].
//  5. Watch: the first update is a snapshot, then come changes: nothing from
//     outside the prefix, deletes included, no gap, never an older version
//     after a newer one, always the last state in the end. See
//     [Store.WatchPrefix].
//  6. Errors belong to the classes below, wrapped with their cause. Never is
//     the answer (nil, nil), never is an option silently ignored.
//  7. Keys and values outside the limits are refused alike by every driver,
//     before anything is sent. See [CheckKey].
//  8. Every call honours its context on the wire. Without a deadline it gets
//     the driver's request timeout.
//
// # Errors
//
// Test for a class with errors.Is:
//
//   - [ErrNotFound]: the key does not exist (Get only).
//   - [ErrConflict]: a condition failed; errors.As finds the [ConflictError].
//   - [ErrLeaseLost]: the lease of a Put has ended.
//   - [ErrInvalid]: the caller's arguments break a rule; nothing was sent.
//   - [ErrTooLarge]: a value, a key list or a request is over its limit.
//   - [ErrDenied]: the store refused the credentials, or the rights are missing.
//   - [ErrFull]: the store has no space left. Where a store answers so to a
//     write that it may have applied (etcd does while it fills up), the error
//     matches ErrUnknown too.
//   - [ErrUnavailable]: the store could not be asked. A write was certainly
//     not applied.
//   - [ErrUnknown]: a write was sent and its outcome is not known: it may have
//     been applied, may be applied later, or may never be.
//   - [ErrClosed]: the store or the lease was closed.
//
// A write that ended with ErrUnknown may still be on its way, in the socket of a
// paused server for example, and for any length of time. It may be applied after
// a later one that was acknowledged:
//
//	Put(ctx, "price", "10") // ErrUnknown: the server hangs
//	Put(ctx, "price", "12") // acknowledged, by another one
//	Get(ctx, "price")       // 12
//	Get(ctx, "price")       // 10: the first server went on
//
// Neither waiting nor reading rules that out, but a condition does. A Put with
// [If] on its own key applies at that one revision of it. So after ErrUnknown
// read the key, and write on the condition of what was read: once that is
// acknowledged the lost write was either there to be read, or never will be.
// (One on revision 0 has another chance when the key is deleted.) [Modify] works
// like this; called again it may apply a change that has been applied already,
// unless the value tells. What has no condition should only be repeated where
// any order of the writes is right.
//
// A call that ended with its context matches context.DeadlineExceeded or
// context.Canceled as well as its class. Reads change nothing, so a read that
// could not be answered is always ErrUnavailable, never ErrUnknown. When a
// condition failed and the lease is dead too, either error may come.
//
// # Leases are no mutual exclusion
//
// A process that was paused, or whose packets were delayed, may run on after
// its lease has passed to somebody else. No check that the holder makes can
// close that window; only the store can, by refusing the write. So whatever
// must not be written by a former holder carries [If] on the key that changed
// hands: its revision is the fencing token (Kleppmann, "How to do distributed
// locking", 2016).
//
// # Writing a driver
//
// A driver implements [Store] and uses the kit: [ResolvePut], [CheckDelete],
// [CheckKey] and [CheckPrefix] to refuse what must be refused alike;
// [RunLease], the one implementation of keep-alive and of the holder's clock;
// [Lifetime], which ties calls, watches and leases to Close; [Feed], which
// merges what a slow consumer of a watch has not taken; [State], which turns
// one snapshot after another into changes; [Failure], which builds an error of
// a class. The page docs/drivers.md of the repository shows how, with a worked
// example, conformance/example/boltstore.
//
// # Writing a wrapper
//
// A Store around a Store adds one thing to every driver, as [Prefix] and the
// packages metrics and trace do. It hands a [Lease] on as it got it: drivers
// know their own by type, and one inside another is a lease of another store to
// them. Contexts and errors go through as they are. It passes Space on with
// [SpaceOf]. What else a driver has beyond the five methods is hidden by a
// wrapper, so one that needs it is the innermost.
package backend
