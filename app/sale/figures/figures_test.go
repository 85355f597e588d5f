package figures_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/sale/figures"
)

var (
	event = ulid.MustParse("01K9ZZZZZZZZZZZZZZZZZZZZZ1")
	other = ulid.MustParse("01K9ZZZZZZZZZZZZZZZZZZZZZ2")
)

func held(t *testing.T, b *figures.Board, event ulid.ULID, slot int) int64 {
	t.Helper()
	s, _, ok := b.Get(event, slot)
	require.True(t, ok)
	return s.Held
}

// A former owner, which goes on telling, does not undo what its successor says.
func TestLaterEpochCounts(t *testing.T) {
	b := figures.NewBoard()
	b.Hear("a", []figures.Slot{{Event: event, Slot: 1, Epoch: 3, Held: 7}})
	assert.EqualValues(t, 7, held(t, b, event, 1))
	b.Hear("a", []figures.Slot{{Event: event, Slot: 1, Epoch: 3, Held: 6}})
	assert.EqualValues(t, 6, held(t, b, event, 1), "the same owner, after a cancellation")
	b.Hear("b", []figures.Slot{{Event: event, Slot: 1, Epoch: 4, Held: 5}})
	b.Hear("a", []figures.Slot{{Event: event, Slot: 1, Epoch: 3, Held: 9}})
	assert.EqualValues(t, 5, held(t, b, event, 1))
	_, _, ok := b.Get(event, 2)
	assert.False(t, ok)
}

// That a process has nothing new to say keeps what it said before fresh.
func TestFreshAsLongAsItsOwnerIsHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := figures.NewBoard()
		b.Hear("a", []figures.Slot{{Event: event, Slot: 1, Epoch: 1, Held: 7}})
		begun := time.Now()
		time.Sleep(time.Minute)
		b.Hear("b", nil)
		_, at, _ := b.Get(event, 1)
		assert.Equal(t, begun, at)
		b.Hear("a", nil)
		_, at, _ = b.Get(event, 1)
		assert.Equal(t, time.Now(), at)
	})
}

func TestTellsWhatHasChanged(t *testing.T) {
	b := figures.NewBoard()
	one, two := figures.Slot{Event: event, Slot: 1, Epoch: 1, Held: 1}, figures.Slot{Event: event, Slot: 2, Epoch: 1, Held: 2}
	b.Tell("self", []figures.Slot{one, two})
	all, version, moved := b.Since(0)
	assert.ElementsMatch(t, []figures.Slot{one, two}, all)
	b.Tell("self", []figures.Slot{one, two})
	select {
	case <-moved:
		t.Error("nothing has changed")
	default:
	}
	two.Held = 3
	b.Tell("self", []figures.Slot{one, two})
	<-moved
	changed, version, _ := b.Since(version)
	assert.Equal(t, []figures.Slot{two}, changed)
	assert.EqualValues(t, 3, held(t, b, event, 2), "it hears itself")

	b.Tell("self", []figures.Slot{one})
	b.Tell("self", []figures.Slot{one, two})
	changed, _, _ = b.Since(version)
	assert.Equal(t, []figures.Slot{two}, changed, "a slot that has come back")
}

func TestForgets(t *testing.T) {
	b := figures.NewBoard()
	b.Hear("a", []figures.Slot{{Event: event, Slot: 1, Epoch: 1, Held: 7}, {Event: other, Slot: 1, Epoch: 1, Held: 8}})
	b.Keep(func(e ulid.ULID) bool { return e == other })
	_, _, ok := b.Get(event, 1)
	assert.False(t, ok)
	assert.EqualValues(t, 8, held(t, b, other, 1))
}
