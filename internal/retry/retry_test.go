package retry_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
)

func TestForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		began, runs := time.Now(), 0
		err := retry.Forever(t.Context(), slog.New(slog.NewTextHandler(&log, nil)), "look", func(context.Context) error {
			if runs++; runs == 3 {
				return fmt.Errorf("no more: %w", backend.ErrClosed)
			}
			return errors.New("for now")
		})
		require.ErrorIs(t, err, backend.ErrClosed)
		assert.Equal(t, 3, runs)
		assert.Equal(t, 2*retry.Pause, time.Since(began))
		assert.Equal(t, 2, strings.Count(log.String(), `task=look error="for now"`))

		ctx, cancel := context.WithCancel(t.Context())
		require.NoError(t, retry.Forever(ctx, slog.New(slog.DiscardHandler), "end", func(context.Context) error {
			cancel()
			return errors.New("at the end")
		}))
	})
}

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		assert.True(t, retry.Sleep(ctx, time.Second))
		assert.Equal(t, time.Second, time.Since(began))
		assert.False(t, retry.Sleep(ctx, time.Hour))
		assert.Equal(t, time.Minute, time.Since(began))
	})
}
