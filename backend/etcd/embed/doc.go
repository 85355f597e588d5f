// Package embed runs a real etcd server, of one member, inside the process: for
// a system on one machine, for trying it out, and for tests. Others reach it
// like any etcd, with etcdctl too.
package embed
