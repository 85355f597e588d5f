package run_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/internal/run"
)

func TestTurn(t *testing.T) {
	var turn run.Turn
	require.NoError(t, turn.Begin("the test"))
	err := turn.Begin("the test")
	require.ErrorIs(t, err, backend.ErrInvalid)
	require.ErrorContains(t, err, "the test is already running")
	turn.End()
	require.NoError(t, turn.Begin("the test"))
}

func TestFarewell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		over, end := context.WithCancel(context.WithValue(t.Context(), key{}, "v"))
		end()
		ctx, cancel := run.Farewell(over)
		defer cancel()
		require.NoError(t, ctx.Err())
		assert.Equal(t, "v", ctx.Value(key{}))
		time.Sleep(3 * time.Second)
		require.ErrorIs(t, ctx.Err(), context.DeadlineExceeded)
	})
}
