package tasks_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/tasks"
)

// A fault is a console and a worker, each on a store that can be made to fail.
type fault struct {
	space    *stores.Memory
	console  *stores.Faulty
	worker   *stores.Faulty
	other    backend.Store
	c        *tasks.Console
	desk     *desk
	w        *tasks.Worker
	stopWork func() error
	log      stores.Logbook // the worker's
}

func inBubble(t *testing.T, f func(t *testing.T, x *fault)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		x := &fault{
			space:   space,
			console: &stores.Faulty{Store: space.Open(t)},
			worker:  &stores.Faulty{Store: space.Open(t)},
			other:   space.Open(t),
			desk:    newDesk(),
		}
		x.c, _ = runConsole(t, x.console)
		x.w, x.stopWork = runWorker(t, x.worker, tasks.WorkerConfig{Handler: x.desk.handle, Logger: slog.New(slog.NewTextHandler(&x.log, nil))})
		f(t, x)
	})
}

// first is a hook that fails the first n calls for keys with a prefix.
func first(n int64, prefix string) func(string) error {
	var calls atomic.Int64
	return func(key string) error {
		if strings.HasPrefix(key, dir+prefix) && calls.Add(1) <= n {
			return backend.ErrUnknown
		}
		return nil
	}
}

// Each write is lost, or its answer is: the work is done once all the same.
func TestUnknownOutcomes(t *testing.T) {
	for _, prefix := range []string{"tasks/", "workers/", "progress/"} {
		for name, hooks := range map[string]func() stores.Hooks{
			"request lost": func() stores.Hooks { return stores.Hooks{Put: first(2, prefix)} },
			"answer lost":  func() stores.Hooks { return stores.Hooks{AfterPut: first(2, prefix)} },
		} {
			t.Run(prefix+name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, x *fault) {
					front := &stores.Faulty{Store: x.other}
					front.Set(hooks())
					x.console.Set(hooks())
					submit(t, newConsole(t, front, tasks.ConsoleConfig{}), "a")
					job := <-x.desk.began
					x.worker.Set(hooks())
					job.Report(tasks.Progress{Percent: 50})
					x.desk.done <- `"result"`
					assertDone(t, finished(t, x.c, "a"), 1)
					synctest.Wait()
					assert.Empty(t, x.desk.began, "begun once")
					noReports(t, x.other)

					require.NoError(t, x.stopWork())
					assert.NotContains(t, x.log.String(), "was not taken")
					x.worker.Set(hooks())
					stores.Start(t, x.w.Run)
					submit(t, x.c, "b")
					<-x.desk.began
					x.desk.done <- `1`
					finished(t, x.c, "b")
				})
			})
		}
	}
}

func TestSubmitOfUnknownOutcome(t *testing.T) {
	inBubble(t, func(t *testing.T, x *fault) {
		x.console.Set(stores.Hooks{Put: first(99, "tasks/")})
		require.ErrorIs(t, x.c.Submit(t.Context(), "a", nil), backend.ErrUnknown)
		x.console.Set(stores.Hooks{AfterPut: first(99, "tasks/")})
		require.NoError(t, x.c.Submit(t.Context(), "a", nil), "read back")
		x.console.Set(stores.Hooks{Put: func(string) error { return backend.ErrUnavailable }})
		require.ErrorIs(t, x.c.Submit(t.Context(), "b", nil), backend.ErrUnavailable)
	})
}

// The outcome is written as soon as the store can be reached, without a lease
// even, as long as nobody else has the task.
func TestOutcomeOutlivesAnOutage(t *testing.T) {
	for _, outage := range []time.Duration{500 * time.Millisecond, time.Hour} {
		t.Run(outage.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				space := stores.NewMemory()
				client := space.Client(t)
				c, stop := runConsole(t, space.Open(t))
				d := newDesk()
				runWorker(t, client, tasks.WorkerConfig{Handler: d.handle})
				submit(t, c, "a")
				<-d.began
				require.NoError(t, stop())
				client.Cut()
				d.done <- `1`
				time.Sleep(outage)
				client.Mend()
				assertDone(t, finished(t, c, "a"), 1)
			})
		})
	}
}

// A worker that is cut off loses its task, hears of it by its own clock, and
// comes back as another.
func TestWorkerCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		client := space.Client(t)
		c, _ := runConsole(t, space.Open(t))
		d := newDesk()
		w, _ := runWorker(t, client, tasks.WorkerConfig{Handler: d.handle, TTL: stores.ShortestTTL})
		submit(t, c, "a")
		<-d.began
		former := w.ID()
		client.Cut()
		time.Sleep(2 * stores.ShortestTTL)
		require.Len(t, d.interruptions(), 1)
		require.ErrorIs(t, d.interruptions()[0], backend.ErrLeaseLost)
		assert.Empty(t, w.ID())
		other, _ := runWorker(t, space.Open(t), tasks.WorkerConfig{Handler: echo})
		task := finished(t, c, "a")
		assertDone(t, task, 2)
		assert.Equal(t, other.ID(), task.Worker)
		time.Sleep(time.Hour)
		_, err := w.LastError()
		require.Error(t, err)

		client.Mend()
		stores.Wait(t, "it is back", func() bool { return w.ID() != "" })
		assert.NotEqual(t, former, w.ID())
		awaitWorkers(t, c, 2)
	})
}

