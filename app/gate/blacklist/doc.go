// Package blacklist has the buyers that are refused: a file of user ids, written
// by another system, with up to tens of millions of them. It is loaded at start
// and whenever it has changed (package follow has the three ways), beside the
// list in force, which answers meanwhile and is then exchanged at once.
//
// # The file
//
// One id a line, of at most 128 bytes of UTF-8 without control characters. White
// space around it is dropped, and so are empty lines, lines that begin with # and
// a byte order mark. Bad lines are left out and counted; the first ten are
// reported with their numbers. An id that begins with # can't be listed.
//
// FILE.sha256, if there is such a file, holds the SHA-256 of FILE, as sha256sum
// prints it. Then the file is taken only if it has this checksum. Without it the
// last line must have an end, and the file must not have changed for the settle
// time, nor while it was read.
//
// # What is refused
//
// Of these the old list stays, and [Status] says which file, line and reason:
//
//   - a file that can't be read, is not a regular one or has more than 2 GiB
//   - one without the checksum it should have, or a checksum file without one
//   - without a checksum: one whose last line has no end
//   - without a checksum: one without a single byte, when there are ids on the
//     list. That is how a writer that died leaves it. Nobody is on the list if the
//     file says so, by a line such as "# nobody".
//   - one with more bad lines than ids: it is another file, or compressed
//
// What is refused for what is in it is not read again before it changes. What
// can't be read is tried again, with the next event or after Interval.
//
// # Processors
//
// At start a list is loaded as fast as can be. When it is reloaded requests need the
// processors: it rests for as long as it has worked, every few milliseconds, and takes
// half of one at most.
//
// # Memory
//
// Decimal numbers without leading zeros, up to 2⁶⁴-1, are kept in Roaring bitmaps
// where they are close together, and 8 bytes each where they are not. All other
// ids are kept as 76 bits of their SHA-256, in 8 bytes each: with ten million
// listed, a buyer who is not is taken for one of them with a probability of
// 1.3·10⁻¹⁶. Making a list takes about 16 bytes an id, beside the list in force;
// all but what is kept is garbage then.
package blacklist
