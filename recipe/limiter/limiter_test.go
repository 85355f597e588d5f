package limiter_test

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/conformance/servers"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/limiter"
	"github.com/seed27495941/seckill/recipe/registry"
)

func TestMain(m *testing.M) {
	stores.Main(m, stores.Roles{"node": func(ctx context.Context, s backend.Store, p *stores.Parent) error {
		n, run, err := prepare(s, 9, brief)
		if err != nil {
			return err
		}
		running, ctx := errgroup.WithContext(ctx)
		for _, f := range run {
			running.Go(func() error { return f(ctx) })
		}
		for range p.Told {
			p.Say("share %v", n.Status().Share)
		}
		return running.Wait()
	}})
}

// brief has a rate so low that nothing but the burst counts.
var brief = limiter.Config{Limit: limiter.Limit{Rate: 1e-6, Burst: 120}, Settle: 300 * time.Millisecond}

// A node is a registered process with a limiter.
type node struct {
	*limiter.Limiter
	reg   *registry.Registration
	leave func() error // the list; the limiter goes on
}

// prepare makes the nth node of a cluster and says what has to run, the
// registration last.
func prepare(s backend.Store, n int, cfg limiter.Config) (*node, []func(context.Context) error, error) {
	reg, err := registry.NewRegistration(s, registry.Config{Node: registry.Node{Addr: fmt.Sprintf("10.0.0.%d:80", n)}, TTL: stores.ShortestTTL})
	if err != nil {
		return nil, nil, err
	}
	d := registry.NewDirectory(s, "", nil)
	cfg.Directory, cfg.Self = d, reg.Status().Node.Incarnation
	l, err := limiter.New(cfg)
	return &node{Limiter: l, reg: reg}, []func(context.Context) error{d.Run, l.Run, reg.Run}, err
}

// start starts the nth node of a cluster.
func start(t *testing.T, s backend.Store, n int, cfg limiter.Config) *node {
	t.Helper()
	started, run, err := prepare(s, n, cfg)
	require.NoError(t, err)
	for _, f := range run {
		started.leave = stores.Start(t, f)
	}
	return started
}

func hasShare(t *testing.T, n *node, want float64) {
	t.Helper()
	stores.Wait(t, fmt.Sprintf("a share of %v", want), func() bool { return math.Abs(n.Status().Share-want) < 1e-9 })
}

// admit counts how many tokens a key gets at once.
func admit(n *node, key string) (count int) {
	for n.Allow(key) {
		count++
	}
	return count
}

func TestSharesFollowTheNodes(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		a := start(t, s.Open(t), 1, brief)
		assert.Zero(t, admit(a, "early"), "nothing before it is known who else is there")
		<-a.Ready()
		hasShare(t, a, 1)
		assert.Equal(t, 120, admit(a, "k1"))

		b := start(t, s.Open(t), 2, brief)
		hasShare(t, a, 0.5)
		hasShare(t, b, 0.5)
		assert.Equal(t, 60, admit(b, "k2"))
		assert.Equal(t, 60, admit(a, "k2"))
		assert.Zero(t, admit(a, "k1"), "what was used stays used")

		require.NoError(t, b.reg.Update(func(n *registry.Node) { n.Weight = 3 }))
		hasShare(t, a, 0.25)
		hasShare(t, b, 0.75)
		assert.Equal(t, 30, admit(a, "k3"))
		assert.Equal(t, 90, admit(b, "k3"))
		assert.Zero(t, admit(b, "k2"), "room is no token")

		// A lease that is lost and had again in time changes nothing for long.
		lost := b.reg.Status().Lease
		s.Revoke(t, lost)
		stores.Wait(t, "registered again", func() bool { return b.reg.Registered() && b.reg.Status().Lease != lost })
		hasShare(t, a, 0.25)
		hasShare(t, b, 0.75)

		require.NoError(t, registry.DrainNode(t.Context(), store, "", a.reg.Status().Node.ID, registry.Drain{}))
		hasShare(t, b, 1)
		hasShare(t, a, 0)
		assert.Zero(t, admit(a, "k4"))
		require.NoError(t, registry.UndrainNode(t.Context(), store, "", a.reg.Status().Node.ID))
		hasShare(t, a, 0.25)

		require.NoError(t, b.leave())
		hasShare(t, a, 1)
		hasShare(t, b, 0)
		assert.Equal(t, 2, 1+a.Status().Nodes)
		assert.Equal(t, 120, a.Status().Burst)
	})
}

