package catalogue_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/sale/catalogue"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/internal/stores"
)

func TestMain(m *testing.M) { stores.Main(m, nil) }

var silent = slog.New(slog.DiscardHandler)

// draft opens in an hour, for an hour.
func draft(title string) record.Event {
	opens := time.Now().Truncate(time.Millisecond).Add(time.Hour)
	return record.Event{
		Title: title, SKU: "phone-1", Price: record.Price{Minor: 19900, Currency: "EUR"},
		Window: record.Window{Opens: opens, Closes: opens.Add(time.Hour)},
		Total:  100, PerUser: 2, Slots: 2, PayWithin: 900,
	}
}

func create(t *testing.T, s backend.Store, r record.Event) event.Event {
	t.Helper()
	e, err := event.Create(t.Context(), s, r)
	require.NoError(t, err)
	return e
}

func publish(t *testing.T, s backend.Store, r record.Event) event.Event {
	t.Helper()
	e, err := event.Publish(t.Context(), s, create(t, s, r).ID)
	require.NoError(t, err)
	return e
}

func open(t *testing.T, s backend.Store) *catalogue.Catalogue {
	t.Helper()
	c := catalogue.New(s, silent)
	stores.Start(t, c.Run)
	require.NoError(t, c.AwaitSynced(t.Context()))
	return c
}

func put(t *testing.T, s backend.Store, key, value string) {
	t.Helper()
	_, err := s.Put(t.Context(), key, []byte(value))
	require.NoError(t, err)
}

// inBubble runs a test whose clock is its own, on the memory driver.
func inBubble(t *testing.T, f func(t *testing.T, s *memory.Store)) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New()
		t.Cleanup(func() { assert.NoError(t, s.Close()) })
		f(t, s)
	})
}

func titles(c *catalogue.Catalogue) (titles []string) {
	for _, e := range c.Events() {
		titles = append(titles, e.Title)
	}
	return titles
}

func TestFollowsTheStore(t *testing.T) {
	stores.Each(t, func(t *testing.T, space stores.Space) {
		s := space.Open(t)
		late := draft("late")
		late.Window.Closes = late.Window.Closes.Add(time.Hour)
		late.Window.Opens = late.Window.Opens.Add(time.Minute)
		publish(t, s, late)
		c := open(t, s)
		assert.Equal(t, []string{"late"}, titles(c))

		first, second := publish(t, s, draft("first")), publish(t, s, draft("second"))
		hidden := create(t, s, draft("hidden"))
		stores.Wait(t, "the others", func() bool { return len(c.Events()) == 3 })
		assert.Equal(t, []string{"first", "second", "late"}, titles(c), "by opening, then by id")
		got, ok := c.Event(second.ID)
		assert.True(t, ok)
		assert.Equal(t, second, got)
		_, ok = c.Event(ulid.Make())
		assert.False(t, ok)
		_, ok = c.Event(hidden.ID)
		assert.False(t, ok, "a draft is nobody's business")

		put(t, s, "goods/b", `{"sku":"phone-1","title":"another"}`)
		put(t, s, "goods/a", `{"sku":"phone-1","title":"Phone","images":["/phone.png"]}`)
		put(t, s, "topics/friday", `{"title":"Friday","events":["`+first.ID.String()+`"]}`)
		stores.Wait(t, "goods and topics", func() bool {
			g, _ := c.Goods("phone-1")
			_, ok := c.Topic("friday")
			return ok && g.Title == "Phone"
		})
		_, ok = c.Goods("phone-2")
		assert.False(t, ok)
		_, ok = c.Topic("monday")
		assert.False(t, ok)

		require.NoError(t, s.Delete(t.Context(), "goods/a"))
		require.NoError(t, s.Delete(t.Context(), "topics/friday"))
		stores.Wait(t, "the deletes", func() bool {
			g, _ := c.Goods("phone-1")
			_, ok := c.Topic("friday")
			return !ok && g.Title == "another"
		})
		assert.Empty(t, c.Problems())
	})
}

