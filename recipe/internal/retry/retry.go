// Package retry is how recipes go on through trouble: with a backoff that has
// jitter, and one line in the log for each different error, not for each
// attempt.
package retry

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/seed27495941/seckill/backend"
)

// The pauses between attempts: from the first to the longest, each up to half
// longer or shorter by chance, so that the nodes of a cluster do not come back
// all at once.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = 3 * time.Second
)

// maxTold bounds what is remembered, and logged, of one stretch of trouble.
const maxTold = 16

var errEnded = errors.New("ended without an error")

// Final reports whether trying again can't help: the store was closed, or the
// request is wrong in itself.
func Final(err error) bool {
	return errors.Is(err, backend.ErrClosed) || errors.Is(err, backend.ErrInvalid)
}

// Sleep waits for d or until ctx ends.
func Sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// A Loop is something that is tried until it works. It is safe for concurrent
// use. See [New].
type Loop struct {
	task string
	log  *slog.Logger

	mu    sync.Mutex
	pause backoff.ExponentialBackOff
	told  map[string]struct{} // errors logged since it last worked
	last  Trouble
}

// Trouble is an error and when it came.
type Trouble struct {
	Err error // nil: there was none yet
	At  time.Time
}

// New makes a loop; the task names it in the log. A nil logger is silent.
func New(log *slog.Logger, task string) *Loop {
	return &Loop{
		task: task,
		log:  Logger(log),
		pause: backoff.ExponentialBackOff{
			InitialInterval:     firstPause,
			MaxInterval:         longestPause,
			Multiplier:          2,
			RandomizationFactor: 0.5,
		},
		told: map[string]struct{}{},
	}
}

// Logger is log, or one that is silent.
func Logger(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}

// Failed takes note of a failed attempt and says how long to wait for the next.
func (l *Loop) Failed(err error) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = Trouble{err, time.Now()}
	wait := l.pause.NextBackOff()
	if kind := sameText(err); !l.hasTold(kind) && len(l.told) < maxTold {
		l.told[kind] = struct{}{}
		l.log.Warn("failed, will be tried until it works", "task", l.task, "error", err)
	}
	return wait
}

// Worked takes note of success: the next failure is news again.
func (l *Loop) Worked() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.told) > 0 {
		l.log.Info("works again", "task", l.task)
	}
	clear(l.told)
	l.pause.Reset()
}

// Last is the last trouble there was, over or not.
func (l *Loop) Last() Trouble {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// Keep runs f again and again, until ctx ends (it returns nil) or f fails for
// good. It is for f to call Worked.
func (l *Loop) Keep(ctx context.Context, f func(ctx context.Context) error) error {
	for ctx.Err() == nil {
		err := f(ctx)
		switch {
		case ctx.Err() != nil: // err says that, if anything
		case Final(err):
			return err
		default:
			Sleep(ctx, l.Failed(cmp.Or(err, errEnded)))
		}
	}
	return nil
}

func (l *Loop) hasTold(kind string) bool {
	_, ok := l.told[kind]
	return ok
}

// sameText is an error's text without the digits: ports, revisions and times
// change from one attempt to the next while the trouble is the same.
func sameText(err error) string {
	return strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return -1
		}
		return r
	}, err.Error())
}