// Who subscribes hears of the share there is, and of each change, in order.
func TestSharesAreTold(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		told := make(chan float64, 100)
		a := start(t, s.Open(t), 1, brief)
		a.Subscribe(func(share float64) { told <- share })
		expect := func(want float64) {
			t.Helper()
			assert.InDelta(t, want, <-told, 1e-9)
		}
		expect(0)
		expect(1)
		b := start(t, s.Open(t), 2, brief)
		expect(0.5)
		require.NoError(t, b.leave())
		expect(1)
		a.Subscribe(func(share float64) { told <- share })
		expect(1)
		assert.Empty(t, told, "nothing that did not change")
	})
}

// The third bound, as it can be seen from outside: clients ask without pause
// while nodes come and go, and in no second does a key get more than it may.
func TestClusterKeepsTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, burst = 1000, 100
		space := stores.NewMemory()
		cfg := limiter.Config{Limit: limiter.Limit{Rate: rate, Burst: burst}}
		begun := time.Now()
		admitted := make([]int, 300) // by tenths of a second
		var nodes []*node
		for i := range 4 {
			nodes = append(nodes, start(t, space.Open(t), i, cfg))
		}
		events := map[int]func(){ // by the second
			8:  func() { require.NoError(t, nodes[0].leave()) },
			15: func() { nodes = append(nodes, start(t, space.Open(t), 9, cfg)) },
			22: func() {
				require.NoError(t, nodes[1].reg.Update(func(n *registry.Node) { n.Weight = 5 }))
			},
		}
		for tick := range 30_000 {
			if tick%1000 == 0 && events[tick/1000] != nil {
				events[tick/1000]()
				synctest.Wait()
			}
			for _, n := range nodes {
				for n.Allow("key") {
					admitted[int(time.Since(begun)/(100*time.Millisecond))]++
				}
			}
			time.Sleep(time.Millisecond)
		}
		window := func(from, tenths int) (sum int) {
			for _, n := range admitted[from : from+tenths] {
				sum += n
			}
			return sum
		}
		for from := range len(admitted) - 10 {
			assert.LessOrEqual(t, window(from, 10), rate+burst+5, "from %d00ms", from)
		}
		assert.Zero(t, window(0, 49), "nothing before the nodes know each other")
		for _, calm := range []int{60, 140, 210, 280} {
			assert.GreaterOrEqual(t, window(calm, 10), rate-5, "all of it is used, at %d00ms", calm)
		}
		assert.LessOrEqual(t, window(0, len(admitted)), 25*rate+burst)
	})
}

// A node that can't reach the store goes on with what it has, and never takes
// more; the others take over what it had as soon as it is not listed.
func TestCutOffNodeNeverGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		cfg := limiter.Config{Limit: limiter.Limit{Rate: 1, Burst: 100}}
		store := space.Client(t)
		a, b, c := start(t, store, 1, cfg), start(t, space.Open(t), 2, cfg), start(t, space.Open(t), 3, cfg)
		hasShare(t, a, 1./3)
		require.NoError(t, c.leave())
		synctest.Wait()
		store.Cut() // it has just heard that there is more for it
		assert.InDelta(t, 0.5, a.Status().Target, 1e-9)
		time.Sleep(time.Hour)
		assert.InDelta(t, 1./3, a.Status().Share, 1e-9)
		assert.NotEmpty(t, a.Status().LastError)
		assert.InDelta(t, 1, b.Status().Share, 1e-9)

		store.Mend()
		hasShare(t, a, 0.5)
		hasShare(t, b, 0.5)
	})
}

// Decisions ask nobody: the store is read once for the list, and once for each
// growth.
func TestAsksTheStoreWhenItGrowsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reads, others atomic.Int64
		space := stores.NewMemory()
		store := &stores.Faulty{Store: space.Open(t)}
		count := func(string) error { others.Add(1); return nil }
		store.Set(stores.Hooks{Watch: func(string) error { reads.Add(1); return nil }, Get: count, Put: count})
		space.Put(t, "nodes/a", `{"addr":"10.0.0.1:80","incarnation":"a"}`)
		space.Put(t, "nodes/b", `{"addr":"10.0.0.2:80","incarnation":"b"}`)
		d := registry.NewDirectory(store, "", nil)
		l, err := limiter.New(limiter.Config{Limit: limiter.Limit{Rate: 1000, Burst: 10}, Directory: d, Self: "a"})
		require.NoError(t, err)
		stores.Start(t, d.Run)
		stores.Start(t, l.Run)
		<-l.Ready()
		for i := range 10_000 {
			l.Allow(fmt.Sprint(i % 10))
			time.Sleep(time.Millisecond)
		}
		assert.Equal(t, int64(2), reads.Load())
		space.Put(t, "nodes/b", `{"addr":"10.0.0.2:80","incarnation":"b","weight":3}`)
		time.Sleep(time.Minute)
		assert.InDelta(t, 0.25, l.Status().Share, 1e-9)
		assert.Equal(t, int64(2), reads.Load(), "a share shrinks without asking")
		space.Delete(t, "nodes/b")
		time.Sleep(time.Minute)
		assert.InDelta(t, 1, l.Status().Share, 1e-9)
		assert.Equal(t, int64(3), reads.Load())
		assert.Zero(t, others.Load())
	})
}

