package dynconf_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/dynconf"
)

func TestFollowsItsKey(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		a, seen := follow(t, store)
		b, _ := follow(t, s.Open(t))
		<-a.Synced()
		assert.Equal(t, level("default"), a.Load())
		assert.Equal(t, dynconf.FromDefaults, a.Status().Source)
		assert.Empty(t, a.Status().Hash)

		s.Put(t, key, good) // by hand, as people do it
		awaitLevel(t, a, "info")
		awaitLevel(t, b, "info")
		assert.Equal(t, 100000, a.Load().RateLimit.Middle)
		assert.Equal(t, 1000, a.Load().CircuitBreaker.Latency)
		e, err := store.Get(t.Context(), key)
		require.NoError(t, err)
		status := a.Status()
		assert.Equal(t, dynconf.FromStore, status.Source)
		assert.Equal(t, e.Revision, status.Revision)
		assert.Equal(t, dynconf.Hash([]byte(good)), status.Hash)
		assert.Equal(t, status.Hash, b.Status().Hash, "consistency by hash")
		assert.EqualValues(t, 1, status.Applied)
		assert.True(t, status.Following)

		s.Put(t, key, other)
		awaitLevel(t, a, "debug")
		assert.Zero(t, a.Load().CircuitBreaker, "nothing is left of the value before")

		s.Delete(t, key)
		awaitLevel(t, a, "default")
		awaitLevel(t, b, "default")
		stores.Wait(t, "told", func() bool { return len(seen.get()) == 3 })
		assert.Equal(t, []string{"default → info", "info → debug", "debug → default"}, seen.get())
		status = a.Status()
		assert.Equal(t, dynconf.FromDefaults, status.Source)
		assert.Zero(t, status.Revision)
	})
}

func TestIsThereAtTheStart(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		s.Put(t, key, good)
		c, seen := follow(t, s.Open(t))
		<-c.Synced()
		assert.Equal(t, "info", c.Load().LogLevel)
		assert.Equal(t, []string{"default → info"}, seen.get())
	})
}

func TestBadValueIsRefusedWhole(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		s.Put(t, key, good)
		c, seen := follow(t, store)
		<-c.Synced()
		before := c.Status()
		for i, bad := range []struct{ value, why string }{
			{`{"logLevel":"warn","rateLimit":{"middle":"many"}}`, "line 1, column"},
			{`{"logLevel":"warn","rateLimit":{"middle":1,"low":2}}`, "rateLimit.low: expected at most"},
			{`{"logLevel":"warn","rateLimits":{}}`, `unknown field "rateLimits"`},
			{`{"logLevel":"warn"`, "ends too soon"},
			{`{"logLevel":"warn"} {}`, "more text after the end"},
			{`null`, "null"},
			{``, "no text"},
			{`[]`, "line 1, column"},
		} {
			s.Put(t, key, bad.value)
			stores.Wait(t, "refused: "+bad.value, func() bool { return c.Status().Refused == uint64(i)+1 })
			status := c.Status()
			require.NotNil(t, status.Refusal, bad.value)
			assert.Contains(t, status.Refusal.Error, bad.why, bad.value)
			e, err := store.Get(t.Context(), key)
			require.NoError(t, err)
			assert.Equal(t, e.Revision, status.Refusal.Revision)
			assert.Equal(t, dynconf.Hash([]byte(bad.value)), status.Refusal.Hash)
			assert.False(t, status.Refusal.At.IsZero())

			assert.Equal(t, "info", c.Load().LogLevel, "the last good one stays, whole")
			assert.Equal(t, 100000, c.Load().RateLimit.Middle)
			assert.Equal(t, before.Revision, status.Revision)
			assert.Equal(t, before.Hash, status.Hash)
			assert.Equal(t, before.Applied, status.Applied)
		}
		assert.Equal(t, []string{"default → info"}, seen.get())

		s.Put(t, key, other)
		awaitLevel(t, c, "debug")
		assert.Nil(t, c.Status().Refusal, "that is settled")

		s.Put(t, key, `null`)
		stores.Wait(t, "refused", func() bool { return c.Status().Refusal != nil })
		s.Delete(t, key)
		awaitLevel(t, c, "default")
		assert.Nil(t, c.Status().Refusal)
	})
}

