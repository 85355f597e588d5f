package breaker

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A node is a breaker with requests, in time that passes as the test says.
type node struct {
	t *testing.T
	*Breaker

	mu     sync.Mutex
	cpu    float64
	others float64 // of that
	err    error

	log     *bytes.Buffer
	working sync.WaitGroup
}

// simulate runs a test with a node whose breaker runs.
func simulate(t *testing.T, f func(n *node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := &node{t: t, cpu: 10, log: &bytes.Buffer{}}
		var err error
		n.Breaker, err = New(Config{
			Thresholds: Thresholds{CPU: 80, Latency: time.Second},
			CPU:        n.read,
			Log:        slog.New(slog.NewTextHandler(n.log, nil)),
		})
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { assert.NoError(t, n.Run(ctx)) })
		time.Sleep(time.Millisecond) // what the test does is never at the moment of a look
		f(n)
		n.working.Wait()
		stop()
		running.Wait()
		assert.Equal(t, Closed, n.Status().State)
	})
}

func (n *node) read() (all, own float64, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cpu, n.cpu - n.others, n.err
}

func (n *node) busy(percent float64) { n.set(percent, nil) }

func (n *node) set(percent float64, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cpu, n.err = percent, err
}

// pass lets some seconds pass.
func (n *node) pass(seconds int) {
	time.Sleep(time.Duration(seconds) * time.Second)
	synctest.Wait()
}

// requests makes some at once, which take the same time each, and returns how
// many were let through. It returns before they are done.
func (n *node) requests(count int, took time.Duration) (admitted int) {
	for range count {
		if call, ok, _ := n.Allow(); ok {
			admitted++
			time.AfterFunc(took, call.Done)
		}
	}
	return admitted
}

// waits makes a request that waits for its client first, and reports whether it was let
// through. It returns before that is done.
func (n *node) waits(client, took time.Duration) (admitted bool) {
	call, ok, _ := n.Allow()
	if ok {
		n.working.Go(func() {
			call.AwaitClient(func() { time.Sleep(client) })
			time.Sleep(took)
			call.Done()
		})
	}
	return ok
}

// onTrial has the breaker open and begin a trial.
func (n *node) onTrial() {
	n.t.Helper()
	n.busy(100)
	n.pass(3)
	n.busy(0)
	n.pass(5)
	n.is(HalfOpen)
}

func (n *node) is(want State) {
	n.t.Helper()
	s := n.Status()
	require.Equal(n.t, want, s.State, "%+v", s)
}

func TestItStaysClosedWhileAllIsWell(t *testing.T) {
	simulate(t, func(n *node) {
		for range 60 {
			assert.Equal(t, 1000, n.requests(1000, 900*time.Millisecond))
			n.pass(1)
			n.is(Closed)
		}
		s := n.Status()
		assert.Zero(t, s.Opened)
		assert.Zero(t, s.Refused)
		assert.InDelta(t, 10, s.CPU, 0.001)
		assert.InEpsilon(t, 900, s.Latency, 0.032)
		assert.Equal(t, 10000, s.Requests)
		assert.Empty(t, n.log.String())
	})
}

func TestBusyProcessors(t *testing.T) {
	simulate(t, func(n *node) {
		n.pass(5)
		n.busy(95)
		n.pass(2)
		n.is(Closed) // (10+95+95)/3
		n.pass(1)
		n.is(Open)
		s := n.Status()
		assert.Equal(t, "processors at 95%, expected at most 80%", s.Reason)
		assert.Equal(t, uint64(1), s.Opened)
		_, ok, retryAfter := n.Allow()
		assert.False(t, ok)
		assert.InDelta(t, rest, retryAfter, float64(time.Second))
		n.pass(60)
		n.is(Open) // there is no trial while they are busy
		_, _, retryAfter = n.Allow()
		assert.Equal(t, tick, retryAfter)

		n.busy(10)
		n.pass(2)
		n.is(HalfOpen)
		assert.Equal(t, probes, n.requests(1000, 10*time.Millisecond))
		_, ok, retryAfter = n.Allow()
		assert.False(t, ok)
		assert.Equal(t, tick, retryAfter)
		n.pass(1)
		n.is(Closed)
		assert.Equal(t, 1000, n.requests(1000, 10*time.Millisecond))
		assert.Equal(t, uint64(2+980+1), n.Status().Refused)
		assert.Equal(t, "processors at 95%, expected at most 80%", n.Status().Reason, "why it was open last")
	})
}

