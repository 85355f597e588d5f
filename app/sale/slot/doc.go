// Package slot decides for one part of a sale's buyers: who gets units, and who
// does not.
//
// A slot has one [Owner] at a time. [Take] makes this process the owner: one
// conditional write changes the slot's record, and from then on nothing that a
// former owner has still to send can land, for every write of an owner carries
// the condition that the record is as its own takeover left it. Only then the pool
// and the log are read, complete and frozen as they now are, and replayed.
//
// # Deciding
//
// The owner decides in memory, in one goroutine. While one batch of decisions is
// being written, the next one gathers. Nobody is answered before everything that
// was decided until then is in the log. So an answer is never taken back; and an
// owner that was deposed without knowing it answers nobody, since its batch does
// not land.
//
// # Units
//
// A slot's units come from the pool, some at a time (escrow: O'Neil, "The Escrow
// Transactional Method", 1986), so that slots do not meet at each order. When an
// owner runs dry and the pool is empty too, the sale becomes scarce: owners give
// back at once what they can spare, take no more than they need, and say when all
// they have is in orders that are in the log. When all have said so the sale is
// sold out, and only then anybody is told.
package slot
