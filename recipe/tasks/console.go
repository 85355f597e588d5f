package tasks

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
	"github.com/seed27495941/seckill/recipe/internal/run"
)

// DefaultMaxAttempts is how many workers may be lost, or shut down, over a task.
const DefaultMaxAttempts = 5

const (
	attempts = 3            // at a write whose outcome is not known
	longText = 1 << 10      // bytes of an error or a progress text that are kept
	reserve  = 8 * longText // bytes of a task's value for what is added to the payload: JSON makes six of some
	catchUp  = time.Second  // the longest that a console waits to see its own writes
)

// A ConsoleConfig says how to assign tasks.
type ConsoleConfig struct {
	Dir string // with a slash at the end

	// MaxAttempts is how often a task is assigned before it is given up as
	// failed, because each time the worker was lost or shut down before the task
	// was done. DefaultMaxAttempts if 0.
	MaxAttempts int

	Logger *slog.Logger // nil: silent
}

// A Console takes in tasks and assigns them. Its methods that take a context
// work on the store; the others read from memory, which [Console.Run] keeps up
// to date. It is safe for concurrent use, and there may be several.
type Console struct {
	keys
	store       backend.Store
	maxAttempts int
	log         *slog.Logger
	loop        *retry.Loop
	wake        chan struct{} // holds a token while there may be something to assign
	synced      chan struct{}

	workers  *table[WorkerInfo]
	tasks    *table[Task]
	progress *table[report]

	turn run.Turn // of Run
}

// A Problem is a key that is not what it should be, and is left alone.
type Problem struct {
	Key      string
	Revision backend.Revision
	Err      error
}

