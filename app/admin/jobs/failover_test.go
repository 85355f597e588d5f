package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/admin/audit"
	"github.com/seed27495941/seckill/app/admin/jobs"
	"github.com/seed27495941/seckill/app/sale/archive"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
)

// settle is short here: what is begun is finished soon.
const settle = 20 * time.Millisecond

func hasty(s backend.Store, id, dir string) jobs.Config {
	cfg := config(s, id)
	cfg.ArchiveDir, cfg.ArchiveAfter, cfg.Settle, cfg.TTL = dir, 48*time.Hour, settle, stores.ShortestTTL
	return cfg
}

// isWork reports whether a key is one that the jobs of this test are about.
func isWork(key string) bool {
	return strings.HasPrefix(key, "audit/") || strings.HasPrefix(key, "events/") || strings.HasPrefix(key, "sales/")
}

// admin is a process that runs the jobs. At its first write it says "leads" and waits
// for a line. At the n-th, as its arguments say, it dies before or after, or stands still
// until the next line: then it says of every write whether that was refused.
func admin(ctx context.Context, s backend.Store, p *stores.Parent) error {
	mode, dir := p.Args[0], p.Args[2]
	n, err := strconv.ParseInt(p.Args[1], 10, 64)
	if err != nil {
		return err
	}
	var wrote, done atomic.Int64
	var stood sync.Map // keys; what was on its way before the pause may land, and is not among them
	first, second := make(chan struct{}), make(chan struct{})
	go func() { // ends with the process
		for _, gate := range []chan struct{}{first, second} {
			<-p.Told
			close(gate)
		}
	}()
	g := gate{Store: s, stray: mode == "pause"}
	g.before = func(key string, _ []backend.Condition) error {
		if !isWork(key) {
			return nil
		}
		at := wrote.Add(1)
		if at == 1 {
			p.Say("leads")
		}
		<-first
		switch {
		case at == n && mode == "before":
			die()
		case at >= n && mode == "pause":
			if at == n {
				p.Say("stands")
			}
			stood.Store(key, true)
			<-second
		}
		return nil
	}
	g.after = func(key string, err error) {
		_, late := stood.Load(key)
		switch {
		case !isWork(key):
		case mode == "after" && done.Add(1) == n:
			die()
		case late:
			p.Say("write %v %s", errors.Is(err, backend.ErrConflict), key)
		}
	}
	r, err := jobs.New(hasty(g, "admin-1", dir))
	if err != nil {
		return err
	}
	return r.Run(ctx)
}

// die is kill -9.
func die() {
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
	select {}
}

// work is one event for each job that changes any.
type work struct {
	s                         backend.Store
	dir                       string
	interrupted, over, closed event.Event
}

const buyers = 12

func prepare(t *testing.T, space stores.Space) *work {
	t.Helper()
	w := &work{s: space.Open(t), dir: filepath.Join(t.TempDir(), "archive")}
	w.interrupted = create(t, w.s, time.Now().Add(time.Hour))
	_, err := event.Publish(t.Context(), crash(w.s, 2), w.interrupted.ID)
	require.Error(t, err)
	w.over = publish(t, w.s, time.Now().Add(-30*time.Hour)) // too long ago for notes, not for an archive
	w.closed = publish(t, w.s, time.Now().Add(-100*time.Hour))
	owners, stop := serve(t, space.Open(t), w.closed, time.Hour)
	sell(t, owners, buyers)
	stop()
	w.closed, err = event.Close(t.Context(), w.s, w.closed.ID)
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			w.report(t)
		}
	})
	return w
}

// isDone reports whether the jobs have done all there is to do.
func (w *work) isDone(t *testing.T) bool {
	return get(t, w.s, w.interrupted.ID).Status == record.StatusOnline &&
		get(t, w.s, w.over.ID).Status == record.StatusClosed &&
		get(t, w.s, w.closed.ID).Status == record.StatusArchived &&
		len(keys(t, w.s, record.SaleDir(w.closed.ID))) == 0
}

// report says how far it has come.
func (w *work) report(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) //nolint:usetesting // the test is over
	defer cancel()
	for _, dir := range []string{"audit/", "jobs/", "elections/", "events/", "sales/"} {
		entries, _, err := backend.List(ctx, w.s, dir)
		t.Logf("%s: %v", dir, err)
		for _, e := range entries {
			t.Logf("%d %s %s", e.Revision, e.Key, e.Value)
		}
	}
}

