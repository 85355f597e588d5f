// Package limiter keeps a rate for a whole cluster: of a token bucket with a
// rate and a burst, for each key, every node has a share and decides by itself,
// without asking the store or anybody.
//
// A node's share is its weight divided by the weights of all nodes that get
// requests ([registry.Serving]): of 1000/s with a burst of 100, each of four
// equal nodes admits 250/s with a burst of 25. Shares follow the registry:
//
//   - A share shrinks as soon as the node sees that it should.
//   - A share grows when the node has seen the same nodes for the settle time
//     and the store has just confirmed them (one read for each growth; what it
//     does not confirm is asked for again after another settle time).
//   - A node that finds itself not among them, because it drains or has lost its
//     lease, keeps its share for half of the settle time, so that requests which
//     are already on their way are not refused, and loses nothing if it is back
//     by then. A list with nobody on it is not believed at all.
//   - A node that can't reach the store keeps its share and never grows.
//   - A node that has just come has no share, and refuses everything, until it
//     has been listed for the settle time: see [Limiter.Ready].
//
// A process that waits to take over another one's address is the same node as that one: each of
// the two has the node's share, so that it is there when the requests come, and nobody loses by it.
// For the moment in which both are served, which is the end of the first one's connections,
// the two may admit twice the node's share. Who has buckets of a kind of its own goes by the share alone:
// see [Limiter.Subscribe].
//
// # Bounds
//
// Let the settle time be S, and say that a node is in touch as long as it learns
// of each change of the list within S/2. (Normally that takes milliseconds. A
// paused process is out of touch when it wakes, until it has heard the news.)
//
//  1. The shares of all nodes that have been in touch since S before their own
//     last growth sum up to 1 at most, at any time, however nodes come and go. (Of two
//     processes of one node, while one takes over, the greater share counts.)
//  2. A node that is out of touch has at most the share it had when it lost
//     touch. So what one partition cuts off has at most 1 together: the cluster
//     admits at most twice the rate until it is mended. Each further partition
//     that comes after the list has changed without those, while they are still
//     alive and get requests, may add as much again.
//  3. While the shares sum up to s, and there are no more keys in use at a node
//     than it may have buckets (see [Config]), a key gets at most s·(R·t + B) + n tokens in
//     any time t, of the rate R and the burst B, n being the number of nodes
//     with a share: each has room for one whole token at least, or it could never
//     admit anything. A share that grew by d within that time may add d·B, for a
//     key that was not in use at that node, or if there was no share before: it
//     begins with a full bucket there.
//     (It would not if it began empty, but then a limit of one a minute would
//     refuse everybody for minutes after each restart.)
//
// Why (1) holds: take the last node that has grown, and the list it went by. It
// had seen that list for S, and the store confirmed it, so the list was true
// from S before the growth until then. Within S/2 of its beginning every node in
// touch saw it, and has since not been above its share of it: it shrank at once,
// or, if it is not on it, S/2 later; and if it grew since, it had seen this very
// list in the S before that. Shares of one list sum up to 1. (A node that leaves
// and returns as the same process within moments may go unseen by others; that
// matters only if it does so again and again throughout S.)
//
// While the list changes more often than every S, nobody grows and shares are
// lost: restart nodes no faster than one in S.
//
// # What it does not do
//
// Shares go by weight and not by demand: a node that gets more requests than its
// weight says refuses some while others have tokens left. Nothing is remembered
// across a restart.
package limiter
