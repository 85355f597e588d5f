package tasks

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/internal/run"
)

// A session is a worker from one registration to its end.
type session struct {
	*Worker
	id    string
	lease backend.Lease
	log   *slog.Logger
	tasks *table[Task]
	wake  chan struct{} // holds a token while there may be something to begin or end

	working sync.WaitGroup

	mu   sync.Mutex
	jobs map[string]*Job             // those at work, by task
	past map[string]backend.Revision // assignments that were worked on
}

// work registers the worker and serves until ctx ends or the registration does.
func (w *Worker) work(ctx context.Context) error {
	lease, err := w.store.Lease(ctx, w.ttl)
	if err != nil {
		return err
	}
	s := &session{
		Worker: w,
		id:     ulid.Make().String(),
		lease:  lease,
		wake:   make(chan struct{}, 1),
		jobs:   map[string]*Job{},
		past:   map[string]backend.Revision{},
	}
	s.log = w.log.With("id", s.id)
	s.tasks = newTable(w.store, w.keys.tasks(), s.log, s.nudge, decodeTask)
	defer s.leave(ctx)
	rev, err := s.register(ctx)
	if err != nil {
		return err
	}
	return s.serve(ctx, rev)
}

// register puts the worker's key. If that fails, whatever may have become of it,
// the next session has another key, and this one ends with the lease.
func (s *session) register(ctx context.Context) (backend.Revision, error) {
	key := s.worker(s.id)
	value, err := encode(key, s.info, checkWorker)
	if err != nil {
		return 0, err
	}
	return s.store.Put(ctx, key, value, backend.If(key, 0), backend.WithLease(s.lease))
}

// serve works until the session is over and all handlers have returned.
func (s *session) serve(ctx context.Context, registered backend.Revision) error {
	s.log.Info("registered", "lease", s.lease.ID(), "ttl", s.lease.TTL())
	s.setID(s.id)
	defer s.setID("")

	life := ctx
	ctx, release := backend.WithLeaseContext(ctx, s.lease)
	defer release()
	ctx, stop := context.WithCancelCause(ctx)
	var following sync.WaitGroup
	following.Go(func() { stop(s.tasks.run(ctx)) })
	following.Go(func() { stop(s.watchKey(ctx, registered)) })
	for ctx.Err() == nil {
		s.look(ctx, life)
		select {
		case <-ctx.Done():
		case <-s.wake:
		}
	}
	following.Wait()
	if life.Err() != nil && s.isBusy() {
		s.takeNoMore(life, registered)
	}
	s.working.Wait()
	return context.Cause(ctx)
}

// watchKey returns when the worker's key is not as it was registered. That it can
// be watched is part of what has to work.
func (s *session) watchKey(ctx context.Context, registered backend.Revision) error {
	for e, err := range backend.WatchKey(ctx, s.store, s.worker(s.id)) {
		if err != nil {
			return err
		}
		if e.Revision != registered {
			return errors.New("the registration was changed or deleted by somebody, or vanished with its lease")
		}
		s.loop.Worked()
	}
	return nil
}

// takeNoMore tells consoles that the worker is waiting for its handlers only.
// The key stays: without it the tasks that they are at would be given away. If
// this fails, a task that is assigned to it all the same waits until it is gone.
func (s *session) takeNoMore(life context.Context, registered backend.Revision) {
	ctx, cancel := run.Farewell(life)
	defer cancel()
	key, info := s.worker(s.id), s.info
	info.Leaving = true
	value, err := encode(key, info, checkWorker)
	if err == nil {
		_, err = s.store.Put(ctx, key, value, backend.If(key, registered), backend.WithLease(s.lease))
	}
	if err != nil {
		s.log.Warn("consoles do not know that the worker is leaving", "error", err)
	}
}

func (s *session) isBusy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.jobs) > 0
}

// look ends the jobs whose tasks are this worker's no more, and begins those
// that are new, while there is room.
func (s *session) look(ctx, life context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, job := range s.jobs {
		if !s.owns(id, job.Revision) {
			job.stop(errTaken)
		}
	}
	for id, rev := range s.past {
		if !s.owns(id, rev) {
			delete(s.past, id)
		}
	}
	for _, r := range s.tasks.good() {
		t := r.value
		_, busy := s.jobs[t.ID]
		if !busy && len(s.jobs) < s.info.Capacity && s.past[t.ID] != t.Revision && s.owns(t.ID, t.Revision) {
			s.begin(ctx, life, t)
		}
	}
}

// errTaken is why a job's context ends when its task is not the worker's any
// more.
var errTaken = errors.New("the task was cancelled or given to another worker")

// owns reports whether a task is assigned to this worker, by this revision.
func (s *session) owns(id string, rev backend.Revision) bool {
	r, ok := s.tasks.get(id)
	return ok && r.err == nil && r.revision == rev && r.value.State == Assigned && r.value.Worker == s.id
}

// begin starts a job; its goroutine is waited for by serve. The caller holds mu.
func (s *session) begin(ctx, life context.Context, t Task) {
	ctx, stop := context.WithCancelCause(ctx)
	job := &Job{Task: t, key: s.task(t.ID), stop: stop, news: make(chan struct{}, 1)}
	s.jobs[t.ID] = job
	s.working.Go(func() {
		defer s.ended(job)
		defer stop(nil)
		s.do(ctx, life, job)
	})
}

func (s *session) ended(job *Job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.jobs, job.ID)
	s.past[job.ID] = job.Revision
	s.nudge()
}

// leave gives the lease up, and with it the key, the reports and all tasks that
// are not finished.
func (s *session) leave(ctx context.Context) {
	ctx, cancel := run.Farewell(ctx)
	defer cancel()
	if err := s.lease.Close(ctx); err != nil {
		s.log.Warn("the lease was not closed, it will expire", "error", err)
	}
}

func (s *session) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