// requireDoneOnce requires that everything is done, and nothing twice.
func (w *work) requireDoneOnce(t *testing.T) {
	t.Helper()
	for k := range slots {
		e, err := w.s.Get(t.Context(), record.SlotKey(w.over.ID, k))
		require.NoError(t, err)
		slot, err := record.DecodeSlot(e)
		require.NoError(t, err)
		require.Equal(t, record.Slot{Owner: record.Closed, Epoch: 1}, slot, "closed once")
	}
	require.Len(t, keys(t, w.s, record.SaleDir(w.interrupted.ID)), 1+slots)
	a, err := archive.Check(archive.Path(w.dir, w.closed.ID))
	require.NoError(t, err)
	require.Equal(t, buyers, a.Manifest.Orders)
	for action, e := range map[string]event.Event{"event.publish": w.interrupted, "event.close": w.over, "event.archive": w.closed} {
		records := recorded(t, w.s, action, e.ID.String())
		require.NotEmpty(t, records, "%s is recorded, whoever did it", action)
		require.LessOrEqual(t, count(records, audit.Done), 1, "%s is done once", action)
		for _, r := range records {
			require.Contains(t, []audit.Outcome{audit.Done, audit.Begun}, r.Outcome, "%+v", r)
		}
	}
}

// everything asks for the long forms.
func everything() bool { return os.Getenv("SECKILL_TEST_FULL") != "" }

// Two admins, of whom the one that leads is killed in the middle: the other one finishes
// what is to be done, and all is done once. The points are all writes there are, in the
// short form some of them.
func TestTheLeaderIsKilledAtAnyWrite(t *testing.T) {
	step := 11
	if everything() {
		step = 1
	}
	last := writes(t)
	for n := 1; n <= last; n += step {
		for _, mode := range []string{"before", "after"} {
			t.Run(fmt.Sprint(mode, " write ", n), func(t *testing.T) {
				stores.EachServer(t, func(t *testing.T, space stores.Space) {
					t.Parallel()
					w := prepare(t, space)
					p := stores.Spawn(t, space, "admin", mode, strconv.Itoa(n), w.dir)
					p.Await(t, "leads")
					run(t, hasty(space.Open(t), "admin-2", w.dir))
					p.Tell(t, "go")
					for range p.Said { // until it is dead
					}
					stores.Wait(t, "the other one has done the rest", func() bool { return w.isDone(t) && statusOf(t, w.s, "archive").By == "admin-2" })
					w.requireDoneOnce(t)
				})
			})
		}
	}
}

// writes counts what the jobs write for this work.
func writes(t *testing.T) int {
	t.Helper()
	space := stores.NewMemory()
	w := prepare(t, space)
	var n atomic.Int64
	run(t, hasty(gate{Store: space.Open(t), before: func(key string, _ []backend.Condition) error {
		if isWork(key) {
			n.Add(1)
		}
		return nil
	}}, "admin", w.dir))
	stores.Wait(t, "the work is done", func() bool {
		return w.isDone(t) && count(recorded(t, w.s, "event.", ""), audit.Done) == 3
	})
	w.requireDoneOnce(t)
	t.Logf("%d writes", n.Load())
	return int(n.Load())
}

// A leader that was paused for longer than its lease goes on with what it was at, and
// finds every write refused.
func TestAPausedLeaderWritesNothing(t *testing.T) {
	for _, n := range []int{1, 6, 12} {
		t.Run(fmt.Sprint("at write ", n), func(t *testing.T) {
			stores.EachServer(t, func(t *testing.T, space stores.Space) {
				t.Parallel()
				w := prepare(t, space)
				p := stores.Spawn(t, space, "admin", "pause", strconv.Itoa(n), w.dir)
				p.Await(t, "leads")
				p.Tell(t, "go")
				p.Await(t, "stands")
				p.Pause(t)
				run(t, hasty(space.Open(t), "admin-2", w.dir))
				stores.Wait(t, "the other one has done it all", func() bool {
					return w.isDone(t) && statusOf(t, w.s, "archive").By == "admin-2" && statusOf(t, w.s, "close").By == "admin-2" && statusOf(t, w.s, "publish").By == "admin-2"
				})
				before := w.state(t)
				p.Resume(t)
				p.Tell(t, "on")
				assert.Equal(t, "true", strings.Fields(p.Await(t, "write "))[0], "refused by the condition")
				p.Stop(t)
				for line := range p.Said {
					if said, ok := strings.CutPrefix(line, "write "); ok {
						assert.Equal(t, "true", strings.Fields(said)[0], line)
					}
				}
				assert.Equal(t, before, w.state(t), "nothing has changed")
				w.requireDoneOnce(t)
			})
		})
	}
}

// state is all that the jobs are about.
func (w *work) state(t *testing.T) map[string]backend.Revision {
	t.Helper()
	state := map[string]backend.Revision{}
	for _, dir := range []string{"audit/", "events/", "sales/"} {
		entries, _, err := backend.List(t.Context(), w.s, dir)
		require.NoError(t, err)
		for _, e := range entries {
			state[e.Key] = e.Revision
		}
	}
	return state
}
