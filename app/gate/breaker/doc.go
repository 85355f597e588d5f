// Package breaker keeps a node from taking more than it can do. It opens on
// either of two signs, looked for once a second:
//
//   - The processors were busier than the threshold, on the mean of the last three
//     seconds, and a tenth of them or more was busy with this process. If others keep
//     them busy, refusing requests would free nothing: then it is latency that tells.
//   - More than one in a hundred of the last ten seconds' requests took longer than
//     the threshold: the 99th percentile is above it. With fewer than a hundred
//     requests there is no such sign, so a single slow one never is.
//
// While it is open all requests are refused. After five seconds, and not while the
// processors are too busy, it is half open: twenty requests are let through as a
// trial. It closes, unless more than two of them were too slow or the processors too
// busy: then it is open for another five seconds. When twenty are through, they are
// judged, and nobody else. When five seconds have passed before that, those that are
// through are, and with them those that have taken too long already; others that are
// not through are not slow. As long as nobody is through then, and not more than two
// are slow, the trial goes on. What was measured before it closes is forgotten, and a
// request that began before it opened has no say afterwards.
//
// # Cost
//
// A request loads a pointer, adds to a counter, and asks twice for the time: there
// is no lock. Those of a trial are in a map besides. All decisions are made by the goroutine that runs [Breaker.Run].
// Latencies are counted in ranges that are at most 3.2 % wide; a percentile is the
// lower end of its range, so the breaker never opens too early by that.
//
// # What it does not see
//
// What others make a node wait for. Whoever reads a request's body says so
// ([Call.AwaitClient]), or a few slow clients could open the breaker for all, or keep it
// open. Whoever waits for a decision of another node, or of the store, says so too
// ([Call.Await]): a node that is lost would open the breakers of all others, and refuse
// those who want nothing of it. How many wait for that is bounded where they do.
//
// Requests that never end: whoever asks the breaker has to bound how long they
// take. A stream is through when it has begun ([Call.Done] at its first byte). How
// requests end is no sign: a refusal is a good answer. One by somebody who stands
// between the breaker and the work is none at all ([Call.Drop]).
package breaker