// NewConsole prepares a console. Errors: ErrInvalid.
func NewConsole(s backend.Store, cfg ConsoleConfig) (*Console, error) {
	k, err := newKeys(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if cfg.MaxAttempts < 0 {
		return nil, fmt.Errorf("%w: %d attempts", backend.ErrInvalid, cfg.MaxAttempts)
	}
	log := retry.Logger(cfg.Logger).With("dir", cfg.Dir)
	c := &Console{
		keys:        k,
		store:       s,
		maxAttempts: cmp.Or(cfg.MaxAttempts, DefaultMaxAttempts),
		log:         log,
		loop:        retry.New(log, "assign tasks"),
		wake:        make(chan struct{}, 1),
		synced:      make(chan struct{}),
	}
	c.workers = newTable(s, k.workers(), log, c.nudge, readWorker)
	c.tasks = newTable(s, k.tasks(), log, c.nudge, readTask)
	c.progress = newTable(s, k.reports(), log, func() {}, readReport)
	return c, nil
}

// Submit takes a task in, under an ID that is its own. The payload is JSON, or
// nil. Submitting the same again is no error, whatever has become of the task;
// an ID that has another payload is ErrConflict. After ErrUnknown submit again.
//
// Errors: ErrInvalid for an ID that can't be the last part of a key or a payload
// that is no JSON, ErrTooLarge, ErrConflict, and those of [backend.Store.Put].
func (c *Console) Submit(ctx context.Context, id string, payload json.RawMessage) error {
	if err := c.checkID(id); err != nil {
		return err
	}
	key := c.task(id)
	value, err := encodeTask(key, Task{State: Waiting, Payload: payload, Submitted: now()})
	if err != nil {
		return err
	}
	if limit := backend.MaxValue - reserve; len(value) > limit {
		return fmt.Errorf("%w: task %q has %d bytes, at most %d are allowed", backend.ErrTooLarge, id, len(value), limit)
	}
	var unknown error
	for range attempts {
		_, err := c.store.Put(ctx, key, value, backend.If(key, 0))
		switch {
		case err == nil:
			return nil
		case errors.Is(err, backend.ErrConflict):
			return c.compare(ctx, id, value)
		case !errors.Is(err, backend.ErrUnknown):
			return cmp.Or(unknown, err)
		}
		unknown = err
	}
	return unknown
}

// compare reports whether the task that exists is the one that was submitted,
// be it by this call.
func (c *Console) compare(ctx context.Context, id string, value []byte) error {
	e, err := c.store.Get(ctx, c.task(id))
	if err != nil {
		return backend.Failure(ctx, backend.ErrUnknown, "submit", c.task(id), err)
	}
	have, err := decodeTask(id, e)
	if err != nil {
		return fmt.Errorf("%w: there is something else: %w", backend.ErrConflict, err)
	}
	want, err := decodeTask(id, backend.Entry{Key: e.Key, Value: value})
	if err != nil {
		return err
	}
	if !bytes.Equal(have.Payload, want.Payload) {
		return fmt.Errorf("%w: task %q was submitted with another payload", backend.ErrConflict, id)
	}
	return nil
}

// Cancel ends a task that is not finished; the context of its handler ends as
// soon as the worker hears of it. Cancelling again is no error; a task that is
// done or failed is ErrConflict. After ErrUnknown cancel again.
//
// Errors: ErrNotFound, ErrConflict, and those of [backend.Modify].
func (c *Console) Cancel(ctx context.Context, id string) error {
	if err := c.checkID(id); err != nil {
		return err
	}
	key := c.task(id)
	_, err := backend.Modify(ctx, c.store, key, func(e backend.Entry) ([]byte, error) {
		if e.Revision == 0 {
			return nil, fmt.Errorf("task %q: %w", id, backend.ErrNotFound)
		}
		t, err := decodeTask(id, e)
		switch {
		case err != nil:
			return nil, err
		case t.State == Cancelled:
			return nil, errNothing
		case t.State.Finished():
			return nil, fmt.Errorf("%w: task %q is %s", backend.ErrConflict, id, t.State)
		}
		t.State, t.Finished = Cancelled, now()
		return encodeTask(key, t)
	})
	if errors.Is(err, errNothing) {
		return nil
	}
	return err
}

var errNothing = errors.New("nothing to change")

// Forget deletes a task that is finished; one that is not is ErrConflict, one
// that does not exist no error. After ErrUnknown forget again.
//
// Its ID could then be submitted again. So could it by a Submit whose outcome
// was never known, if that is still on its way: forget such a task late.
//
// Errors: ErrConflict, and those of [backend.Store.Get] and Delete.
func (c *Console) Forget(ctx context.Context, id string) error {
	if err := c.checkID(id); err != nil {
		return err
	}
	e, err := c.store.Get(ctx, c.task(id))
	if errors.Is(err, backend.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	t, err := decodeTask(id, e)
	if err != nil {
		return err
	}
	if !t.State.Finished() {
		return fmt.Errorf("%w: task %q is %s", backend.ErrConflict, id, t.State)
	}
	return c.store.Delete(ctx, e.Key, backend.If(e.Key, e.Revision))
}

// Wait waits until a task is finished and returns it. It asks the store, by a
// watch of its own (on Consul a connection each), and needs no Run. Errors: ErrNotFound if there is no such
// task (any more), and those of [backend.WatchKey].
func (c *Console) Wait(ctx context.Context, id string) (Task, error) {
	if err := c.checkID(id); err != nil {
		return Task{}, err
	}
	for e, err := range backend.WatchKey(ctx, c.store, c.task(id)) {
		if err != nil {
			return Task{}, err
		}
		if e.Revision == 0 {
			return Task{}, fmt.Errorf("task %q: %w", id, backend.ErrNotFound)
		}
		if t, err := decodeTask(id, e); err != nil || t.State.Finished() {
			return t, err
		}
	}
	return Task{}, backend.Failure(ctx, backend.ErrUnavailable, "wait for", c.task(id), nil)
}

// Task finds a task, with its progress.
func (c *Console) Task(id string) (Task, bool) {
	r, ok := c.tasks.get(id)
	if !ok || r.err != nil {
		return Task{}, false
	}
	return c.withProgress(r.value), true
}

// Tasks lists all tasks with their progress, the one changed last at the end.
func (c *Console) Tasks() []Task {
	var all []Task
	for _, r := range c.tasks.good() {
		all = append(all, c.withProgress(r.value))
	}
	return all
}

// Workers lists the workers that are alive, as far as the store knows.
func (c *Console) Workers() []WorkerInfo {
	load := c.load()
	var all []WorkerInfo
	for _, r := range c.workers.good() {
		w := r.value
		w.Tasks = load[w.ID]
		all = append(all, w)
	}
	return all
}

// Problems lists the keys that are left out because they are no task's, worker's
// or report's.
func (c *Console) Problems() []Problem {
	var all []Problem
	for _, r := range c.tasks.bad() {
		all = append(all, Problem{r.key, r.revision, r.err})
	}
	for _, r := range c.workers.bad() {
		all = append(all, Problem{r.key, r.revision, r.err})
	}
	for _, r := range c.progress.bad() {
		all = append(all, Problem{r.key, r.revision, r.err})
	}
	return all
}

// Synced is closed when the first state is in.
func (c *Console) Synced() <-chan struct{} { return c.synced }

// LastError is the last trouble that Run had with the store, over or not, and
// when it came; nil if there was none.
func (c *Console) LastError() (time.Time, error) {
	var last retry.Trouble
	for _, loop := range []*retry.Loop{c.loop, c.workers.loop, c.tasks.loop, c.progress.loop} {
		if each := loop.Last(); each.At.After(last.At) {
			last = each
		}
	}
	return last.At, last.Err
}

// Run assigns tasks until ctx ends; then it returns nil. It goes on through any
// trouble with the store; only a closed one (ErrClosed) ends it early. It may
// not run twice at once, which is ErrInvalid.
func (c *Console) Run(ctx context.Context) error {
	if err := c.turn.Begin(fmt.Sprintf("the console of %q", c.dir)); err != nil {
		return err
	}
	defer c.turn.End()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.workers.run(ctx) })
	g.Go(func() error { return c.tasks.run(ctx) })
	g.Go(func() error { return c.progress.run(ctx) })
	g.Go(func() error { return c.keepAssigning(ctx) })
	return g.Wait()
}

