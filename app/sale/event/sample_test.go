package event_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend/memory"
)

func TestThereIsAlwaysASample(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New()
		defer func() { require.NoError(t, s.Close()) }()
		first, err := event.Sample(t.Context(), s)
		require.NoError(t, err)
		assert.Equal(t, record.StatusOnline, first.Status)
		assert.True(t, first.Window.Contains(time.Now()))
		again, err := event.Sample(t.Context(), s)
		require.NoError(t, err)
		assert.Equal(t, first, again)

		time.Sleep(25 * time.Hour)
		second, err := event.Sample(t.Context(), s)
		require.NoError(t, err)
		assert.NotEqual(t, first.ID, second.ID, "the first is over")

		// One that was drafted and not published is.
		_, err = event.Suspend(t.Context(), s, second.ID)
		require.NoError(t, err)
		draft := second.Event
		unfinished, err := event.Create(t.Context(), s, draft)
		require.NoError(t, err)
		third, err := event.Sample(t.Context(), s)
		require.NoError(t, err)
		assert.Equal(t, unfinished.ID, third.ID)
		assert.Equal(t, record.StatusOnline, third.Status)
	})
}
