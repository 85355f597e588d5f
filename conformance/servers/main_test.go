package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ory/dockertest/v3/docker"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// victimEnv makes the test binary start servers, tell their names and wait to be killed: "way kind".
const victimEnv = "SECKILL_SERVERS_VICTIM"

func TestMain(m *testing.M) {
	if victim := os.Getenv(victimEnv); victim != "" {
		beVictim(victim)
	}
	code := m.Run()
	if err := errors.Join(CloseShared(), goleak.Find()); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func needServers(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs servers; run without -short")
	}
}

// everywhere runs a test with each kind of server by each way that can be had.
func everywhere(t *testing.T, test func(t *testing.T, way string, kind Kind)) {
	needServers(t)
	for _, way := range []string{byProcess, byDocker} {
		for _, kind := range []Kind{Etcd, Consul} {
			t.Run(way+"/"+string(kind), func(t *testing.T) {
				t.Parallel()
				if way == byDocker {
					needDocker(t)
				}
				test(t, way, kind)
			})
		}
	}
}

func needDocker(t *testing.T) *engine {
	t.Helper()
	e, err := openEngine()
	if err != nil {
		t.Skip(err)
	}
	return e
}

// testContext outlasts the first build of Consul but not go test's patience.
func testContext(t *testing.T) context.Context {
	ctx, cancel := startContext(t)
	t.Cleanup(cancel)
	return ctx
}

// begin starts a cluster by one way, to be closed with the test.
func begin(t *testing.T, way string, cfg Config) *Cluster {
	t.Helper()
	c, err := start(testContext(t), way, cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		showLogs(t, c)
		require.NoError(t, c.Close())
	})
	return c
}

// put and get go the way of curl, as the package itself does without client libraries.
func put(ctx context.Context, n *Node, key, value string) error {
	if n.cluster.Kind() == Consul {
		return n.api().call(ctx, "PUT", "/v1/kv/"+key, value, nil)
	}
	return n.api().call(ctx, "POST", "/v3/kv/put", map[string][]byte{"key": []byte(key), "value": []byte(value)}, nil)
}

func get(ctx context.Context, n *Node, key string) (string, error) {
	if n.cluster.Kind() == Consul {
		var value string
		err := n.api().call(ctx, "GET", "/v1/kv/"+key+"?raw&consistent", nil, &value)
		return value, err
	}
	var found struct{ Kvs []struct{ Value []byte } }
	if err := n.api().call(ctx, "POST", "/v3/kv/range", map[string][]byte{"key": []byte(key)}, &found); err != nil {
		return "", err
	}
	if len(found.Kvs) == 0 {
		return "", errors.New("no such key")
	}
	return string(found.Kvs[0].Value), nil
}

// traces are what there is of a node on this machine: processes, in containers too, its directory, its container.
func traces(t require.TestingT, name string) []string {
	found, err := filepath.Glob(dataDir(name) + "*")
	require.NoError(t, err)
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, file := range commands {
		command, _ := os.ReadFile(file) // or else it is gone
		if strings.Contains(string(command), name) {
			found = append(found, file+": "+strings.ReplaceAll(string(command), "\x00", " "))
		}
	}
	if e, err := openEngine(); err == nil {
		containers, err := e.client.ListContainers(docker.ListContainersOptions{All: true, Filters: map[string][]string{"name": {name}}})
		require.NoError(t, err)
		for _, c := range containers {
			found = append(found, "container "+c.ID)
		}
	}
	return found
}

func requireNoTraces(t *testing.T, name string, within time.Duration) {
	t.Helper()
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		require.Empty(t, traces(t, name))
	}, within, 50*time.Millisecond)
}
