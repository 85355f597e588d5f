package jobs_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/admin/audit"
	"github.com/seed27495941/seckill/app/admin/jobs"
	"github.com/seed27495941/seckill/app/sale/archive"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/verify"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/dynconf/history"
)

// A sale's life after it was published, by itself.
func TestASaleIsClosedAndArchivedWhenItIsOver(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "archive")
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		s := space.Open(t)
		e := publish(t, s, time.Now().Add(time.Hour))
		offline := publish(t, s, time.Now().Add(time.Hour))
		_, err := event.Suspend(t.Context(), s, offline.ID)
		require.NoError(t, err)
		draft := create(t, s, time.Now().Add(time.Hour))
		cfg := config(space.Open(t), "admin-1")
		cfg.ArchiveDir, cfg.ArchiveAfter = dir, 3*time.Hour
		run(t, cfg)

		until := func(at time.Time) { time.Sleep(time.Until(at)); synctest.Wait() }
		until(e.Window.Opens.Add(-time.Second))
		assert.Empty(t, recorded(t, s, "event.", ""))
		until(e.Window.Opens.Add(time.Second))
		opened := recorded(t, s, "event.opened", e.ID.String())
		require.Len(t, opened, 1)
		assert.True(t, opened[0].Time.Equal(e.Window.Opens))
		assert.Equal(t, audit.ViaJob, opened[0].Via)
		assert.Equal(t, "admin-1", opened[0].Actor)
		until(e.Window.Closes.Add(time.Second))
		assert.Len(t, recorded(t, s, "event.ended", e.ID.String()), 1)

		over := e.Window.Closes.Add(payWithin + grace)
		until(over.Add(-time.Millisecond))
		assert.Equal(t, record.StatusOnline, get(t, s, e.ID).Status)
		until(over.Add(time.Millisecond))
		for _, id := range []ulid.ULID{e.ID, offline.ID} {
			assert.Equal(t, record.StatusClosed, get(t, s, id).Status)
			closed := recorded(t, s, "event.close", id.String())
			require.Len(t, closed, 1)
			assert.Equal(t, audit.Done, closed[0].Outcome)
			assert.JSONEq(t, `{"status":"closed"}`, string(closed[0].After.JSON))
		}

		until(over.Add(3*time.Hour - time.Millisecond))
		assert.Equal(t, record.StatusClosed, get(t, s, e.ID).Status)
		until(over.Add(3*time.Hour + time.Millisecond))
		assert.Equal(t, record.StatusArchived, get(t, s, e.ID).Status)
		assert.Empty(t, keys(t, s, "sales/"))
		a, err := archive.Check(archive.Path(dir, e.ID))
		require.NoError(t, err)
		assert.Equal(t, e.ID, a.Sale.ID)
		assert.Len(t, recorded(t, s, "event.archive", e.ID.String()), 1)
		assert.Equal(t, record.StatusDraft, get(t, s, draft.ID).Status, "nobody published it")

		until(over.Add(8 * time.Hour))
		assert.Len(t, recorded(t, s, "event.", e.ID.String()), 4, "nothing is done twice")
	})
}

func TestWithoutADirectoryNothingIsArchived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		s := space.Open(t)
		e := publish(t, s, time.Now())
		run(t, config(space.Open(t), ""))
		time.Sleep(5 * time.Hour)
		assert.Equal(t, record.StatusClosed, get(t, s, e.ID).Status)
		assert.Len(t, keys(t, s, record.SaleDir(e.ID)), 1+slots)
		assert.Zero(t, statusOf(t, s, "archive"))
	})
}

// An order that can still be paid keeps the sale open: its deadline may be longer than
// the event says.
func TestASaleWithPendingOrdersIsNotClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		s := space.Open(t)
		e := publish(t, s, time.Now())
		owners, _ := serve(t, space.Open(t), e, 5*time.Hour)
		orders := sell(t, owners, 4)
		run(t, config(space.Open(t), ""))
		time.Sleep(4 * time.Hour)
		require.Equal(t, record.StatusOnline, get(t, s, e.ID).Status)
		status := statusOf(t, s, "close")
		assert.Empty(t, status.Error, "nothing is wrong")
		assert.Contains(t, status.Result, "4 orders are pending")
		_, err := owners[record.SlotOf("buyer-0", slots)].Pay(t.Context(), orders[0].ID, "p-1")
		require.NoError(t, err)

		time.Sleep(time.Hour + 6*time.Minute) // now the others have expired
		assert.Equal(t, record.StatusClosed, get(t, s, e.ID).Status)
		r, err := verify.Check(t.Context(), s, e.ID, nil)
		require.NoError(t, err)
		assert.True(t, r.Clean(), r.Violations)
		assert.Equal(t, map[string]int{"paid": 1, "expired": 3}, r.Statuses)
	})
}

