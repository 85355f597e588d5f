package conformance

import "time"

// A stopwatch measures time, and how much of it the process got no processor:
// that a machine is busy is no fault of a driver.
type stopwatch struct {
	began   time.Time
	stop    chan struct{}
	stopped chan struct{}
	stalls  time.Duration // all together
	longest time.Duration
}

// tick is how often a stopwatch looks whether it may run.
const tick = 10 * time.Millisecond

func startStopwatch() *stopwatch {
	w := &stopwatch{began: time.Now(), stop: make(chan struct{}), stopped: make(chan struct{})}
	go w.run()
	return w
}

func (w *stopwatch) run() {
	defer close(w.stopped)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for last := w.began; ; {
		var over bool
		select {
		case <-ticker.C:
		case <-w.stop:
			over = true
		}
		now := time.Now()
		if late := now.Sub(last) - tick; late > tick {
			w.stalls += late
			w.longest = max(w.longest, late)
		}
		if last = now; over {
			return
		}
	}
}

// end stops the watch. It tells for how long the process could run since it was
// started, and the longest time for which it could not.
func (w *stopwatch) end() (ran, stall time.Duration) {
	close(w.stop)
	<-w.stopped
	return time.Since(w.began) - w.stalls, w.longest
}
