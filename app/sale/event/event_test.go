package event_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
)

func draft() record.Event {
	noon := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	return record.Event{
		Title: "Phone", SKU: "phone-1", Price: record.Price{Minor: 19900, Currency: "EUR"},
		Window: record.Window{Opens: noon, Closes: noon.Add(time.Hour)},
		Total:  100, PerUser: 2, Slots: 3, PayWithin: 900,
	}
}

func create(t *testing.T, s backend.Store, total ...int64) event.Event {
	t.Helper()
	d := draft()
	if len(total) > 0 {
		d.Total = total[0]
	}
	e, err := event.Create(t.Context(), s, d)
	require.NoError(t, err)
	return e
}

func open(t *testing.T) backend.Store {
	t.Helper()
	s := memory.New()
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

func keys(t *testing.T, s backend.Store, prefix string) (keys []string) {
	t.Helper()
	entries, _, err := backend.List(t.Context(), s, prefix)
	require.NoError(t, err)
	for _, e := range entries {
		keys = append(keys, e.Key)
	}
	return keys
}

func TestLife(t *testing.T) {
	s := open(t)
	e := create(t, s)
	assert.Equal(t, record.StatusDraft, e.Status)
	assert.Empty(t, keys(t, s, record.SalesDir), "a draft sells nothing")

	e, err := event.Edit(t.Context(), s, e, func(r *record.Event) { r.Total = 50 })
	require.NoError(t, err)
	got, err := event.Get(t.Context(), s, e.ID)
	require.NoError(t, err)
	assert.Equal(t, e, got)

	e, err = event.Publish(t.Context(), s, e.ID)
	require.NoError(t, err)
	assert.Equal(t, record.StatusOnline, e.Status)
	assert.Len(t, keys(t, s, record.SaleDir(e.ID)), 4, "a pool and three slots")
	again, err := event.Publish(t.Context(), s, e.ID)
	require.NoError(t, err)
	assert.Equal(t, e, again)
	_, err = event.Edit(t.Context(), s, e, func(r *record.Event) { r.Total = 60 })
	require.ErrorIs(t, err, event.ErrStatus)

	e, err = event.Suspend(t.Context(), s, e.ID)
	require.NoError(t, err)
	assert.Equal(t, record.StatusOffline, e.Status)
	_, err = event.Publish(t.Context(), s, e.ID)
	require.ErrorIs(t, err, event.ErrStatus)
	_, err = event.Resume(t.Context(), s, e.ID)
	require.NoError(t, err)

	e, err = event.Close(t.Context(), s, e.ID)
	require.NoError(t, err)
	assert.Equal(t, record.StatusClosed, e.Status)
	for k := range e.Slots {
		entry, err := s.Get(t.Context(), record.SlotKey(e.ID, k))
		require.NoError(t, err)
		slot, err := record.DecodeSlot(entry)
		require.NoError(t, err)
		assert.Equal(t, record.Slot{Owner: record.Closed, Epoch: 1}, slot)
	}
	again, err = event.Close(t.Context(), s, e.ID)
	require.NoError(t, err)
	assert.Equal(t, e, again)
	type step func(context.Context, backend.Store, ulid.ULID) (event.Event, error)
	for _, step := range []step{event.Publish, event.Suspend, event.Resume} {
		_, err := step(t.Context(), s, e.ID)
		require.ErrorIs(t, err, event.ErrStatus, "closed is for good")
	}

	_, err = event.Archive(t.Context(), s, create(t, s))
	require.ErrorIs(t, err, event.ErrStatus, "only what is closed is archived")
	archived, err := event.Archive(t.Context(), s, e)
	require.NoError(t, err)
	assert.Equal(t, record.StatusArchived, archived.Status)
	_, err = event.Archive(t.Context(), s, e)
	require.ErrorIs(t, err, backend.ErrConflict, "it has changed since")
	for _, step := range []step{event.Publish, event.Suspend, event.Resume, event.Close} {
		_, err := step(t.Context(), s, e.ID)
		require.ErrorIs(t, err, event.ErrStatus, "archived is for good")
	}
}

func TestRefusals(t *testing.T) {
	s := open(t)
	bad := draft()
	bad.Total = 0
	_, err := event.Create(t.Context(), s, bad)
	require.ErrorIs(t, err, backend.ErrInvalid)
	_, err = event.Publish(t.Context(), s, ulid.Make())
	require.ErrorIs(t, err, backend.ErrNotFound)
	e := create(t, s)
	_, err = event.Close(t.Context(), s, e.ID)
	require.ErrorIs(t, err, event.ErrStatus, "a draft has nothing to close")
	_, err = event.Edit(t.Context(), s, e, func(r *record.Event) { r.Title = "one" })
	require.NoError(t, err)
	_, err = event.Edit(t.Context(), s, e, func(r *record.Event) { r.Title = "two" })
	require.ErrorIs(t, err, backend.ErrConflict, "it has changed since")
}

func TestListNamesWhatIsNone(t *testing.T) {
	s := open(t)
	a, b := create(t, s), create(t, s)
	for key, value := range map[string]string{"events/x": "{}", "events/" + ulid.Make().String(): "null"} {
		_, err := s.Put(t.Context(), key, []byte(value))
		require.NoError(t, err)
	}
	events, problems, err := event.List(t.Context(), s)
	require.NoError(t, err)
	assert.Equal(t, []event.Event{a, b}, events)
	assert.Len(t, problems, 2)
	for _, p := range problems {
		require.ErrorIs(t, p, record.ErrCorrupt)
		require.ErrorContains(t, p, "events/")
	}
}

// crashing is a store that fails from the n-th write on.
type crashing struct {
	backend.Store
	left    int
	applied bool // the write that is the first to fail is made nevertheless
}

func (c *crashing) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	c.left--
	if c.left >= 0 {
		return c.Store.Put(ctx, key, value, opts...)
	}
	if c.left == -1 && c.applied {
		_, _ = c.Store.Put(ctx, key, value, opts...)
	}
	return 0, backend.ErrUnknown
}

