package servers

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// All tests of a process share one server, which can be ended and had anew.
func TestShared(t *testing.T) {
	needServers(t)
	var first *Cluster
	t.Run("first", func(t *testing.T) { first = Shared(t, Etcd) })
	t.Run("second", func(t *testing.T) {
		require.Same(t, first, Shared(t, Etcd))
		require.NoError(t, first.WaitReady(t.Context()), "it outlives the test that started it")
	})
	require.NoError(t, CloseShared())
	require.Empty(t, traces(t, first.Node(0).Name()))
	require.NotSame(t, first, Shared(t, Etcd))
}

// If the shared server does not start, every test that wants it fails and says why.
func TestSharedFailure(t *testing.T) {
	require.NoError(t, CloseShared())
	t.Cleanup(func() { require.NoError(t, CloseShared()) }) // forgets the failure
	t.Setenv("SECKILL_TEST_SERVERS", "nonsense")
	for range 2 {
		v := &verdict{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			Shared(v, Consul)
		}()
		<-done
		require.Contains(t, v.fatal, "SECKILL_TEST_SERVERS=nonsense")
	}
}

// A verdict keeps the failure of a test to itself.
type verdict struct {
	testing.TB
	fatal string
}

func (v *verdict) Fatal(args ...any) {
	v.fatal = fmt.Sprint(args...)
	runtime.Goexit()
}
