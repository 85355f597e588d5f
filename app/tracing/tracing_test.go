package tracing_test

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	span "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/seed27495941/seckill/app/tracing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A sink is a collector that keeps what it gets.
type sink struct {
	collector.UnimplementedTraceServiceServer

	mu  sync.Mutex
	got []*span.ResourceSpans
}

func (s *sink) Export(_ context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, r.GetResourceSpans()...)
	return &collector.ExportTraceServiceResponse{}, nil
}

// spans counts them, and tells what they are of.
func (s *sink) spans() (count int, resource map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	resource = map[string]string{}
	for _, r := range s.got {
		for _, kv := range r.GetResource().GetAttributes() {
			resource[kv.GetKey()] = kv.GetValue().GetStringValue()
		}
		for _, scope := range r.GetScopeSpans() {
			count += len(scope.GetSpans())
		}
	}
	return count, resource
}

func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", addr)
	require.NoError(t, err)
	return l
}

// collect runs a collector until the test ends.
func collect(t *testing.T, l net.Listener) *sink {
	t.Helper()
	s, server := &sink{}, grpc.NewServer()
	collector.RegisterTraceServiceServer(server, s)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-served)
	})
	return s
}

// lines is a log; read it once the tracing is closed.
type lines struct{ strings.Builder }

func start(t *testing.T, addr string) (*tracing.Tracing, *lines) {
	t.Helper()
	log := &lines{}
	tr, err := tracing.Start(t.Context(), tracing.Config{
		Endpoint: "http://" + addr, Version: "v1", Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	require.NoError(t, err)
	return tr, log
}

// work makes spans, as requests would.
func work(t *testing.T, tr *tracing.Tracing, n int) {
	t.Helper()
	tracer := tr.Provider().Tracer("test")
	for range n {
		_, s := tracer.Start(t.Context(), "work")
		s.End()
	}
}

// ends fails the test if f hangs.
func ends(t *testing.T, f func()) {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f()
	}()
	select {
	case <-ended:
	case <-time.After(30 * time.Second): // sending 2048 spans in vain takes 40s
		require.Fail(t, "it hangs")
	}
}

func TestWhatIsLeftIsSentAtTheEnd(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	s := collect(t, l)
	tr, log := start(t, l.Addr().String())
	work(t, tr, 1000)
	tr.Close(t.Context())
	count, resource := s.spans()
	assert.Equal(t, 1000, count)
	assert.Equal(t, "seckill", resource["service.name"])
	assert.Equal(t, "v1", resource["service.version"])
	assert.NotEmpty(t, resource["service.instance.id"])
	assert.NotEmpty(t, resource["host.name"])
	assert.Empty(t, log.String())
}

// Nobody takes its connections, so not even an error comes back.
func TestASilentCollectorHoldsNobodyUp(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	defer l.Close()
	tr, log := start(t, l.Addr().String())
	ends(t, func() { work(t, tr, 20_000) })
	ends(t, func() { tr.Close(t.Context()) })
	assert.Equal(t, 1, strings.Count(log.String(), "the collector does not take spans, dropping them"), log)
	assert.Contains(t, log.String(), "collector=http://"+l.Addr().String())
}

func TestAnAbsentCollectorHoldsNobodyUp(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	require.NoError(t, l.Close())
	tr, log := start(t, l.Addr().String())
	ends(t, func() { work(t, tr, 20_000) })
	ends(t, func() { tr.Close(t.Context()) })
	assert.Contains(t, log.String(), "the collector does not take spans, dropping them")
}

func TestWhoIsInAHurryWaitsForNothing(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	defer l.Close()
	tr, _ := start(t, l.Addr().String())
	work(t, tr, 10)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ends(t, func() { tr.Close(ctx) })
}

func TestACollectorThatComesLate(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	tr, _ := start(t, addr)
	defer tr.Close(t.Context())
	work(t, tr, 10)
	s := collect(t, listen(t, addr))
	require.Eventually(t, func() bool {
		work(t, tr, 10)
		count, _ := s.spans()
		return count > 0
	}, time.Minute, 100*time.Millisecond)
}

func TestTheEnvironmentOfOpenTelemetryCounts(t *testing.T) {
	t.Setenv("OTEL_SERVICE_NAME", "shop")
	t.Setenv("OTEL_TRACES_SAMPLER", "always_off")
	l := listen(t, "127.0.0.1:0")
	s := collect(t, l)
	tr, _ := start(t, l.Addr().String())
	work(t, tr, 10)
	tr.Close(t.Context())
	count, _ := s.spans()
	assert.Zero(t, count)

	t.Setenv("OTEL_TRACES_SAMPLER", "always_on")
	tr, _ = start(t, l.Addr().String())
	work(t, tr, 10)
	tr.Close(t.Context())
	count, resource := s.spans()
	assert.Equal(t, 10, count)
	assert.Equal(t, "shop", resource["service.name"])

	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "nonsense")
	_, err := tracing.Start(t.Context(), tracing.Config{Endpoint: "http://" + l.Addr().String(), Log: slog.New(slog.DiscardHandler)})
	require.ErrorContains(t, err, "tracing: ")
	require.ErrorContains(t, err, "nonsense")
}