func TestReportsAreCoalesced(t *testing.T) {
	inBubble(t, func(t *testing.T, x *fault) {
		submit(t, x.c, "a")
		job := <-x.desk.began
		var writes atomic.Int64
		x.worker.Set(stores.Hooks{AfterPut: func(key string) error {
			if key == dir+"progress/a" {
				writes.Add(1)
			}
			return nil
		}})
		for i := range 1000 {
			job.Report(tasks.Progress{Percent: i / 10, Text: fmt.Sprint(i)})
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		task, _ := x.c.Task("a")
		require.NotNil(t, task.Progress)
		assert.Equal(t, "999", task.Progress.Text, "the latest")
		assert.LessOrEqual(t, writes.Load(), int64(6))
		x.desk.done <- `1`
	})
}

// A console in trouble assigns as soon as it can, and is not busy meanwhile.
func TestConsoleNeverGivesUp(t *testing.T) {
	inBubble(t, func(t *testing.T, x *fault) {
		var calls atomic.Int64
		submit(t, x.c, "a")
		<-x.desk.began
		x.console.Set(stores.Hooks{Put: func(string) error { calls.Add(1); return backend.ErrUnavailable }})
		_, err := x.other.Put(t.Context(), dir+"tasks/b", []byte(`{"state":"waiting"}`))
		require.NoError(t, err)
		x.desk.done <- `1`
		time.Sleep(time.Hour)
		assert.Greater(t, calls.Load(), int64(700))
		assert.Less(t, calls.Load(), int64(3000))
		_, err = x.c.LastError()
		require.ErrorIs(t, err, backend.ErrUnavailable)
		x.console.Set(stores.Hooks{})
		<-x.desk.began
		x.desk.done <- `1`
		assertDone(t, finished(t, x.c, "b"), 1)
	})
}

// A worker that may write but not watch tries again without haste.
func TestWorkerThatMayNotWatch(t *testing.T) {
	inBubble(t, func(t *testing.T, x *fault) {
		require.NoError(t, x.stopWork())
		var leases atomic.Int64
		x.worker.Set(stores.Hooks{
			Lease: func() error { leases.Add(1); return nil },
			Watch: func(prefix string) error {
				if strings.HasPrefix(prefix, dir+"workers/") {
					return backend.ErrDenied
				}
				return nil
			},
		})
		before := strings.Count(x.log.String(), "denied")
		stores.Start(t, x.w.Run)
		time.Sleep(time.Hour)
		assert.Greater(t, leases.Load(), int64(700), "it goes on trying")
		assert.Less(t, leases.Load(), int64(3000), "but never busily")
		assert.Equal(t, 1, strings.Count(x.log.String(), "denied")-before, "and says so once")
		_, err := x.w.LastError()
		require.ErrorIs(t, err, backend.ErrDenied)

		x.worker.Set(stores.Hooks{})
		submit(t, x.c, "a")
		<-x.desk.began
		x.desk.done <- `1`
		assertDone(t, finished(t, x.c, "a"), 1)
	})
}

// A closed store ends both, and nothing hangs.
func TestClosedStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := stores.NewMemory().Client(t)
		c, stop := runConsole(t, client)
		d := newDesk()
		_, stopWork := runWorker(t, client, tasks.WorkerConfig{Handler: d.handle})
		submit(t, c, "a")
		<-d.began
		require.NoError(t, client.Close())
		synctest.Wait()
		assert.Len(t, d.interruptions(), 1)
		require.ErrorIs(t, stop(), backend.ErrClosed)
		require.ErrorIs(t, stopWork(), backend.ErrClosed)
	})
}

// A laggard is a store whose watches of a prefix stand still after their first
// update, until it is let go.
type laggard struct {
	backend.Store
	prefix string
	let    chan struct{}
}

func (l laggard) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		begun := false
		for u, err := range l.Store.WatchPrefix(ctx, prefix) {
			if begun && prefix == dir+l.prefix {
				select {
				case <-l.let:
				case <-ctx.Done():
				}
			}
			if begun = true; !yield(u, err) {
				return
			}
		}
	}
}

// A console that has not heard of a worker yet takes its tasks for orphans; the
// store knows better.
func TestConsoleThatLagsTakesNothingAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		let := make(chan struct{})
		d := newDesk()
		runWorker(t, space.Open(t), tasks.WorkerConfig{Handler: d.handle})
		synctest.Wait()
		late, _ := runConsole(t, laggard{space.Open(t), "workers/", let})
		<-late.Synced()
		submit(t, late, "a")
		<-d.began

		other, _ := runWorker(t, space.Open(t), tasks.WorkerConfig{Handler: d.handle})
		c, _ := runConsole(t, space.Open(t))
		submit(t, c, "b")
		job := <-d.began
		assert.Equal(t, other.ID(), job.Worker)
		d.done <- `1` // the first one has room again
		time.Sleep(time.Minute)
		assert.Empty(t, d.began)
		assert.Empty(t, d.interruptions())
		close(let)
		d.done <- `1`
		assertDone(t, finished(t, c, "a"), 1)
		assertDone(t, finished(t, c, "b"), 1)
	})
}

