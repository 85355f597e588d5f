// Package registry lists the nodes of a cluster in the store, one key each, for
// as long as they live.
//
// A [Registration] keeps a node listed; a [Directory] follows the list. The key
// is "nodes/<id>", the id being the address with "-" for "." and ":", and the
// value is JSON that people and other programs can read and write:
//
//	nodes/10-10-11-12-8080  {"addr":"10.10.11.12:8080","proto":"http","version":"v1.0.0", …}
//
// What the node says about itself (health, weight, that it is about to stop) is
// in its value, kept as the node wants it. What an operator says is not: that a
// node is drained is the key "nodes/<id>/drain", which no lease takes away. See
// [Drain] and [Serving]. So is a weight that an operator gives it: [Weight].
//
// The key hangs on a lease, so a node that dies without a word is listed a
// little longer and then gone. The list is a hint: what must not be done by a
// node that lost its place takes a condition on a key (see package backend).
package registry
