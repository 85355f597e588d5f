package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// files is where a process works on files: on one thing at a time. The system may hold up
// whoever touches a directory whose server is gone, for ever, and can't be told not to.
// So that is waited for only as long as there is time: what is held up then stays behind,
// and ends with the process, or finds its term over when it goes on.
type files struct {
	busy chan struct{} // holds a token while something is done
}

func newFiles() *files { return &files{make(chan struct{}, 1)} }

var (
	errNoAnswer = errors.New("the directory of archives does not answer")
	errHeldUp   = fmt.Errorf("%w: what was begun there before is still held up", errNoAnswer)
)

// do does something. It returns when that is done, or soon after ctx has ended: with
// errNoAnswer if that is held up. Errors: errHeldUp if it was not begun.
func (f *files) do(ctx context.Context, work func(context.Context) error) error {
	select {
	case f.busy <- struct{}{}:
	default:
		return errHeldUp
	}
	done := make(chan error, 1)
	go func() {
		defer func() { <-f.busy }()
		done <- work(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	timer := time.NewTimer(farewell) // what is not held up ends by itself
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return errors.Join(errNoAnswer, context.Cause(ctx))
	}
}
