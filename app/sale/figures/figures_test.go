package figures_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
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
	b.Hear("a", figures.Report{Slots: []figures.Slot{{Event: event, Slot: 1, Epoch: 3, Held: 7}}})
	assert.EqualValues(t, 7, held(t, b, event, 1))
	b.Hear("a", figures.Report{Slots: []figures.Slot{{Event: event, Slot: 1, Epoch: 3, Held: 6}}})
	assert.EqualValues(t, 6, held(t, b, event, 1), "the same owner, after a cancellation")
	b.Hear("b", figures.Report{Slots: []figures.Slot{{Event: event, Slot: 1, Epoch: 4, Held: 5}}})
	b.Hear("a", figures.Report{Slots: []figures.Slot{{Event: event, Slot: 1, Epoch: 3, Held: 9}}})
	assert.EqualValues(t, 5, held(t, b, event, 1))
	_, _, ok := b.Get(event, 2)
	assert.False(t, ok)
}

// That a process has nothing new to say keeps what it said before fresh.
func TestFreshAsLongAsItsOwnerIsHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := figures.NewBoard()
		b.Hear("a", figures.Report{Slots: []figures.Slot{{Event: event, Slot: 1, Epoch: 1, Held: 7}}})
		begun := time.Now()
		time.Sleep(time.Minute)
		b.Hear("b", figures.Report{})
		_, at, _ := b.Get(event, 1)
		assert.Equal(t, begun, at)
		b.Hear("a", figures.Report{})
		_, at, _ = b.Get(event, 1)
		assert.Equal(t, time.Now(), at)
	})
}

func TestTellsWhatHasChanged(t *testing.T) {
	b := figures.NewBoard()
	one, two := figures.Slot{Event: event, Slot: 1, Epoch: 1, Held: 1}, figures.Slot{Event: event, Slot: 2, Epoch: 1, Held: 2}
	b.Tell("self", figures.Report{Slots: []figures.Slot{one, two}})
	all, version, moved := b.Since(0)
	assert.ElementsMatch(t, []figures.Slot{one, two}, all.Slots)
	b.Tell("self", figures.Report{Slots: []figures.Slot{one, two}})
	select {
	case <-moved:
		t.Error("nothing has changed")
	default:
	}
	two.Held = 3
	b.Tell("self", figures.Report{Slots: []figures.Slot{one, two}})
	<-moved
	changed, version, _ := b.Since(version)
	assert.Equal(t, []figures.Slot{two}, changed.Slots)
	assert.EqualValues(t, 3, held(t, b, event, 2), "it hears itself")

	b.Tell("self", figures.Report{Slots: []figures.Slot{one}})
	b.Tell("self", figures.Report{Slots: []figures.Slot{one, two}})
	changed, _, _ = b.Since(version)
	assert.Equal(t, []figures.Slot{two}, changed.Slots, "a slot that has come back")
}

// Others may hear earlier than this process that a sale has opened: what they tell then
// is not forgotten, but what is told of a sale that is over is.
func TestForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := figures.NewBoard()
		by := map[string]int64{"sold_out": 1}
		b.Hear("a", figures.Report{
			Slots:    []figures.Slot{{Event: event, Slot: 1, Epoch: 1, Held: 7}, {Event: other, Slot: 1, Epoch: 1, Held: 8}},
			Refusals: []figures.Refusals{{Event: event, By: by}, {Event: other, By: by}},
		})
		keep := func(open ...ulid.ULID) { b.Keep(func(e ulid.ULID) bool { return slices.Contains(open, e) }) }
		keep()
		time.Sleep(59 * time.Second)
		keep(other)
		assert.EqualValues(t, 7, held(t, b, event, 1))
		assert.Equal(t, by, b.Refused(event))
		time.Sleep(time.Second)
		keep()
		_, _, ok := b.Get(event, 1)
		assert.False(t, ok)
		assert.Empty(t, b.Refused(event))
		assert.EqualValues(t, 8, held(t, b, other, 1), "it was open a minute ago")
		assert.Equal(t, by, b.Refused(other))
	})
}

