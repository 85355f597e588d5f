package servers

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

// startTimeout bounds a start, with room for the first build of Consul.
const startTimeout = 15 * time.Minute

// ForTest starts servers for one test and ends them with it. If the test fails, it shows what the servers printed.
func ForTest(t testing.TB, cfg Config) *Cluster {
	t.Helper()
	ctx, cancel := startContext(t)
	defer cancel()
	c, err := Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		showLogs(t, c)
		if err := c.Close(); err != nil {
			t.Errorf("servers: close %s: %v", cfg.Kind, err)
		}
	})
	return c
}

// Shared returns the one server of its kind that all tests of this process share; the first to ask starts it, and if that fails all of
// them fail. It ends with the process, or with CloseShared. Who kills or pauses it, or fills it, or tests its limits, wants ForTest: a
// shared Consul takes more connections from one address than the 200 of the default.
func Shared(t testing.TB, kind Kind) *Cluster {
	t.Helper()
	return SharedNodes(t, kind, 1)
}

// SharedNodes is Shared with a number of nodes.
func SharedNodes(t testing.TB, kind Kind, nodes int) *Cluster {
	t.Helper()
	sharedMu.Lock()
	defer sharedMu.Unlock()
	which := sharing{kind, nodes}
	s, ok := shared[which]
	if !ok {
		ctx, cancel := startContext(t)
		defer cancel()
		s.cluster, s.err = Start(ctx, Config{Kind: kind, Nodes: nodes, crowded: true})
		shared[which] = s
	}
	if s.err != nil {
		t.Fatal(s.err)
	}
	t.Cleanup(func() { showLogs(t, s.cluster) })
	return s.cluster
}

// CloseShared ends the shared servers, for a TestMain that looks for leaks. Without it they end with the process.
func CloseShared() error {
	sharedMu.Lock()
	defer sharedMu.Unlock()
	var first error
	for which, s := range shared {
		if s.cluster != nil {
			if err := s.cluster.Close(); err != nil && first == nil {
				first = fmt.Errorf("servers: close the shared %s: %w", which.kind, err)
			}
		}
		delete(shared, which)
	}
	return first
}

var (
	sharedMu sync.Mutex
	shared   = make(map[sharing]sharedCluster)
)

type sharing struct {
	kind  Kind
	nodes int
}

type sharedCluster struct {
	cluster *Cluster
	err     error
}

// startContext ends a little before the test's own deadline, so that the error gets out.
func startContext(t testing.TB) (context.Context, context.CancelFunc) {
	deadline := time.Now().Add(startTimeout)
	if d, ok := t.(interface{ Deadline() (time.Time, bool) }); ok {
		if end, limited := d.Deadline(); limited && end.Add(-5*time.Second).Before(deadline) {
			deadline = end.Add(-5 * time.Second)
		}
	}
	return context.WithDeadlineCause(t.Context(), deadline, fmt.Errorf("no server by %s: %w", deadline.Format(time.TimeOnly), context.DeadlineExceeded))
}

func showLogs(t testing.TB, c *Cluster) {
	if t.Failed() {
		t.Log(c.Logs())
	}
}
