package archive_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/sale/archive"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/slot"
	"github.com/seed27495941/seckill/app/sale/verify"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
)

func TestMain(m *testing.M) { stores.Main(m, nil) }

const slots, buyers = 3, 12

// sold makes a sale, sells in it, and closes it.
func sold(t *testing.T, s backend.Store) event.Event {
	t.Helper()
	now := time.Now().Truncate(time.Millisecond)
	e, err := event.Create(t.Context(), s, record.Event{
		Title: "Phone", SKU: "phone-1", Price: record.Price{Minor: 19900, Currency: "EUR"},
		Window: record.Window{Opens: now, Closes: now.Add(time.Hour)},
		Total:  100, PerUser: 2, Slots: slots, PayWithin: 900,
	})
	require.NoError(t, err)
	e, err = event.Publish(t.Context(), s, e.ID)
	require.NoError(t, err)
	for k := range slots {
		sell(t, s, e, k)
	}
	e, err = event.Close(t.Context(), s, e.ID)
	require.NoError(t, err)
	return e
}

func take(t *testing.T, s backend.Store, e event.Event, k int) (*slot.Owner, error) {
	t.Helper()
	return slot.Take(t.Context(), slot.Config{
		Store: s, Event: e.ID, Slot: k, Incarnation: ulid.Make(),
		Terms: func() record.Event { return e.Event }, Logger: slog.New(slog.DiscardHandler),
	})
}

// sell has the buyers of a slot order; one of three pays, one cancels.
func sell(t *testing.T, s backend.Store, e event.Event, k int) {
	t.Helper()
	o, err := take(t, s, e, k)
	require.NoError(t, err)
	stop := stores.Start(t, o.Run)
	for n := range buyers {
		user := fmt.Sprint("buyer-", n)
		if record.SlotOf(user, slots) != k {
			continue
		}
		order, _, err := o.Order(t.Context(), ledger.Demand{User: user, Request: "1", Quantity: 1})
		require.NoError(t, err)
		switch n % 3 {
		case 0:
			_, err = o.Pay(t.Context(), order.ID, fmt.Sprint("payment-", n))
		case 1:
			_, err = o.Cancel(t.Context(), user, order.ID)
		}
		require.NoError(t, err)
	}
	require.NoError(t, stop())
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

func write(t *testing.T, s backend.Store, e event.Event) archive.Archive {
	t.Helper()
	a, err := archive.Write(t.Context(), s, e.ID, t.TempDir())
	require.NoError(t, err)
	return a
}

// requirePurged requires that nothing is left but a tombstone, and that nobody can
// sell anything.
func requirePurged(t *testing.T, s backend.Store, e event.Event) {
	t.Helper()
	require.Empty(t, keys(t, s, record.SaleDir(e.ID)))
	now, err := event.Get(t.Context(), s, e.ID)
	require.NoError(t, err)
	require.Equal(t, record.StatusArchived, now.Status)
	r, err := verify.Check(t.Context(), s, e.ID, nil)
	require.NoError(t, err)
	require.True(t, r.Clean(), r.Violations)

	for _, step := range []func(context.Context, backend.Store, ulid.ULID) (event.Event, error){event.Publish, event.Suspend, event.Resume, event.Close} {
		_, err := step(t.Context(), s, e.ID)
		require.ErrorIs(t, err, event.ErrStatus)
	}
	for k := range e.Slots {
		_, err = take(t, s, e, k)
		require.ErrorIs(t, err, backend.ErrNotFound, "there is no such sale")
	}
	require.Empty(t, keys(t, s, record.SaleDir(e.ID)))
}

func TestArchiveThenPurge(t *testing.T) {
	stores.Each(t, func(t *testing.T, space stores.Space) {
		s := space.Open(t)
		e := sold(t, s)
		other := sold(t, s)
		before, err := verify.Check(t.Context(), s, e.ID, nil)
		require.NoError(t, err)
		require.Equal(t, buyers, before.Orders)
		dir := filepath.Join(t.TempDir(), "of", "sales")

		a, err := archive.Write(t.Context(), s, e.ID, dir)
		require.NoError(t, err)
		assert.Equal(t, archive.Path(dir, e.ID), a.Path)
		assert.Equal(t, before, a.Report)
		assert.Equal(t, before.Orders, a.Manifest.Orders)
		orders, err := os.ReadFile(filepath.Join(a.Path, "orders.ndjson"))
		require.NoError(t, err)
		assert.Equal(t, buyers, strings.Count(string(orders), "\n"))
		again, err := archive.Check(a.Path)
		require.NoError(t, err)
		assert.Equal(t, a, again)
		assert.False(t, again.Sale.Check([]ulid.ULID{{1}}).Clean(), "that an acknowledged order was lost shows in the archive")
		_, err = archive.Write(t.Context(), s, e.ID, dir)
		require.ErrorIs(t, err, fs.ErrExist)
		files, err := os.ReadDir(dir)
		require.NoError(t, err)
		assert.Len(t, files, 1, "nothing is left of what was temporary")

		stored := len(keys(t, s, record.SaleDir(e.ID)))
		var deleted atomic.Int64
		require.NoError(t, archive.Purge(t.Context(), s, a.Path, func() { deleted.Add(1) }))
		assert.EqualValues(t, stored, deleted.Load())
		requirePurged(t, s, e)
		require.NoError(t, archive.Purge(t.Context(), s, a.Path, nil), "it can be repeated")
		requirePurged(t, s, e)
		r, err := verify.Check(t.Context(), s, other.ID, nil)
		require.NoError(t, err)
		assert.Equal(t, buyers, r.Orders, "others keep what they have")
	})
}

func TestOnlyWhatIsClosedAndCleanIsArchived(t *testing.T) {
	s := stores.NewMemory().Open(t)
	e := sold(t, s)
	draft, err := event.Create(t.Context(), s, e.Event)
	require.NoError(t, err)
	dir := t.TempDir()
	_, err = archive.Write(t.Context(), s, draft.ID, dir)
	require.ErrorIs(t, err, event.ErrStatus)
	_, err = archive.Write(t.Context(), s, ulid.Make(), dir)
	require.ErrorIs(t, err, backend.ErrNotFound)
	_, err = s.Put(t.Context(), record.SaleDir(e.ID)+"more", nil)
	require.NoError(t, err)
	_, err = archive.Write(t.Context(), s, e.ID, dir)
	require.ErrorIs(t, err, archive.ErrUnclean)
	require.ErrorContains(t, err, "more")
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, files)
}

