package process

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// Signals derives two contexts from one: SIGINT or SIGTERM ends stop, a second
// one ends abort too, and a third does what it does to any process. The
// function returned undoes this and must be called.
func Signals(ctx context.Context) (stop, abort context.Context, release func()) {
	abort, cancelAbort := context.WithCancelCause(ctx)
	stop, cancelStop := context.WithCancelCause(abort)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)

	var waiting sync.WaitGroup
	waiting.Go(func() {
		defer signal.Stop(signals)
		for _, cancel := range []context.CancelCauseFunc{cancelStop, cancelAbort} {
			select {
			case s := <-signals:
				cancel(fmt.Errorf("received the signal %q", s))
			case <-abort.Done():
				return
			}
		}
	})
	return stop, abort, func() {
		cancelAbort(nil)
		waiting.Wait()
	}
}
