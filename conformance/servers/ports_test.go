package servers

import (
	"context"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Somebody takes the port between choosing and listening: others are chosen.
func TestTakenPort(t *testing.T) {
	everywhere(t, func(t *testing.T, way string, kind Kind) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		_, port, err := net.SplitHostPort(l.Addr().String())
		require.NoError(t, err)
		taken, err := strconv.Atoi(port)
		require.NoError(t, err)

		tries := 0
		c := begin(t, way, Config{Kind: kind, ports: func(n int) ([]int, error) {
			ports, err := freePorts(n)
			if tries++; tries == 1 && err == nil {
				ports[len(ports)-1] = taken
			}
			return ports, err
		}})
		require.Equal(t, 2, tries)
		require.NotContains(t, c.Node(0).ports, taken)
	})
}

// A healthy server of somebody else's on the port we wanted is never taken for ours.
func TestStranger(t *testing.T) {
	everywhere(t, func(t *testing.T, way string, kind Kind) {
		stranger := begin(t, byProcess, Config{Kind: kind})
		tries := 0
		ours := begin(t, way, Config{Kind: kind, ports: func(n int) ([]int, error) {
			if tries++; tries == 1 {
				return stranger.Node(0).ports, nil
			}
			return freePorts(n)
		}})
		require.Equal(t, 2, tries)
		require.NotEqual(t, stranger.Endpoints(), ours.Endpoints())
		require.NoError(t, stranger.WaitReady(t.Context()))
	})
}

// When a killed server's port is taken, Start waits for it instead of believing whoever answers there.
func TestRestartWaitsForItsPort(t *testing.T) {
	needServers(t)
	t.Parallel()
	n := begin(t, byProcess, Config{Kind: Etcd}).Node(0)
	require.NoError(t, n.Kill(t.Context()))
	l, err := net.Listen("tcp", n.Endpoint())
	require.NoError(t, err)

	brief, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, n.Start(brief), errPortTaken)
	time.AfterFunc(200*time.Millisecond, func() { l.Close() })
	require.NoError(t, n.Start(t.Context()))
}

func TestFreePorts(t *testing.T) {
	ports, err := freePorts(50)
	require.NoError(t, err)
	seen := make(map[int]bool)
	for _, port := range ports {
		require.False(t, seen[port], "twice the same port")
		seen[port] = true
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		require.NoError(t, err)
		require.False(t, portFree(port))
		require.NoError(t, l.Close())
	}
}
