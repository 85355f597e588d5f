package jobs_test

import (
	"context"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/admin/audit"
	"github.com/seed27495941/seckill/app/sale/archive"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
)

// mute is a store that never answers what is asked of some keys.
type mute struct {
	backend.Store
	is func(key string) bool
}

func (m mute) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	if m.is(key) {
		<-ctx.Done()
		return 0, backend.Failure(ctx, backend.ErrUnknown, "put", key, nil)
	}
	return m.Store.Put(ctx, key, value, opts...)
}

func (m mute) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	if !m.is(prefix) {
		return m.Store.WatchPrefix(ctx, prefix)
	}
	return func(yield func(backend.Update, error) bool) {
		<-ctx.Done()
		yield(backend.Update{}, backend.Failure(ctx, backend.ErrUnavailable, "watch", prefix, nil))
	}
}

// A sale that can't be read, or not be written, or does not answer at all, keeps no other
// from being dealt with, and is tried again.
func TestASaleThatFailsHoldsUpNoOther(t *testing.T) {
	for name, fail := range map[string]func(s backend.Store, dir string, healed *atomic.Bool) backend.Store{
		"reading fails": func(s backend.Store, dir string, healed *atomic.Bool) backend.Store {
			faulty := &stores.Faulty{Store: s}
			faulty.Set(stores.Hooks{Watch: func(prefix string) error {
				if prefix == dir && !healed.Load() {
					return backend.ErrUnavailable
				}
				return nil
			}})
			return faulty
		},
		"writing fails": func(s backend.Store, dir string, healed *atomic.Bool) backend.Store {
			faulty := &stores.Faulty{Store: s}
			faulty.Set(stores.Hooks{Put: func(key string) error {
				if strings.HasPrefix(key, dir) && !healed.Load() {
					return backend.ErrUnknown
				}
				return nil
			}})
			return faulty
		},
		"reading hangs": func(s backend.Store, dir string, healed *atomic.Bool) backend.Store {
			return mute{s, func(key string) bool { return key == dir && !healed.Load() }}
		},
		"writing hangs": func(s backend.Store, dir string, healed *atomic.Bool) backend.Store {
			return mute{s, func(key string) bool { return strings.HasPrefix(key, dir+"slots/") && !healed.Load() }}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				space := stores.NewMemory()
				s := space.Open(t)
				opens := time.Now().Add(-24 * time.Hour)
				bad := publish(t, s, opens)
				time.Sleep(time.Second)
				good := publish(t, s, opens)
				healed := &atomic.Bool{}
				logbook := &stores.Logbook{}
				cfg := config(fail(space.Open(t), record.SaleDir(bad.ID), healed), "")
				cfg.Logger = logbook.Logger()
				run(t, cfg)

				time.Sleep(10*time.Minute + 15*time.Second)
				assert.Equal(t, record.StatusClosed, get(t, s, good.ID).Status)
				status := statusOf(t, s, "close")
				assert.Contains(t, status.Error, "event "+bad.ID.String())
				assert.Contains(t, status.Result, "failed for 1")
				assert.NotZero(t, status.Failures)
				assert.NotZero(t, logbook.Count("event="+bad.ID.String()))

				time.Sleep(48 * time.Hour)
				assert.LessOrEqual(t, len(recorded(t, s, "event.close", bad.ID.String())), 10+48/2, "seldom, after days")
				assert.GreaterOrEqual(t, logbook.Count("event="+bad.ID.String()), 48/6, "but again and again")
				healed.Store(true)
				time.Sleep(7 * time.Hour)
				assert.Equal(t, record.StatusClosed, get(t, s, bad.ID).Status)
				assert.Empty(t, statusOf(t, s, "close").Error)
				for _, r := range recorded(t, s, "event.close", bad.ID.String()) {
					assert.Equal(t, r.Outcome == audit.Done, r.After != nil, "%+v", r)
				}
			})
		})
	}
}

// That it can't be known whether anything is left of a sale keeps no other from being archived.
func TestAPurgedSaleThatCannotBeReadHoldsUpNoOther(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		s := space.Open(t)
		opens := time.Now().Add(-100 * time.Hour)
		bad := publish(t, s, opens)
		_, err := event.Close(t.Context(), s, bad.ID)
		require.NoError(t, err)
		a, err := archive.Write(t.Context(), s, bad.ID, dir)
		require.NoError(t, err)
		require.Error(t, archive.Purge(t.Context(), crash(s, 2), a.Path, nil))
		time.Sleep(time.Second)
		good := publish(t, s, opens)
		_, err = event.Close(t.Context(), s, good.ID)
		require.NoError(t, err)
		cfg := config(mute{space.Open(t), func(key string) bool { return key == record.SaleDir(bad.ID) }}, "")
		cfg.ArchiveDir = dir
		run(t, cfg)
		time.Sleep(10 * time.Minute)
		assert.Equal(t, record.StatusArchived, get(t, s, good.ID).Status)
		assert.Contains(t, statusOf(t, s, "archive").Error, bad.ID.String())
	})
}