// Readings are not that exact that 100 could be a threshold.
func TestWithoutAThresholdForProcessors(t *testing.T) {
	simulate(t, func(n *node) {
		require.NoError(t, n.SetThresholds(Thresholds{CPU: 100, Latency: time.Second}))
		n.busy(101)
		n.pass(10)
		n.is(Closed)
		assert.InDelta(t, 101, n.Status().CPU, 0.001)
	})
}

// One second of full use is no sign: a garbage collection, a burst.
func TestAShortPeak(t *testing.T) {
	simulate(t, func(n *node) {
		for range 10 {
			n.busy(100)
			n.pass(1)
			n.is(Closed)
			n.busy(50)
			n.pass(2)
			n.is(Closed)
		}
		assert.Zero(t, n.Status().Opened)
	})
}

func TestSlowRequests(t *testing.T) {
	simulate(t, func(n *node) {
		n.requests(198, 10*time.Millisecond)
		n.requests(2, 1500*time.Millisecond)
		n.pass(2)
		n.is(Closed) // 2 of 200 are 1 in 100
		n.requests(1, 1500*time.Millisecond)
		n.pass(2)
		n.is(Open) // 3 of 201 are more
		assert.Equal(t, "more than 1 in 100 of 201 requests took 1.47456s or longer, expected at most 1s", n.Status().Reason)
		n.pass(5)
		n.is(HalfOpen)

		// What was slow before has no part in what comes now.
		assert.Equal(t, probes, n.requests(probes, 10*time.Millisecond))
		n.pass(1)
		n.is(Closed)
		n.requests(200, 10*time.Millisecond)
		n.pass(20)
		n.is(Closed)
		assert.Equal(t, uint64(1), n.Status().Opened)
	})
}

// A client that takes its time is no sign that the node does.
func TestWaitingForClients(t *testing.T) {
	simulate(t, func(n *node) {
		for range 200 {
			call, _, _ := n.Allow()
			time.AfterFunc(100*time.Millisecond, func() { call.AwaitClient(func() { time.Sleep(4900 * time.Millisecond) }); call.Done() })
		}
		n.pass(6)
		n.is(Closed)
		assert.Equal(t, 200, n.Status().Requests)
		assert.InEpsilon(t, 100, n.Status().Latency, 0.032)
	})
}

// What is ten seconds ago is forgotten: three slow ones of very few, and then of
// many, are no sign.
func TestTheWindowSlides(t *testing.T) {
	simulate(t, func(n *node) {
		n.requests(3, 2*time.Second)
		n.pass(3)
		assert.Equal(t, 3, n.Status().Requests)
		n.pass(9)
		n.requests(150, time.Millisecond)
		n.pass(2)
		n.is(Closed)
		assert.Equal(t, 150, n.Status().Requests)
	})
}

func TestAFewSlowRequestsAreNoSign(t *testing.T) {
	simulate(t, func(n *node) {
		for range 30 {
			n.requests(9, 5*time.Second)
			n.pass(1)
			n.is(Closed)
		}
		assert.InDelta(t, 90, n.Status().Requests, 9)
	})
}

func TestATrial(t *testing.T) {
	for what, c := range map[string]struct {
		fast, slow, stuck int
		want              State
		reason            string
	}{
		"all are fast":             {fast: 20, want: Closed},
		"one is slow":              {fast: 19, slow: 1, want: Closed},
		"two are slow":             {fast: 18, slow: 2, want: Closed},
		"three are slow":           {fast: 17, slow: 3, want: Open, reason: "3 of 20 requests on trial took longer than 1s"},
		"three never end":          {fast: 17, stuck: 3, want: Open, reason: "3 of 20 requests on trial took longer than 1s"},
		"few come, one is slow":    {fast: 1, slow: 1, want: Closed},
		"few come, three are slow": {slow: 3, want: Open, reason: "3 of 3 requests on trial took longer than 1s"},
		"nobody comes":             {want: HalfOpen},
	} {
		t.Run(what, func(t *testing.T) {
			simulate(t, func(n *node) {
				n.onTrial()
				n.requests(c.slow, 1100*time.Millisecond)
				n.requests(c.fast, 100*time.Millisecond)
				n.requests(c.stuck, time.Hour)
				n.pass(5)
				n.is(c.want)
				if c.reason != "" {
					assert.Equal(t, c.reason, n.Status().Reason)
				}
			})
		})
	}
}

// When enough are through it is they who count: others of the trial, that waited for their
// clients and are only beginning, are not slow.
func TestATrialIsJudgedByThoseThatAreThrough(t *testing.T) {
	simulate(t, func(n *node) {
		n.onTrial()
		for i := range probes + 10 {
			took := time.Duration(0)
			if i < 10 {
				took = 950 * time.Millisecond
			}
			require.True(t, n.waits(100*time.Millisecond, took), "who waits for a client has no place")
			synctest.Wait()
		}
		n.pass(1)
		n.is(Closed)
		assert.Equal(t, uint64(1), n.Status().Opened)
	})
}

// Who waits for others has a place in a trial, so no more than twenty find out whether they
// answer; and is not slow by that, nor in the way of the trial's end.
func TestATrialOfWhoWaitsForOthers(t *testing.T) {
	simulate(t, func(n *node) {
		n.onTrial()
		for range 1000 {
			call, ok, _ := n.Allow()
			if ok {
				n.working.Go(func() {
					call.Await(func() { time.Sleep(5900 * time.Millisecond) })
					time.Sleep(50 * time.Millisecond)
					call.Done()
				})
			}
		}
		assert.Equal(t, uint64(1000-probes), n.Status().Refused)
		n.pass(5)
		n.is(HalfOpen) // they may yet be slow, or not
		n.pass(1)
		n.is(Closed)
		assert.Equal(t, uint64(1), n.Status().Opened)
	})
}

// When the time is up, who has just come is not slow, and who has taken too long is: what
// a client was waited for does not count.
func TestATrialWhoseTimeIsUp(t *testing.T) {
	for what, c := range map[string]struct {
		take  time.Duration // after they came, half a second before the time is up
		await time.Duration // of that, for their clients
		early int           // requests that came at the beginning, and never end
		want  State
	}{
		"they have just come":            {take: 900 * time.Millisecond, want: Closed},
		"two that came earlier are slow": {take: 900 * time.Millisecond, early: 2, want: Closed},
		"three are":                      {take: 900 * time.Millisecond, early: 3, want: Open},
		"clients were waited for":        {take: 900 * time.Millisecond, await: 300 * time.Millisecond, want: Closed},
	} {
		t.Run(what, func(t *testing.T) {
			simulate(t, func(n *node) {
				n.onTrial()
				n.requests(1, time.Millisecond)
				n.requests(c.early, time.Hour)
				time.Sleep(trialTime - 500*time.Millisecond)
				for range 10 {
					require.True(t, n.waits(c.await, c.take-c.await))
				}
				n.pass(1)
				n.is(c.want)
				if c.want == Open {
					assert.Equal(t, "3 of 14 requests on trial took longer than 1s", n.Status().Reason)
				}
			})
		})
	}
}

// As long as nobody is through, and nobody slow, nothing is known, and the trial goes on.
func TestATrialWithALongLimit(t *testing.T) {
	for took, want := range map[time.Duration]State{7 * time.Second: Closed, 9 * time.Second: Open} {
		simulate(t, func(n *node) {
			require.NoError(t, n.SetThresholds(Thresholds{CPU: 80, Latency: 8 * time.Second}))
			n.onTrial()
			assert.Equal(t, probes, n.requests(100, took))
			n.pass(6)
			n.is(HalfOpen)
			n.pass(3)
			n.is(want)
		})
	}
}

