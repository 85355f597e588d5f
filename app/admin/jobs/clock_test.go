package jobs_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/admin/jobs"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
)

const clockKey = "clocks/admin"

// An admin whose clock is far ahead of the one that did the jobs before does nothing for a
// while that can't be undone; or until it is set right, or somebody says that it is.
func TestAClockThatIsFarAhead(t *testing.T) {
	for name, test := range map[string]struct {
		ahead time.Duration
		then  func(t *testing.T, space *stores.Memory) // after half an hour
		late  time.Duration                            // how long nothing is closed
	}{
		"by a day":              {24 * time.Hour, nil, time.Hour},
		"by forty minutes":      {40 * time.Minute, nil, 40 * time.Minute},
		"by a little":           {4 * time.Minute, nil, 0},
		"behind":                {-24 * time.Hour, nil, 0},
		"people say it's right": {24 * time.Hour, func(t *testing.T, space *stores.Memory) { t.Helper(); space.Delete(t, clockKey) }, 30 * time.Minute},
		"it is set":             {24 * time.Hour, func(t *testing.T, space *stores.Memory) { t.Helper(); noteClock(t, space, 0) }, 30 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				space := stores.NewMemory()
				s := space.Open(t)
				over, closed := publish(t, s, time.Now().Add(-100*time.Hour)), publish(t, s, time.Now().Add(-100*time.Hour))
				_, err := event.Close(t.Context(), s, closed.ID)
				require.NoError(t, err)
				draft := create(t, s, time.Now().Add(time.Hour))
				_, err = event.Publish(t.Context(), crash(s, 1), draft.ID)
				require.Error(t, err)
				opens := publish(t, s, time.Now().Add(5*time.Minute))
				noteClock(t, space, test.ahead)
				logbook := &stores.Logbook{}
				var swept atomic.Int64
				cfg := config(space.Open(t), "admin-2")
				cfg.ArchiveDir, cfg.Logger = dir, logbook.Logger()
				cfg.Sessions = func(context.Context, ...backend.Condition) error { swept.Add(1); return nil }
				run(t, cfg)
				isDone := func() bool {
					return get(t, s, over.ID).Status.IsOver() && get(t, s, closed.ID).Status == record.StatusArchived
				}

				began := time.Now()
				if test.late > 0 {
					time.Sleep(2 * time.Minute)
					for _, name := range []string{"windows", "close", "archive", "audit", "sessions"} {
						assert.Contains(t, statusOf(t, s, name).Error, "by admin-1: nobody has done them for ", name)
					}
					assert.Equal(t, 5, logbook.Count("the clock is wrong"), "each job says so once")
					assert.Equal(t, record.StatusOnline, get(t, s, draft.ID).Status, "what can be undone is done")
					if test.then != nil {
						time.Sleep(time.Until(began.Add(30*time.Minute - time.Second)))
						assert.Equal(t, record.StatusOnline, get(t, s, over.ID).Status)
						test.then(t, space)
					} else {
						time.Sleep(time.Until(began.Add(test.late - time.Second)))
					}
					assert.Equal(t, record.StatusOnline, get(t, s, over.ID).Status)
					assert.Equal(t, record.StatusClosed, get(t, s, closed.ID).Status)
					assert.Empty(t, recorded(t, s, "event.opened", ""))
					assert.Zero(t, swept.Load())
				}
				time.Sleep(2 * time.Minute)
				assert.True(t, isDone())
				assert.NotZero(t, swept.Load())
				if test.late > 0 { // the window has opened meanwhile
					assert.Len(t, recorded(t, s, "event.opened", opens.ID.String()), 1)
				}
				assert.Empty(t, statusOf(t, s, "close").Error)
			})
		})
	}
}

// noteClock notes that the jobs were done, a while ago by the clock of now.
func noteClock(t *testing.T, space *stores.Memory, ago time.Duration) {
	t.Helper()
	space.Put(t, clockKey, fmt.Sprintf(`{"time":%q,"by":"admin-1"}`, time.Now().Add(-ago).UTC().Format(time.RFC3339Nano)))
}

// A clock that was believed, or nearly, is in doubt again when it leads after another that
// is far behind it.
func TestAClockIsJudgedAnewWhenAnotherHasLed(t *testing.T) {
	for name, led := range map[string]time.Duration{"it was believed": 2 * time.Hour, "it was in doubt": 30 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				space := stores.NewMemory()
				s := space.Open(t)
				noteClock(t, space, 24*time.Hour)
				r, err := jobs.New(config(space.Open(t), "admin-2"))
				require.NoError(t, err)
				stop := stores.Start(t, r.Run)
				time.Sleep(led)
				require.NoError(t, stop())

				e := publish(t, s, time.Now().Add(-100*time.Hour))
				time.Sleep(time.Hour)
				noteClock(t, space, 24*time.Hour)
				stores.Start(t, r.Run)
				time.Sleep(time.Hour - time.Second)
				assert.Equal(t, record.StatusOnline, get(t, s, e.ID).Status)
				assert.Contains(t, statusOf(t, s, "close").Error, "by admin-1: nobody has done them for ")
				time.Sleep(2 * time.Minute)
				assert.Equal(t, record.StatusClosed, get(t, s, e.ID).Status)
			})
		})
	}
}

// A store that was away for long puts no clock in doubt that ran on evenly, though it is
// not known whether its last note was written.
func TestAnOutagePutsNoClockInDoubt(t *testing.T) {
	for name, hooks := range map[string]func(cut func() error) stores.Hooks{
		"noted":            func(cut func() error) stores.Hooks { return stores.Hooks{Get: atClock(cut)} },
		"noted, not known": func(cut func() error) stores.Hooks { return stores.Hooks{AfterPut: atClock(cut)} },
		"not noted":        func(cut func() error) stores.Hooks { return stores.Hooks{Put: atClock(cut)} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				space := stores.NewMemory()
				s := space.Open(t)
				e := publish(t, s, time.Now().Add(10*time.Minute-time.Hour-payWithin-grace))
				client := space.Client(t)
				faulty := &stores.Faulty{Store: client}
				run(t, config(faulty, ""))
				time.Sleep(50 * time.Second)
				var away atomic.Bool
				faulty.Set(hooks(func() error {
					client.Cut()
					away.Store(true)
					return backend.ErrUnknown
				}))
				time.Sleep(20 * time.Minute)
				require.True(t, away.Load())
				assert.Equal(t, record.StatusOnline, get(t, s, e.ID).Status)
				faulty.Set(stores.Hooks{})
				client.Mend()
				time.Sleep(10 * time.Minute)
				assert.Equal(t, record.StatusClosed, get(t, s, e.ID).Status)
			})
		})
	}
}

// atClock is a hook for the key of clocks.
func atClock(hook func() error) func(key string) error {
	return func(key string) error {
		if key != clockKey {
			return nil
		}
		return hook()
	}
}
