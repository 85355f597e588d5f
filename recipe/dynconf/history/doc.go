// Package history keeps the versions of a configuration: who changed it, when,
// why, and to what. It is the writers' side of package dynconf.
//
// The configuration's key has the bare value, as people type it. Beside it are,
// for the key "config":
//
//	history/config/<revision>          a version, as JSON; the revision has 20 digits
//	history/config/<revision>-deleted  that the version was deleted
//	history/config/intent/<ULID>       a change that is about to be made
//
// # Guarantees
//
// A change names the revision it is made on. Of two changes on one revision one
// is made, and the other gets ErrConflict: no update is lost unseen, whoever
// the writers are. A change whose outcome can't be found out is ErrUnknown, and
// never reported as made or not made.
//
// The key and its record can't be written in one step. So a change first leaves
// its intent, then writes the key on the condition of the revision it names,
// then records the version and takes the intent away. Whoever crashes between,
// the next who looks finds a version without a record, and with the intent the
// author it belongs to: the next change does that before anything else, and
// [History.Run] at once. Any number of processes may run it; a record is put on
// the condition that there is none.
//
// The key may be written by anything else, etcdctl put and consul kv put for
// example. History.Run records such a version as one by "external". An intent
// is told by the revision it names and the hash of its value, so a bare write
// of the same bytes, at a time when the author of an intent has just crashed,
// counts as his.
//
// # What it does not guarantee
//
// Watches may merge versions that follow each other fast, or while nobody runs
// History.Run. A bare write that was overwritten before anybody saw it leaves
// no record. A version that a change by this package was made on always has one.
// Stores do not tell the revision of a deletion: a bare one is recorded as that
// of the last version which has a record at that moment.
// Records are no proof against those who may write them.
package history