func TestASaleThatBreaksARuleIsLeftToPeople(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		s := space.Open(t)
		broken, sound := publish(t, s, time.Now()), publish(t, s, time.Now())
		_, err := s.Put(t.Context(), record.LogKey(broken.ID, 0, record.Place{Epoch: 1, Seq: 1}), []byte("{}"))
		require.NoError(t, err)
		space.Put(t, "events/none", "{}")
		logbook := &stores.Logbook{}
		cfg := config(space.Open(t), "")
		cfg.Logger = logbook.Logger()
		run(t, cfg)
		time.Sleep(3 * time.Hour)
		assert.Equal(t, record.StatusOnline, get(t, s, broken.ID).Status)
		assert.Equal(t, record.StatusClosed, get(t, s, sound.ID).Status)
		status := statusOf(t, s, "close")
		assert.Contains(t, status.Error, broken.ID.String()+": not closed, for it breaks the rules")
		assert.Contains(t, status.Error, "events/none")
		assert.NotZero(t, status.Failures)
		assert.LessOrEqual(t, logbook.Count("a job has failed"), 8, "each job says each trouble once")
		assert.Empty(t, recorded(t, s, "event.close", broken.ID.String()), "nothing was tried")
	})
}

// crash lets so many writes pass.
func crash(s backend.Store, most int64) backend.Store {
	var wrote atomic.Int64
	return gate{Store: s, before: func(string, []backend.Condition) error {
		if wrote.Add(1) > most {
			return backend.ErrUnavailable
		}
		return nil
	}}
}

func TestWhatACrashInterruptedIsFinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		s := space.Open(t)
		draft := create(t, s, time.Now().Add(time.Hour))
		_, err := event.Publish(t.Context(), crash(s, 2), draft.ID)
		require.Error(t, err)
		online := publish(t, s, time.Now().Add(time.Hour))
		_, err = event.Close(t.Context(), crash(s, 2), online.ID)
		require.Error(t, err)
		run(t, config(space.Open(t), ""))
		time.Sleep(time.Minute - time.Second)
		assert.Equal(t, record.StatusPublishing, get(t, s, draft.ID).Status, "whoever is at it may go on")
		assert.Equal(t, record.StatusClosing, get(t, s, online.ID).Status)
		time.Sleep(2 * time.Second)
		assert.Equal(t, record.StatusOnline, get(t, s, draft.ID).Status)
		assert.Equal(t, record.StatusClosed, get(t, s, online.ID).Status)
		assert.Equal(t, 1, count(recorded(t, s, "event.publish", draft.ID.String()), audit.Done))
		assert.Equal(t, 1, count(recorded(t, s, "event.close", online.ID.String()), audit.Done))
	})
}

// Purging that was interrupted is finished where the archive is, and only there.
func TestPurgingIsFinished(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		s := space.Open(t)
		e := publish(t, s, time.Now().Add(-100*time.Hour))
		_, err := event.Close(t.Context(), s, e.ID)
		require.NoError(t, err)
		old := filepath.Join(dir, "."+e.ID.String()+".123")
		require.NoError(t, os.MkdirAll(filepath.Join(old, "log"), 0o700))
		require.NoError(t, os.Chtimes(old, time.Time{}, time.Now().Add(-2*time.Hour)))
		another := filepath.Join(dir, "."+ulid.Make().String()+".123")
		require.NoError(t, os.Mkdir(another, 0o700))
		a, err := archive.Write(t.Context(), s, e.ID, dir)
		require.NoError(t, err)
		require.Error(t, archive.Purge(t.Context(), crash(s, 2), a.Path, nil))
		require.NotEmpty(t, keys(t, s, record.SaleDir(e.ID)))

		cfg := config(space.Open(t), "")
		cfg.ArchiveDir = elsewhere
		stop := run(t, cfg)
		time.Sleep(time.Hour)
		assert.Contains(t, statusOf(t, s, "archive").Error, "can only be finished where its archive is")
		require.NotEmpty(t, keys(t, s, record.SaleDir(e.ID)))
		require.NoError(t, stop())

		cfg.ArchiveDir = dir
		run(t, cfg)
		time.Sleep(time.Minute)
		assert.Empty(t, keys(t, s, record.SaleDir(e.ID)))
		assert.Empty(t, statusOf(t, s, "archive").Error)
		assert.DirExists(t, another)
	})
}

