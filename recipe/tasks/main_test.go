package tasks_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/tasks"
)

const dir = "jobs/"

func TestMain(m *testing.M) { stores.Main(m, stores.Roles{"worker": work}) }

// work is a process with a worker, which does a task when it is told so: it
// writes a key under the task's guard and finishes, whatever its context says.
func work(ctx context.Context, s backend.Store, p *stores.Parent) error {
	w, err := tasks.NewWorker(s, tasks.WorkerConfig{
		Dir:  dir,
		Name: "child",
		TTL:  stores.ShortestTTL,
		Handler: func(ctx context.Context, job *tasks.Job) (json.RawMessage, error) {
			p.Say("began %s", job.ID)
			job.Report(tasks.Progress{Percent: 50, Text: "child"})
			<-p.Told
			_, err := s.Put(context.WithoutCancel(ctx), "effects/"+job.ID, []byte("child"), job.Guard())
			p.Say("effect refused: %t", errors.Is(err, backend.ErrConflict))
			return json.RawMessage(`"child"`), nil
		},
	})
	if err != nil {
		return err
	}
	return w.Run(ctx)
}

func newConsole(t *testing.T, s backend.Store, cfg tasks.ConsoleConfig) *tasks.Console {
	t.Helper()
	cfg.Dir = dir
	c, err := tasks.NewConsole(s, cfg)
	require.NoError(t, err)
	return c
}

// runConsole makes a console and runs it.
func runConsole(t *testing.T, s backend.Store) (c *tasks.Console, stop func() error) {
	t.Helper()
	c = newConsole(t, s, tasks.ConsoleConfig{})
	return c, stores.Start(t, c.Run)
}

// runWorker makes a worker and runs it, with a TTL that no worker lets pass on a busy
// machine unless told.
func runWorker(t *testing.T, s backend.Store, cfg tasks.WorkerConfig) (w *tasks.Worker, stop func() error) {
	t.Helper()
	cfg.Dir = dir
	if cfg.TTL == 0 {
		cfg.TTL = time.Minute
	}
	w, err := tasks.NewWorker(s, cfg)
	require.NoError(t, err)
	return w, stores.Start(t, w.Run)
}

func submit(t *testing.T, c *tasks.Console, id string) {
	t.Helper()
	require.NoError(t, c.Submit(t.Context(), id, nil))
}

// finished waits for a task's outcome.
func finished(t *testing.T, c *tasks.Console, id string) tasks.Task {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	task, err := c.Wait(ctx, id)
	require.NoError(t, err, id)
	return task
}

// awaitState waits until a console knows a task to be in a state.
func awaitState(t *testing.T, c *tasks.Console, id string, state tasks.State) tasks.Task {
	t.Helper()
	var task tasks.Task
	stores.Wait(t, fmt.Sprint(id, " is ", state), func() bool {
		task, _ = c.Task(id)
		return task.State == state
	})
	return task
}

// awaitWorkers waits until a console sees so many.
func awaitWorkers(t *testing.T, c *tasks.Console, n int) {
	t.Helper()
	stores.Wait(t, fmt.Sprint(n, " workers"), func() bool { return len(c.Workers()) == n })
}

// echo is a handler that is done at once.
func echo(_ context.Context, job *tasks.Job) (json.RawMessage, error) { return job.Payload, nil }

// A desk is a handler whose work is done when a test says so.
type desk struct {
	began chan *tasks.Job
	done  chan string // the results

	mu    sync.Mutex
	ended []error // the causes of contexts that ended before
}

func newDesk() *desk { return &desk{began: make(chan *tasks.Job, 100), done: make(chan string)} }

func (d *desk) handle(ctx context.Context, job *tasks.Job) (json.RawMessage, error) {
	d.began <- job
	select {
	case result := <-d.done:
		return json.RawMessage(result), nil
	case <-ctx.Done():
		d.mu.Lock()
		defer d.mu.Unlock()
		d.ended = append(d.ended, context.Cause(ctx))
		return nil, ctx.Err()
	}
}

func (d *desk) interruptions() []error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]error{}, d.ended...)
}

// record reads a task's state, worker and attempt in the store.
func record(t *testing.T, s backend.Store, id string) (backend.Entry, tasks.Task) {
	t.Helper()
	task, e, err := backend.GetJSON[tasks.Task](t.Context(), s, dir+"tasks/"+id)
	require.NoError(t, err)
	return e, task
}

func listed(t *testing.T, s backend.Store, prefix string) []backend.Entry {
	t.Helper()
	entries, _, err := backend.List(t.Context(), s, prefix)
	require.NoError(t, err)
	return entries
}

func noReports(t *testing.T, s backend.Store) {
	t.Helper()
	stores.Wait(t, "no report is left", func() bool { return len(listed(t, s, dir+"progress/")) == 0 })
}

func assertDone(t *testing.T, task tasks.Task, attempt int) {
	t.Helper()
	assert.Equal(t, tasks.Done, task.State, task.Error)
	assert.Equal(t, attempt, task.Attempt)
}
