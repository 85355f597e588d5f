package app_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app"
	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/admin/jobs"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/internal/stores"
)

func (r *running) jobs() map[string]jobs.Status {
	r.Helper()
	var list admin.JobList
	require.NoError(r, json.Unmarshal([]byte(r.get(r.at.Admin, "/v1/jobs")), &list))
	require.Empty(r, list.Problems)
	byName := map[string]jobs.Status{}
	for _, j := range list.Jobs {
		byName[j.Name] = j
	}
	return byName
}

// A process that operators come to does the jobs: a sale whose window has ended is closed.
// When it has stopped the next one does.
func TestJobsAreDone(t *testing.T) {
	stores.EachServer(t, func(t *testing.T, space stores.Space) {
		store := space.Open(t)
		on := func(o *app.Options) {
			o.Store, o.Settings.Jobs.ArchiveDir = space.Open(t), t.TempDir()
		}
		over := func() event.Event {
			opens := time.Now().Add(-3 * time.Hour).Truncate(time.Millisecond)
			e, err := event.Create(t.Context(), store, record.Event{
				Title: "A rush", SKU: "RUSH", Price: record.Price{Minor: 100, Currency: "EUR"},
				Window: record.Window{Opens: opens, Closes: opens.Add(time.Hour)}, Total: 10, PerUser: 1, Slots: 2, PayWithin: 60,
			})
			require.NoError(t, err)
			e, err = event.Publish(t.Context(), store, e.ID)
			require.NoError(t, err)
			return e
		}
		isClosed := func(e event.Event) func() bool {
			return func() bool {
				now, err := event.Get(t.Context(), store, e.ID)
				require.NoError(t, err)
				return now.Status == record.StatusClosed
			}
		}
		e := over()
		r := startWith(t, on)
		stores.Wait(t, "the sale is closed", isClosed(e))
		stores.Wait(t, "all jobs have run", func() bool {
			byName := r.jobs()
			for _, name := range []string{"archive", "audit", "close", "history", "publish", "sessions", "windows"} {
				if byName[name].Started.IsZero() {
					return false
				}
			}
			return true
		})
		for name, j := range r.jobs() {
			assert.Empty(t, j.Error, name)
			assert.NotEmpty(t, j.By)
		}
		records := r.get(r.at.Admin, "/v1/audit?target="+e.ID.String())
		assert.Contains(t, records, `"event.close"`)

		first := r.jobs()["close"]
		r.stop()
		e = over()
		r = startWith(t, on)
		stores.Wait(t, "the next process has closed the next one", isClosed(e))
		assert.Greater(t, r.jobs()["close"].Term, first.Term)
	})
}