func (c *Console) withProgress(t Task) Task {
	r, ok := c.progress.get(t.ID)
	if ok && r.err == nil && t.State == Assigned && r.value.Worker == t.Worker && r.value.Attempt == t.Attempt {
		t.Progress = &r.value.Progress
	}
	return t
}

// load counts the tasks that are assigned to each worker.
func (c *Console) load() map[string]int {
	load := map[string]int{}
	for _, r := range c.tasks.good() {
		if r.value.State == Assigned {
			load[r.value.Worker]++
		}
	}
	return load
}

// nudge makes Run look again.
func (c *Console) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// readTask reads a task. One with so large a payload that its outcome might not be
// written would stay with a worker for ever.
func readTask(id string, e backend.Entry) (Task, error) {
	t, err := decodeTask(id, e)
	if limit := backend.MaxValue - reserve; err == nil && t.State == Waiting && len(e.Value) > limit {
		err = fmt.Errorf("%d bytes, at most %d are allowed for a task that is waiting", len(e.Value), limit)
	}
	return t, err
}

// readWorker reads a worker. What hangs on no lease would never vanish.
func readWorker(id string, e backend.Entry) (WorkerInfo, error) {
	if e.Lease == "" {
		return WorkerInfo{}, errors.New("it hangs on no lease, expected a worker's")
	}
	if !isULID(id) {
		return WorkerInfo{}, fmt.Errorf("worker %q: expected a ULID", id)
	}
	w, err := decode(e, checkWorker)
	w.ID = id
	return w, err
}

func readReport(_ string, e backend.Entry) (report, error) { return decode(e, checkReport) }

// now is a time as it is stored.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }
