package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/backend/metrics"
	"github.com/seed27495941/seckill/conformance/servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(tests{m}) }

type tests struct{ *testing.M }

func (m tests) Run() int {
	code := m.M.Run()
	if err := servers.CloseShared(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

// figures are what a scrape would show, by name and labels as they are written
// there.
type figures map[string]float64

func scrape(t *testing.T, c prometheus.Collector) figures {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(c))
	page := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(page, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	require.Equal(t, http.StatusOK, page.Code)
	f := figures{}
	for line := range strings.Lines(page.Body.String()) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndex(line, " ")
		value, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64)
		require.NoError(t, err)
		f[line[:at]] = value
	}
	return f
}

func (f figures) count(name string) int { return int(f[name]) }

// calls are the counts above zero of an operation, by result.
func (f figures) calls(operation string) map[string]int {
	counts := map[string]int{}
	prefix := `seckill_store_calls_total{operation="` + operation + `",result="`
	for name, value := range f {
		if result, ok := strings.CutPrefix(name, prefix); ok && value > 0 {
			counts[strings.TrimSuffix(result, `"}`)] = int(value)
		}
	}
	return counts
}

// timed is how many calls of an operation are in the histogram.
func (f figures) timed(operation string) int {
	return f.count(`seckill_store_call_duration_seconds_count{operation="` + operation + `"}`)
}

// onMemory runs a test in a bubble of time.
func onMemory(t *testing.T, f func(t *testing.T, server *memory.Server, driver *memory.Store, s *metrics.Store)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server := memory.NewServer()
		driver := server.Open()
		defer func() { require.NoError(t, driver.Close()) }()
		f(t, server, driver, metrics.New(driver))
	})
}

func put(t *testing.T, s backend.Store, key string, opts ...backend.PutOption) backend.Revision {
	t.Helper()
	rev, err := s.Put(t.Context(), key, []byte("value"), opts...)
	require.NoError(t, err)
	return rev
}

func TestCallsAreCountedByWhatCameOfThem(t *testing.T) {
	onMemory(t, func(t *testing.T, server *memory.Server, driver *memory.Store, s *metrics.Store) {
		ctx := t.Context()
		canceled, cancel := context.WithCancel(ctx)
		cancel()

		rev := put(t, s, "a")
		_, err := s.Put(ctx, "a", nil, backend.If("a", rev+1))
		require.ErrorIs(t, err, backend.ErrConflict)
		_, err = s.Put(ctx, "/a", nil)
		require.ErrorIs(t, err, backend.ErrInvalid)
		_, err = s.Put(ctx, "a", make([]byte, backend.MaxValue+1))
		require.ErrorIs(t, err, backend.ErrTooLarge)
		_, err = s.Get(ctx, "a")
		require.NoError(t, err)
		_, err = s.Get(ctx, "b")
		require.ErrorIs(t, err, backend.ErrNotFound)
		_, err = s.Get(canceled, "a")
		require.ErrorIs(t, err, context.Canceled)
		require.NoError(t, s.Delete(ctx, "a", backend.If("a", rev)))
		require.ErrorIs(t, s.Delete(ctx, "a", backend.If("a", rev)), backend.ErrConflict)
		lease, err := s.Lease(ctx, time.Minute)
		require.NoError(t, err)
		require.True(t, server.ExpireLease(lease.ID()))
		_, err = s.Put(ctx, "a", nil, backend.WithLease(lease))
		require.ErrorIs(t, err, backend.ErrLeaseLost)
		_, err = s.Lease(ctx, -1)
		require.ErrorIs(t, err, backend.ErrInvalid)
		_, _, err = backend.List(ctx, s, "")
		require.NoError(t, err)
		_, _, err = backend.List(ctx, s, "//")
		require.ErrorIs(t, err, backend.ErrInvalid)
		driver.Cut()
		_, err = s.Get(ctx, "a")
		require.ErrorIs(t, err, backend.ErrUnavailable)
		_, _, err = backend.List(ctx, s, "")
		require.ErrorIs(t, err, backend.ErrUnavailable)
		require.NoError(t, driver.Close())
		require.ErrorIs(t, s.Delete(ctx, "a"), backend.ErrClosed)

		f := scrape(t, s)
		assert.Equal(t, map[string]int{"ok": 1, "conflict": 1, "invalid": 1, "too_large": 1, "lease_lost": 1}, f.calls("put"))
		assert.Equal(t, map[string]int{"ok": 1, "not_found": 1, "canceled": 1, "unavailable": 1}, f.calls("get"))
		assert.Equal(t, map[string]int{"ok": 1, "conflict": 1, "closed": 1}, f.calls("delete"))
		assert.Equal(t, map[string]int{"ok": 1, "invalid": 1}, f.calls("lease"))
		assert.Equal(t, map[string]int{"ok": 1, "invalid": 1, "unavailable": 1}, f.calls("list"))
		for operation, want := range map[string]int{"put": 5, "get": 4, "delete": 3, "lease": 2, "list": 3} {
			assert.Equal(t, want, f.timed(operation), operation)
		}
		const list = "seckill_store_call_duration_seconds_bucket{operation=\"list\",le=\""
		assert.Equal(t, 2, f.count(list+`2.5"}`))
		assert.Equal(t, 3, f.count(list+`5"}`), "the one that waited for 5s")
	})
}

func TestWatchesAreCountedWhileTheyAreOpen(t *testing.T) {
	onMemory(t, func(t *testing.T, server *memory.Server, driver *memory.Store, s *metrics.Store) {
		put(t, s, "dir/a")
		put(t, s, "dir/b")
		first, second := watch(t, s, "dir/"), watch(t, s, "")
		synctest.Wait()
		f := scrape(t, s)
		assert.Equal(t, 2, f.count("seckill_store_open_watches"))
		assert.Equal(t, map[string]int{"ok": 2}, f.calls("list"))
		assert.Zero(t, f["seckill_store_watch_resyncs_total"])
		assert.Equal(t, 2, f.count("seckill_store_watch_updates_total"))
		assert.Equal(t, 4, f.count("seckill_store_watch_puts_total"))

		require.NoError(t, s.Delete(t.Context(), "dir/a"))
		synctest.Wait()
		server.LoseHistory()
		synctest.Wait()
		f = scrape(t, s)
		assert.Equal(t, 2, f.count("seckill_store_watch_deletes_total"))
		assert.Equal(t, 2, f.count("seckill_store_watch_resyncs_total"))
		assert.Equal(t, 6, f.count("seckill_store_watch_updates_total"))
		assert.Equal(t, 6, f.count("seckill_store_watch_puts_total"))

		require.ErrorIs(t, first(), context.Canceled)
		assert.Equal(t, 1, scrape(t, s).count("seckill_store_open_watches"))
		require.ErrorIs(t, second(), context.Canceled)
		f = scrape(t, s)
		assert.Zero(t, f["seckill_store_open_watches"])
		for name, value := range f {
			if strings.HasPrefix(name, "seckill_store_watch_failures_total") {
				assert.Zero(t, value, name)
			}
		}
		assert.Equal(t, map[string]int{"ok": 2}, f.calls("list"), "a watch is one list, however it ends")
	})
}

func TestTheStalestWatchCounts(t *testing.T) {
	onMemory(t, func(t *testing.T, server *memory.Server, driver *memory.Store, s *metrics.Store) {
		staleness := func() float64 { return scrape(t, s)["seckill_store_watch_staleness_seconds"] }
		assert.Zero(t, staleness())
		end := watch(t, s, "dir/")
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.LessOrEqual(t, staleness(), 30.0, "an idle watch is confirmed")

		driver.Cut()
		before := staleness()
		late := watch(t, s, "") // gets nothing
		time.Sleep(5 * time.Minute)
		assert.InDelta(t, before+300, staleness(), 0.001)
		require.Error(t, end())
		assert.InDelta(t, 300, staleness(), 0.001, "one that never heard anything is as old as it is")
		driver.Mend()
		synctest.Wait()
		assert.Zero(t, staleness())
		driver.Cut()
		time.Sleep(time.Minute)
		require.Error(t, late())
		assert.Zero(t, staleness(), "no watch, no staleness")
	})
}

func TestAWatchThatAnErrorEnds(t *testing.T) {
	onMemory(t, func(t *testing.T, server *memory.Server, driver *memory.Store, s *metrics.Store) {
		end := watch(t, s, "")
		synctest.Wait()
		require.NoError(t, driver.Close())
		synctest.Wait() // or the context might end it
		require.ErrorIs(t, end(), backend.ErrClosed)
		f := scrape(t, s)
		assert.Equal(t, 1, f.count(`seckill_store_watch_failures_total{result="closed"}`))
		assert.Zero(t, f["seckill_store_open_watches"])
	})
}

// A context may end with any cause.
func TestAWatchEndedByItsContextIsNoFailure(t *testing.T) {
	onMemory(t, func(t *testing.T, server *memory.Server, driver *memory.Store, s *metrics.Store) {
		driver.Cut()
		for _, begins := range []bool{false, true} {
			if begins {
				driver.Mend()
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				synctest.Wait()
				cancel(backend.ErrLeaseLost)
			}()
			var last error
			for _, err := range s.WatchPrefix(ctx, "") {
				last = err
			}
			require.ErrorIs(t, last, backend.ErrLeaseLost)
		}
		f := scrape(t, s)
		assert.Equal(t, map[string]int{"canceled": 1, "ok": 1}, f.calls("list"))
		assert.Zero(t, f[`seckill_store_watch_failures_total{result="lease_lost"}`])
	})
}