// What was written half by somebody who is long gone is removed, before another is written.
func TestHalfAnArchiveIsSwept(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		s := space.Open(t)
		e := publish(t, s, time.Now().Add(-100*time.Hour))
		old, fresh := filepath.Join(dir, "."+e.ID.String()+".1"), filepath.Join(dir, "."+e.ID.String()+".2")
		for name, age := range map[string]time.Duration{old: 2 * time.Hour, fresh: time.Minute} {
			require.NoError(t, os.MkdirAll(filepath.Join(name, "log"), 0o700))
			require.NoError(t, os.Chtimes(name, time.Time{}, time.Now().Add(-age)))
		}
		cfg := config(space.Open(t), "")
		cfg.ArchiveDir = dir
		run(t, cfg)
		time.Sleep(10 * time.Minute)
		assert.Equal(t, record.StatusArchived, get(t, s, e.ID).Status)
		assert.NoDirExists(t, old)
		assert.DirExists(t, fresh)
	})
}

func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		s := space.Open(t)
		l := audit.New(s, audit.Options{})
		require.NoError(t, l.Note(t.Context(), audit.Action{Name: "old", Actor: "ann", Via: audit.ViaCLI}, nil))
		var calls []backend.Condition
		var mu sync.Mutex
		cfg := config(space.Open(t), "")
		cfg.Retention.Keep = 2 * time.Hour
		cfg.HistoryKeep = 3
		cfg.Sessions = func(_ context.Context, conds ...backend.Condition) error {
			mu.Lock()
			defer mu.Unlock()
			calls = append(calls, conds...)
			if len(calls) == 3 {
				return errors.New("not this time")
			}
			return nil
		}
		run(t, cfg)
		for range 5 {
			space.Put(t, "config", `{"logLevel":"debug"}`)
			time.Sleep(time.Second)
		}
		h, err := history.New(s, "config", history.Options{})
		require.NoError(t, err)
		versions, _, err := h.Versions(t.Context())
		require.NoError(t, err)
		require.Len(t, versions, 3)
		assert.Equal(t, history.External, versions[2].Author)
		status := statusOf(t, s, "history")
		assert.Equal(t, "1 versions recorded", status.Result)
		assert.Equal(t, time.Second, time.Since(status.Ended), "at once")
		assert.Equal(t, status.Ended.Add(10*time.Minute), status.Next)

		time.Sleep(4 * time.Hour)
		records := recorded(t, s, "", "")
		require.Len(t, records, 1)
		assert.Equal(t, "audit.prune", records[0].Name)
		assert.Equal(t, audit.Done, records[0].Outcome)
		mu.Lock()
		defer mu.Unlock()
		assert.InDelta(t, 4*6+2, len(calls), 2, "every ten minutes, and soon after a failure")
		for _, c := range calls {
			assert.True(t, strings.HasPrefix(c.Key, "elections/admin/candidates/"))
		}
		status = statusOf(t, s, "history")
		assert.Equal(t, "0 versions recorded", status.Result)
		assert.LessOrEqual(t, time.Since(status.Ended), 10*time.Minute)
	})
}