// Nothing is deleted that is not in the archive as it is.
func TestPurgeRefusesWhatDiffers(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, s backend.Store, e event.Event)
		want  error
	}{
		"a value written anew": {func(t *testing.T, s backend.Store, e event.Event) {
			t.Helper()
			pool, err := s.Get(t.Context(), record.PoolKey(e.ID))
			require.NoError(t, err)
			_, err = s.Put(t.Context(), pool.Key, pool.Value)
			require.NoError(t, err)
		}, archive.ErrDiffers},
		"a key more": {func(t *testing.T, s backend.Store, e event.Event) {
			t.Helper()
			_, err := s.Put(t.Context(), record.LogKey(e.ID, 0, record.Place{Epoch: 9, Seq: 1}), []byte("x"))
			require.NoError(t, err)
		}, archive.ErrDiffers},
		"a key less": {func(t *testing.T, s backend.Store, e event.Event) {
			t.Helper()
			require.NoError(t, s.Delete(t.Context(), record.SlotKey(e.ID, 0)))
		}, archive.ErrDiffers},
		"an event written anew": {func(t *testing.T, s backend.Store, e event.Event) {
			t.Helper()
			_, err := backend.PutJSON(t.Context(), s, record.EventKey(e.ID), e.Event)
			require.NoError(t, err)
		}, archive.ErrDiffers},
		"an event that was opened": {func(t *testing.T, s backend.Store, e event.Event) {
			t.Helper()
			e.Status = record.StatusOnline
			_, err := backend.PutJSON(t.Context(), s, record.EventKey(e.ID), e.Event)
			require.NoError(t, err)
		}, event.ErrStatus},
		"an event that is gone": {func(t *testing.T, s backend.Store, e event.Event) {
			t.Helper()
			require.NoError(t, s.Delete(t.Context(), record.EventKey(e.ID)))
		}, backend.ErrNotFound},
		"a tombstone of another event": {func(t *testing.T, s backend.Store, e event.Event) {
			t.Helper()
			e.Status, e.Title = record.StatusArchived, "Tablet"
			_, err := backend.PutJSON(t.Context(), s, record.EventKey(e.ID), e.Event)
			require.NoError(t, err)
		}, archive.ErrDiffers},
	} {
		t.Run(name, func(t *testing.T) {
			s := stores.NewMemory().Open(t)
			e := sold(t, s)
			a := write(t, s, e)
			c.spoil(t, s, e)
			before := keys(t, s, "")
			require.ErrorIs(t, archive.Purge(t.Context(), s, a.Path, nil), c.want)
			assert.Equal(t, before, keys(t, s, ""))
			if now, err := event.Get(t.Context(), s, e.ID); err == nil && name != "a tombstone of another event" {
				assert.NotEqual(t, record.StatusArchived, now.Status)
			}
		})
	}
}