// A list that runs empty while a share waits to grow is not believed, and not
// asked for without pause either.
func TestEmptiedListIsNoBusyLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reads atomic.Int64
		space := stores.NewMemory()
		store := &stores.Faulty{Store: space.Open(t)}
		// Not even time passes in a busy loop.
		store.Set(stores.Hooks{Watch: func(string) error { reads.Add(1); time.Sleep(time.Millisecond); return nil }})
		space.Put(t, "nodes/a", `{"addr":"10.0.0.1:80","incarnation":"a"}`)
		d := registry.NewDirectory(store, "", nil)
		l, err := limiter.New(limiter.Config{Limit: limiter.Limit{Rate: 1, Burst: 1}, Directory: d, Self: "a"})
		require.NoError(t, err)
		stores.Start(t, d.Run)
		stores.Start(t, l.Run)
		<-d.Synced()
		space.Delete(t, "nodes/a")
		time.Sleep(time.Minute)
		assert.Zero(t, l.Status().Share)
		assert.LessOrEqual(t, reads.Load(), int64(1+time.Minute/limiter.DefaultSettle))

		space.Put(t, "nodes/a", `{"addr":"10.0.0.1:80","incarnation":"a"}`)
		<-l.Ready()
	})
}

// A process that sleeps past its lease wakes with the share it had, which others
// have by then; it never takes more, and gives way when it hears the news.
func TestPausedProcess(t *testing.T) {
	stores.EachServer(t, func(t *testing.T, s stores.Space) {
		a := start(t, s.Open(t), 1, brief)
		p := stores.Spawn(t, s, "node")
		share := func() string { p.Tell(t, "?"); return p.Await(t, "share") }
		hasShare(t, a, 0.5)
		stores.Wait(t, "its half", func() bool { return share() == "0.5" })

		p.Pause(t)
		hasShare(t, a, 1)
		p.Resume(t)
		assert.Contains(t, []string{"0.5", "0"}, share())
		hasShare(t, a, 0.5)
		stores.Wait(t, "its half", func() bool { return share() == "0.5" })
		p.Stop(t)
		hasShare(t, a, 1)
	})
}

func TestServerThatStandsStill(t *testing.T) {
	stores.EachOwn(t, func(t *testing.T, s stores.Space, own *servers.Cluster) {
		a := start(t, s.Open(t), 1, limiter.Config{Limit: limiter.Limit{Rate: 1e-6, Burst: 10}, Settle: 200 * time.Millisecond})
		hasShare(t, a, 1)
		require.NoError(t, own.Node(0).Pause(t.Context()))
		stores.Wait(t, "the lease is lost", func() bool { return !a.reg.Registered() })
		assert.Equal(t, 10, admit(a, "k"), "it goes on")
		require.NoError(t, own.Node(0).Resume(t.Context()))
		stores.Wait(t, "registered again", a.reg.Registered)
		hasShare(t, a, 1)
	})
}

// Whoever invents keys gets no memory, and no more tokens than one key.
func TestKeysAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		a := start(t, space.Open(t), 1, limiter.Config{Limit: limiter.Limit{Rate: 1, Burst: 3}, Keys: 100})
		<-a.Ready()
		for i := range 100 {
			require.True(t, a.Allow(fmt.Sprint(i)))
		}
		invented := 0
		for i := range 10_000 {
			if a.Allow(fmt.Sprint("invented ", i)) {
				invented++
			}
		}
		assert.Equal(t, 3, invented, "they share one bucket")
		assert.Equal(t, 100, a.Status().Keys)
		assert.Equal(t, 2, admit(a, "7"), "the others keep theirs")

		time.Sleep(time.Minute) // all are full
		assert.True(t, a.Allow("new"))
		assert.Equal(t, 1, a.Status().Keys, "full ones are forgotten")
		assert.Equal(t, 3, admit(a, "8"))
	})
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		a := start(t, space.Open(t), 1, limiter.Config{Limit: limiter.Limit{Rate: 10, Burst: 2}, Settle: time.Second})
		require.NoError(t, a.Wait(t.Context(), "k"), "for the share too")
		<-a.Ready()
		begun := time.Now()
		for range 11 {
			require.NoError(t, a.Wait(t.Context(), "k"))
		}
		assert.Equal(t, time.Second, time.Since(begun).Round(time.Millisecond))

		soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, a.Wait(soon, "k"), context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(begun).Round(time.Millisecond), "it did not wait to say so")

		ctx, stop := context.WithCancel(t.Context())
		stop()
		require.ErrorIs(t, a.Wait(ctx, "k"), context.Canceled)
		require.NoError(t, a.Wait(t.Context(), "k"))
		assert.Equal(t, 1100*time.Millisecond, time.Since(begun).Round(time.Millisecond), "who gave up took nothing")

		// Who waits is helped by a new limit.
		require.NoError(t, a.SetLimit(limiter.Limit{Rate: 0.001, Burst: 1}))
		done := make(chan error)
		go func() { done <- a.Wait(t.Context(), "k") }()
		time.Sleep(time.Second)
		require.NoError(t, a.SetLimit(limiter.Limit{Rate: 1000, Burst: 1}))
		require.NoError(t, <-done)
		assert.Less(t, time.Since(begun), 3*time.Second)
	})
}

func TestSetLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		a := start(t, space.Open(t), 1, limiter.Config{Limit: limiter.Limit{Rate: 1, Burst: 10}})
		<-a.Ready()
		assert.True(t, a.AllowN("k", 4))
		assert.False(t, a.AllowN("k", 7))
		assert.False(t, a.AllowN("k", -1))
		require.NoError(t, a.SetLimit(limiter.Limit{Rate: 1, Burst: 20}))
		assert.Equal(t, 6, admit(a, "k"), "room is no token")
		require.NoError(t, a.SetLimit(limiter.Limit{Rate: 5, Burst: 20}))
		time.Sleep(time.Second)
		assert.Equal(t, 5, admit(a, "k"))
		assert.Equal(t, 20, admit(a, "other"))

		for _, bad := range []limiter.Limit{{Rate: -1, Burst: 1}, {Rate: math.NaN(), Burst: 1}, {Rate: math.Inf(1), Burst: 1}, {Rate: 1}} {
			require.ErrorIs(t, a.SetLimit(bad), backend.ErrInvalid, "%v", bad)
		}
		assert.Equal(t, limiter.Limit{Rate: 5, Burst: 20}, a.Status().Limit)
		require.ErrorIs(t, a.Run(t.Context()), backend.ErrInvalid, "it is running")
	})
}

func TestNewRefuses(t *testing.T) {
	d := registry.NewDirectory(stores.NewMemory().Open(t), "", nil)
	good := limiter.Config{Limit: limiter.Limit{Rate: 1, Burst: 1}, Directory: d, Self: "1"}
	for _, spoil := range []func(*limiter.Config){
		func(c *limiter.Config) { c.Directory = nil },
		func(c *limiter.Config) { c.Self = "" },
		func(c *limiter.Config) { c.Settle = -1 },
		func(c *limiter.Config) { c.Keys = -1 },
		func(c *limiter.Config) { c.Limit.Burst = 0 },
	} {
		cfg := good
		spoil(&cfg)
		_, err := limiter.New(cfg)
		require.ErrorIs(t, err, backend.ErrInvalid)
	}
}

// Time that is asked for before the lock and used after it grants tokens twice.
func TestConcurrentUseGrantsNothingTwice(t *testing.T) {
	space := stores.NewMemory()
	const rate = 10_000
	a := start(t, space.Open(t), 1, limiter.Config{Limit: limiter.Limit{Rate: rate, Burst: 1}, Settle: time.Millisecond})
	<-a.Ready()
	var running sync.WaitGroup
	var admitted atomic.Int64
	begun := time.Now()
	for range 8 {
		running.Go(func() {
			for time.Since(begun) < 200*time.Millisecond {
				if a.Allow("k") {
					admitted.Add(1)
				}
			}
		})
	}
	running.Wait()
	assert.LessOrEqual(t, float64(admitted.Load()), rate*time.Since(begun).Seconds()+2)
}

func BenchmarkAllow(b *testing.B) {
	store := stores.NewMemory().Open(b)
	d := registry.NewDirectory(store, "", nil)
	l, err := limiter.New(limiter.Config{Limit: limiter.Limit{Rate: 1e9, Burst: 1 << 30}, Directory: d, Self: "1", Settle: time.Millisecond})
	require.NoError(b, err)
	_, err = store.Put(b.Context(), "nodes/a", []byte(`{"addr":"10.0.0.1:80","incarnation":"1"}`))
	require.NoError(b, err)
	stores.Start(b, d.Run)
	stores.Start(b, l.Run)
	<-l.Ready()
	for _, keys := range []int{1, 10_000} {
		b.Run(fmt.Sprint(keys, " keys"), func(b *testing.B) {
			names := make([]string, keys)
			for i := range names {
				names[i] = fmt.Sprint(i)
			}
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					l.Allow(names[i%keys])
				}
			})
		})
	}
}
