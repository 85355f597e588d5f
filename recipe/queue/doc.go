// Package queue is a queue of work in the store: first in, first out, each item
// worked on by one consumer at a time, and by another one if that dies.
//
// A [Queue] takes items, a [Consumer] hands them out one by one, and an [Item]
// is acknowledged when its work is done. The keys, under the queue's directory:
//
//	config                {"shards":8,"maxAttempts":5}: fixed by who comes first
//	shards/3/items/<id>   an item: its value, put once. Its revision is its place
//	shards/3/claims/<id>  {"item":…,"attempt":1,"by":"<consumer>"}: who works on it
//	consumers/<ULID>      a consumer, as long as its lease lasts
//	dead/<id>             an item that was tried too often
//	gate                  there is one: consumers may begin (if the queue is gated)
//
// # What is promised
//
// An item is in the queue until it is acknowledged or dead: nothing else takes it
// out, and none of this goes by a clock. At any time at most one claim of it is
// good, since claims are made on the condition of the claim before, and only
// the holder of the claim that is in the store can acknowledge. A consumer that
// dies leaves its claims behind; they count as long as its key is there, and no
// longer: whoever comes next replaces them, in one write with the condition that
// the key is gone. So the item returns to where it was, and its attempts count.
//
// A Put whose outcome is not known is never applied behind its producer's back: all
// Puts have the revision of the config key as a condition, and in doubt that key is
// written again, before the item is looked for. (If its ctx ends before that,
// [Queue.PutID] says so.)
//
// Work may be done twice: by a consumer that lost its claim without noticing yet,
// and by the next. So what must happen once takes [Item.Guard], the claim's
// revision as a condition of the write, or shows by itself that it was done.
//
// # Order
//
// Items are in the order of their revisions, that is, of their Puts. Within a
// shard no item is handed out for the first time before all earlier ones were. (But
// a [Consumer.Receive] whose ctx ends while it claims an item may keep that from
// others for the moment until it is returned.)
// Which shard an item is in depends on its ID alone. A consumer goes for the
// earliest of the first items of all shards, and for any other of them if somebody
// else was faster; so over the whole queue the order is about right. One shard
// means strict order. Items that come back are in their old places, at the front.
//
// # How many shards
//
// On Consul each watched shard is a connection, and each change in it sends the
// whole shard again to every process that has a consumer. More shards make that
// less: a backlog of 10,000 items was worked off at 150 items a second with 8
// shards and at 410 with 32 (BenchmarkBacklog, one consumer, one Consul node, two
// cores for all of it; on etcd, 2,600 with 8). But a consumer follows all shards,
// and the consumers and the gate besides: with [DefaultShards] that is 10 of the
// 200 connections that Consul allows a client address, so not many more than 15
// processes can consume on one machine, and with 32 shards 5. Consumers of one
// Store share theirs. On etcd a watch costs next to nothing.
//
// More consumers make the work faster, not the queue: they meet at the first items
// of the shards, and of those who try one gets the item.
//
// # What is not promised
//
// Delays of [Item.Nack] go by the clocks of the consumers. An ID can be used again
// once its item was acknowledged. An item whose receiver neither acknowledges nor
// returns it is held until its consumer ends. And a consumer keeps the whole
// backlog in memory: the store is for coordination, not for gigabytes.
package queue