func TestWhatCantBeReadIsReported(t *testing.T) {
	inBubble(t, func(t *testing.T, s *memory.Store) {
		e := publish(t, s, draft("fine"))
		c := open(t, s)
		put(t, s, "events/x", "{}")
		put(t, s, "goods/phone", `{"sku":""}`)
		put(t, s, "topics/a b", `{"title":"t","events":[]}`)
		put(t, s, record.EventKey(e.ID), "null")
		synctest.Wait()
		var keys []string
		for _, p := range c.Problems() {
			keys = append(keys, p.Key)
			require.ErrorIs(t, p.Err, record.ErrCorrupt)
			assert.NotZero(t, p.Revision)
		}
		assert.Equal(t, []string{record.EventKey(e.ID), "events/x", "goods/phone", "topics/a b"}, keys)
		assert.Empty(t, c.Events())

		put(t, s, "goods/phone", `{"sku":"s","title":"t"}`)
		require.NoError(t, s.Delete(t.Context(), "events/x"))
		synctest.Wait()
		assert.Len(t, c.Problems(), 2, "what was repaired is none any more")
	})
}

func TestGoesOnWithoutTheStore(t *testing.T) {
	inBubble(t, func(t *testing.T, s *memory.Store) {
		e := publish(t, s, draft("e"))
		fresh := catalogue.New(s, silent)
		assert.Negative(t, fresh.Staleness(), "before there is anything")
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, fresh.AwaitSynced(ended), context.Canceled)

		c := open(t, s)
		s.Cut()
		time.Sleep(10 * time.Minute)
		got, ok := c.Event(e.ID)
		assert.True(t, ok)
		assert.Equal(t, e, got)
		assert.Greater(t, c.Staleness(), 9*time.Minute)
		s.Mend()
		time.Sleep(time.Minute)
		assert.Less(t, c.Staleness(), time.Minute)
	})
}

func TestEndsWithItsStore(t *testing.T) {
	inBubble(t, func(t *testing.T, s *memory.Store) {
		c := catalogue.New(s, silent)
		stop := stores.Start(t, c.Run)
		require.NoError(t, c.AwaitSynced(t.Context()))
		require.NoError(t, s.Close())
		synctest.Wait()
		require.ErrorIs(t, stop(), backend.ErrClosed)
	})
}

// An event opens and closes by the clock alone, and that is told at that moment.
func TestOpeningAndClosingAreTold(t *testing.T) {
	inBubble(t, func(t *testing.T, s *memory.Store) {
		e := publish(t, s, draft("e"))
		c := open(t, s)
		phase := func() catalogue.Phase {
			e, ok := c.Event(e.ID)
			require.True(t, ok)
			return catalogue.PhaseOf(e, time.Now(), false)
		}
		// await follows what is told until the phase is another one.
		await := func(is catalogue.Phase) time.Time {
			for {
				changed := c.Changed()
				if phase() == is {
					return time.Now()
				}
				select {
				case <-changed:
				case <-time.After(3 * time.Hour):
					require.Fail(t, "nothing is told", "waiting for %s", is)
				}
			}
		}
		assert.Equal(t, catalogue.Scheduled, phase())
		assert.Equal(t, e.Window.Opens, await(catalogue.Open).UTC())
		_, err := event.Suspend(t.Context(), s, e.ID)
		require.NoError(t, err)
		await(catalogue.Suspended)
		_, err = event.Resume(t.Context(), s, e.ID)
		require.NoError(t, err)
		await(catalogue.Open)
		assert.Equal(t, e.Window.Closes, await(catalogue.Ended).UTC())
	})
}

func TestPhases(t *testing.T) {
	r := draft("e")
	before, within, after := r.Window.Opens.Add(-1), r.Window.Opens, r.Window.Closes
	for _, test := range []struct {
		status  record.Status
		at      time.Time
		soldOut bool
		want    catalogue.Phase
	}{
		{record.StatusOnline, before, false, catalogue.Scheduled},
		{record.StatusOnline, within, false, catalogue.Open},
		{record.StatusOnline, within, true, catalogue.SoldOut},
		{record.StatusOnline, after.Add(-1), false, catalogue.Open},
		{record.StatusOnline, after, true, catalogue.Ended},
		{record.StatusOffline, before, false, catalogue.Suspended},
		{record.StatusOffline, within, true, catalogue.Suspended},
		{record.StatusOffline, after, false, catalogue.Ended},
		{record.StatusClosing, within, false, catalogue.Ended},
		{record.StatusClosed, before, false, catalogue.Ended},
		{record.StatusArchived, within, false, catalogue.Ended},
	} {
		r.Status = test.status
		assert.Equal(t, test.want, catalogue.PhaseOf(event.Event{Event: r}, test.at, test.soldOut), "%+v", test)
	}
}