// crashAfter makes a store fail from the n-th write on, whether the first that fails
// is made nevertheless or not.
func crashAfter(f *stores.Faulty, n int64, applied bool) {
	var count atomic.Int64
	before := func(string) error {
		if at := count.Add(1); at > n+1 || at == n+1 && !applied {
			return backend.ErrUnknown
		}
		return nil
	}
	after := func(string) error {
		if count.Load() > n {
			return backend.ErrUnknown
		}
		return nil
	}
	f.Set(stores.Hooks{Put: before, Del: before, AfterPut: after, AfterDel: after})
}

// Wherever a purge ends, the next one finishes it.
func TestPurgeGoesOnAfterACrash(t *testing.T) {
	for _, applied := range []bool{false, true} {
		for n := int64(0); ; n++ {
			s := stores.NewMemory().Open(t)
			e := sold(t, s)
			a := write(t, s, e)
			writes := int64(1 + len(a.Sale.Entries))
			if n == writes {
				break
			}
			f := &stores.Faulty{Store: s}
			crashAfter(f, n, applied)
			require.Error(t, archive.Purge(t.Context(), f, a.Path, nil), "crash after %d writes", n)
			now, err := event.Get(t.Context(), s, e.ID)
			require.NoError(t, err)
			left := keys(t, s, record.SaleDir(e.ID))
			if now.Status == record.StatusClosed {
				require.Len(t, left, len(a.Sale.Entries), "nothing goes before the event is a tombstone")
			}
			if len(left) > 0 && now.Status == record.StatusArchived {
				r, err := verify.Check(t.Context(), s, e.ID, nil)
				require.NoError(t, err)
				require.Equal(t, verify.Purged, r.Violations[0].Rule)
			}
			for k := range slots {
				_, err := take(t, s, e, k)
				require.True(t, errors.Is(err, slot.ErrClosed) || errors.Is(err, backend.ErrNotFound), "%v", err)
			}
			require.NoError(t, archive.Purge(t.Context(), s, a.Path, nil))
			requirePurged(t, s, e)
		}
	}
}

func TestTwoPurgesAtOnce(t *testing.T) {
	s := stores.NewMemory().Open(t)
	e := sold(t, s)
	a := write(t, s, e)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for {
				err := archive.Purge(t.Context(), s, a.Path, nil)
				if err == nil {
					return
				}
				if !assert.ErrorIs(t, err, backend.ErrConflict) {
					return
				}
			}
		})
	}
	all.Wait()
	requirePurged(t, s, e)
}

// A sale that vanishes while a purge looks at it was not different from its archive:
// another purge was faster.
func TestPurgeIsOvertaken(t *testing.T) {
	s := stores.NewMemory().Open(t)
	e := sold(t, s)
	a := write(t, s, e)
	f := &stores.Faulty{Store: s}
	var once sync.Once
	f.Set(stores.Hooks{Watch: func(string) error {
		once.Do(func() { assert.NoError(t, archive.Purge(t.Context(), s, a.Path, nil)) })
		return nil
	}})
	require.NoError(t, archive.Purge(t.Context(), f, a.Path, nil))
	requirePurged(t, s, e)
}

// A recorder keeps every write, to make it again.
type recorder struct {
	backend.Store

	mu     sync.Mutex
	writes []func(ctx context.Context) error
}

func (r *recorder) keep(write func(ctx context.Context) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writes = append(r.writes, write)
}

func (r *recorder) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	r.keep(func(ctx context.Context) error {
		_, err := r.Store.Put(ctx, key, value, opts...)
		return err
	})
	return r.Store.Put(ctx, key, value, opts...)
}

// A purged event is never sold again, whatever comes late: every write that was ever
// made for it, by operators and owners alike, is made once more, and refused.
func TestNothingThatComesLateRevivesAPurgedSale(t *testing.T) {
	stores.Each(t, func(t *testing.T, space stores.Space) {
		s := space.Open(t)
		r := &recorder{Store: s}
		e := sold(t, r)
		a := write(t, s, e)
		require.NoError(t, archive.Purge(t.Context(), r, a.Path, nil))
		require.Greater(t, len(r.writes), 2*slots+buyers)
		for _, write := range r.writes {
			require.ErrorIs(t, write(t.Context()), backend.ErrConflict)
		}
		requirePurged(t, s, e)
	})
}