// Watches leave out a value over the contract's limit. That must not look like
// the deletion of the key, which would lift every limit of the cluster.
func TestValueTooLargeIsRefused(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		if _, inside := s.(*stores.Memory); inside {
			return // nobody can write such a value past the driver
		}
		s.Put(t, key, good)
		c, _ := follow(t, s.Open(t))
		awaitLevel(t, c, "info")
		huge := `{"logLevel":"` + strings.Repeat("x", backend.MaxValue) + `"}`
		for range 2 {
			s.Put(t, key, huge)
			stores.Wait(t, "refused", func() bool { return c.Status().Refusal != nil })
			assert.Contains(t, c.Status().Refusal.Error, "at most 262144 are allowed")
			assert.Equal(t, "info", c.Load().LogLevel, "the last good one stays")
			assert.Equal(t, dynconf.FromStore, c.Status().Source)

			late, _ := follow(t, s.Open(t))
			<-late.Synced()
			assert.Equal(t, dynconf.FromDefaults, late.Status().Source)
			assert.NotNil(t, late.Status().Refusal, "a node that starts now says so too")

			s.Put(t, key, other)
			awaitLevel(t, c, "debug")
			assert.Nil(t, c.Status().Refusal)
			s.Put(t, key, good)
			awaitLevel(t, c, "info")
		}
		s.Put(t, key, huge)
		stores.Wait(t, "refused", func() bool { return c.Status().Refusal != nil })
		s.Delete(t, key)
		awaitLevel(t, c, "default")
	})
}

// The course's own sample lacks a comma and has others too many. Whoever puts
// it is told where.
func TestWhereTheErrorIs(t *testing.T) {
	const sample = `{"logLevel":"info"
   "rateLimit":{"middle":100000,"low":10000,},
   "circuitBreaker":{"cpu":80,"latency":1000,}}`
	withComma := strings.Replace(sample, `"info"`, `"info",`, 1)
	firstRight := strings.Replace(withComma, `10000,}`, `10000}`, 1)
	for _, c := range []struct{ value, at string }{
		{sample, `line 2, column 4: invalid character '"'`},
		{withComma, `line 2, column 45: invalid character '}'`},
		{firstRight, `line 3, column 46: invalid character '}'`},
		{"{\n\n  \"logLevel\": 5\n}", "line 3, column 15: logLevel: got number, expected string"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := stores.NewMemory()
			s.Put(t, key, c.value)
			conf, _ := follow(t, s.Open(t))
			<-conf.Synced()
			require.NotNil(t, conf.Status().Refusal, c.value)
			assert.Contains(t, conf.Status().Refusal.Error, c.at)
			assert.Contains(t, conf.Status().Refusal.Error, `"config"`)
			assert.Equal(t, level("default"), conf.Load())
		})
	}
	synctest.Test(t, func(t *testing.T) {
		s := stores.NewMemory()
		s.Put(t, key, strings.Replace(firstRight, `1000,}`, `1000}`, 1))
		conf, _ := follow(t, s.Open(t))
		<-conf.Synced()
		assert.Equal(t, 1000, conf.Load().CircuitBreaker.Latency, "put right, it is taken")
	})
}

func TestKeysThatBeginAlikeAreOthers(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		c, seen := follow(t, s.Open(t))
		<-c.Synced()
		s.Put(t, "config2", good)
		s.Put(t, "config/more", good)
		s.Put(t, key, other)
		awaitLevel(t, c, "debug")
		s.Delete(t, "config2")
		s.Put(t, key, good)
		awaitLevel(t, c, "info")
		stores.Wait(t, "told", func() bool { return len(seen.get()) == 2 })
		assert.Equal(t, []string{"default → debug", "debug → info"}, seen.get())
	})
}

func TestSetDefaults(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		c, seen := follow(t, s.Open(t))
		<-c.Synced()
		require.NoError(t, c.SetDefaults(level("file 2")))
		assert.Equal(t, level("file 2"), c.Load(), "in force at once")

		s.Put(t, key, good)
		awaitLevel(t, c, "info")
		require.NoError(t, c.SetDefaults(level("file 3")))
		assert.Equal(t, "info", c.Load().LogLevel, "the store is stronger")

		s.Delete(t, key)
		awaitLevel(t, c, "file 3")
		stores.Wait(t, "told", func() bool { return len(seen.get()) == 3 })
		assert.Equal(t, []string{"default → file 2", "file 2 → info", "info → file 3"}, seen.get())

		bad := level("bad")
		bad.RateLimit.Low = 1
		require.ErrorIs(t, c.SetDefaults(bad), backend.ErrInvalid)
		assert.Equal(t, level("file 3"), c.Load())
	})
}

func TestNewRefuses(t *testing.T) {
	s := stores.NewMemory().Open(t)
	_, err := dynconf.New(s, "/config", dynconf.Options[limits]{})
	require.ErrorIs(t, err, backend.ErrInvalid)
	bad := limits{}
	bad.RateLimit.Low = 1
	_, err = dynconf.New(s, key, dynconf.Options[limits]{Defaults: bad, Validate: limits.validate})
	require.ErrorIs(t, err, backend.ErrInvalid)
	require.ErrorContains(t, err, "rateLimit.low")
}

func TestOwnDecoder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stores.NewMemory()
		c, err := dynconf.New(s.Open(t), key, dynconf.Options[int]{Defaults: 7, Decode: func(raw []byte) (n int, err error) {
			_, err = fmt.Sscanf(string(raw), "%d things", &n)
			return n, err
		}})
		require.NoError(t, err)
		stores.Start(t, c.Run)
		s.Put(t, key, "12 things")
		stores.Wait(t, "decoded", func() bool { return c.Load() == 12 })
		s.Put(t, key, "13 thinks")
		stores.Wait(t, "refused", func() bool { return c.Status().Refused == 1 })
		assert.Equal(t, 12, c.Load(), "what a decoder returns beside an error is not used")
	})
}

