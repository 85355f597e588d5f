package tasks_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/conformance/servers"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/tasks"
)

func TestTasksAreDone(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		c, stop := runConsole(t, store)
		one, stopOne := runWorker(t, s.Open(t), tasks.WorkerConfig{Name: "one", Capacity: 2, Handler: echo})
		two, stopTwo := runWorker(t, s.Open(t), tasks.WorkerConfig{Name: "two", Handler: echo})
		<-c.Synced()
		awaitWorkers(t, c, 2)
		var ids []string
		stores.Wait(t, "the workers have heard that they are registered", func() bool { // later than the console, perhaps
			ids = []string{one.ID(), two.ID()}
			return !slices.Contains(ids, "")
		})

		for i := range 10 {
			require.NoError(t, c.Submit(t.Context(), fmt.Sprint(i), json.RawMessage(fmt.Sprintf(`{ "n": %d, "html": "<&>" }`, i))))
		}
		for i := range 10 {
			task := finished(t, c, fmt.Sprint(i))
			assertDone(t, task, 1)
			assert.JSONEq(t, fmt.Sprintf(`{"n":%d,"html":"<&>"}`, i), string(task.Result))
			assert.Contains(t, string(task.Result), "<&>", "people read it")
			assert.Contains(t, ids, task.Worker)
			assert.False(t, task.Submitted.IsZero() || task.Assigned.IsZero() || task.Finished.IsZero())
		}
		stores.Wait(t, "the console has heard", func() bool {
			for _, w := range c.Workers() {
				if w.Tasks != 0 {
					return false
				}
			}
			return len(c.Tasks()) == 10
		})
		assert.Empty(t, c.Problems())
		require.NoError(t, stopOne())
		require.NoError(t, stopTwo())
		assert.Empty(t, one.ID())
		assert.Empty(t, listed(t, store, dir+"workers/"), "they have left")
		require.NoError(t, stop())
	})
}

func TestWhatIsStored(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		c, _ := runConsole(t, store)
		require.NoError(t, c.Submit(t.Context(), "a", json.RawMessage(`{"order":17}`)))
		d := newDesk()
		w, _ := runWorker(t, store, tasks.WorkerConfig{Name: "one", Handler: d.handle})
		job := <-d.began
		assert.JSONEq(t, `{"order":17}`, string(job.Payload))
		entry, err := store.Get(t.Context(), dir+"workers/"+w.ID())
		require.NoError(t, err)
		assert.JSONEq(t, `{"name":"one","capacity":1}`, string(entry.Value))
		assert.NotEmpty(t, entry.Lease)

		var fields map[string]any
		e, _ := record(t, store, "a")
		require.NoError(t, json.Unmarshal(e.Value, &fields))
		assert.Equal(t, "assigned", fields["state"])
		assert.Equal(t, w.ID(), fields["worker"])
		assert.InDelta(t, 1, fields["attempt"], 0)
		assert.Equal(t, map[string]any{"order": 17.0}, fields["payload"])
		assert.Empty(t, e.Lease)
		d.done <- `"ok"`
		assert.JSONEq(t, `"ok"`, string(finished(t, c, "a").Result))
	})
}

func TestSubmitIsIdempotent(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		ctx := t.Context()
		store := s.Open(t)
		c, _ := runConsole(t, store)
		require.NoError(t, c.Submit(ctx, "a", json.RawMessage(`{"n": 1}`)))
		require.NoError(t, c.Submit(ctx, "a", json.RawMessage(`{"n":1}`)))
		require.ErrorIs(t, c.Submit(ctx, "a", json.RawMessage(`{"n":2}`)), backend.ErrConflict)
		require.ErrorIs(t, c.Submit(ctx, "a", nil), backend.ErrConflict)
		runWorker(t, store, tasks.WorkerConfig{Handler: echo})
		before := finished(t, c, "a")
		require.NoError(t, c.Submit(ctx, "a", json.RawMessage(`{"n":1}`)))
		assert.Equal(t, before, finished(t, c, "a"), "it is not done again")
	})
}

