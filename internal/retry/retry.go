// Package retry is how what follows a store goes on through trouble: with a backoff that has
// jitter, and one line in the log for each different error, not for each
// attempt.
package retry

import (
	"cmp"
	"context"
	"errors"
	"iter"
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

// lasting is how long success has to last to end a stretch of trouble.
const lasting = 10 * time.Second

// maxTold bounds what is remembered, and logged, of one stretch of trouble.
const maxTold = 16

var errEnded = errors.New("ended without an error")

// Final reports whether trying again can't help: the store was closed, or the
// request is wrong in itself.
func Final(err error) bool {
	return errors.Is(err, backend.ErrClosed) || errors.Is(err, backend.ErrInvalid)
}

// Sleep waits, and reports whether all of the time has passed before ctx ended.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// A Loop is something that is tried until it works. It is safe for concurrent
// use. See [New].
type Loop struct {
	task string
	log  *slog.Logger

	mu    sync.Mutex
	pause backoff.ExponentialBackOff
	told  map[string]struct{} // errors logged since it last worked for long
	last  Trouble
	works time.Time // since when; zero: it does not
	over  bool      // that it works again was logged
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
	now := time.Now()
	if !l.works.IsZero() && now.Sub(l.works) >= lasting {
		clear(l.told)
		l.over = false
		l.pause.Reset()
	}
	l.works = time.Time{}
	l.last = Trouble{err, now}
	wait := l.pause.NextBackOff()
	if kind := sameText(err); !l.hasTold(kind) && len(l.told) < maxTold {
		l.told[kind] = struct{}{}
		l.log.Warn("failed, will be tried until it works", "task", l.task, "error", err)
	}
	return wait
}

// Worked takes note of success. Once that has lasted, the next failure is news
// again and is followed by a short pause. What works for a moment and fails, again
// and again, is one stretch of trouble: a watch may well begin each time.
func (l *Loop) Worked() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.works.IsZero() {
		return
	}
	l.works = time.Now()
	if len(l.told) > 0 && !l.over {
		l.over = true
		l.log.Info("works again", "task", l.task)
	}
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

// Hearing is s with watches of which each update counts as [Loop.Worked], for those
// who have no loop over the updates of their own.
func (l *Loop) Hearing(s backend.Store) backend.Store { return hearing{s, l} }

type hearing struct {
	backend.Store
	loop *Loop
}

func (h hearing) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		for u, err := range h.Store.WatchPrefix(ctx, prefix) {
			if err == nil {
				h.loop.Worked()
			}
			if !yield(u, err) {
				return
			}
		}
	}
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
