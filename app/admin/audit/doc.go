// Package audit keeps who did what, to what, from what to what, when, and what came
// of it: in the store, so that it survives every process, and append-only.
//
//	audit/<ULID>           a record: who is about to do what, and what was there before
//	audit/<ULID>-outcome   what came of it, and what is there after
//	audit/buckets/<first six letters>   that there are records of these 17.5 minutes
//
// # Nothing is done that is not recorded
//
// An action and its record can't be written in one step. So [Log.Do] writes the
// record first, then does what is to be done, then writes the outcome under a second
// key. A record that can't be written keeps the action from being done. One without an
// outcome reads as [Begun]: whoever was at it is still at it, or ended in between, or
// lost the store; it may be done or not. Readers get the two as one [Record].
//
// Each key is put on the condition that it is not there, and never rewritten. Only
// [Log.Prune] deletes, the oldest first, and leaves a record that says so.
//
// # Order
//
// Records are in the order of their ULIDs: of the clocks of those who wrote them, to the
// millisecond. Those of one process are in the order they were made, unless its clock
// goes back by more than a minute: it was wrong before then.
//
// # Cost
//
// Stores list a prefix with all values under it, and Consul sends all of a prefix again
// whenever something under it changes. So nothing here ever reads the log as a whole:
// the ULIDs' first six letters, that is the time in steps of 2^20 ms, divide it into
// buckets, which are read and watched one by one. Memory is bounded by one of them.
//
// # Secrets
//
// Values in a field whose name tells of a password, a token or the like are left out,
// as are password hashes. It is a safety net: whoever records something shows it to
// everybody who may read the log.
package audit