// Whoever comes next finishes what a crash has left, wherever it was.
func TestACrashInBetweenIsHealed(t *testing.T) {
	for _, applied := range []bool{false, true} {
		for after := range 6 {
			s := open(t)
			e := create(t, s)
			_, err := event.Publish(t.Context(), &crashing{s, after, applied}, e.ID)
			require.Error(t, err, "publish, crash after %d", after)
			e, err = event.Publish(t.Context(), s, e.ID)
			require.NoError(t, err)
			assert.Equal(t, record.StatusOnline, e.Status)
			assert.Len(t, keys(t, s, record.SaleDir(e.ID)), 4)

			if after == 5 {
				continue // closing takes five writes
			}
			_, err = event.Close(t.Context(), &crashing{s, after, applied}, e.ID)
			require.Error(t, err, "close, crash after %d", after)
			e, err = event.Close(t.Context(), s, e.ID)
			require.NoError(t, err)
			assert.Equal(t, record.StatusClosed, e.Status)
		}
	}
}

func TestTwoAtOnce(t *testing.T) {
	s := open(t)
	e := create(t, s)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for {
				if _, err := event.Publish(t.Context(), s, e.ID); err == nil {
					return
				}
			}
		})
	}
	all.Wait()
	assert.Len(t, keys(t, s, record.SaleDir(e.ID)), 4)
}

// Whoever has looked at an event takes the next step from what was seen, or none.
func TestStepsFromWhatWasSeen(t *testing.T) {
	s := open(t)
	seen := create(t, s)
	now, err := event.Edit(t.Context(), s, seen, func(r *record.Event) { r.Title = "another" })
	require.NoError(t, err)
	_, err = seen.Publish(t.Context(), s)
	require.ErrorIs(t, err, backend.ErrConflict, "that is not what was seen")
	require.ErrorIs(t, event.Delete(t.Context(), s, seen), backend.ErrConflict)

	online, err := now.Publish(t.Context(), s)
	require.NoError(t, err)
	require.ErrorIs(t, event.Delete(t.Context(), s, online), event.ErrStatus)
	offline, err := online.Suspend(t.Context(), s)
	require.NoError(t, err)
	_, err = online.Close(t.Context(), s)
	require.ErrorIs(t, err, backend.ErrConflict)
	online, err = offline.Resume(t.Context(), s)
	require.NoError(t, err)
	closed, err := online.Close(t.Context(), s)
	require.NoError(t, err)
	assert.Equal(t, record.StatusClosed, closed.Status)
}

func TestDraftsCanBeDeleted(t *testing.T) {
	s := open(t)
	e := create(t, s)
	require.NoError(t, event.Delete(t.Context(), s, e))
	_, err := event.Get(t.Context(), s, e.ID)
	require.ErrorIs(t, err, backend.ErrNotFound)
	require.ErrorIs(t, event.Delete(t.Context(), s, e), backend.ErrConflict, "somebody else did")
}