// The same bytes again are a new revision and no change.
func TestSameValueIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stores.NewMemory()
		c, seen := follow(t, s.Open(t))
		s.Put(t, key, good)
		synctest.Wait()
		first := c.Status()
		s.Put(t, key, good)
		synctest.Wait()
		assert.Equal(t, []string{"default → info"}, seen.get())
		assert.Greater(t, c.Status().Revision, first.Revision)
		assert.EqualValues(t, 2, c.Status().Applied)
	})
}

func TestSurvivesAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stores.NewMemory()
		store := s.Client(t)
		store.Cut()
		c, seen := follow(t, store)
		time.Sleep(time.Hour)
		assert.Equal(t, level("default"), c.Load())
		assert.False(t, c.Status().Following)

		s.Put(t, key, good)
		store.Mend()
		awaitLevel(t, c, "info")
		store.Cut()
		s.Put(t, key, `null`)
		s.Put(t, key, other)
		time.Sleep(time.Hour)
		assert.Equal(t, "info", c.Load().LogLevel)
		store.Mend()
		awaitLevel(t, c, "debug")

		before := c.Status()
		s.Server.LoseHistory()
		synctest.Wait()
		assert.Equal(t, before, c.Status(), "nothing new")
		assert.Equal(t, []string{"default → info", "info → debug"}, seen.get())
	})
}

// A watch that is refused is reported, begun again without haste, and does not
// take the configuration out of force.
func TestRefusedWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stores.NewMemory()
		store := &stores.Faulty{Store: s.Open(t)}
		var calls atomic.Int64
		store.Set(stores.Hooks{Watch: func(string) error { calls.Add(1); return fmt.Errorf("%w: no rights", backend.ErrDenied) }})
		c, _ := follow(t, store)
		time.Sleep(time.Hour)
		status := c.Status()
		assert.False(t, status.Following)
		assert.Contains(t, status.LastError, "no rights")
		assert.LessOrEqual(t, time.Since(status.LastErrorAt), 5*time.Second)
		assert.Greater(t, calls.Load(), int64(700))
		assert.Less(t, calls.Load(), int64(3000))
		assert.Equal(t, level("default"), c.Load())
		select {
		case <-c.Synced():
			t.Error("nothing was heard yet")
		default:
		}

		s.Put(t, key, good)
		store.Set(stores.Hooks{})
		<-c.Synced()
		assert.Equal(t, "info", c.Load().LogLevel)
		assert.True(t, c.Status().Following)
	})
}

// A bad value that a new watch shows again was refused before: once is enough.
func TestRefusedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stores.NewMemory()
		c, err := dynconf.New(s.Open(t), key, dynconf.Options[limits]{})
		require.NoError(t, err)
		s.Put(t, key, `null`)
		stop := stores.Start(t, c.Run)
		<-c.Synced()
		require.NoError(t, stop())
		assert.False(t, c.Status().Following)
		stores.Start(t, c.Run)
		stores.Wait(t, "following again", func() bool { return c.Status().Following })
		synctest.Wait()
		assert.EqualValues(t, 1, c.Status().Refused)
	})
}

func TestRunsOnceAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := follow(t, stores.NewMemory().Open(t))
		<-c.Synced()
		require.ErrorIs(t, c.Run(t.Context()), backend.ErrInvalid)
	})
}

func TestClosedStoreEndsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := stores.NewMemory().Client(t)
		c, _ := prepare(t, store)
		go func() { <-c.Synced(); _ = store.Close() }()
		require.ErrorIs(t, c.Run(t.Context()), backend.ErrClosed)
	})
}

// Load is safe beside changes, and never half of one value and half of another.
func TestLoadIsWhole(t *testing.T) {
	s := stores.NewMemory()
	store := s.Open(t)
	type pair struct{ A, B int }
	c, err := dynconf.New(store, key, dynconf.Options[pair]{Validate: func(p pair) error {
		if p.A != p.B {
			return errors.New("half")
		}
		return nil
	}})
	require.NoError(t, err)
	stores.Start(t, c.Run)
	var readers sync.WaitGroup
	var stop atomic.Bool
	for range 2 {
		readers.Go(func() {
			for !stop.Load() {
				if p := c.Load(); p.A != p.B {
					t.Error("half a value: ", p)
					return
				}
			}
		})
	}
	for i := range 301 {
		_, err := store.Put(t.Context(), key, fmt.Appendf(nil, `{"A":%d,"B":%d}`, i, i+i%3))
		require.NoError(t, err)
	}
	stores.Wait(t, "the last good one", func() bool { return c.Load().A == 300 })
	stop.Store(true)
	readers.Wait()
}
