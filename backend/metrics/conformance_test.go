package metrics_test

import (
	"testing"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/internal/prove"
	"github.com/seed27495941/seckill/backend/metrics"
)

func TestConformance(t *testing.T) {
	prove.Wrapper(t, func(s backend.Store) backend.Store { return metrics.New(s) })
}
