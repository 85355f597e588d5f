// Package dynconf follows a configuration in one key of the store: every
// process that follows it sees a change at the same moment. Its subpackages are
// for those who change it: history keeps versions, rollout tries a value on some
// of the nodes first.
//
// Whoever can write the key can change the configuration, with the store's own
// tools too (etcdctl put, consul kv put). So a value is taken in whole or not
// at all: what can't be decoded or does not validate is refused, the last good
// value stays, and [Status] says what was refused, where and why. Deleting the
// key brings the defaults back.
//
// The keys are, for a configuration at "config":
//
//	config           the bare value
//	config/rollout   a value on trial, and on which nodes: a Rollout, as JSON
//
// # Trials
//
// A node that a [Rollout] selects has its value in force instead of the
// published one, as long as the trial lasts. One watch covers both keys, so
// that a node on trial never sees the end of it before what was published with
// it. A value that is refused on trial, or that the application reports to do no
// good ([Config.ReportFailure]), takes the node off the trial at once, without
// the store. A record that can't be read is no trial, and the status says so.
//
// What a node has in force it tells by [Options.Report]; the registry's entry of
// the node is the place for it (rollout.Tell).
//
// # Environments
//
// A configuration may lie over others, its bases ([Options.Base]): those of a
// namespace that environments share, while each has its own key. [Overlay] says
// how they are merged. What is decoded, validated and hashed is the merged
// value, so a bad base is refused as a bad value is. Nothing is in force before
// all layers have been heard of. They are not read in one step: a change of two
// of them may be seen as two. Rollouts are those of the top key; a base's own
// rollouts are for those who follow it directly.
//
// # What is not guaranteed
//
// Nodes that are cut off from the store go on with what they know, also with a
// value on trial. Versions that follow each other fast may be merged; the last
// one always comes.
package dynconf
