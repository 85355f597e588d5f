// Package retry does again, after a while, what has failed.
package retry

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/seed27495941/seckill/backend"
)

// Pause is how long to wait before what has failed is begun again.
const Pause = time.Second

// Forever runs f, which follows something, again and again until ctx ends; then it
// returns nil. What ends f is logged with the name of the task. Errors: backend.ErrClosed
// of a store that was closed, for that stays so.
func Forever(ctx context.Context, log *slog.Logger, task string, f func(context.Context) error) error {
	for ctx.Err() == nil {
		err := f(ctx)
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, backend.ErrClosed):
			return err
		default:
			log.Warn("failed, will be tried again", "task", task, "error", err)
			Sleep(ctx, Pause)
		}
	}
	return nil
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
