package limit

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func users(t testing.TB, l Limit, room int) *Users {
	t.Helper()
	u, err := NewUsers(l, room)
	require.NoError(t, err)
	return u
}

// take takes what a user may have now.
func take(u *Users, user string) (n int) {
	for {
		ok, _ := u.Allow(user)
		if !ok {
			return n
		}
		n++
	}
}

func TestEachUserHasABucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := users(t, Limit{Tokens: 1, Per: 10 * time.Second, Burst: 3}, 1000)
		assert.Equal(t, 3, take(u, "alice"))
		assert.Equal(t, 3, take(u, "bob"))
		ok, wait := u.Allow("alice")
		assert.False(t, ok)
		assert.Equal(t, 10*time.Second, wait)
		time.Sleep(10 * time.Second)
		assert.Equal(t, 1, take(u, "alice"))
	})
}

// Users who ask again and again, seldom or often, get what their bucket has,
// while buckets are forgotten and made again around them.
func TestWhoIsForgottenWhenFullGainsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Limit{Tokens: 1, Per: time.Second, Burst: 5}
		u := users(t, l, 1<<20)
		began := time.Now()
		var asking sync.WaitGroup
		got := make([]passes, 200)
		for i := range got {
			asking.Go(func() {
				user := fmt.Sprint(i)
				for time.Since(began) < 2*time.Minute {
					time.Sleep(time.Duration(i+1) * 20 * time.Millisecond)
					for ok, _ := u.Allow(user); ok; ok, _ = u.Allow(user) {
						got[i] = append(got[i], time.Now())
					}
				}
			})
		}
		asking.Wait()
		for _, p := range got {
			p.requireBound(t, l)
			assert.GreaterOrEqual(t, len(p), 115)
		}
	})
}

func TestWhoIsIdleIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := users(t, Limit{Tokens: 1, Per: time.Second, Burst: 5}, 1<<20)
		for i := range 10_000 {
			u.Allow(fmt.Sprint("once-", i))
		}
		assert.Equal(t, 10_000, u.Len())
		for range 3 {
			time.Sleep(5 * time.Second)
			for i := range 1000 { // at least one in each shard, as good as certainly
				u.Allow(fmt.Sprint("other-", i))
			}
		}
		assert.Equal(t, 1000, u.Len())
	})
}

// The bound of the documentation: without half as many others as there is room
// for nobody is forgotten early; with more, a burst is gained for each time.
func TestMoreUsersThanRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const room = 64 * 256
		u := users(t, Limit{Tokens: 1, Per: time.Hour, Burst: 5}, room)
		gained := take(u, "alice")
		require.Equal(t, 5, gained)
		others := 0
		crowd := func(n int) {
			for range n {
				others++
				u.Allow(fmt.Sprint("other-", others))
			}
			assert.LessOrEqual(t, u.Len(), room)
		}
		for range 20 {
			crowd(room * 3 / 10) // shards are not equally full
			gained += take(u, "alice")
		}
		assert.Equal(t, 5, gained, "never forgotten")
		for range 4 {
			crowd(room * 11 / 10)
			gained += take(u, "alice")
		}
		assert.Equal(t, 25, gained, "forgotten four times")
	})
}

func TestChangingTheLimitOfUsersGrantsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fast := Limit{Tokens: 10, Per: time.Second, Burst: 10}
		slow := Limit{Tokens: 1, Per: time.Minute, Burst: 10}
		u := users(t, fast, 64*1000)
		require.Equal(t, 10, take(u, "alice"))
		require.NoError(t, u.SetLimit(slow))
		assert.Zero(t, take(u, "alice"))
		// Buckets are forgotten by the time they take to fill now.
		for range 9 {
			time.Sleep(time.Minute)
			for i := range 1000 {
				u.Allow(fmt.Sprint(i))
			}
		}
		assert.Equal(t, 9, take(u, "alice"))

		require.NoError(t, u.SetLimit(fast))
		assert.Zero(t, take(u, "alice"))
		time.Sleep(500 * time.Millisecond)
		assert.Equal(t, 5, take(u, "alice"))
	})
}

func TestUsersFromManyGoroutines(t *testing.T) {
	began := time.Now()
	u := users(t, PerSecond(100, 10), 100)
	var asking sync.WaitGroup
	got := make([]int, 8)
	for g := range got {
		asking.Go(func() {
			for i := 0; time.Since(began) < 100*time.Millisecond; i++ {
				if ok, _ := u.Allow("alice"); ok {
					got[g]++
				}
				if i%1000 == 0 {
					assert.NoError(t, u.SetLimit(PerSecond(100+g, 10)))
				}
			}
		})
	}
	asking.Wait()
	sum := 0
	for _, n := range got {
		sum += n
	}
	assert.LessOrEqual(t, sum, 10+int(time.Since(began).Seconds()*108))
	assert.GreaterOrEqual(t, sum, 10)
}

func TestMemoryIsBounded(t *testing.T) {
	const room = 200_000
	before := heap()
	u := users(t, Limit{Tokens: 1, Per: time.Hour, Burst: 5}, room)
	var id [8]byte
	for i := range 3 * room {
		for j := range id {
			id[j] = byte(i >> (8 * j))
		}
		u.Allow(string(id[:]))
	}
	each := float64(heap()-before) / room
	t.Logf("%d users, %.0f bytes for each there is room for", u.Len(), each)
	assert.LessOrEqual(t, u.Len(), room+2*shards)
	assert.Less(t, each, 80.0)
	runtime.KeepAlive(u)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A bucket that was about to be forgotten by the time that the old limit took to
// fill it has to wait for as long as the new one does.
func TestNobodyIsForgottenTooEarlyAfterAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := users(t, Limit{Tokens: 1, Per: time.Minute, Burst: 10}, 64*1000)
		crowd := func() { // turns each shard that is due
			for i := range 1000 {
				u.Allow(fmt.Sprint(i))
			}
		}
		time.Sleep(10*time.Minute - 1)
		require.Equal(t, 10, take(u, "alice"))
		time.Sleep(time.Nanosecond)
		crowd() // alice is among the old now
		time.Sleep(15 * time.Second)
		require.NoError(t, u.SetLimit(Limit{Tokens: 10, Per: 20 * time.Second, Burst: 10}))
		time.Sleep(5 * time.Second)
		crowd()
		assert.Equal(t, 2, take(u, "alice"), "a quarter of one at the old rate, and a quarter of ten")
	})
}
