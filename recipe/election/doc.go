// Package election elects one of several processes, for a term with a fencing
// token, and tells everybody who it is.
//
// Candidates stand in the line of a lock (package lock); the first one leads and
// tells so in a record:
//
//	elections/seller/candidates/01K9…  {"holder":"host-1/4711","since":"2026-11-21T03:04:05Z"}
//	elections/seller/leader            {"id":"host-1/4711","term":4711,"value":"10.0.0.1:8082","since":"2026-11-21T03:04:05Z"}
//
// Both keys hang on one lease, so they vanish together when the leader resigns,
// dies or is cut off. Terms are numbered by the revision of the candidate's key:
// a later term has a greater number.
//
// # What it promises
//
// A write with [Term.Guard] succeeds only while the term lasts, so writes of two
// terms never interleave: once the next leader was elected, every guarded write
// of the one before fails with backend.ErrConflict, also if it was paused and
// believes to lead still. The record is written under the same guard.
//
// # What it does not promise
//
// That at most one process believes to lead: see package lock. Between two terms,
// and for a moment at the beginning of each, there is no record. One that was
// deleted or overwritten by hand comes back with the next [Term.Proclaim].
package election
