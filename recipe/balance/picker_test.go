package balance_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/balance"
)

// some makes endpoints a, b, c … of these weights.
func some(weights ...int) []balance.Endpoint {
	var out []balance.Endpoint
	for i, w := range weights {
		name := string(rune('a' + i))
		out = append(out, balance.Endpoint{ID: name, Incarnation: "1", Addr: name + ":80", Weight: w})
	}
	return out
}

func newPicker(t testing.TB, policy balance.Policy, endpoints []balance.Endpoint) *balance.Picker {
	t.Helper()
	p, err := balance.NewPicker(policy)
	require.NoError(t, err)
	p.Update(endpoints)
	return p
}

func pick(t testing.TB, p *balance.Picker, avoid ...balance.Endpoint) (balance.Endpoint, func(balance.Result)) {
	t.Helper()
	e, done, err := p.Pick(avoid...)
	require.NoError(t, err)
	return e, done
}

// picks picks n times and names what came.
func picks(t testing.TB, p *balance.Picker, n int) string {
	t.Helper()
	var names strings.Builder
	for range n {
		e, done := pick(t, p)
		done(balance.Result{})
		names.WriteString(e.ID)
	}
	return names.String()
}

func TestRoundRobin(t *testing.T) {
	p := newPicker(t, balance.RoundRobin, some(1, 9, 1))
	assert.Contains(t, "abcabcabcabc", picks(t, p, 9))
	p.Update(some(1, 1))
	assert.Contains(t, "abababababab", picks(t, p, 9))
}

// The order of the commit that brought it to nginx.
func TestSmoothWeightedRoundRobin(t *testing.T) {
	p := newPicker(t, balance.WeightedRoundRobin, some(5, 1, 1))
	assert.Equal(t, "aabacaaaabacaa", picks(t, p, 14))
	p.Update(some(1, 1, 0))
	assert.Equal(t, 3, strings.Count(picks(t, p, 9), "c"), "a weight is at least 1")
}

// In every window as long as the sum of the weights each endpoint comes as often
// as its weight says, and whatever has gone before is made up for.
func TestSmoothWeightedIsExact(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, 20), 1, 8).Draw(rt, "weights")
		p := newPicker(t, balance.WeightedRoundRobin, some(weights...))
		sum := 0
		for _, w := range weights {
			sum += w
		}
		seen := picks(t, p, 3*sum)
		for start := 0; start <= 2*sum; start += sum {
			for i, w := range weights {
				if got := strings.Count(seen[start:start+sum], string(rune('a'+i))); got != w {
					rt.Fatalf("weights %v: %q", weights, seen)
				}
			}
		}
	})
}

func TestRandomGoesByWeight(t *testing.T) {
	const n = 30_000
	for policy, want := range map[balance.Policy][3]float64{
		balance.Random:         {1. / 3, 1. / 3, 1. / 3},
		balance.WeightedRandom: {0.6, 0.3, 0.1},
	} {
		seen := picks(t, newPicker(t, policy, some(6, 3, 1)), n)
		for i, part := range want {
			// Seven standard deviations and more: no false alarm in a lifetime.
			assert.InDelta(t, part, float64(strings.Count(seen, string(rune('a'+i))))/n, 0.02, policy)
		}
	}
}

func TestEveryPolicyAvoids(t *testing.T) {
	for _, policy := range balance.Policies() {
		p := newPicker(t, policy, some(1, 1, 1))
		abc := some(1, 1, 1)
		for range 50 {
			e, done := pick(t, p, abc[0], abc[2])
			done(balance.Result{})
			assert.Equal(t, "b", e.ID, policy)
		}
		_, done := pick(t, p, abc...)
		done(balance.Result{}) // better one that has failed than none
		p.Update(nil)
		_, _, err := p.Pick()
		require.ErrorIs(t, err, balance.ErrNoEndpoint, policy)
	}
	_, err := balance.NewPicker("fastest")
	require.ErrorIs(t, err, backend.ErrInvalid)
	assert.ErrorContains(t, err, "peak_ewma")
}

// serve has requests come at a rate to endpoints that take so long each, and
// counts who got them.
func serve(t *testing.T, p *balance.Picker, requests int, every time.Duration, takes func(balance.Endpoint) balance.Result) map[string]int {
	t.Helper()
	seen := map[string]int{}
	var running sync.WaitGroup
	for range requests {
		e, done := pick(t, p)
		seen[e.ID]++
		running.Go(func() {
			r := takes(e)
			time.Sleep(r.Latency)
			r.Latency = 0
			done(r)
		})
		time.Sleep(every)
	}
	running.Wait()
	return seen
}

func TestPeakEWMAShunsTheSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPicker(t, balance.PeakEWMA, some(1, 1, 1))
		slow := func(e balance.Endpoint) balance.Result {
			if e.ID == "a" {
				return balance.Result{Latency: 300 * time.Millisecond}
			}
			return balance.Result{Latency: 10 * time.Millisecond}
		}
		seen := serve(t, p, 3000, time.Millisecond, slow)
		assert.Less(t, seen["a"], 300, "%v", seen)
		assert.InDelta(t, seen["b"], seen["c"], 600, "%v", seen)

		// When it has recovered it is found out, though it was shunned.
		quick := func(balance.Endpoint) balance.Result { return balance.Result{Latency: 10 * time.Millisecond} }
		serve(t, p, 60_000, time.Millisecond, quick)
		seen = serve(t, p, 3000, time.Millisecond, quick)
		assert.Greater(t, seen["a"], 700, "%v", seen)
	})
}

// A node that fails at once looks like the fastest to whoever measures time only.
func TestPeakEWMAIsNoTrapForFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPicker(t, balance.PeakEWMA, some(1, 1, 1))
		seen := serve(t, p, 3000, time.Millisecond, func(e balance.Endpoint) balance.Result {
			if e.ID == "a" {
				return balance.Result{Latency: 100 * time.Microsecond, Outcome: balance.Failed}
			}
			return balance.Result{Latency: 20 * time.Millisecond}
		})
		assert.Less(t, seen["a"], 150, "%v", seen)
	})
}

func TestPeakEWMAGoesByWeight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPicker(t, balance.PeakEWMA, some(4, 1))
		seen := serve(t, p, 4000, time.Millisecond, func(balance.Endpoint) balance.Result { return balance.Result{Latency: 50 * time.Millisecond} })
		assert.InDelta(t, 4, float64(seen["a"])/float64(seen["b"]), 1, "%v", seen)
	})
}

func TestLatencyAverage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPicker(t, balance.PeakEWMA, some(1))
		took := func(r balance.Result) time.Duration {
			_, done := pick(t, p)
			assert.Equal(t, int64(1), p.Loads()[0].Pending)
			done(r)
			assert.Zero(t, p.Loads()[0].Pending)
			return p.Loads()[0].Latency
		}
		assert.Zero(t, p.Loads()[0].Latency)
		assert.Zero(t, took(balance.Result{Outcome: balance.Unsent, Latency: 1}))
		assert.Equal(t, 10*time.Millisecond, took(balance.Result{Latency: 10 * time.Millisecond}))
		assert.Equal(t, 90*time.Millisecond, took(balance.Result{Latency: 90 * time.Millisecond}), "up at once")
		assert.Equal(t, 90*time.Millisecond, took(balance.Result{Latency: time.Millisecond, Outcome: balance.Abandoned}), "it would have taken longer: nothing learnt")
		assert.Equal(t, 95*time.Millisecond, took(balance.Result{Latency: 95 * time.Millisecond, Outcome: balance.Abandoned}))
		time.Sleep(10 * time.Second)
		assert.InDelta(t, 35*time.Millisecond, p.Loads()[0].Latency, float64(time.Millisecond), "forgotten in time")
		assert.InDelta(t, 41*time.Millisecond, took(balance.Result{Latency: 10 * time.Millisecond}), float64(time.Millisecond), "95ms/e + 10ms(1-1/e)")
		assert.Equal(t, time.Second, took(balance.Result{Latency: time.Millisecond, Outcome: balance.Failed}))
	})
}

// What is known of a process stays when others come and go, and when its own
// weight or address changes; the next process at its place starts anew.
func TestStatisticsStayWithTheProcess(t *testing.T) {
	p := newPicker(t, balance.PeakEWMA, some(1))
	_, done := pick(t, p)
	p.Update(some(7, 1, 1))
	assert.Equal(t, int64(1), p.Loads()[0].Pending)
	done(balance.Result{Latency: time.Minute})
	assert.Zero(t, p.Loads()[0].Pending)
	assert.InDelta(t, time.Minute, p.Loads()[0].Latency, float64(time.Second))

	next := some(1, 1)
	next[0].Incarnation = "2"
	p.Update(next)
	assert.Zero(t, p.Loads()[0].Latency)
}

func TestPickersAreSafeForConcurrentUse(t *testing.T) {
	for _, policy := range balance.Policies() {
		p := newPicker(t, policy, some(1, 2, 3))
		var running sync.WaitGroup
		for i := range 4 {
			running.Go(func() {
				for n := range 500 {
					if i == 0 {
						p.Update(some(1, 2+n%3, 3)[:1+n%3])
						p.Loads()
						continue
					}
					_, done, err := p.Pick(some(1)...)
					if assert.NoError(t, err) {
						done(balance.Result{})
					}
				}
			})
		}
		running.Wait()
		for _, l := range p.Loads() {
			assert.Zero(t, l.Pending, policy)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for _, policy := range balance.Policies() {
		for _, n := range []int{3, 100} {
			b.Run(fmt.Sprintf("%s/%d", policy, n), func(b *testing.B) {
				weights := make([]int, n)
				for i := range weights {
					weights[i] = 1 + i%5
				}
				p := newPicker(b, policy, some(weights...))
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						_, done, err := p.Pick()
						if err != nil {
							b.Fatal(err)
						}
						done(balance.Result{})
					}
				})
			})
		}
	}
}
