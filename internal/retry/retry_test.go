package retry_test

import (
	"bytes"
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

func TestPausesGrowToALimitAndBeginAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loop := retry.New(nil, "test")
		failed := errors.New("no")
		begin := func() {
			assert.InDelta(t, 100*time.Millisecond, loop.Failed(failed), float64(50*time.Millisecond))
			assert.InDelta(t, 200*time.Millisecond, loop.Failed(failed), float64(100*time.Millisecond))
		}
		begin()
		pauses := map[time.Duration]bool{}
		for range 100 {
			pause := loop.Failed(failed)
			assert.LessOrEqual(t, pause, 4500*time.Millisecond)
			pauses[pause] = true
		}
		assert.Greater(t, len(pauses), 50, "chance spreads them")

		loop.Worked()
		time.Sleep(9 * time.Second)
		loop.Worked()
		assert.Greater(t, loop.Failed(failed), time.Second, "it did not last")
		loop.Worked()
		time.Sleep(10 * time.Second)
		begin()
	})
}

// A watch that begins and fails, again and again, is neither tried in haste nor
// told each time.
func TestWhatWorksForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		loop := retry.New(slog.New(slog.NewTextHandler(&log, nil)), "test")
		attempts := 0
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		require.NoError(t, loop.Keep(ctx, func(context.Context) error {
			attempts++
			loop.Worked()
			return errors.New("too many watches")
		}))
		assert.Less(t, attempts, 1500)
		assert.Equal(t, 2, strings.Count(log.String(), "\n"), log.String())
	})
}

func TestLogsWhatIsNews(t *testing.T) {
	synctest.Test(t, testLogsWhatIsNews)
}

func testLogsWhatIsNews(t *testing.T) {
	var log bytes.Buffer
	loop := retry.New(slog.New(slog.NewTextHandler(&log, nil)), "test")
	lines := func() int { return strings.Count(log.String(), "\n") }

	loop.Worked()
	assert.Zero(t, lines(), "that it works is no news")
	for i := range 5 {
		loop.Failed(fmt.Errorf("no answer from port %d", i))
		loop.Failed(errors.New("no route"))
	}
	assert.Equal(t, 2, lines(), "each trouble once, whatever its numbers")
	loop.Worked()
	loop.Worked()
	assert.Equal(t, 3, lines())
	time.Sleep(time.Minute)
	loop.Failed(errors.New("no route"))
	assert.Equal(t, 4, lines())
	require.EqualError(t, loop.Last().Err, "no route")

	for i := range 1000 {
		loop.Failed(errors.New(strings.Repeat("x", i)))
	}
	assert.Less(t, lines(), 25, "what always differs does not flood")
}

func TestKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loop := retry.New(nil, "test")
		ctx, cancel := context.WithCancel(t.Context())
		attempts := 0
		require.NoError(t, loop.Keep(ctx, func(context.Context) error {
			switch attempts++; attempts {
			case 1:
				return backend.ErrDenied
			case 2:
				return nil // that is no reason to end
			default:
				cancel()
				return backend.ErrClosed
			}
		}))
		assert.Equal(t, 3, attempts)
		for _, final := range []error{backend.ErrClosed, backend.ErrInvalid} {
			require.ErrorIs(t, loop.Keep(t.Context(), func(context.Context) error { return final }), final)
		}
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
