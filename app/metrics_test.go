package app_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"

	"github.com/seed27495941/seckill/app"
)

// metric is a figure of /metrics.
func (r *running) metric(series string) float64 {
	r.Helper()
	for line := range strings.Lines(r.metrics()) {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			value, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			require.NoError(r, err)
			return value
		}
	}
	require.Fail(r, "no "+series)
	return 0
}

func TestMetricsTellOfTheStore(t *testing.T) {
	r := start(t)
	calls := func(operation, result string) int {
		return int(r.metric(fmt.Sprintf("seckill_store_calls_total{operation=%q,result=%q}", operation, result)))
	}
	// Of the registration, and of who is to do the background jobs.
	require.Eventually(t, func() bool { return calls("lease", "ok") == 2 }, time.Minute, time.Millisecond)
	assert.Positive(t, calls("put", "ok"), "the registration")
	assert.Positive(t, calls("list", "ok"))
	assert.InDelta(t, 2, r.metric("seckill_store_leases"), 0)
	watches := r.metric("seckill_store_open_watches")
	assert.GreaterOrEqual(t, watches, 2.0, "the config and the nodes")
	assert.Less(t, r.metric("seckill_store_watch_staleness_seconds"), 60.0)

	before := r.metric("seckill_store_watch_puts_total")
	r.publish(`{"logLevel":"warn"}`)
	assert.Greater(t, r.metric("seckill_store_watch_puts_total"), before)

	// An operator's page asks for the published config.
	gets := calls("get", "ok")
	r.config()
	assert.Greater(t, calls("get", "ok"), gets)
	r.store.Cut()
	r.config()
	assert.Positive(t, calls("get", "unavailable"))
	assert.Zero(t, r.metric("seckill_store_watch_resyncs_total"))
	r.store.Mend()
	require.Eventually(t, func() bool { return r.metric("seckill_store_watch_resyncs_total") >= watches }, time.Minute, time.Millisecond)
}

// The page for operators knows every metric.
func TestMetricsAreOnThePage(t *testing.T) {
	page, err := os.ReadFile("../docs/metrics.md")
	require.NoError(t, err)
	list := filepath.Join(t.TempDir(), "blacklist")
	require.NoError(t, os.WriteFile(list, []byte("# nobody\n"), 0o600))
	r, _ := startWithFile(t, "", func(o *app.Options) { o.Settings.Blacklist.File = list })
	served := regexp.MustCompile(`(?m)^# TYPE (seckill_\w+) (\w+)$`).FindAllStringSubmatch(r.metrics(), -1)
	require.NotEmpty(t, served)
	for _, m := range served {
		assert.Contains(t, string(page), fmt.Sprintf("| %#q | %s | ", m[1], m[2]))
	}
}

func (r *running) metrics() string { return r.get(r.at.Ops, "/metrics") }

// A sink is a collector that remembers which spans it got, and of which service.
type sink struct {
	collector.UnimplementedTraceServiceServer

	mu    sync.Mutex
	spans map[string]string // name: what it is about
}

func (s *sink) Export(_ context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range r.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				s.spans[span.GetName()] = fmt.Sprint(span.GetAttributes())
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func TestSpansReachACollector(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s, server := &sink{spans: map[string]string{}}, grpc.NewServer()
	collector.RegisterTraceServiceServer(server, s)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()

	t.Run("process", func(t *testing.T) {
		startWith(t, func(o *app.Options) { o.Settings.Trace.Endpoint = "http://" + l.Addr().String() })
	})
	server.Stop()
	require.NoError(t, <-served)

	for _, name := range []string{"lease", "put nodes", "list nodes", "list"} {
		assert.Contains(t, s.spans, name)
	}
	assert.Contains(t, s.spans["put nodes"], "nodes/127-0-0-1-")
	assert.Contains(t, s.spans["put nodes"], `"memory"`)
}

func TestADeadCollectorChangesNothing(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0") // and nobody accepts
	require.NoError(t, err)
	defer l.Close()
	t.Run("process", func(t *testing.T) {
		r := startWith(t, func(o *app.Options) { o.Settings.Trace.Endpoint = "http://" + l.Addr().String() })
		assert.Equal(t, "ready\n", r.get(r.at.API, "/readyz"))
		r.publish(`{"logLevel":"warn"}`)
		assert.Equal(t, "warn", r.config().Here.InForce.LogLevel)
	})
}