func TestLeasesAreCountedOnce(t *testing.T) {
	onMemory(t, func(t *testing.T, server *memory.Server, driver *memory.Store, s *metrics.Store) {
		var held []backend.Lease
		take := func(n int) {
			for range n {
				l, err := s.Lease(t.Context(), time.Minute)
				require.NoError(t, err)
				held = append(held, l)
			}
		}
		figures := func() [2]int {
			f := scrape(t, s)
			return [2]int{f.count("seckill_store_leases"), f.count("seckill_store_leases_lost_total")}
		}
		take(100)
		assert.Equal(t, [2]int{100, 0}, figures())
		for i, l := range held[:30] {
			if i < 10 {
				require.NoError(t, l.Close(t.Context()))
				continue
			}
			require.True(t, server.ExpireLease(l.ID()))
			time.Sleep(time.Minute) // it learns of it at its next renewal
			<-l.Done()
			require.NoError(t, l.Close(t.Context()), "does not make up for the loss")
		}
		assert.Equal(t, [2]int{70, 20}, figures())
		assert.Equal(t, [2]int{70, 20}, figures())
		take(5)
		assert.Equal(t, [2]int{75, 20}, figures())
		require.NoError(t, driver.Close())
		assert.Equal(t, [2]int{0, 20}, figures(), "closing the store loses none")
	})
}

// Nobody may ever scrape.
func TestEndedLeasesDoNotPileUp(t *testing.T) {
	onMemory(t, func(t *testing.T, server *memory.Server, driver *memory.Store, s *metrics.Store) {
		for range 10_000 {
			l, err := s.Lease(t.Context(), time.Minute)
			require.NoError(t, err)
			require.NoError(t, l.Close(t.Context()))
		}
		assert.LessOrEqual(t, s.Kept(), 100)
	})
}

func TestALeaseIsTheDriversOwn(t *testing.T) {
	onMemory(t, func(t *testing.T, server *memory.Server, driver *memory.Store, s *metrics.Store) {
		wrapped, err := s.Lease(t.Context(), time.Minute)
		require.NoError(t, err)
		own, err := driver.Lease(t.Context(), time.Minute)
		require.NoError(t, err)
		assert.IsType(t, own, wrapped)
		put(t, s, "a", backend.WithLease(own))
		put(t, driver, "a", backend.WithLease(wrapped))
	})
}

func TestRegistrationIsTheProgramsBusiness(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	of := func(store string) prometheus.Registerer {
		return prometheus.WrapRegistererWith(prometheus.Labels{"store": store}, registry)
	}
	require.NoError(t, of("first").Register(metrics.New(memory.New())))
	require.NoError(t, of("second").Register(metrics.New(memory.New())))
	var already prometheus.AlreadyRegisteredError
	require.ErrorAs(t, of("first").Register(metrics.New(memory.New())), &already)
	_, err := registry.Gather()
	require.NoError(t, err)
}

func TestNamesAreWhatPrometheusAsksFor(t *testing.T) {
	problems, err := promlint.NewWithMetricFamilies(families(t)).Lint()
	require.NoError(t, err)
	assert.Empty(t, problems)
}

// families are all the metrics there can be.
func families(t *testing.T) []*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(metrics.New(counting{memory.New(), 7})))
	families, err := registry.Gather()
	require.NoError(t, err)
	require.NotEmpty(t, families)
	return families
}

// counting is a driver that meets foreign keys, which memory can't.
type counting struct {
	backend.Store
	foreign uint64
}

func (c counting) ForeignKeys() uint64 { return c.foreign }

func TestForeignKeysAreShownIfTheDriverCountsThem(t *testing.T) {
	const name = "seckill_store_foreign_keys_total"
	assert.NotContains(t, scrape(t, metrics.New(memory.New())), name)
	assert.Equal(t, 7, scrape(t, metrics.New(counting{memory.New(), 7})).count(name))
}

func TestAllSeriesAreThereFromTheBeginning(t *testing.T) {
	s := metrics.New(memory.New())
	before := scrape(t, s)
	put(t, s, "a")
	_, err := s.Get(t.Context(), "b")
	require.ErrorIs(t, err, backend.ErrNotFound)
	assert.Len(t, scrape(t, s), len(before))
	assert.Contains(t, before, `seckill_store_calls_total{operation="put",result="unknown"}`)
	assert.Contains(t, before, `seckill_store_watch_failures_total{result="denied"}`)
}

// The page for operators has a line for each metric, with its type and labels.
func TestThePageListsEveryMetric(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	require.NoError(t, err)
	for _, family := range families(t) {
		var labels []string
		for _, label := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+label.GetName()+"`")
		}
		want := fmt.Sprintf("| %#q | %s | %s |", family.GetName(), strings.ToLower(family.GetType().String()), strings.Join(labels, ", "))
		assert.Contains(t, string(page), want)
	}
}

// watch runs a watch until end is called, which tells how it ended.
func watch(t *testing.T, s backend.Store, prefix string) (end func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		last := errors.New("no error")
		for _, err := range s.WatchPrefix(ctx, prefix) {
			last = err
		}
		ended <- last
	}()
	return func() error {
		cancel()
		return <-ended
	}
}

// limited is a store with a quota.
type limited struct{ backend.Store }

func (limited) Space(context.Context) (backend.Space, error) { return backend.Space{Quota: 7}, nil }

func TestSpaceIsPassedOn(t *testing.T) {
	space, err := backend.SpaceOf(t.Context(), metrics.New(limited{}))
	require.NoError(t, err)
	assert.EqualValues(t, 7, space.Quota)
}
