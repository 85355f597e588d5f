package stores

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"testing"
)

// Ports are below those that the kernel hands out by itself and above those of the
// test servers and proxies, so that nobody gets a process's while it is dead.
const (
	firstPort = 32_000
	lastPort  = 32_768
)

// FreeAddress finds an address on the loopback interface at which nobody listened a
// moment ago, for a process that has to come back to it.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", firstPort+rand.N(lastPort-firstPort))
		if l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", addr); err == nil {
			must(t, l.Close())
			return addr
		}
	}
	t.Fatalf("no free port from %d to %d", firstPort, lastPort-1)
	return ""
}

// ShortDir is a directory that ends with the test and in which a socket can be: the
// path of one has a hundred bytes at most, and TempDir's has the name of the test.
func ShortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "seckill") //nolint:usetesting // TempDir is what it replaces
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return dir
}
