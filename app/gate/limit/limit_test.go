package limit

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	xrate "golang.org/x/time/rate"
	"pgregory.net/rapid"
)

func bucket(t testing.TB, l Limit) *Bucket {
	t.Helper()
	b, err := NewBucket(l)
	require.NoError(t, err)
	return b
}

// passes are the times at which requests were admitted, in order.
type passes []time.Time

// requireBound requires that no window of any length has more passes than Burst
// and what the rate brings in it.
func (p passes) requireBound(t *testing.T, l Limit) {
	t.Helper()
	// A window from pass i to pass j has j-i+1 of them. With f(k) = k·Per - t_k·Tokens
	// it has too many if f(j) - f(i) > (Burst-1)·Per: so the least f so far is enough.
	least := int64(math.MaxInt64)
	for k, at := range p {
		f := int64(k)*int64(l.Per) - int64(at.Sub(p[0]))*l.Tokens
		least = min(least, f)
		if f-least > (l.Burst-1)*int64(l.Per) {
			require.Fail(t, "a window with too many", "up to pass %d, %v after the first", k, at.Sub(p[0]))
		}
	}
}

func TestEachWindowIsBounded(t *testing.T) {
	for _, rate := range []int{100, 10_000, 100_000} {
		for _, burst := range []int{1, 10, rate} {
			t.Run(fmt.Sprintf("%d per second, burst %d", rate, burst), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					const asking = 2 * time.Second
					l := PerSecond(rate, burst)
					got := ask(bucket(t, l), 8, 3*rate, asking)
					got.requireBound(t, l)
					if burst >= rate/10 { // while nobody asks no bucket gets full
						assert.GreaterOrEqual(t, len(got), 2*rate*99/100, "no less than the rate is admitted either")
					}
				})
			})
		}
	}
}

// ask has goroutines ask about rate times a second in all, in bursts with pauses
// between them, and returns when they were admitted.
func ask(b *Bucket, goroutines, rate int, during time.Duration) passes {
	var mu sync.Mutex
	var got passes
	var asking sync.WaitGroup
	end := time.Now().Add(during)
	for g := range goroutines {
		random := rand.New(rand.NewPCG(1, uint64(g)))
		asking.Go(func() {
			for time.Now().Before(end) {
				pause := time.Duration(random.Int64N(int64(2 * time.Millisecond)))
				time.Sleep(pause)
				for range 1 + int(pause.Seconds()*float64(rate))/goroutines {
					mu.Lock() // so that passes are in order
					if ok, _ := b.Allow(); ok {
						got = append(got, time.Now())
					}
					mu.Unlock()
				}
			}
		})
	}
	asking.Wait()
	return got
}

// Here goroutines are paused between any two instructions. The bound holds for
// all of them together: the time outside is at least that inside.
func TestManyAtOnceGetNoMore(t *testing.T) {
	for _, rate := range []int{100, 10_000, 100_000} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			b := bucket(t, PerSecond(rate, 1))
			var admitted atomic.Int64
			var asking sync.WaitGroup
			for range 16 {
				asking.Go(func() {
					for time.Since(began) < 200*time.Millisecond {
						if ok, _ := b.Allow(); ok {
							admitted.Add(1)
						}
					}
				})
			}
			asking.Wait()
			most := 1 + int64(time.Since(began))*int64(rate)/int64(time.Second)
			assert.LessOrEqual(t, admitted.Load(), most)
			assert.Positive(t, admitted.Load())
		})
	}
}

func TestRetryAfterIsWhenTheNextTokenComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bucket(t, Limit{Tokens: 7, Per: time.Second, Burst: 2})
		for range 2 {
			ok, wait := b.Allow()
			require.True(t, ok)
			require.Zero(t, wait)
		}
		for range 50 {
			ok, wait := b.Allow()
			require.False(t, ok)
			time.Sleep(wait - 1)
			ok, last := b.Allow()
			require.False(t, ok)
			require.Equal(t, time.Duration(1), last)
			time.Sleep(last)
			ok, _ = b.Allow()
			require.True(t, ok)
		}
	})
}