func TestCheckFindsDamage(t *testing.T) {
	s := stores.NewMemory().Open(t)
	e := sold(t, s)
	edit := func(name string, change func(string) string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			path := filepath.Join(dir, name)
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, []byte(change(string(data))), 0o600))
		}
	}
	replace := func(from, to string) func(string) string {
		return func(text string) string { return strings.Replace(text, from, to, 1) }
	}
	for name, c := range map[string]struct {
		spoil func(t *testing.T, dir string)
		want  string
	}{
		"a bit of a log":   {edit("log/1.log", replace("buyer", "bayer")), "log/1.log has the SHA-256"},
		"the end of a log": {edit("log/1.log", func(s string) string { return s[:len(s)-1] }), "log/1.log has not"},
		"a file that is gone": {func(t *testing.T, dir string) {
			t.Helper()
			require.NoError(t, os.Remove(filepath.Join(dir, "slots", "2.json")))
		}, "slots/2.json"},
		"a file more": {func(t *testing.T, dir string) {
			t.Helper()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "x"), nil, 0o600))
		}, `has ["x"]`},
		"a link": {func(t *testing.T, dir string) {
			t.Helper()
			require.NoError(t, os.Symlink("/etc/hosts", filepath.Join(dir, "x")))
		}, "x is no file"},
		"a format to come":     {edit("manifest.json", replace(`"format": 1`, `"format": 2`)), "format 2, expected 1"},
		"a field to come":      {edit("manifest.json", replace(`"format"`, `"more": 1, "format"`)), `"more"`},
		"a count":              {edit("manifest.json", replace(`"orders": 12`, `"orders": 13`)), "12 orders"},
		"slots without number": {edit("manifest.json", replace(`"slots": 3`, `"slots": 99999999`)), "99999999 slots"},
		"a file told twice":    {edit("manifest.json", replace(`"pool.json"`, `"event.json"`)), "pool.json"},
		"no manifest":          {edit("manifest.json", func(string) string { return "" }), "manifest.json"},
	} {
		t.Run(name, func(t *testing.T) {
			a := write(t, s, e)
			c.spoil(t, a.Path)
			_, err := archive.Check(a.Path)
			require.ErrorIs(t, err, archive.ErrDamaged)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, a.Path)
			require.ErrorIs(t, archive.Purge(t.Context(), s, a.Path, nil), archive.ErrDamaged)
		})
	}
	_, err := archive.Check(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	now, err := event.Get(t.Context(), s, e.ID)
	require.NoError(t, err)
	assert.Equal(t, record.StatusClosed, now.Status, "nothing was purged")
}

// What changes while it is being deleted stays, whoever has written it.
func TestPurgeStopsWhereSomethingChanges(t *testing.T) {
	for name, c := range map[string]struct {
		change func(e event.Event) string // the key that is written anew
		want   error
	}{
		"a batch":   {func(e event.Event) string { return record.LogKey(e.ID, 1, record.Place{Epoch: 1, Seq: 1}) }, archive.ErrDiffers},
		"the pool":  {func(e event.Event) string { return record.PoolKey(e.ID) }, archive.ErrDiffers},
		"the event": {func(e event.Event) string { return record.EventKey(e.ID) }, backend.ErrConflict},
	} {
		t.Run(name, func(t *testing.T) {
			s := stores.NewMemory().Open(t)
			e := sold(t, s)
			a := write(t, s, e)
			key := c.change(e)
			f := &stores.Faulty{Store: s}
			var once sync.Once
			f.Set(stores.Hooks{Del: func(string) error {
				once.Do(func() {
					entry, err := s.Get(t.Context(), key)
					if assert.NoError(t, err) {
						_, err = s.Put(t.Context(), key, entry.Value)
						assert.NoError(t, err)
					}
				})
				return nil
			}})
			require.ErrorIs(t, archive.Purge(t.Context(), f, a.Path, nil), c.want)
			_, err := s.Get(t.Context(), key)
			require.NoError(t, err, "it is still there")
			_, err = s.Get(t.Context(), record.PoolKey(e.ID))
			require.NoError(t, err, "what comes later stays too")
		})
	}
}