// No worker gets more than it has room for, and the one with more room gets
// more.
func TestCapacity(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		c, _ := runConsole(t, s.Open(t))
		d := newDesk()
		small, _ := runWorker(t, s.Open(t), tasks.WorkerConfig{Handler: d.handle})
		large, _ := runWorker(t, s.Open(t), tasks.WorkerConfig{Capacity: 3, Handler: d.handle})
		awaitWorkers(t, c, 2)
		for i := range 8 {
			submit(t, c, fmt.Sprint(i))
		}
		for range 4 {
			<-d.began
		}
		stores.Wait(t, "both are full", func() bool {
			tasksOf := map[string]int{}
			for _, w := range c.Workers() {
				tasksOf[w.ID] = w.Tasks
			}
			return tasksOf[small.ID()] == 1 && tasksOf[large.ID()] == 3
		})
		stores.Wait(t, "all are known", func() bool { return len(c.Tasks()) == 8 })
		for i := range 8 {
			task, ok := c.Task(fmt.Sprint(i))
			assert.True(t, ok)
			assert.Equal(t, i >= 4, task.State == tasks.Waiting, "the first come first: %+v", task)
		}
		for range 8 {
			d.done <- `1`
		}
		for i := range 8 {
			assertDone(t, finished(t, c, fmt.Sprint(i)), 1)
		}
	})
}

// A worker is killed: its task is done by another, once by the store's record.
func TestKilledWorker(t *testing.T) {
	stores.EachServer(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		c, _ := runConsole(t, store)
		child := stores.Spawn(t, s, "worker")
		submit(t, c, "a")
		child.Await(t, "began a")
		stores.Wait(t, "its progress is seen", func() bool { task, _ := c.Task("a"); return task.Progress != nil })
		child.Kill()
		w, _ := runWorker(t, s.Open(t), tasks.WorkerConfig{Handler: echo})
		task := finished(t, c, "a")
		assertDone(t, task, 2)
		assert.Equal(t, w.ID(), task.Worker)
		noReports(t, store)
	})
}

// A worker is paused past its lease and goes on: what it has done is refused,
// and the other's stands.
func TestPausedWorker(t *testing.T) {
	stores.EachServer(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		c, _ := runConsole(t, store)
		child := stores.Spawn(t, s, "worker")
		submit(t, c, "a")
		child.Await(t, "began a")
		child.Pause(t)

		_, stop := runWorker(t, s.Open(t), tasks.WorkerConfig{Handler: func(ctx context.Context, job *tasks.Job) (json.RawMessage, error) {
			_, err := store.Put(ctx, "effects/"+job.ID, []byte("other"), job.Guard())
			return json.RawMessage(`"other"`), err
		}})
		task := finished(t, c, "a")
		assertDone(t, task, 2)
		require.NoError(t, stop())

		child.Tell(t, "go on")
		child.Resume(t)
		assert.Equal(t, "true", child.Await(t, "effect refused:"))
		awaitWorkers(t, c, 1) // it has come back, after it has tried to finish
		assert.Equal(t, task, finished(t, c, "a"))
		effect, err := store.Get(t.Context(), "effects/a")
		require.NoError(t, err)
		assert.Equal(t, "other", string(effect.Value))

		submit(t, c, "b")
		child.Await(t, "began b")
		child.Tell(t, "go on")
		assertDone(t, finished(t, c, "b"), 1)
		child.Stop(t)
	})
}

