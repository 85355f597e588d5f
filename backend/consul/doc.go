// Package consul keeps the contract of package backend on Consul's key-value
// store and sessions.
//
// # How it is done
//
// Every write is one transaction (/v1/txn): only there can a write depend on
// any number of keys, and only there does Consul answer with the index it
// made, which is the [backend.Revision]. Each Put carries a fresh random number
// in the Flags of the key, because Consul takes a write of equal value and
// flags for none and would let two writers with one condition both succeed.
//
// A lease is a session with a TTL, the behaviour "delete", the shortest
// lock-delay there is and no health checks; a key hangs on it by being locked
// by it.
//
// A watch is a blocking query of the whole prefix, since Consul tells no
// events. All watches of one prefix in a Store share one query, and see what
// changed between two of its answers.
//
// # What operators need to know
//
// Reads ask for ?consistent, so a cluster without a leader answers none.
//
// Consul's minimum of a session's TTL is 10s (session_ttl_min lowers it); it
// ends a session that is not renewed at up to twice its TTL.
//
// Each watched prefix holds a connection, of which one client address may have
// 200 by default (limits.http_max_conns_per_client), all processes behind it
// together. A Store uses at most [MaxFollowed] for its watches.
//
// Consul sends the whole prefix at each change. A watch gives up an answer that
// is not complete 6s after it began, lest it gets stale, and reads the prefix anew
// with more patience, up to a minute: what takes longer can't be watched.
//
// With ACLs a token needs key "write" on what it writes and on keys that a
// condition says must not exist, "read" on what it reads or names in other
// conditions, and session "write" on the node for leases. A watch whose
// prefix is not wholly readable ends with ErrDenied. Consul does not tell a
// client without a token that keys were kept from a list; before a prefix is
// taken for empty the key of its name is asked for as well. Where an anonymous
// client may read that one but not all, it can't know: give it a token, or set
// acl.enable_key_list_policy.
package consul