// Every write that is not the election's own has the condition that the term lasts.
func TestEveryWriteIsFenced(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		s := space.Open(t)
		publish(t, s, time.Now())
		e := create(t, s, time.Now())
		_, err := event.Publish(t.Context(), crash(s, 1), e.ID)
		require.Error(t, err)
		var mu sync.Mutex
		wrote := map[string]int{}
		cfg := config(gate{Store: space.Open(t), before: func(key string, conds []backend.Condition) error {
			mu.Lock()
			defer mu.Unlock()
			first, _, _ := strings.Cut(key, "/")
			wrote[first]++
			for _, c := range conds {
				if strings.HasPrefix(c.Key, "elections/admin/candidates/") && c.Revision != 0 {
					return nil
				}
			}
			assert.True(t, strings.HasPrefix(key, "elections/admin/candidates/"), key)
			return nil
		}}, "")
		cfg.ArchiveDir = dir
		cfg.Retention.Keep = 3 * time.Hour
		cfg.HistoryKeep = 1
		run(t, cfg)
		for range 3 {
			space.Put(t, "config", `{}`)
			time.Sleep(2 * time.Hour)
		}
		assert.Empty(t, keys(t, s, "sales/"))
		mu.Lock()
		defer mu.Unlock()
		for _, dir := range []string{"audit", "events", "sales", "history", "jobs"} {
			assert.NotZero(t, wrote[dir], dir)
		}
	})
}

// Trouble with the store is waited out, without much noise.
func TestTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		s := space.Open(t)
		e := publish(t, s, time.Now())
		faulty := &stores.Faulty{Store: space.Open(t)}
		logbook := &stores.Logbook{}
		cfg := config(faulty, "")
		cfg.Logger = logbook.Logger()
		run(t, cfg)
		time.Sleep(time.Minute)
		faulty.Set(stores.Hooks{Watch: func(string) error { return backend.ErrUnavailable }})
		time.Sleep(3 * time.Hour)
		assert.Less(t, logbook.Count("a job has failed"), 10)
		assert.Contains(t, statusOf(t, s, "close").Error, "unavailable")
		faulty.Set(stores.Hooks{})
		time.Sleep(10 * time.Minute)
		assert.Empty(t, statusOf(t, s, "close").Error)
		assert.Equal(t, record.StatusClosed, get(t, s, e.ID).Status)
	})
}

func TestACampaignThatIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		s := space.Open(t)
		e := publish(t, s, time.Now().Add(-24*time.Hour))
		faulty := &stores.Faulty{Store: space.Open(t)}
		faulty.Set(stores.Hooks{Lease: func() error { return backend.ErrDenied }})
		run(t, config(faulty, ""))
		time.Sleep(time.Hour)
		assert.Equal(t, record.StatusOnline, get(t, s, e.ID).Status)
		faulty.Set(stores.Hooks{})
		time.Sleep(10 * time.Minute)
		assert.Equal(t, record.StatusClosed, get(t, s, e.ID).Status)
	})
}

func TestBadConfigsAreRefused(t *testing.T) {
	s := stores.NewMemory().Open(t)
	for _, spoil := range []func(*jobs.Config){
		func(c *jobs.Config) { c.Retention.Keep = 0 },
		func(c *jobs.Config) { c.ArchiveAfter = -1 },
		func(c *jobs.Config) { c.Settle = -1 },
		func(c *jobs.Config) { c.HistoryKeep = -1 },
		func(c *jobs.Config) { c.ID = "\xff" },
		func(c *jobs.Config) { c.TTL = -1 },
	} {
		cfg := config(s, "")
		spoil(&cfg)
		_, err := jobs.New(cfg)
		require.ErrorIs(t, err, backend.ErrInvalid)
	}
}

func TestStatusesThatAreNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		for key, value := range map[string]string{"jobs/a": "x", "jobs/b": `{"name":"c"}`, "jobs/d": `{"name":"d"}`} {
			space.Put(t, key, value)
		}
		all, unreadable, err := jobs.Statuses(t.Context(), space.Open(t))
		require.NoError(t, err)
		assert.Len(t, all, 1)
		assert.Len(t, unreadable, 2)
	})
}

// Whoever leads gives up the term when it ends, so that the next one leads at once.
func TestTwoAdmins(t *testing.T) {
	stores.Each(t, func(t *testing.T, space stores.Space) {
		s := space.Open(t)
		stops := map[string]func() error{}
		for _, id := range []string{"admin-1", "admin-2"} {
			stops[id] = run(t, config(space.Open(t), id))
		}
		stores.Wait(t, "somebody leads", func() bool { return statusOf(t, s, "close").By != "" })
		first := statusOf(t, s, "close")
		require.NoError(t, stops[first.By]())
		stores.Wait(t, "the other one does", func() bool { return statusOf(t, s, "close").By != first.By })
		assert.Greater(t, statusOf(t, s, "close").Term, first.Term)
	})
}