// Who hardly uses the processors frees none of them by refusing.
func TestOthersKeepTheProcessorsBusy(t *testing.T) {
	for others, want := range map[float64]State{95: Closed, 91: Closed, 90: Open, 0: Open} {
		simulate(t, func(n *node) {
			n.mu.Lock()
			n.others = others
			n.mu.Unlock()
			n.busy(100)
			n.pass(10)
			n.is(want)
			assert.InDelta(t, 100, n.Status().CPU, 0.001)
			assert.InDelta(t, 100-others, n.Status().OwnCPU, 0.001)
		})
	}
}

// Requests that come in a trial while the processors get busy do not close it.
func TestATrialThatMakesTheProcessorsBusy(t *testing.T) {
	simulate(t, func(n *node) {
		n.onTrial()
		n.busy(300)
		n.requests(5, time.Millisecond)
		n.pass(1)
		n.is(Open)
		assert.Equal(t, "processors at 100%, expected at most 80%", n.Status().Reason)
		assert.Equal(t, uint64(2), n.Status().Opened)
	})
}

// Requests from before it opened end when it is on trial, or closed again.
func TestOldRequestsHaveNoSay(t *testing.T) {
	simulate(t, func(n *node) {
		n.requests(500, 7500*time.Millisecond) // during the trial
		n.requests(500, 15*time.Second)        // after it
		n.busy(100)
		n.pass(3)
		n.is(Open)
		n.busy(0)
		n.pass(5)
		n.is(HalfOpen)
		n.requests(probes, time.Millisecond)
		n.pass(1)
		n.is(Closed)
		n.pass(10)
		n.is(Closed)
		assert.Zero(t, n.Status().Requests)
	})
}

// A request that somebody else refuses is no sign, and takes no other's place.
func TestDroppedRequestsHaveNoSay(t *testing.T) {
	simulate(t, func(n *node) {
		for range 1000 {
			call, _, _ := n.Allow()
			call.Drop()
		}
		n.requests(100, 3*time.Second)
		n.pass(4)
		n.is(Open)
		assert.Equal(t, 100, n.Status().Requests)
		n.pass(6)
		n.is(HalfOpen)
		for range 10 * probes {
			call, ok, _ := n.Allow()
			require.True(t, ok)
			call.Drop()
		}
		n.pass(30)
		n.is(HalfOpen) // nobody else came
		assert.Equal(t, probes, n.requests(1000, time.Millisecond))
		n.pass(1)
		n.is(Closed)
		Call{}.Drop() // of one that was refused
	})
}

func TestThresholdsChangeLive(t *testing.T) {
	simulate(t, func(n *node) {
		n.busy(50)
		n.requests(200, 100*time.Millisecond)
		n.pass(5)
		n.is(Closed)
		require.NoError(t, n.SetThresholds(Thresholds{CPU: 80, Latency: 50 * time.Millisecond}))
		n.pass(1)
		n.is(Open)
		require.NoError(t, n.SetThresholds(Thresholds{CPU: 40, Latency: time.Second}))
		n.pass(10)
		n.is(Open)
		require.NoError(t, n.SetThresholds(Thresholds{CPU: 60, Latency: time.Second}))
		n.pass(1)
		n.is(HalfOpen)
		s := n.Status()
		assert.InDelta(t, 60, s.CPULimit, 0.001)
		assert.InDelta(t, 1000, s.LatencyLimit, 0.001)

		for want, bad := range map[string]Thresholds{
			"cpu threshold 0: expected per cent":      {Latency: 1},
			"cpu threshold 101: expected per cent":    {CPU: 101, Latency: 1},
			"cpu threshold NaN: expected per cent":    {CPU: math.NaN(), Latency: 1},
			"latency threshold 0s: expected a time":   {CPU: 1},
			"latency threshold -1ns: expected a time": {CPU: 1, Latency: -1},
		} {
			require.ErrorContains(t, n.SetThresholds(bad), want)
		}
		assert.InDelta(t, 60, n.Status().CPULimit, 0.001)
	})
}

// A reader that fails is no sign, said once, and what it read before it failed
// does not count.
func TestProcessorsThatCannotBeRead(t *testing.T) {
	simulate(t, func(n *node) {
		n.busy(100)
		n.pass(2)
		n.set(0, errors.New("no such group"))
		n.pass(5)
		n.is(Closed)
		assert.Equal(t, "no such group", n.Status().LastError)
		assert.Equal(t, 1, strings.Count(n.log.String(), "no such group"))
		n.set(math.NaN(), nil)
		n.pass(1)
		assert.Equal(t, "NaN per cent, of that NaN of this process", n.Status().LastError)
		n.busy(100)
		n.pass(2)
		n.is(Closed)
		assert.Empty(t, n.Status().LastError)
		n.pass(1)
		n.is(Open)
	})
}