// The refusals of all processes are added up, of those that have ended too, and what
// comes late from one makes them no fewer.
func TestRefusalsAddUp(t *testing.T) {
	b := figures.NewBoard()
	tells := func(who string, by map[string]int64) {
		b.Hear(who, figures.Report{Refusals: []figures.Refusals{{Event: event, By: by}}})
	}
	assert.Empty(t, b.Refused(event))
	tells("a", map[string]int64{"sold_out": 5, "window": 1})
	tells("b", map[string]int64{"sold_out": 2, "user_limit": 3})
	tells("a", map[string]int64{"sold_out": 7, "window": 1})
	assert.Equal(t, map[string]int64{"sold_out": 9, "window": 1, "user_limit": 3}, b.Refused(event))
	tells("a", map[string]int64{"sold_out": 5})
	b.Keep(func(ulid.ULID) bool { return true })
	assert.Equal(t, map[string]int64{"sold_out": 9, "window": 1, "user_limit": 3}, b.Refused(event))
	assert.Empty(t, b.Refused(other))
}

func TestTellsRefusalsThatHaveChanged(t *testing.T) {
	b := figures.NewBoard()
	one := figures.Refusals{Event: event, By: map[string]int64{"sold_out": 1}}
	two := figures.Refusals{Event: other, By: map[string]int64{"window": 2}}
	b.Tell("self", figures.Report{Refusals: []figures.Refusals{one, two}})
	all, version, moved := b.Since(0)
	assert.ElementsMatch(t, []figures.Refusals{one, two}, all.Refusals)
	b.Tell("self", figures.Report{Refusals: []figures.Refusals{one, two}})
	select {
	case <-moved:
		t.Error("nothing has changed")
	default:
	}
	two.By = map[string]int64{"window": 2, "sold_out": 1}
	b.Tell("self", figures.Report{Refusals: []figures.Refusals{one, two}})
	<-moved
	changed, _, _ := b.Since(version)
	assert.Equal(t, figures.Report{Refusals: []figures.Refusals{two}}, changed)
	assert.Equal(t, two.By, b.Refused(other), "it hears itself")
}

// Whatever comes at once, and whoever looks meanwhile, each refusal is counted once.
func TestNoRefusalIsLost(t *testing.T) {
	var open atomic.Bool
	c := figures.NewCounter(func(e ulid.ULID) bool { return e == event && open.Load() })
	c.Add(event, "sold_out")
	assert.Empty(t, c.All(), "it has not opened")
	open.Store(true)
	const crowd, each = 16, 1000
	var all, looking sync.WaitGroup
	ctx, done := context.WithCancel(t.Context())
	looking.Go(func() {
		for last := int64(0); ctx.Err() == nil; {
			c.Forget()
			for _, r := range c.All() {
				assert.GreaterOrEqual(t, r.By["sold_out"], last)
				last = r.By["sold_out"]
			}
		}
	})
	for range crowd {
		all.Go(func() {
			for range each {
				c.Add(event, "sold_out")
				c.Add(event, "window")
				c.Add(event, "what a buyer has typed")
				c.Add(other, "sold_out")
			}
		})
	}
	all.Wait()
	done()
	looking.Wait()
	assert.Equal(t, []figures.Refusals{{Event: event, By: map[string]int64{
		"sold_out": crowd * each, "window": crowd * each, figures.Other: crowd * each,
	}}}, c.All())
	open.Store(false)
	c.Forget()
	assert.Empty(t, c.All())
}

// What a refusal costs more.
func BenchmarkCount(b *testing.B) {
	c := figures.NewCounter(func(ulid.ULID) bool { return true })
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c.Add(event, "sold_out")
		}
	})
}
