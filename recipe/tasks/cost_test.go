package tasks_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/tasks"
)

// TestCost measures how many tasks pass through, while finished ones pile up. It
// asserts nothing but that all are done.
func TestCost(t *testing.T) {
	if os.Getenv("SECKILL_TEST_FULL") == "" {
		t.Skip("a measurement; run with SECKILL_TEST_FULL=1")
	}
	stores.EachServer(t, func(t *testing.T, s stores.Space) {
		c, _ := runConsole(t, s.Open(t))
		for range 4 {
			runWorker(t, s.Open(t), tasks.WorkerConfig{Capacity: 4, Handler: echo, TTL: time.Minute})
		}
		awaitWorkers(t, c, 4)
		const n = 250
		for from := 0; from < 4*n; from += n {
			begun := time.Now()
			for i := range n {
				submit(t, c, fmt.Sprint(from+i))
			}
			for i := range n {
				assertDone(t, finished(t, c, fmt.Sprint(from+i)), 1)
			}
			t.Logf("%d finished before: %.0f tasks/s", from, n/time.Since(begun).Seconds())
		}
	})
}
