package doctor

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/seed27495941/seckill/backend"
)

// rounds is how many reads and how many writes are timed.
const rounds = 15

// slowPart is the part of a node's TTL that the slowest answer may take. A lease
// is renewed every third of its TTL, and a renewal may take as long: this
// leaves room for answers to take four times as long on a bad day.
const slowPart = 12

// roundTrip times reads and writes one after the other.
func (e *examination) roundTrip(ctx context.Context) backend.Finding {
	reads, err := timed(func() error {
		_, err := e.store.Get(ctx, e.probe)
		if errors.Is(err, backend.ErrNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		return untried("reads fail")
	}
	text := fmt.Sprintf("%d reads in %s", rounds, spread(reads))
	all := reads
	if e.written != 0 {
		writes, err := timed(func() error {
			_, err := e.store.Put(ctx, e.probe, nil, backend.WithLease(e.lease))
			return err
		})
		if err != nil {
			return e.failed(err, e.advice.keys)
		}
		text += fmt.Sprintf(", %d writes in %s", rounds, spread(writes))
		all = append(all, writes...)
	}
	return e.judge(slices.Max(all), fine("%s", text))
}

// judge warns if the slowest answer takes too much of a lease's time.
func (e *examination) judge(worst time.Duration, f backend.Finding) backend.Finding {
	if worst <= e.ttl/slowPart {
		return f
	}
	enough := time.Duration(math.Ceil((slowPart * worst).Seconds())) * time.Second
	f.Verdict = backend.VerdictWarn
	f.Found += fmt.Sprintf(": slow for leases of %v, which have %v for a renewal", e.ttl, round(e.ttl/3))
	f.Remedy = "Look at the servers' disks (a write waits for a majority of them), at their load and at how far away they are. " +
		"Until it is faster, give leases more time:\n" +
		fmt.Sprintf("    --node-ttl=%v", enough)
	return f
}

// timed runs something a number of times and returns what each took, in order
// of that.
func timed(call func() error) ([]time.Duration, error) {
	took := make([]time.Duration, 0, rounds)
	for range rounds {
		begun := time.Now()
		if err := call(); err != nil {
			return nil, err
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	return took, nil
}

// spread describes durations that are in order.
func spread(sorted []time.Duration) string {
	return fmt.Sprintf("%v (median) to %v", round(sorted[len(sorted)/2]), round(sorted[len(sorted)-1]))
}

// leaseBounds asks for a shorter lease than any that a process would, and tells
// what that means for the lease of a node.
func (e *examination) leaseBounds(ctx context.Context) backend.Finding {
	const asked = time.Second
	if e.lease == nil {
		return untried(noLease)
	}
	lease, err := e.store.Lease(ctx, asked)
	if err != nil {
		return e.failed(err, e.advice.leases)
	}
	least := lease.TTL()
	if err := lease.Close(ctx); err != nil {
		return e.failed(err, e.advice.leases)
	}
	ttl := max(e.ttl, least)
	return fine("%v is granted as %v; with --node-ttl=%v %s", asked, least, e.ttl, e.advice.expiry(ttl))
}

// foreignKeys reports what the watch has left out.
func (e *examination) foreignKeys(context.Context) backend.Finding {
	switch {
	case e.foreign == nil:
		return untried("there was no snapshot to find some in")
	case *e.foreign == 0:
		return fine("none")
	}
	return backend.Finding{
		Verdict: backend.VerdictWarn,
		Found:   fmt.Sprintf("%d below the root break the rules for keys, or have more than %d KiB: this program does not see them", *e.foreign, backend.MaxValue>>10),
		Remedy:  e.advice.list,
	}
}

// round cuts a duration to what people read.
func round(d time.Duration) time.Duration {
	switch {
	case d < 10*time.Millisecond:
		return d.Round(10 * time.Microsecond)
	case d < time.Second:
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Millisecond)
}