// What fails for days is seldom recorded.
func TestPruningThatFailsIsSeldomRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		s := space.Open(t)
		l := audit.New(s, audit.Options{})
		require.NoError(t, l.Note(t.Context(), audit.Action{Name: "old", Actor: "ann", Via: audit.ViaCLI}, nil))
		faulty := &stores.Faulty{Store: space.Open(t)}
		faulty.Set(stores.Hooks{Del: func(key string) error {
			if strings.HasPrefix(key, "audit/") {
				return backend.ErrDenied
			}
			return nil
		}})
		cfg := config(faulty, "")
		cfg.Retention.Keep = time.Minute
		run(t, cfg)
		time.Sleep(3 * 24 * time.Hour)
		records := recorded(t, s, "audit.prune", "")
		assert.NotEmpty(t, records)
		assert.LessOrEqual(t, len(records), 15+3*24/2)
		for _, r := range records {
			assert.Equal(t, audit.Failed, r.Outcome)
			assert.Nil(t, r.After)
		}
	})
}

// Only of a sale that is open in its window it is said that it opened, and ended.
func TestWindowsOfSalesThatAreNotOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		s := space.Open(t)
		opens := time.Now().Add(time.Hour)
		paused, resumed, closed, later := publish(t, s, opens), publish(t, s, opens), publish(t, s, opens), create(t, s, opens)
		for _, e := range []event.Event{paused, resumed} {
			_, err := event.Suspend(t.Context(), s, e.ID)
			require.NoError(t, err)
		}
		_, err := event.Close(t.Context(), s, closed.ID)
		require.NoError(t, err)
		run(t, config(space.Open(t), ""))
		time.Sleep(time.Hour + 10*time.Minute)
		assert.Empty(t, recorded(t, s, "event.opened", ""))
		_, err = event.Resume(t.Context(), s, resumed.ID)
		require.NoError(t, err)
		time.Sleep(time.Hour)
		for _, step := range []func(context.Context, backend.Store, event.Event) (event.Event, error){
			func(ctx context.Context, s backend.Store, _ event.Event) (event.Event, error) {
				return event.Resume(ctx, s, paused.ID)
			},
			func(ctx context.Context, s backend.Store, _ event.Event) (event.Event, error) {
				return event.Publish(ctx, s, later.ID)
			},
		} {
			_, err := step(t.Context(), s, event.Event{})
			require.NoError(t, err)
		}
		time.Sleep(5 * time.Hour)
		for _, e := range []event.Event{paused, closed, later} {
			assert.Empty(t, recorded(t, s, "event.opened", e.ID.String()))
			assert.Empty(t, recorded(t, s, "event.ended", e.ID.String()))
		}
		assert.Len(t, recorded(t, s, "event.opened", resumed.ID.String()), 1)
		assert.Len(t, recorded(t, s, "event.ended", resumed.ID.String()), 1)
	})
}

// A leader goes on with the notes of the one before.
func TestTheNextLeaderNotesThatASaleEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		s := space.Open(t)
		e := publish(t, s, time.Now())
		stop := run(t, config(space.Open(t), "admin-1"))
		time.Sleep(time.Minute)
		require.NoError(t, stop())
		run(t, config(space.Open(t), "admin-2"))
		time.Sleep(time.Hour)
		assert.Equal(t, "admin-1", recorded(t, s, "event.opened", e.ID.String())[0].Actor)
		assert.Equal(t, "admin-2", recorded(t, s, "event.ended", e.ID.String())[0].Actor)
	})
}

// All jobs have one look at the events, of which there are more and more.
func TestTheEventsAreReadOnceForAllJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		publish(t, space.Open(t), time.Now().Add(24*time.Hour))
		var read atomic.Int64
		faulty := &stores.Faulty{Store: space.Open(t)}
		faulty.Set(stores.Hooks{Watch: func(prefix string) error {
			if prefix == record.EventsDir {
				read.Add(1)
			}
			return nil
		}})
		cfg := config(faulty, "")
		cfg.ArchiveDir = t.TempDir()
		run(t, cfg)
		time.Sleep(time.Hour)
		assert.LessOrEqual(t, read.Load(), int64(60*60/30+1))
	})
}

