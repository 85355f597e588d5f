// Package cpu tells how busy the processors are that a process may use.
//
// If the process is in a cgroup (v2, or v1's cpuacct) that is: what the group
// has used, in proportion to its quota, or to the processors the process may run
// on if that is less. A quota of a group further up counts as well: the highest
// proportion of all is the answer, for that is where it gets tight. Else it is
// the machine's, as gopsutil tells it.
//
// And how much of that this process is itself: others may be who keeps them busy.
package cpu
