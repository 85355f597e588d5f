package node_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
)

// beside starts a process that is to take the place of b's.
func (b *bench) beside() (after *bench, vacate func()) {
	b.Helper()
	vacated := make(chan struct{})
	after = &bench{T: b.T, server: b.server, store: b.server.Open(), operator: b.operator, vacated: vacated}
	after.begin()
	b.wait(time.Second)
	return after, func() { close(vacated) }
}

func (b *bench) end() {
	b.Helper()
	b.stop()
	require.NoError(b, b.store.Close())
}

// keys are those that list an incarnation.
func (b *bench) keys(incarnation string) (keys []string) {
	b.Helper()
	entries, _, err := backend.List(b.Context(), b.operator, "nodes/")
	require.NoError(b, err)
	for _, e := range entries {
		if strings.Contains(string(e.Value), incarnation) {
			keys = append(keys, e.Key)
		}
	}
	return keys
}

// followed tells whether an incarnation was always listed from now on.
func (b *bench) followed(incarnation string) (always func() bool) {
	ctx, cancel := context.WithCancel(b.Context())
	var listed sync.WaitGroup
	missing := false
	listed.Go(func() {
		var state backend.State
		for u, err := range b.operator.WatchPrefix(ctx, "nodes/") {
			if err != nil {
				return
			}
			state.Apply(u)
			here := false
			for _, e := range state.Entries() {
				here = here || strings.Contains(string(e.Value), incarnation)
			}
			missing = missing || !here
		}
	})
	return func() bool {
		cancel()
		listed.Wait()
		return !missing
	}
}

func TestAProcessIsListedBesideTheOneItFollows(t *testing.T) {
	run(t, asIs, func(b *bench) {
		before := b.node.Status().Node.Incarnation
		after, vacate := b.beside()
		s := after.node.Status()
		require.True(b, s.Ready, s.NotReady)
		require.NoError(b, after.node.AwaitReady(b.Context()))
		assert.True(b, after.node.Registered())
		assert.Equal(b, "10-10-11-12-8080~"+s.Node.Incarnation, s.Node.ID)
		assert.Equal(b, []string{key}, b.keys(before))
		assert.Equal(b, []string{key + "~" + s.Node.Incarnation}, b.keys(s.Node.Incarnation))
		always := b.followed(s.Node.Incarnation)

		b.node.Leave()
		require.NoError(b, b.node.Ready(), "buyers need not know")
		b.wait(time.Second)
		listed, err := b.operator.Get(b.Context(), key)
		require.NoError(b, err)
		assert.Contains(b, string(listed.Value), `"draining":true`, "nodes do")

		b.stop()
		b.wait(time.Minute)
		assert.Equal(b, []string{key + "~" + s.Node.Incarnation}, b.keys(s.Node.Incarnation), "deregistered is not gone")
		vacate()
		b.wait(time.Second)
		assert.Equal(b, []string{key}, b.keys(s.Node.Incarnation))
		assert.True(b, after.node.Registered())
		assert.Equal(b, "10-10-11-12-8080", after.node.Status().Node.ID)
		assert.True(b, always())

		b.publish(`{"logLevel":"warn"}`)
		listed, err = b.operator.Get(b.Context(), key)
		require.NoError(b, err)
		assert.Contains(b, string(listed.Value), after.node.Status().Config.InForceHash)
		after.end()
		assert.Empty(b, b.keys(s.Node.Incarnation))
	})
}

func TestWhatAKilledProcessLeftBehindIsTakenAtOnce(t *testing.T) {
	run(t, asIs, func(b *bench) {
		after, vacate := b.beside()
		b.store.Cut() // for good, as far as anybody can tell
		vacate()
		b.wait(time.Second)
		assert.Equal(b, []string{key}, b.keys(after.node.Status().Node.Incarnation))
		b.store.Mend()
		after.end()
	})
}

func TestAProcessThatDoesNotGetItsPlaceLeavesNothing(t *testing.T) {
	run(t, asIs, func(b *bench) {
		after, _ := b.beside()
		after.end()
		assert.Empty(b, b.keys(after.node.Status().Node.Incarnation))
		assert.True(b, b.listed())
		assert.True(b, b.node.Registered())
	})
}
