// Package rollout tries a configuration on some of the nodes before it is
// published: a gray release, also called a canary. It is the operators' side of
// it; what nodes do is in package dynconf.
//
// A rollout of the configuration "config" is one key, "config/rollout", with the
// value, the nodes it selects, and how far it has come:
//
//	trial → promoted   the value was published, as a version of its own
//	      → abandoned  by an operator
//	      → failed     more nodes reported failure than are borne
//
// Nodes are selected by their labels, and of those by a share in per cent: the
// xxh64 of the rollout's ID and the node's says which. A node that is selected
// stays so while the share grows.
//
// What a node has in force, and whether the trial failed there, it says in its
// own entry of the registry (registry.Node.Configs). So a report needs no lease
// of its own, ends with the node, and a node that reports nothing is noticed.
//
// # Guarantees
//
// Every step is a write on the condition of what was read, so any number of
// controllers may run, and steps may be repeated. A value is promoted on the
// condition that nobody changed the configuration since the rollout began, and
// that the rollout is as it was read; else that is ErrConflict. A promotion that
// crashed between publishing and the mark is completed by repeating it.
//
// A node that can't use the value, or whose application says that it does no
// good, goes back to the published one by itself, at once. The others do when a
// controller ([Controller.Run]) has seen enough failures. What it has seen it
// keeps in the rollout, so failures count that nodes had before they died, and
// such a node is not on trial again.
//
// # What it does not guarantee
//
// A node that dies of a value does not report it, and is on trial anew when it
// starts anew: look at the registry. There is one rollout at a time, and its
// record is replaced by the next one's.
package rollout