// Nor does one that has not heard of a worker's end give it anything.
func TestConsoleThatLagsGivesNothingToTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		let := make(chan struct{})
		_, stop := runWorker(t, space.Open(t), tasks.WorkerConfig{Handler: echo})
		synctest.Wait()
		late, _ := runConsole(t, laggard{space.Open(t), "workers/", let})
		<-late.Synced()
		require.NoError(t, stop())
		submit(t, late, "a")
		time.Sleep(time.Minute)
		_, task := record(t, space.Open(t), "a")
		assert.Equal(t, tasks.Waiting, task.State)
		close(let)
		runWorker(t, space.Open(t), tasks.WorkerConfig{Handler: echo})
		assertDone(t, finished(t, late, "a"), 1)
	})
}

// Neither does one that is slow to see its own assignments overload a worker.
func TestConsoleThatLagsOverloadsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		let := make(chan struct{})
		for i := range 5 {
			space.Put(t, fmt.Sprint(dir, "tasks/", i), `{"state":"waiting"}`)
		}
		late, _ := runConsole(t, laggard{space.Open(t), "tasks/", let})
		<-late.Synced()
		d := newDesk()
		for range 2 {
			runWorker(t, space.Open(t), tasks.WorkerConfig{Handler: d.handle})
		}
		time.Sleep(500 * time.Millisecond)
		c, stop := runConsole(t, space.Open(t))
		<-c.Synced()
		require.NoError(t, stop())
		for _, w := range c.Workers() {
			assert.LessOrEqual(t, w.Tasks, 1)
		}
		close(let)
		for range 5 {
			<-d.began
			d.done <- `1`
		}
	})
}

// A handler that does not listen finishes a task that another worker was given:
// too late.
func TestHandlerThatDoesNotListen(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		c, _ := runConsole(t, store)
		began, goOn := make(chan *tasks.Job, 1), make(chan struct{})
		deaf, _ := runWorker(t, s.Open(t), tasks.WorkerConfig{Handler: func(_ context.Context, job *tasks.Job) (json.RawMessage, error) {
			began <- job
			<-goOn
			return json.RawMessage(`"deaf"`), nil
		}})
		submit(t, c, "a")
		job := <-began
		w, err := store.Get(t.Context(), dir+"workers/"+job.Worker)
		require.NoError(t, err)
		s.Revoke(t, w.Lease)
		runWorker(t, s.Open(t), tasks.WorkerConfig{Handler: echo})
		task := finished(t, c, "a")
		assertDone(t, task, 2)

		close(goOn)
		stores.Wait(t, "it is back", func() bool { return deaf.ID() != "" && deaf.ID() != job.Worker })
		assert.Equal(t, task, finished(t, c, "a"))
	})
}

// Two consoles that see one task waiting can't both assign it.
func TestConsoleThatLagsAssignsNothingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		let := make(chan struct{})
		space.Put(t, dir+"tasks/a", `{"state":"waiting"}`)
		late, _ := runConsole(t, laggard{space.Open(t), "tasks/", let})
		<-late.Synced()
		c, stop := runConsole(t, space.Open(t))
		<-c.Synced()

		d := newDesk()
		w, _ := runWorker(t, space.Open(t), tasks.WorkerConfig{Handler: d.handle})
		job := <-d.began
		assert.Equal(t, 1, job.Attempt)
		assert.Equal(t, w.ID(), job.Worker)
		require.NoError(t, stop())
		runWorker(t, space.Open(t), tasks.WorkerConfig{Handler: echo})
		time.Sleep(time.Minute)
		assert.Empty(t, d.interruptions())
		assert.Empty(t, d.began)
		close(let)
		d.done <- `1`
		assertDone(t, finished(t, late, "a"), 1)
	})
}

// What a worker reports of a task that it has not heard to have lost is refused.
func TestReportsOfALostTask(t *testing.T) {
	inBubble(t, func(t *testing.T, x *fault) {
		submit(t, x.c, "a")
		job := <-x.desk.began
		held := make(chan struct{})
		x.worker.Set(stores.Hooks{Yield: func() { <-held }})
		require.NoError(t, x.c.Cancel(t.Context(), "a"))
		job.Report(tasks.Progress{Percent: 50})
		time.Sleep(100 * time.Millisecond)
		assert.Empty(t, x.desk.interruptions(), "it has not heard")
		assert.Empty(t, listed(t, x.other, dir+"progress/"))
		close(held)
		stores.Wait(t, "it has", func() bool { return len(x.desk.interruptions()) == 1 })
	})
}
