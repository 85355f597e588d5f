// Package balance sends each request to one of the nodes that are registered.
//
// A [Cluster] says which nodes there are to send to: those that
// [registry.Serving] selects, and the last known ones when the registry lists
// none. A [Picker] chooses one of them for each request, by a [Policy]. A
// [Transport] does that for HTTP clients, package balance/rpc for gRPC.
//
//	registry.Directory → Cluster → Picker → Transport, or rpc's balancer
//
// Everything is read from memory: no request waits for the store, and none
// fails because the store is away.
//
// # The last known nodes
//
// A list that is empty is hardly ever true. The store was emptied or restored
// from an old backup, or it was cut off from the nodes and their leases ran out;
// in published code clients then throw away addresses that still work. So while
// the registry lists no node, a Cluster keeps those that were listed within the
// last 30 seconds before it ran empty (leases do not end all at once), for as
// long as it takes. When nodes are listed again it keeps the others another
// 30 seconds, lest the first that returns gets the requests of all. That nobody
// is there on purpose looks the same; then requests fail at the nodes instead of
// at the Cluster. The [Status] and the log tell. An operator's drain counts for
// nodes that are kept as well; one that vanished with its node still does.
//
// # What it does not do
//
// A node is left out when it says that it is not well, or its lease ends; there
// is no probing, and no ejecting of nodes that answer with errors, except that
// [PeakEWMA] takes an error for a slow answer. A process that hangs keeps the
// requests it has until their deadlines, and is sent others until its lease ends:
// give requests deadlines. A retry is bounded by the number
// of attempts, not by a budget for the whole process.
package balance
