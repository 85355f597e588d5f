package tasks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
	"github.com/seed27495941/seckill/recipe/internal/run"
)

// reportPace is the least time between two reports of one job.
const reportPace = 200 * time.Millisecond

// A Job is a task as its handler has it. Its methods are safe for concurrent
// use.
type Job struct {
	Task

	key  string
	stop context.CancelCauseFunc
	news chan struct{} // holds a token while there is something to report

	mu       sync.Mutex
	progress Progress
	reported bool
}

// Guard is the condition that the task is still this worker's, for writes to
// the store that the worker was given: a Put or a Delete with it fails as
// ErrConflict once the task was cancelled or given to another worker, however
// late this one learns of it.
func (j *Job) Guard() backend.Condition { return backend.If(j.key, j.Revision) }

// Report says how far the work has come. It does not block: the latest progress
// is written soon, what came before may never be. A percentage outside 0 to 100
// counts as the nearest within, and of the text the first 1,024 bytes are kept.
func (j *Job) Report(p Progress) {
	j.mu.Lock()
	defer j.mu.Unlock()
	p.Percent = min(max(p.Percent, 0), 100)
	p.Text = cut(p.Text)
	j.progress, j.reported = p, true
	select {
	case j.news <- struct{}{}:
	default:
	}
}

func (j *Job) latest() (p Progress, reported bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.progress, j.reported
}

// do runs the handler and takes down what has come of it. life is the context of
// the worker's Run.
func (s *session) do(ctx, life context.Context, job *Job) {
	reporting, stop := context.WithCancel(ctx)
	var reporter sync.WaitGroup
	reporter.Go(func() { s.report(reporting, job) })
	result, err := s.handler(ctx, job)
	stop()
	reporter.Wait()

	if err != nil && ctx.Err() != nil {
		s.log.Info("task interrupted", "task", job.ID, "cause", context.Cause(ctx), "error", err)
	} else {
		s.finish(life, job, result, err)
	}
	s.clearReport(life, job)
}

// finish writes the outcome of a task, as long as it takes; when the worker
// should have ended, a few times. One condition decides: that the task is as it
// was assigned. So a worker that has lost its lease, but not yet its tasks, does
// not lose what it has done.
func (s *session) finish(life context.Context, job *Job, result json.RawMessage, failure error) {
	value, err := job.outcome(result, failure)
	if err != nil {
		s.log.Error("the outcome of a task can't be written", "task", job.ID, "error", err)
		return
	}
	for late := 0; late < attempts; {
		err = s.writeOutcome(life, job, value)
		if err == nil {
			s.finishing.Worked()
			return
		}
		if errors.Is(err, backend.ErrConflict) || retry.Final(err) {
			break
		}
		if life.Err() != nil {
			late++
		}
		retry.Sleep(life, s.finishing.Failed(err))
	}
	s.log.Warn("the outcome of a task was not taken", "task", job.ID, "attempt", job.Attempt, "error", err)
}

// writeOutcome writes the finished task. When that is refused because the task
// is not as it was, an earlier attempt may have been applied.
func (s *session) writeOutcome(life context.Context, job *Job, value []byte) error {
	ctx, cancel := run.Farewell(life)
	defer cancel()
	_, err := s.store.Put(ctx, job.key, value, job.Guard())
	if !errors.Is(err, backend.ErrConflict) {
		return err
	}
	e, read := s.store.Get(ctx, job.key)
	switch {
	case bytes.Equal(e.Value, value):
		return nil
	case read != nil && !errors.Is(read, backend.ErrNotFound):
		return read
	}
	return err
}

// outcome makes the value of the finished task. A result that can't be stored
// is a failure.
func (j *Job) outcome(result json.RawMessage, failure error) ([]byte, error) {
	t := j.Task
	t.Finished = now()
	if failure == nil {
		t.State, t.Result = Done, result
		value, err := encodeTask(j.key, t)
		if err == nil {
			return value, nil
		}
		failure = err
	}
	t.State, t.Result, t.Error = Failed, nil, cut(failure.Error())
	return encodeTask(j.key, t)
}

// report writes the latest progress whenever there is some, until ctx ends or
// the task is lost.
func (s *session) report(ctx context.Context, job *Job) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-job.news:
		}
		err := s.writeReport(ctx, job)
		for err != nil && ctx.Err() == nil {
			if errors.Is(err, backend.ErrConflict) || errors.Is(err, backend.ErrLeaseLost) || retry.Final(err) {
				return // the session or the job is about to end
			}
			retry.Sleep(ctx, s.reporting.Failed(err))
			err = s.writeReport(ctx, job)
		}
		s.reporting.Worked()
		retry.Sleep(ctx, reportPace)
	}
}

// writeReport puts the latest progress. A write that was lost on its way can't
// come after the task was finished or given away.
func (s *session) writeReport(ctx context.Context, job *Job) error {
	p, _ := job.latest()
	key := s.progress(job.ID)
	value, err := encode(key, report{Worker: s.id, Attempt: job.Attempt, Progress: p}, checkReport)
	if err != nil {
		return err
	}
	_, err = s.store.Put(ctx, key, value, backend.WithLease(s.lease), job.Guard())
	return err
}

// clearReport deletes the progress of a job that has ended, if it is this one's.
// What it can't delete is shown by nobody, and vanishes with the lease.
func (s *session) clearReport(life context.Context, job *Job) {
	if _, reported := job.latest(); !reported {
		return
	}
	ctx, cancel := run.Farewell(life)
	defer cancel()
	key := s.progress(job.ID)
	for range attempts {
		e, err := s.store.Get(ctx, key)
		if errors.Is(err, backend.ErrNotFound) {
			return
		}
		if err == nil {
			if r, bad := readReport(job.ID, e); bad != nil || r.Worker != s.id || r.Attempt != job.Attempt {
				return
			}
			err = s.store.Delete(ctx, key, backend.If(key, e.Revision))
		}
		if err == nil {
			return
		}
	}
}

// cut keeps the beginning of a long text. JSON has no other than valid UTF-8.
func cut(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), longText)], "")
}