// A directory that does not answer holds up the archiving of sales, and nothing else: no
// other job, and not the next leader.
func TestADirectoryThatDoesNotAnswer(t *testing.T) {
	space := stores.NewMemory()
	dir := t.TempDir()
	s := space.Open(t)
	e := publish(t, s, time.Now().Add(-100*time.Hour))
	_, err := event.Close(t.Context(), s, e.ID)
	require.NoError(t, err)
	_, err = event.Archive(t.Context(), s, get(t, s, e.ID))
	require.NoError(t, err)
	path := archive.Path(dir, e.ID)
	require.NoError(t, os.Mkdir(path, 0o700))
	// Whoever opens it waits until somebody writes.
	pipe := filepath.Join(path, "manifest.json")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	t.Cleanup(func() {
		f, err := os.OpenFile(pipe, os.O_WRONLY, 0)
		if assert.NoError(t, err) {
			assert.NoError(t, f.Close())
		}
	})
	cfg := config(space.Open(t), "admin-1")
	cfg.ArchiveDir = dir
	stop := run(t, cfg)
	stores.Wait(t, "it is at it", func() bool {
		return len(recorded(t, s, "event.archive", e.ID.String())) > 0 && statusOf(t, s, "close").By == "admin-1"
	})
	began := time.Now()
	require.NoError(t, stop())
	assert.Less(t, time.Since(began), 30*time.Second)
	run(t, config(space.Open(t), "admin-2"))
	stores.Wait(t, "the other one leads", func() bool { return statusOf(t, s, "close").By == "admin-2" })
}

// Sales that wait for a directory that does not answer have failed at nothing: they are put
// away as soon as it does.
func TestSalesWaitForADirectoryThatDoesNotAnswer(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		s := space.Open(t)
		var closed []event.Event
		for range 3 {
			e := publish(t, s, time.Now().Add(-100*time.Hour))
			e, err := event.Close(t.Context(), s, e.ID)
			require.NoError(t, err)
			closed = append(closed, e)
			time.Sleep(time.Second)
		}
		space.Put(t, "events/none", "{}")
		answers := make(chan struct{})
		logbook := &stores.Logbook{}
		cfg := config(gate{Store: space.Open(t), before: func(key string, _ []backend.Condition) error {
			if key == record.EventKey(closed[0].ID) {
				<-answers // whoever waits for it
			}
			return nil
		}}, "")
		cfg.ArchiveDir, cfg.Logger = dir, logbook.Logger()
		run(t, cfg)

		time.Sleep(12 * time.Hour)
		status := statusOf(t, s, "archive")
		assert.Contains(t, status.Error, "what was begun there before is still held up")
		assert.Contains(t, status.Error, "events/none", "what else is wrong is told, too")
		assert.NotZero(t, status.Failures)
		assert.LessOrEqual(t, status.Next.Sub(status.Ended), 8*time.Minute)
		assert.Equal(t, 1, logbook.Count("an event could not be dealt with"))
		assert.Equal(t, 1, logbook.Count("event="+closed[0].ID.String()))
		assert.LessOrEqual(t, logbook.Count(`will be tried again" job=archive`), 2)
		close(answers)
		time.Sleep(10 * time.Minute)
		for _, e := range closed {
			assert.Equal(t, record.StatusArchived, get(t, s, e.ID).Status)
		}
		assert.NotContains(t, statusOf(t, s, "archive").Error, "does not answer")
	})
}

// A leader whose term is over leaves all events alone, though it has not heard yet, and
// finds out in the middle of a step.
func TestATermThatIsOverIsNoEventsFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		s := space.Open(t)
		var begun []event.Event
		for range 2 {
			e := create(t, s, time.Now().Add(time.Hour))
			_, err := event.Publish(t.Context(), crash(s, 2), e.ID)
			require.Error(t, err)
			begun = append(begun, e)
			time.Sleep(time.Second)
		}
		faulty := &stores.Faulty{Store: space.Open(t)}
		faulty.Set(stores.Hooks{Yield: func() { time.Sleep(time.Second) }}) // news come late
		logbook := &stores.Logbook{}
		var ended atomic.Bool
		cfg := config(gate{Store: faulty, before: func(key string, conds []backend.Condition) error {
			if strings.HasPrefix(key, record.SaleDir(begun[0].ID)) && ended.CompareAndSwap(false, true) {
				for _, c := range conds {
					if strings.HasPrefix(c.Key, "elections/") {
						space.Delete(t, c.Key)
					}
				}
			}
			return nil
		}}, "")
		cfg.Logger = logbook.Logger()
		run(t, cfg)
		time.Sleep(10 * time.Minute)
		for _, e := range begun {
			assert.Equal(t, record.StatusOnline, get(t, s, e.ID).Status, "in the next term")
		}
		assert.Equal(t, 1, logbook.Count("the jobs' term was lost"))
		assert.Zero(t, logbook.Count("an event could not be dealt with"))
	})
}