// The handler's context ends, and the worker comes back as another.
func TestLostRegistration(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, s stores.Space, e backend.Entry){
		"lease revoked": func(t *testing.T, s stores.Space, e backend.Entry) { t.Helper(); s.Revoke(t, e.Lease) },
		"key deleted":   func(t *testing.T, s stores.Space, e backend.Entry) { t.Helper(); s.Delete(t, e.Key) },
		"key changed":   func(t *testing.T, s stores.Space, e backend.Entry) { t.Helper(); s.Put(t, e.Key, string(e.Value)) },
	} {
		t.Run(name, func(t *testing.T) {
			stores.Each(t, func(t *testing.T, s stores.Space) {
				store := s.Open(t)
				c, _ := runConsole(t, store)
				d := newDesk()
				w, stop := runWorker(t, s.Open(t), tasks.WorkerConfig{Handler: d.handle})
				submit(t, c, "a")
				<-d.began
				former := w.ID()
				e, err := store.Get(t.Context(), dir+"workers/"+former)
				require.NoError(t, err)
				lose(t, s, e)

				job := <-d.began
				assert.Equal(t, 2, job.Attempt)
				assert.NotEqual(t, former, w.ID())
				assert.Len(t, d.interruptions(), 1)
				d.done <- `1`
				assertDone(t, finished(t, c, "a"), 2)
				require.NoError(t, stop())
			})
		})
	}
}

func TestShutdownHandsTasksBackAtOnce(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		c, _ := runConsole(t, s.Open(t))
		d := newDesk()
		_, stop := runWorker(t, s.Open(t), tasks.WorkerConfig{Handler: d.handle, TTL: time.Hour})
		submit(t, c, "a")
		<-d.began
		require.NoError(t, stop())
		runWorker(t, s.Open(t), tasks.WorkerConfig{Handler: echo})
		assertDone(t, finished(t, c, "a"), 2)
	})
}

// A worker that waits for its handlers is given nothing more, and keeps what it
// has.
func TestWorkerThatShutsDownIsGivenNothing(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		c, _ := runConsole(t, store)
		began, goOn := make(chan struct{}), make(chan struct{})
		w, stop := runWorker(t, s.Open(t), tasks.WorkerConfig{Capacity: 2, Handler: func(context.Context, *tasks.Job) (json.RawMessage, error) {
			close(began)
			<-goOn // whatever its context says
			return nil, nil
		}})
		release := sync.OnceFunc(func() { close(goOn) })
		t.Cleanup(release)
		submit(t, c, "a")
		<-began
		id := w.ID()
		stopped := make(chan error, 1)
		go func() { stopped <- stop() }()
		stores.Wait(t, "it says that it leaves", func() bool { all := c.Workers(); return len(all) == 1 && all[0].Leaving })

		submit(t, c, "b")
		awaitState(t, c, "b", tasks.Waiting)
		other, _ := runWorker(t, s.Open(t), tasks.WorkerConfig{Handler: echo})
		task := finished(t, c, "b")
		assertDone(t, task, 1)
		assert.Equal(t, other.ID(), task.Worker)
		_, task = record(t, store, "a")
		assert.Equal(t, tasks.Assigned, task.State)
		assert.Equal(t, id, task.Worker)

		release()
		require.NoError(t, <-stopped)
		assertDone(t, finished(t, c, "a"), 1)
	})
}

// A handler that finishes in spite of the shutdown is not ignored.
func TestShutdownTakesDownWhatIsDone(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		c, _ := runConsole(t, s.Open(t))
		began := make(chan struct{})
		_, stop := runWorker(t, s.Open(t), tasks.WorkerConfig{Handler: func(ctx context.Context, _ *tasks.Job) (json.RawMessage, error) {
			close(began)
			<-ctx.Done()
			return json.RawMessage(`"in time"`), nil
		}})
		submit(t, c, "a")
		<-began
		require.NoError(t, stop())
		assertDone(t, finished(t, c, "a"), 1)
	})
}

