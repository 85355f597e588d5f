package trace_test

import (
	"testing"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/internal/prove"
	"github.com/seed27495941/seckill/backend/trace"
)

func TestConformance(t *testing.T) {
	recording := sdk.NewTracerProvider(sdk.WithSyncer(tracetest.NewNoopExporter()))
	prove.Wrapper(t, func(s backend.Store) backend.Store { return trace.New(s, recording, trace.Options{WholeKeys: true}) })
}
