package tasks

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
	"github.com/seed27495941/seckill/recipe/internal/run"
)

// DefaultTTL is how long a worker that died keeps its tasks, as far as the store
// goes by it: Consul takes up to twice as long.
const DefaultTTL = 10 * time.Second

// A Handler does the work of one task and returns its result, which is JSON or
// nil.
//
// A nil error means that the work is done, also if ctx has ended meanwhile. An
// error is the outcome of the task as well: it has failed, and is not tried
// again; but once ctx has ended, an error means that the work was interrupted.
//
// ctx ends when the worker shuts down, when its lease is lost, and when the task
// was cancelled or given to another worker. The handler must return then: the
// worker waits for it. A panic is not recovered.
type Handler func(ctx context.Context, job *Job) (result json.RawMessage, err error)

// A WorkerConfig says what a worker does.
type WorkerConfig struct {
	Dir      string // with a slash at the end
	Name     string // for people
	Capacity int    // how many tasks at once; 1 if 0
	Handler  Handler
	TTL      time.Duration // DefaultTTL if 0
	Logger   *slog.Logger  // nil: silent
}

// A Worker runs the tasks that it is assigned. Somebody has to [Worker.Run] it.
type Worker struct {
	keys
	store     backend.Store
	info      WorkerInfo // but for the ID
	handler   Handler
	ttl       time.Duration
	log       *slog.Logger
	loop      *retry.Loop
	finishing *retry.Loop
	reporting *retry.Loop

	turn run.Turn // of Run

	mu sync.Mutex
	id string
}

// NewWorker prepares a worker; nothing is sent before Run. Errors: ErrInvalid,
// ErrTooLarge.
func NewWorker(s backend.Store, cfg WorkerConfig) (*Worker, error) {
	k, err := newKeys(cfg.Dir)
	if err != nil {
		return nil, err
	}
	info := WorkerInfo{Name: cfg.Name, Capacity: cmp.Or(cfg.Capacity, 1)}
	if _, err := encode(k.workers(), info, checkWorker); err != nil {
		return nil, err
	}
	if cfg.Handler == nil {
		return nil, fmt.Errorf("%w: a worker without a handler", backend.ErrInvalid)
	}
	if cfg.TTL < 0 {
		return nil, fmt.Errorf("%w: TTL %v", backend.ErrInvalid, cfg.TTL)
	}
	log := retry.Logger(cfg.Logger).With("dir", cfg.Dir, "worker", cfg.Name)
	return &Worker{
		keys:      k,
		store:     s,
		info:      info,
		handler:   cfg.Handler,
		ttl:       cmp.Or(cfg.TTL, DefaultTTL),
		log:       log,
		loop:      retry.New(log, "work"),
		finishing: retry.New(log, "finish a task"),
		reporting: retry.New(log, "report progress"),
	}, nil
}

// Run registers the worker and runs what it is assigned until ctx ends. Then it
// is given nothing more, waits for the handlers, takes down what they have done, and gives the rest
// back at once, and its place; it returns nil. Only a closed store (ErrClosed)
// or one that does not take a lease with such a TTL (ErrInvalid) ends it early.
// It may not run twice at once, which is ErrInvalid.
//
// When its lease is lost, or its key was deleted or changed by somebody, the
// handlers' contexts end. Once they have returned it registers again, as another
// worker.
func (w *Worker) Run(ctx context.Context) error {
	if err := w.turn.Begin("the worker"); err != nil {
		return err
	}
	defer w.turn.End()
	return w.loop.Keep(ctx, w.work)
}

// ID is that of the worker as it is registered now: "" while it is not, and a
// new one each time.
func (w *Worker) ID() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.id
}

// LastError is the last trouble that Run had with the store, over or not, and
// when it came; nil if there was none.
func (w *Worker) LastError() (time.Time, error) {
	var last retry.Trouble
	for _, loop := range []*retry.Loop{w.loop, w.finishing, w.reporting} {
		if each := loop.Last(); each.At.After(last.At) {
			last = each
		}
	}
	return last.At, last.Err
}

func (w *Worker) setID(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.id = id
}