func TestCancel(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		ctx := t.Context()
		store := s.Open(t)
		c, _ := runConsole(t, store)
		require.ErrorIs(t, c.Cancel(ctx, "a"), backend.ErrNotFound)
		submit(t, c, "waits")
		require.NoError(t, c.Cancel(ctx, "waits"))
		require.NoError(t, c.Cancel(ctx, "waits"))

		d := newDesk()
		runWorker(t, store, tasks.WorkerConfig{Handler: d.handle})
		submit(t, c, "a")
		job := <-d.began
		assert.Equal(t, "a", job.ID, "what was cancelled is not begun")
		job.Report(tasks.Progress{Percent: 1})
		stores.Wait(t, "progress", func() bool { task, _ := c.Task("a"); return task.Progress != nil })
		require.NoError(t, c.Cancel(ctx, "a"))
		stores.Wait(t, "the handler was told", func() bool { return len(d.interruptions()) == 1 })
		_, err := store.Put(ctx, "effect", nil, job.Guard())
		require.ErrorIs(t, err, backend.ErrConflict)
		noReports(t, store)

		submit(t, c, "b")
		<-d.began
		d.done <- `1`
		assertDone(t, finished(t, c, "b"), 1)
		require.ErrorIs(t, c.Cancel(ctx, "b"), backend.ErrConflict)
		for _, id := range []string{"waits", "a"} {
			_, task := record(t, store, id)
			assert.Equal(t, tasks.Cancelled, task.State)
			assert.False(t, task.Finished.IsZero())
		}
	})
}

func TestForget(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		ctx := t.Context()
		c, _ := runConsole(t, s.Open(t))
		require.NoError(t, c.Forget(ctx, "a"))
		submit(t, c, "a")
		require.ErrorIs(t, c.Forget(ctx, "a"), backend.ErrConflict)
		_, stop := runWorker(t, s.Open(t), tasks.WorkerConfig{Handler: echo})
		finished(t, c, "a")
		require.NoError(t, c.Forget(ctx, "a"))
		_, err := c.Wait(ctx, "a")
		require.ErrorIs(t, err, backend.ErrNotFound)
		stores.Wait(t, "forgotten", func() bool { return len(c.Tasks()) == 0 })
		require.NoError(t, stop())
		submit(t, c, "a")
		awaitState(t, c, "a", tasks.Waiting)
	})
}

// A task that takes each worker down with it is given up.
func TestMaxAttempts(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		c := newConsole(t, s.Open(t), tasks.ConsoleConfig{MaxAttempts: 2})
		stores.Start(t, c.Run)
		d := newDesk()
		submit(t, c, "a")
		for range 2 {
			_, stop := runWorker(t, s.Open(t), tasks.WorkerConfig{Handler: d.handle})
			<-d.began
			require.NoError(t, stop())
		}
		task := finished(t, c, "a") // though there is no worker
		assert.Equal(t, tasks.Failed, task.State)
		assert.Contains(t, task.Error, "lost")
		assert.Equal(t, 2, task.Attempt)
	})
}

func TestFailure(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		c, _ := runConsole(t, s.Open(t))
		runWorker(t, s.Open(t), tasks.WorkerConfig{Handler: func(_ context.Context, job *tasks.Job) (json.RawMessage, error) {
			switch job.ID {
			case "error":
				return json.RawMessage(`1`), errors.New("no such order\xff" + strings.Repeat("x", 2000))
			case "no JSON":
				return json.RawMessage(`{`), nil
			case "long":
				return nil, errors.New("long" + strings.Repeat("\x01", 2000))
			case "large":
				return json.RawMessage(`"` + strings.Repeat("x", backend.MaxValue) + `"`), nil
			default:
				return nil, nil
			}
		}})
		for id, text := range map[string]string{"error": "no such order", "no JSON": "unexpected end", "large": "too large"} {
			submit(t, c, id)
			task := finished(t, c, id)
			assert.Equal(t, tasks.Failed, task.State)
			assert.Contains(t, task.Error, text)
			assert.Empty(t, task.Result)
			assert.Equal(t, 1, task.Attempt, "an error is an answer")
		}
		// The largest payload leaves room for the longest error.
		assert.NotZero(t, submitLargest(t, c, "long"))
		assert.Equal(t, tasks.Failed, finished(t, c, "long").State)

		submit(t, c, "nothing")
		task := finished(t, c, "nothing")
		assertDone(t, task, 1)
		assert.Empty(t, task.Result)
	})
}

// submitLargest submits the largest payload that a task can have: each refusal says by
// how much another one was too large.
func submitLargest(t *testing.T, c *tasks.Console, id string) (refusals int) {
	t.Helper()
	for size := backend.MaxValue; ; refusals++ {
		err := c.Submit(t.Context(), id, json.RawMessage(`"`+strings.Repeat("x", size)+`"`))
		if err == nil {
			return refusals
		}
		require.ErrorIs(t, err, backend.ErrTooLarge)
		var has, most int
		_, told, _ := strings.Cut(err.Error(), " has ")
		_, err = fmt.Sscanf(told, "%d bytes, at most %d are allowed", &has, &most)
		require.NoError(t, err)
		require.Greater(t, has, most)
		size -= has - most
	}
}

// Consoles need no leader: each write has its conditions.
func TestTwoConsolesAndARestart(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		one, stopOne := runConsole(t, store)
		two, _ := runConsole(t, s.Open(t))
		var mu sync.Mutex
		ran := map[string]int{}
		for range 3 {
			runWorker(t, s.Open(t), tasks.WorkerConfig{Capacity: 2, Handler: func(_ context.Context, job *tasks.Job) (json.RawMessage, error) {
				mu.Lock()
				defer mu.Unlock()
				ran[job.ID]++
				return nil, nil
			}})
		}
		awaitWorkers(t, two, 3)
		for i := range 40 {
			if i == 20 {
				require.NoError(t, stopOne())
				stores.Start(t, one.Run)
			}
			c := []*tasks.Console{one, two}[i%2]
			submit(t, c, fmt.Sprint(i))
		}
		for i := range 40 {
			assertDone(t, finished(t, two, fmt.Sprint(i)), 1)
			mu.Lock()
			assert.Equal(t, 1, ran[fmt.Sprint(i)])
			mu.Unlock()
		}
	})
}

// Nothing of a console is in its memory alone.
func TestConsoleTakesOver(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		c, stop := runConsole(t, s.Open(t))
		d := newDesk()
		_, stopWorker := runWorker(t, s.Open(t), tasks.WorkerConfig{Handler: d.handle})
		submit(t, c, "a")
		submit(t, c, "b")
		<-d.began
		require.NoError(t, stop())
		require.NoError(t, stopWorker(), "while nobody assigns")

		other, _ := runConsole(t, s.Open(t))
		runWorker(t, s.Open(t), tasks.WorkerConfig{Handler: echo})
		assertDone(t, finished(t, other, "a"), 2)
		assertDone(t, finished(t, other, "b"), 1)
	})
}

func TestSurvivesARestartOfTheStore(t *testing.T) {
	stores.EachOwn(t, func(t *testing.T, s stores.Space, cluster *servers.Cluster) {
		c, _ := runConsole(t, s.Open(t))
		d := newDesk()
		runWorker(t, s.Open(t), tasks.WorkerConfig{Handler: d.handle, TTL: time.Minute})
		submit(t, c, "a")
		<-d.began
		require.NoError(t, cluster.Node(0).Kill(t.Context()))
		d.done <- `"done while the store was away"`
		require.NoError(t, cluster.Node(0).Start(t.Context()))
		assertDone(t, finished(t, c, "a"), 1)

		stores.Wait(t, "submitted", func() bool { return c.Submit(t.Context(), "b", nil) == nil })
		<-d.began
		d.done <- `1`
		assertDone(t, finished(t, c, "b"), 1)
	})
}

func TestProgress(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		c, _ := runConsole(t, store)
		d := newDesk()
		runWorker(t, store, tasks.WorkerConfig{Handler: d.handle})
		submit(t, c, "a")
		job := <-d.began
		_, task := record(t, store, "a")
		awaitState(t, c, "a", tasks.Assigned)

		// Not this worker's: not shown, not touched.
		s.Put(t, dir+"progress/a", `{"worker":"01ARZ3NDEKTSV4RRFFQ69G5FAV","attempt":1,"percent":99}`)
		s.Put(t, dir+"progress/b", `{"worker":"`+task.Worker+`","attempt":1,"percent":99}`)
		s.Put(t, dir+"progress/c", `null`)
		stores.Wait(t, "the console has heard", func() bool { return len(c.Problems()) == 1 })
		other, _ := c.Task("a")
		assert.Nil(t, other.Progress)
		for _, p := range []tasks.Progress{{Percent: 10, Text: "begun"}, {Percent: 70}, {Percent: 170, Text: strings.Repeat("é", 1000)}, {Percent: -1}} {
			job.Report(p)
			stores.Wait(t, "seen", func() bool {
				task, _ := c.Task("a")
				return task.Progress != nil && task.Progress.Percent == min(max(p.Percent, 0), 100) && strings.HasPrefix(p.Text, task.Progress.Text)
			})
		}
		report := listed(t, store, dir+"progress/a")[0]
		assert.NotEmpty(t, report.Lease)
		assert.Len(t, c.Tasks(), 1)

		// Nor is it taken away.
		foreign := `{"worker":"01ARZ3NDEKTSV4RRFFQ69G5FAV","attempt":1,"percent":98}`
		s.Put(t, dir+"progress/a", foreign)
		d.done <- `1`
		assertDone(t, finished(t, c, "a"), 1)
		submit(t, c, "next")
		next := <-d.began // the first job has ended
		assert.Equal(t, foreign, string(listed(t, store, dir+"progress/a")[0].Value))
		assert.Nil(t, awaitState(t, c, "a", tasks.Done).Progress)
		job.Report(tasks.Progress{Percent: 5}) // too late, and harmless

		next.Report(tasks.Progress{Percent: 5})
		stores.Wait(t, "reported", func() bool { return len(listed(t, store, dir+"progress/next")) == 1 })
		d.done <- `1`
		stores.Wait(t, "the report is gone", func() bool { return len(listed(t, store, dir+"progress/next")) == 0 })
	})
}

func TestHostileIDs(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		ctx := t.Context()
		c, _ := runConsole(t, s.Open(t))
		runWorker(t, s.Open(t), tasks.WorkerConfig{Capacity: 10, Handler: func(_ context.Context, job *tasks.Job) (json.RawMessage, error) {
			job.Report(tasks.Progress{Percent: 1})
			return json.Marshal(job.ID)
		}})
		for _, bad := range []string{"", ".", "..", "/", "a/b", "a/", "../x", "a\nb", "a\x00", "\xff", "\u200b", strings.Repeat("x", backend.MaxKey-len(dir+"progress/")+1)} {
			require.ErrorIs(t, c.Submit(ctx, bad, nil), backend.ErrInvalid, "%q", bad)
			require.ErrorIs(t, c.Cancel(ctx, bad), backend.ErrInvalid, "%q", bad)
			require.ErrorIs(t, c.Forget(ctx, bad), backend.ErrInvalid, "%q", bad)
			_, err := c.Wait(ctx, bad)
			require.ErrorIs(t, err, backend.ErrInvalid, "%q", bad)
		}
		good := []string{"a b", "a?b=c#d", "%2F", "%", "a\\b", `"`, "日本", "-", "~", "...", "a;b&c", strings.Repeat("x", backend.MaxKey-len(dir+"progress/"))}
		for _, id := range good {
			require.NoError(t, c.Submit(ctx, id, nil), "%q", id)
		}
		for _, id := range good {
			task := finished(t, c, id)
			assertDone(t, task, 1)
			var result string
			require.NoError(t, json.Unmarshal(task.Result, &result))
			assert.Equal(t, id, result)
			require.NoError(t, c.Forget(ctx, id))
		}
	})
}

