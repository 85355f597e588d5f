// Package pubsub publishes messages through the store, and keeps local copies
// of values in it.
//
// # Messages
//
// A [Publisher] puts each message under a key of its own, since versions of one
// key may be merged away before a watch sees them. A [Subscriber] watches the
// directory and has handlers by topic and by prefix of topics:
//
//	<dir>/<topic>/<ULID of the publisher>-<number>   the payload, as it is
//
// Messages hang on leases, one for each stretch of time, so that they are taken
// away many at once and do not outlive a crash for long. A message stays for the
// retention at least, for twice that at most; after a crash until its lease ends,
// one and a half times the retention later, on Consul up to three times.
//
// A subscriber receives what is published after it is synced: each message at
// most once, in the order of revisions; those of one publisher in the order they
// were published. Nothing is lost while it is out of touch, or its handlers are
// busy, for less than the retention. What is lost after that is counted, by the
// gap in the numbers, with the next message of that publisher on that topic:
// [Message.Missed].
//
// What is not guaranteed: that anybody receives a message, since nothing is
// acknowledged (a job that must be done belongs into a queue or a task); an order
// among publishers other than that of the store; that a gap is noticed when
// nothing follows it, or when nothing of that publisher on that topic had been
// received before. Somebody who revokes a publisher's lease takes its messages
// away. A subscriber remembers the last number of 65,536 publishers' topics, and
// forgets those that were silent for longest if there are more; what is still
// retained of one that was forgotten is received again after an outage.
//
// It is for events, not for telemetry: every message is a write that the store
// replicates and syncs to disk. On Consul moreover each change sends all that
// is retained to every subscriber, so that the rate falls with both (TestCost;
// one server, publisher and subscribers together on two busy cores, messages of
// 200 bytes):
//
//	retained              100     1000     5000
//	etcd,    1–10 subs.   600 to 2,000 messages/s, whatever is retained
//	Consul,  1 subscriber 190/s   230/s    290/s   (some updates merged)
//	Consul, 10 subs.       36/s    13/s      7/s
//
// A publisher of 10 messages/s with the default retention has 300 to 600
// retained. On Consul keep the retention as short as outages to be bridged.
//
// # Values
//
// A [Cache] is the other form: the latest value of each key in a directory, in
// memory, with handlers by key and prefix, and with deletions:
//
//	<dir>/<key>   the value
package pubsub
