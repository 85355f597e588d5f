package servers

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A server starts, keeps its data through a crash, an orderly end and a pause, and leaves nothing behind.
func TestLife(t *testing.T) {
	everywhere(t, func(t *testing.T, way string, kind Kind) {
		ctx := testContext(t)
		began := time.Now()
		c, err := start(ctx, way, Config{Kind: kind})
		require.NoError(t, err)
		t.Logf("%s %s (%s) in %s", kind, c.Version(), c.Source(), time.Since(began).Round(time.Millisecond))
		defer c.Close()
		n := c.Node(0)
		require.Regexp(t, `^[0-9]+\.[0-9]+\.[0-9]+`, c.Version())
		require.True(t, strings.HasPrefix(c.Source(), way), c.Source())
		require.Equal(t, []string{n.Endpoint()}, c.Endpoints())
		require.NotEmpty(t, traces(t, n.Name()))

		require.NoError(t, put(ctx, n, "key", "one"))
		require.NoError(t, n.Kill(ctx))
		require.Error(t, put(ctx, n, "key", "lost"))
		require.ErrorContains(t, n.Kill(ctx), "not running")
		require.NoError(t, n.Start(ctx))
		requireValue(t, n, "key", "one")
		require.ErrorContains(t, n.Start(ctx), "running already")

		require.NoError(t, put(ctx, n, "key", "two"))
		require.NoError(t, n.Terminate(ctx))
		require.ErrorContains(t, n.Terminate(ctx), "not running")
		require.NoError(t, n.Start(ctx))
		requireValue(t, n, "key", "two")

		require.NoError(t, n.Pause(ctx))
		brief, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		// Under a key of its own: the server may read this request after the next one and apply it then.
		require.ErrorIs(t, put(brief, n, "late", "value"), context.DeadlineExceeded)
		require.NoError(t, n.Resume(ctx))
		require.NoError(t, c.WaitReady(ctx))
		require.NoError(t, put(ctx, n, "key", "three"))
		requireValue(t, n, "key", "three")

		require.NoError(t, n.Pause(ctx), "a paused server must end, too")
		require.NoError(t, c.Close())
		require.Empty(t, traces(t, n.Name()))
	})
}

func requireValue(t *testing.T, n *Node, key, want string) {
	t.Helper()
	have, err := get(t.Context(), n, key)
	require.NoError(t, err)
	require.Equal(t, want, have)
}

// Three nodes elect a leader, go on without one of them, and take it back.
func TestThreeNodes(t *testing.T) {
	everywhere(t, func(t *testing.T, way string, kind Kind) {
		c := begin(t, way, Config{Kind: kind, Nodes: 3})
		ctx := testContext(t)
		require.Len(t, c.Nodes(), 3)
		require.NoError(t, put(ctx, c.Node(0), "key", "one"))
		requireValue(t, c.Node(2), "key", "one")

		first, err := c.Leader(ctx)
		require.NoError(t, err)
		require.NoError(t, first.Pause(ctx))
		second, err := c.Leader(ctx)
		require.NoError(t, err)
		require.NotEqual(t, first.Name(), second.Name())
		require.NoError(t, first.Resume(ctx))

		require.NoError(t, c.Node(0).Kill(ctx))
		require.NoError(t, c.WaitReady(ctx), "two of three are a majority")
		require.NoError(t, put(ctx, c.Node(1), "key", "two"))
		requireValue(t, c.Node(2), "key", "two")

		require.NoError(t, c.Node(0).Start(ctx))
		requireValue(t, c.Node(0), "key", "two")
	})
}

// Who leads now is ready also while its agent hangs on the leader of before, with its own state locked, to tell about itself.
func TestAgentThatHangsIsReady(t *testing.T) {
	needServers(t)
	t.Parallel()
	c := ForTest(t, Config{Kind: Consul, Nodes: 3})
	ctx := testContext(t)
	next := hangingLeader(t, c)
	for {
		if _, _, err := c.flavor.identify(ctx, next.api()); err != nil {
			break
		}
		require.NoError(t, c.Resume(ctx)) // it was told its news too late
		next = hangingLeader(t, c)
	}
	soon, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	require.NoError(t, next.waitReady(soon))
}

// hangingLeader pauses the leader, gives the others something to tell it, and returns the next leader.
func hangingLeader(t *testing.T, c *Cluster) *Node {
	t.Helper()
	ctx := testContext(t)
	old, err := c.Leader(ctx)
	require.NoError(t, err)
	require.NoError(t, old.Pause(ctx))
	var telling sync.WaitGroup
	defer telling.Wait()
	for _, n := range c.Nodes() {
		if n != old {
			telling.Go(func() {
				news := map[string]string{"Name": rand.Text()}
				_ = n.api().call(ctx, "PUT", "/v1/agent/service/register", news, nil) // it hangs
			})
		}
	}
	next, err := c.Leader(ctx)
	require.NoError(t, err)
	return next
}

// A test process that is killed takes its servers, their data and their containers with it.
func TestKilledTestProcess(t *testing.T) {
	everywhere(t, func(t *testing.T, way string, kind Kind) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), victimEnv+"="+way+" "+string(kind))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		name, err := bufio.NewReader(out).ReadString('\n')
		require.NoError(t, err, "the victim has no server")
		name = strings.TrimSpace(name)
		require.NotEmpty(t, traces(t, name))

		require.NoError(t, cmd.Process.Kill())
		require.ErrorContains(t, cmd.Wait(), "killed")
		requireNoTraces(t, name, 10*time.Second)
	})
}

func beVictim(how string) {
	way, kind, _ := strings.Cut(how, " ")
	c, err := start(context.Background(), way, Config{Kind: Kind(kind)})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(c.Node(0).Name())
	select {}
}
