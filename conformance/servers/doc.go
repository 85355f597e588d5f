// Package servers starts real etcd and Consul servers, one node or three, for tests.
//
//	func TestSomething(t *testing.T) {
//		c := servers.Shared(t, servers.Etcd)                      // one per test process, for tests that share politely
//		d := servers.ForTest(t, servers.Config{Kind: servers.Consul}) // one of my own, which I may kill and pause
//		…
//	}
//
// # Where servers come from
//
// The first of these that can be had, or the one that SECKILL_TEST_SERVERS names:
//
//   - address: a server that runs already, given as SECKILL_TEST_ETCD=host:port,… or SECKILL_TEST_CONSUL=http://host:port. It is used
//     as it is, so only for tests that ask for a single node without settings of their own, and it cannot be killed or paused
//     ([ErrNotControllable]).
//   - docker: containers of the official image, if it is there or can be pulled, else of an image built from scratch around the
//     binary below. SECKILL_TEST_ETCD_IMAGE and SECKILL_TEST_CONSUL_IMAGE name other images; those must be had, nothing
//     replaces what was asked for by name.
//   - process: child processes, of binaries which the Go toolchain builds from the modules pinned under tools/ ([Binary]).
//
// # Nothing stays behind
//
// Every server is the child of a small guard program that hangs on a pipe from the test process. However that process ends, the pipe
// ends with it; the guard then kills the server, removes its data and is gone. In a container the guard is PID 1 and the
// container is removed with it. What does stay is what the next run wants again: binaries in the user's cache directory, under
// seckill/bin, and images called seckill-test-etcd and seckill-test-consul.
//
// # How these servers differ from production
//
// Servers listen on loopback only. Consul's session_ttl_min is 1s instead of 10s unless [Config.SessionTTLMin] says otherwise: a
// real Consul refuses such short sessions. Elections are fast, and etcd does not fsync, which is safe for everything a test can do to it
// here: the page cache survives the death of a process, only the machine's own death would lose data.
package servers