// Sevenths of a second are no whole nanoseconds: over hours not one is lost.
func TestNothingDrifts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bucket(t, Limit{Tokens: 7, Per: time.Second, Burst: 1})
		began := time.Now()
		n := 0
		for time.Since(began) < 2*time.Hour {
			ok, wait := b.Allow()
			if ok {
				n++
			}
			time.Sleep(wait)
		}
		assert.Equal(t, 7*2*60*60, n)
	})
}

func TestChangingALimitGrantsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bucket(t, PerSecond(10, 10))
		drain := func() (n int) {
			for {
				ok, _ := b.Allow()
				if !ok {
					return n
				}
				n++
			}
		}
		require.Equal(t, 10, drain())
		require.NoError(t, b.SetLimit(PerSecond(1000, 1000)))
		assert.Zero(t, drain(), "a higher burst is room, not tokens")
		for range 100 {
			require.NoError(t, b.SetLimit(PerSecond(1, 1)))
			require.NoError(t, b.SetLimit(PerSecond(1000, 1000)))
		}
		assert.Zero(t, drain())
		time.Sleep(100 * time.Millisecond)
		assert.Equal(t, 100, drain(), "from now on at the new rate")

		time.Sleep(time.Second)
		require.NoError(t, b.SetLimit(PerSecond(10, 5)))
		assert.Equal(t, 5, drain(), "no more than the new burst stays")
		time.Sleep(150 * time.Millisecond)
		require.NoError(t, b.SetLimit(Limit{Tokens: 1, Per: time.Minute, Burst: 5}))
		assert.Equal(t, 1, drain())
		time.Sleep(30*time.Second - 1)
		assert.Zero(t, drain(), "of the half that was there nothing is lost, nor added")
		time.Sleep(time.Nanosecond)
		assert.Equal(t, 1, drain())
	})
}

// A bucket does as one does that calculates with fractions, whatever happens to
// it.
func TestABucketIsExact(t *testing.T) {
	limits := rapid.Custom(func(t *rapid.T) Limit {
		return Limit{
			Tokens: rapid.Int64Range(1, 1_000_000).Draw(t, "tokens"),
			Per:    time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "per")),
			Burst:  rapid.Int64Range(1, 1000).Draw(t, "burst"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		l := limits.Draw(t, "limit")
		now := int64(0)
		v := level{units: l.full()}
		tokens := new(big.Rat).SetInt64(l.Burst)
		least := func(burst int64) {
			if b := new(big.Rat).SetInt64(burst); tokens.Cmp(b) > 0 {
				tokens = b
			}
		}
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			passed := rapid.Int64Range(0, int64(2*l.fillTime())).Draw(t, "passed")
			now += passed
			tokens.Add(tokens, new(big.Rat).Mul(big.NewRat(passed, int64(l.Per)), big.NewRat(l.Tokens, 1)))
			least(l.Burst)
			ok, wait := v.take(l, now)
			if ok != (tokens.Cmp(big.NewRat(1, 1)) >= 0) {
				t.Fatalf("%v with %v tokens", ok, tokens)
			}
			if ok {
				tokens.Sub(tokens, big.NewRat(1, 1))
			} else if wait <= 0 {
				t.Fatalf("refused, and to come again in %v", wait)
			}
			if rapid.Bool().Draw(t, "change") {
				to := limits.Draw(t, "to")
				v.change(l, to, now)
				l = to
				least(l.Burst)
				// A unit is the smallest there is: what is left over is dropped.
				tokens = big.NewRat(v.units, int64(l.Per))
			}
		}
	})
}