func TestGarbageIsNamedAndLeftAlone(t *testing.T) {
	const id = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
	garbage := map[string]string{
		"tasks/null":       `null`,
		"tasks/text":       `text`,
		"tasks/empty":      ``,
		"tasks/array":      `[]`,
		"tasks/state":      `{"state":"lost"}`,
		"tasks/none":       `{}`,
		"tasks/unknown":    `{"state":"waiting","priority":1}`,
		"tasks/attempt":    `{"state":"waiting","attempt":-1}`,
		"tasks/worker":     `{"state":"assigned","worker":"../x"}`,
		"tasks/noworker":   `{"state":"assigned"}`,
		"tasks/a/b":        `{"state":"waiting"}`,
		"tasks/two":        `{"state":"waiting"}{"state":"waiting"}`,
		"tasks/large":      `{"state":"waiting","payload":"` + strings.Repeat("x", backend.MaxValue-1000) + `"}`,
		"workers/" + id:    `{"capacity":1}`, // on no lease
		"workers/x":        `{"capacity":1}`,
		"progress/null":    `null`,
		"progress/percent": `{"worker":"","attempt":1,"percent":101}`,
	}
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		for key, value := range garbage {
			s.Put(t, dir+key, value)
		}
		s.Put(t, dir+"tasks/bare", `{"state":"waiting"}`) // by hand, and as it should be
		s.Put(t, dir+"tasks/orphan", `{"state":"assigned","worker":"`+id+`","attempt":1}`)
		c, _ := runConsole(t, store)
		runWorker(t, s.Open(t), tasks.WorkerConfig{Handler: echo})
		assertDone(t, finished(t, c, "bare"), 1)
		assertDone(t, finished(t, c, "orphan"), 2)

		named := map[string]bool{}
		for _, p := range c.Problems() {
			assert.Error(t, p.Err)
			assert.NotZero(t, p.Revision)
			named[strings.TrimPrefix(p.Key, dir)] = true
		}
		for key, value := range garbage {
			assert.True(t, named[key], key)
			e, err := store.Get(t.Context(), dir+key)
			require.NoError(t, err)
			assert.Equal(t, value, string(e.Value))
		}
		assert.Len(t, named, len(garbage))
		require.ErrorIs(t, c.Submit(t.Context(), "null", nil), backend.ErrConflict)
		require.Error(t, c.Cancel(t.Context(), "null"))
		require.Error(t, c.Forget(t.Context(), "null"))
		_, err := c.Wait(t.Context(), "null")
		require.Error(t, err)
	})
}

func TestInvalidArguments(t *testing.T) {
	store := stores.NewMemory().Open(t)
	for _, bad := range []string{"", "jobs", "/", "a//", "../"} {
		_, err := tasks.NewConsole(store, tasks.ConsoleConfig{Dir: bad})
		require.ErrorIs(t, err, backend.ErrInvalid)
		_, err = tasks.NewWorker(store, tasks.WorkerConfig{Dir: bad, Handler: echo})
		require.ErrorIs(t, err, backend.ErrInvalid)
	}
	for _, bad := range []tasks.WorkerConfig{{Dir: dir}, {Dir: dir, Handler: echo, Capacity: -1}, {Dir: dir, Handler: echo, TTL: -1}} {
		_, err := tasks.NewWorker(store, bad)
		require.ErrorIs(t, err, backend.ErrInvalid)
	}
	_, err := tasks.NewConsole(store, tasks.ConsoleConfig{Dir: dir, MaxAttempts: -1})
	require.ErrorIs(t, err, backend.ErrInvalid)

	c, _ := runConsole(t, store)
	<-c.Synced()
	require.ErrorIs(t, c.Run(t.Context()), backend.ErrInvalid)
	for _, bad := range []string{`{`, `text`, `{"a":1,"a":2}`, `1 2`} {
		require.ErrorIs(t, c.Submit(t.Context(), "a", json.RawMessage(bad)), backend.ErrInvalid, bad)
	}
	require.ErrorIs(t, c.Submit(t.Context(), "a", json.RawMessage(`"`+strings.Repeat("x", backend.MaxValue-2000)+`"`)), backend.ErrTooLarge)
}
