// Package barrier lets processes wait for each other.
//
// A [Barrier] is one key: while it says "held", everybody waits; when it says
// "released", or is not there, they go on. It stays as it is when whoever held it
// dies: a barrier is there because something is not ready, and a crash does not
// make it so.
//
// A [Double] is for n participants that begin together and end together: nobody
// is in before n are, and nobody is out before all have left. Its keys, under its
// directory:
//
//	members/<ULID>  somebody who has entered, as long as its lease lasts
//	round           {"members":["<ULID>", …]}: the n who are in together
//
// The round is written in one step, on the condition that there is none and that
// each of its members is there; the first n are taken. It is over, and deleted by
// whoever sees that, when the keys of all its members are gone. Then the next can
// begin. A member that dies before the round began is not counted; after that it
// counts as having left, once its lease is over.
//
// # What is not promised
//
// That n were there when the round began does not mean that all of them live to
// know: one may have died in that moment. And a participant may run on for a
// while after its lease is over, when the others have gone on without it already:
// see [Round.Lost]. What must not happen then takes a condition on a key: see
// package backend.
package barrier