func TestChangeDropsLessThanAUnit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := Limit{Tokens: 1, Per: time.Duration(rapid.Int64Range(1, math.MaxInt64).Draw(t, "from")), Burst: 1}
		to := Limit{Tokens: 1, Per: time.Duration(rapid.Int64Range(1, math.MaxInt64).Draw(t, "to")), Burst: 1}
		v := level{units: rapid.Int64Range(0, from.full()).Draw(t, "units")}
		exact := new(big.Rat).Mul(big.NewRat(v.units, int64(from.Per)), big.NewRat(int64(to.Per), 1))
		v.change(from, to, 0)
		lost := exact.Sub(exact, big.NewRat(v.units, 1))
		if lost.Sign() < 0 || lost.Cmp(big.NewRat(1, 1)) >= 0 {
			t.Fatalf("lost %v units", lost)
		}
	})
}

func TestShare(t *testing.T) {
	assert.Equal(t, PerSecond(100, 30), PerSecond(100, 30).Share(1))
	third := PerSecond(100, 30).Share(1.0 / 3)
	assert.Equal(t, Limit{Tokens: 100, Per: 3 * time.Second, Burst: 10}, third)
	assert.Equal(t, int64(1), PerSecond(100, 3).Share(0.01).Burst)
	tiny := Limit{Tokens: 1, Per: math.MaxInt64, Burst: 1}.Share(1e-300)
	require.NoError(t, tiny.Validate())
	assert.Equal(t, time.Duration(math.MaxInt64), tiny.Per)
}

func TestBadLimits(t *testing.T) {
	good := PerSecond(10, 10)
	for want, bad := range map[string]Limit{
		"0 tokens: expected 1 or more":                         PerSecond(0, 1),
		"tokens in 0s: expected a time":                        {Tokens: 1, Burst: 1},
		"burst of 0 tokens: expected 1 or more":                PerSecond(1, 0),
		"expected at most 9223372036 with tokens in 1s":        {Tokens: 1, Per: time.Second, Burst: 9223372037},
		"burst of -1 tokens: expected 1 or more":               PerSecond(1, -1),
		"burst of 2 tokens: expected at most 1 with tokens in": {Tokens: 1, Per: math.MaxInt64, Burst: 2},
	} {
		_, err := NewBucket(bad)
		require.ErrorContains(t, err, want)
		_, err = NewUsers(bad, 1)
		require.ErrorContains(t, err, want)
		b := bucket(t, good)
		require.ErrorContains(t, b.SetLimit(bad), want)
		assert.Equal(t, good, b.Limit())
		u, err := NewUsers(good, 1)
		require.NoError(t, err)
		require.ErrorContains(t, u.SetLimit(bad), want)
	}
	_, err := NewUsers(good, 0)
	require.ErrorContains(t, err, "expected room for 1 or more")
}

// What a bucket costs, beside x/time/rate with the lock around clock and bucket
// that it needs to be exact.
func BenchmarkAllow(b *testing.B) {
	const rate = 100_000
	parallel := func(b *testing.B, allow func() bool) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				allow()
			}
		})
	}
	b.Run("Bucket", func(b *testing.B) {
		one := bucket(b, PerSecond(rate, rate))
		parallel(b, func() bool { ok, _ := one.Allow(); return ok })
	})
	b.Run("rate.Limiter, exact", func(b *testing.B) {
		var mu sync.Mutex
		one := xrate.NewLimiter(rate, rate)
		parallel(b, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return one.AllowN(time.Now(), 1)
		})
	})
	b.Run("rate.Limiter, bare", func(b *testing.B) {
		one := xrate.NewLimiter(rate, rate)
		parallel(b, one.Allow)
	})
	b.Run("Users", func(b *testing.B) {
		u, err := NewUsers(PerSecond(1, 5), 1<<20)
		require.NoError(b, err)
		users := make([]string, 1<<16)
		for i := range users {
			users[i] = fmt.Sprint("user-", i)
		}
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := rand.IntN(len(users)); pb.Next(); i++ {
				u.Allow(users[i%len(users)])
			}
		})
	})
}
