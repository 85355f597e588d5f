// Package tracing sends spans to a collector, by OTLP over gRPC. It does so in
// the background: who ends a span never waits for the collector, and when that
// is away or slow spans are dropped and the log says so.
//
// What an operator may want to set beyond the collector's address is read from
// the environment, under OpenTelemetry's own names: OTEL_TRACES_SAMPLER,
// OTEL_RESOURCE_ATTRIBUTES, OTEL_EXPORTER_OTLP_HEADERS,
// OTEL_EXPORTER_OTLP_CERTIFICATE and the like.
package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// flushTimeout bounds how long the last spans may take at the end.
const flushTimeout = 2 * time.Second

// A Config says where spans go.
type Config struct {
	Endpoint string // of the collector, as a URL: http://host:port, or https
	Version  string // of this program, for the spans' resource
	Log      *slog.Logger
}

// Tracing is spans on their way to a collector.
type Tracing struct {
	provider trace.TracerProvider
	batches  sdk.SpanProcessor
	exporter *exporter
}

// Start begins to send spans. Nothing is asked of the collector yet, so it need
// not be there. Errors: of OpenTelemetry's variables in the environment.
func Start(ctx context.Context, cfg Config) (*Tracing, error) {
	from, err := resource.New(ctx,
		resource.WithService(), // an ID for this process
		resource.WithHost(),
		resource.WithTelemetrySDK(),
		resource.WithAttributes(semconv.ServiceName("seckill"), semconv.ServiceVersion(cfg.Version)),
		resource.WithFromEnv(),
	)
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	sender, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpointURL(cfg.Endpoint))
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	e := &exporter{sender: sender, log: cfg.Log.With("collector", cfg.Endpoint), ended: make(chan struct{})}
	batches := sdk.NewBatchSpanProcessor(e)
	provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(batches), sdk.WithResource(from))
	return &Tracing{provider: provider, batches: batches, exporter: e}, nil
}

// Provider is where spans come from.
func (t *Tracing) Provider() trace.TracerProvider { return t.provider }

// Close sends what has not been sent, and gives up after two seconds or when
// ctx ends. All is at rest when it returns. It must be called once.
func (t *Tracing) Close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	// Not the provider's Shutdown: that does nothing if ctx has ended already.
	if t.batches.Shutdown(ctx) != nil {
		// It has stopped waiting, not sending: that is up to the sender.
		_ = t.exporter.sender.Shutdown(ctx)
	}
	<-t.exporter.ended
}

// An exporter tells the log, and not OpenTelemetry's global error handler, when
// the collector does not take spans and when it does again. It is called from
// one goroutine at a time.
type exporter struct {
	sender sdk.SpanExporter
	log    *slog.Logger
	away   bool
	ended  chan struct{} // closed when nothing is exported any more
}

// ExportSpans implements [sdk.SpanExporter].
func (e *exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := e.sender.ExportSpans(ctx, spans)
	switch {
	case err != nil && !e.away:
		e.log.Warn("the collector does not take spans, dropping them", "error", err)
	case err == nil && e.away:
		e.log.Info("the collector takes spans again")
	}
	e.away = err != nil
	return nil
}

// Shutdown implements [sdk.SpanExporter].
func (e *exporter) Shutdown(ctx context.Context) error {
	defer close(e.ended)
	return e.sender.Shutdown(ctx)
}
