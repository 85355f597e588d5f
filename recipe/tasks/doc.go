// Package tasks lets a console assign work to workers, wherever they run.
//
// A [Console] takes tasks in, assigns each to a worker that has room, and gives
// those of a worker that is gone to another one. A [Worker] runs what it is
// assigned and reports progress. All keys lie under one directory, and their
// values are JSON:
//
//	workers/<ULID>   {"name":"api-1","capacity":4}            on the worker's lease
//	tasks/<id>       {"state":"assigned","worker":"<ULID>","attempt":1,"payload":…}
//	progress/<id>    {"worker":"<ULID>","attempt":1,"percent":40}   on the worker's lease
//
// # States
//
//	waiting → assigned → done | failed
//	             ↺ to another worker, when the worker's key is gone
//	waiting | assigned → cancelled
//
// # Guarantees
//
// Every write of a task carries a condition on the revision at which the task
// was read, an assignment also on the key of the worker, and a reassignment on
// the former worker's key being gone. So a task has one outcome, whatever
// consoles and workers do at once: a worker that was paused and finds its task
// given away can neither complete it nor report progress. Several consoles may
// run; none is the leader. Nothing rests on clocks: the times in a task are for
// people.
//
// A worker that ends says so in its key ("leaving"): it keeps the tasks its handlers
// are at, and is given no others.
//
// A worker's ULID is new after each loss of its lease, so one that comes back
// is another one.
//
// # What is not guaranteed
//
// That a handler runs once. A worker may die, or be cut off, after it has done
// the work and before the store knows; then the task is assigned again. Writes
// to the store by a handler are fenced by [Job.Guard]: those of a worker that
// was replaced are refused. Effects elsewhere have to be idempotent, by the
// task's ID and attempt.
//
// Finished tasks stay, with their results, until somebody calls
// [Console.Forget]: the caller tidies. A console holds three watches and a worker
// two. On Consul each change of a task sends all tasks to every console and
// worker, and each report all reports to every console, so keep few finished
// ones there, and payloads small: one server with four workers on two busy cores
// did 80 tasks/s at first and 14 tasks/s with 750 finished ones left (TestCost).
//
// Values that are not as above, written by hand or by another version, are left
// alone and named by [Console.Problems].
package tasks
