// Package limit admits requests at a rate: a [Bucket] for all of a node, and
// [Users], a bucket for each user. Neither waits: who is refused is told when to
// come again.
//
// # Bounds
//
// In any window of length t a bucket admits at most Burst + t·Tokens/Per
// requests, rounded down, however many goroutines ask and however long each is
// paused. All arithmetic is in integers, so nothing drifts, and the clock is read
// while the bucket is held: of two requests the later one never goes by the
// earlier time, which would grant the time between twice. A bucket that is asked
// often enough admits as many as that, too.
//
// Changing a limit grants nothing: tokens that are there stay, up to the new
// burst, and those that are not come at the new rate. So throughout the change
// the bound is the tokens there were and what each rate brought in its own time.
//
// This is a node's part. How large it is in a cluster is for recipe/limiter to
// find out, whose share [Limit.Share] applies.
package limit
