package blacklist

import (
	"bufio"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/follow"
)

// many is how many ids the benchmarks list.
const many = 10_000_000

// kinds are ids as other systems give them, in the order of the file.
var kinds = []struct {
	name string
	id   func(random *rand.Rand, i int) string
}{
	{"one in ten users", func(random *rand.Rand, i int) string { return strconv.Itoa(1e9 + i*10 + random.IntN(10)) }},
	{"the same, unsorted", func(random *rand.Rand, _ int) string { return strconv.Itoa(1e9 + random.IntN(10*many)) }},
	{"random numbers", func(random *rand.Rand, _ int) string { return strconv.FormatUint(random.Uint64(), 10) }},
	{"UUIDs", func(random *rand.Rand, _ int) string {
		a, b := random.Uint64(), random.Uint64()
		return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", a>>32, a>>16&0xffff, a&0xffff, b>>48, b&0xffffffffffff)
	}},
}

// generate writes a file, and returns some of its ids.
func generate(b *testing.B, id func(*rand.Rand, int) string) (name string, some []string) {
	b.Helper()
	name = filepath.Join(b.TempDir(), "blacklist.txt")
	f, err := os.Create(name)
	require.NoError(b, err)
	defer f.Close()
	random := rand.New(rand.NewPCG(1, 2))
	w := bufio.NewWriter(f)
	for i := range many {
		line := id(random, i)
		if i%1000 == 0 {
			some = append(some, line)
		}
		_, _ = w.WriteString(line)
		_ = w.WriteByte('\n')
	}
	require.NoError(b, w.Flush())
	return name, some
}

func BenchmarkLoad(b *testing.B) {
	for _, kind := range kinds {
		b.Run(kind.name, func(b *testing.B) {
			name, _ := generate(b, kind.id)
			before := live()
			stop := peak()
			var c content
			for b.Loop() {
				var err error
				c, err = read(b.Context(), name, &pace{})
				require.NoError(b, err)
			}
			b.ReportMetric(float64(stop()-before)/1e6, "peak-MB")
			b.ReportMetric(float64(live()-before)/1e6, "MB")
			b.ReportMetric(float64(c.set.len), "ids")
			runtime.KeepAlive(c)
		})
	}
}

// live is how much of the heap is in use.
func live() uint64 {
	runtime.GC()
	return objects()
}

func objects() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// peak watches the heap, with what is not yet collected, until it is stopped.
func peak() (stop func() uint64) {
	done := make(chan struct{})
	result := make(chan uint64)
	go func() {
		most := uint64(0)
		for {
			most = max(most, objects())
			select {
			case <-done:
				result <- most
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func() uint64 { close(done); return <-result }
}

func BenchmarkContains(b *testing.B) {
	for _, kind := range kinds {
		name, some := generate(b, kind.id)
		c, err := read(b.Context(), name, &pace{})
		require.NoError(b, err)
		random := rand.New(rand.NewPCG(3, 4))
		others := make([]string, len(some))
		for i := range others {
			others[i] = kind.id(random, random.IntN(many))
		}
		for what, ids := range map[string][]string{"listed": some, "as others are": others} {
			b.Run(kind.name+"/"+what, func(b *testing.B) {
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					c.set.contains(ids[i%len(ids)])
					i++
				}
			})
		}
	}
}

// BenchmarkReload measures requests, each of which looks up one user, with and
// without a reload going on. They come at fixed times, 4,000 a second; what is
// measured is from when a request should have begun until it is through, so that
// waiting for a processor counts. How many processors all that takes is measured too.
func BenchmarkReload(b *testing.B) {
	for _, kind := range kinds[1:] {
		name, some := generate(b, kind.id)
		l, err := Open(b.Context(), follow.Source{File: name, Mode: follow.Push, Settle: time.Millisecond}, slog.New(slog.DiscardHandler))
		require.NoError(b, err)
		run := func(b *testing.B, work func()) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
			var all []time.Duration
			began, before := time.Now(), used(b)
			for b.Loop() {
				done := make(chan struct{})
				took := requests(l, some, done)
				work()
				close(done)
				all = append(all, took()...)
			}
			b.ReportMetric((used(b)-before).Seconds()/time.Since(began).Seconds(), "processors")
			slices.Sort(all)
			for _, q := range []float64{0.5, 0.99, 0.999} {
				b.ReportMetric(float64(all[int(q*float64(len(all)))].Microseconds()), fmt.Sprintf("p%v-µs", q*100))
			}
		}
		b.Run(kind.name+"/quiet", func(b *testing.B) { run(b, func() { time.Sleep(3 * time.Second) }) })
		b.Run(kind.name+"/reload", func(b *testing.B) { run(b, func() { require.NoError(b, l.Reload(b.Context())) }) })
	}
}

// requests makes some until done, and returns what they took.
func requests(l *List, users []string, done <-chan struct{}) (took func() []time.Duration) {
	const workers, pause = 8, 2 * time.Millisecond
	var working sync.WaitGroup
	results := make([][]time.Duration, workers)
	began := time.Now()
	for w := range workers {
		working.Go(func() {
			for i := 0; ; i++ {
				due := began.Add(time.Duration(i)*pause + time.Duration(w)*pause/workers)
				time.Sleep(time.Until(due))
				l.Contains(users[(i*workers+w)%len(users)])
				results[w] = append(results[w], time.Since(due))
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	return func() []time.Duration { working.Wait(); return slices.Concat(results...) }
}