func TestNew(t *testing.T) {
	_, err := New(Config{Thresholds: Thresholds{CPU: 1, Latency: 1}})
	require.EqualError(t, err, "breaker: nothing that reads the processors")
	_, err = New(Config{CPU: func() (float64, float64, error) { return 0, 0, nil }})
	require.ErrorContains(t, err, "cpu threshold 0")
}

func TestACallThatWasRefusedCanBeDone(t *testing.T) {
	Call{}.Done()
}

func TestRanges(t *testing.T) {
	for r := range ranges {
		assert.Equal(t, r, rangeOf(lowest(r)))
		if r > 0 {
			require.Greater(t, lowest(r), lowest(r-1))
			require.Equal(t, r-1, rangeOf(lowest(r)-time.Microsecond))
		}
		if low := lowest(r); r+1 < ranges && low >= 64*time.Microsecond {
			require.LessOrEqual(t, float64(lowest(r+1)-low), 0.032*float64(low))
		}
	}
	assert.Equal(t, 0, rangeOf(-time.Hour))
	assert.Equal(t, ranges-1, rangeOf(math.MaxInt64))
}

// The percentile beside that of all latencies, sorted.
func TestPercentile(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 99, 100, 101, 199, 200, 1000, 12345} {
		w := &window{}
		all := make([]time.Duration, n)
		for i := range all {
			all[i] = time.Duration(math.Exp(random.NormFloat64()*2+14)) * time.Nanosecond
			w.count(all[i])
			if i%10 == 0 && i < 90 {
				w.turn()
			}
		}
		slices.Sort(all)
		want := all[n-1-n/100]
		got, counted := w.percentile99()
		assert.Equal(t, n, counted)
		assert.LessOrEqual(t, got, want)
		assert.Equal(t, rangeOf(want), rangeOf(got), "%v, got %v", want, got)
	}
	latency, n := (&window{}).percentile99()
	assert.Zero(t, latency)
	assert.Zero(t, n)
}

// In real time, from many goroutines: nothing is counted twice or lost, and a
// trial lets through no more than it should.
func TestManyAtOnce(t *testing.T) {
	b, err := New(Config{Thresholds: Thresholds{CPU: 80, Latency: time.Hour}, CPU: func() (float64, float64, error) { return 0, 0, nil }, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	var admitted atomic.Int64
	many := func() {
		var asking sync.WaitGroup
		for range 8 {
			asking.Go(func() {
				for range 1000 {
					if call, ok, _ := b.Allow(); ok {
						admitted.Add(1)
						call.Done()
					}
				}
			})
		}
		asking.Wait()
	}
	many()
	assert.Equal(t, int64(8000), admitted.Swap(0))
	_, n := b.window.percentile99()
	assert.Equal(t, 8000, n)

	b.enter(HalfOpen)
	many()
	assert.Equal(t, int64(probes), admitted.Load())
	assert.Equal(t, int64(probes), b.phase.Load().through.Load())
	assert.Zero(t, b.phase.Load().slow.Load())
	assert.Equal(t, uint64(8000-probes), b.Status().Refused)
	b.look()
	assert.Equal(t, Closed, b.Status().State)
}

func BenchmarkRequest(b *testing.B) {
	breaker, err := New(Config{Thresholds: Thresholds{CPU: 80, Latency: time.Hour}, CPU: func() (float64, float64, error) { return 0, 0, nil }, Log: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			call, _, _ := breaker.Allow()
			call.Done()
		}
	})
}

func BenchmarkRefusal(b *testing.B) {
	breaker, err := New(Config{Thresholds: Thresholds{CPU: 80, Latency: time.Hour}, CPU: func() (float64, float64, error) { return 0, 0, nil }, Log: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	breaker.enter(Open)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			breaker.Allow()
		}
	})
}
