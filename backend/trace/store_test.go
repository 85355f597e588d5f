package trace_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	oteltrace "go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/goleak"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/backend/trace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fixture is a traced store, in a bubble of time, and what is seen of it.
type fixture struct {
	*testing.T
	backend.Store
	server   *memory.Server
	driver   *memory.Store
	recorder *tracetest.SpanRecorder
	provider oteltrace.TracerProvider
}

func run(t *testing.T, opts trace.Options, f func(f *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server, recorder := memory.NewServer(), tracetest.NewSpanRecorder()
		provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(recorder))
		driver := server.Open()
		defer func() { require.NoError(t, driver.Close()) }()
		opts.System = "memory"
		f(&fixture{t, trace.New(driver, provider, opts), server, driver, recorder, provider})
	})
}

// spans are those that ended since the last call.
func (f *fixture) spans() []sdk.ReadOnlySpan {
	ended := f.recorder.Ended()
	f.recorder.Reset()
	return ended
}

// span is the only one that ended since the last call.
func (f *fixture) span() sdk.ReadOnlySpan {
	f.Helper()
	spans := f.spans()
	require.Len(f, spans, 1)
	return spans[0]
}

func attributes(span sdk.ReadOnlySpan) map[string]any {
	all := map[string]any{}
	for _, kv := range span.Attributes() {
		all[string(kv.Key)] = kv.Value.AsInterface()
	}
	return all
}

type attrs = map[string]any

// base is what every span has, and more.
func base(operation string, more attrs) attrs {
	all := attrs{"db.system.name": "memory", "db.operation.name": operation}
	for k, v := range more {
		all[k] = v
	}
	return all
}

func TestASpanForEachCall(t *testing.T) {
	run(t, trace.Options{}, func(f *fixture) {
		ctx := f.Context()
		lease, err := f.Lease(ctx, time.Minute)
		require.NoError(t, err)
		span := f.span()
		assert.Equal(t, "lease", span.Name())
		assert.Equal(t, oteltrace.SpanKindClient, span.SpanKind())
		assert.Equal(t, codes.Unset, span.Status().Code)
		assert.Equal(t, base("lease", attrs{"seckill.store.lease": lease.ID()}), attributes(span))

		rev, err := f.Put(ctx, "orders/alice", []byte("secret"), backend.If("x", 0), backend.If("y", 0), backend.WithLease(lease))
		require.NoError(t, err)
		span = f.span()
		assert.Equal(t, "put orders", span.Name())
		assert.Equal(t, base("put", attrs{
			"db.collection.name": "orders", "seckill.store.conditions": int64(2),
			"seckill.store.lease": lease.ID(), "seckill.store.revision": int64(rev),
		}), attributes(span))

		_, err = f.Get(ctx, "orders/alice")
		require.NoError(t, err)
		span = f.span()
		assert.Equal(t, "get orders", span.Name())
		assert.Equal(t, base("get", attrs{"db.collection.name": "orders", "seckill.store.revision": int64(rev)}), attributes(span))

		require.NoError(t, f.Delete(ctx, "config", backend.If("config", 0)))
		span = f.span()
		assert.Equal(t, "delete", span.Name())
		assert.Equal(t, base("delete", attrs{"seckill.store.conditions": int64(1)}), attributes(span))
	})
}

func TestSpansBelongToTheCallersTrace(t *testing.T) {
	run(t, trace.Options{}, func(f *fixture) {
		ctx, parent := f.provider.Tracer("test").Start(f.Context(), "request")
		_, err := f.Put(ctx, "a", nil)
		require.NoError(t, err)
		_, _, err = backend.List(ctx, f, "")
		require.NoError(t, err)
		for _, span := range f.spans() {
			assert.Equal(t, parent.SpanContext().SpanID(), span.Parent().SpanID(), span.Name())
		}
		parent.End()
	})
}

func TestAnswersAreNoFailures(t *testing.T) {
	run(t, trace.Options{}, func(f *fixture) {
		_, err := f.Get(f.Context(), "orders/alice")
		require.ErrorIs(t, err, backend.ErrNotFound)
		span := f.span()
		assert.Equal(t, codes.Unset, span.Status().Code)
		assert.Equal(t, base("get", attrs{"db.collection.name": "orders", "db.response.status_code": "not_found"}), attributes(span))

		_, err = f.Put(f.Context(), "orders/alice", nil, backend.If("orders/alice", 1))
		require.ErrorIs(t, err, backend.ErrConflict)
		span = f.span()
		assert.Equal(t, codes.Unset, span.Status().Code)
		assert.Equal(t, "conflict", attributes(span)["db.response.status_code"])

		ctx, cancel := context.WithCancel(f.Context())
		cancel()
		_, err = f.Get(ctx, "a")
		require.ErrorIs(t, err, context.Canceled)
		span = f.span()
		assert.Equal(t, codes.Unset, span.Status().Code)
		assert.Equal(t, base("get", attrs{"db.response.status_code": "canceled"}), attributes(span))
	})
}

func TestFailures(t *testing.T) {
	run(t, trace.Options{}, func(f *fixture) {
		f.driver.Cut()
		_, err := f.Put(f.Context(), "orders/alice", nil)
		require.ErrorIs(t, err, backend.ErrUnavailable)
		span := f.span()
		assert.Equal(t, sdk.Status{Code: codes.Error, Description: "unavailable"}, span.Status())
		assert.Equal(t, base("put", attrs{
			"db.collection.name": "orders", "seckill.store.conditions": int64(0),
			"db.response.status_code": "unavailable", "error.type": "unavailable",
		}), attributes(span))

		_, err = f.Put(f.Context(), "orders/alice", nil, nil)
		require.ErrorIs(t, err, backend.ErrInvalid)
		assert.Equal(t, sdk.Status{Code: codes.Error, Description: "invalid"}, f.span().Status())
		require.ErrorIs(t, f.Delete(f.Context(), "orders/alice"), backend.ErrUnavailable)
		assert.Equal(t, sdk.Status{Code: codes.Error, Description: "unavailable"}, f.span().Status())
		_, err = f.Lease(f.Context(), 0)
		require.ErrorIs(t, err, backend.ErrInvalid)
		assert.Equal(t, sdk.Status{Code: codes.Error, Description: "invalid"}, f.span().Status())
		_, _, err = backend.List(f.Context(), f, "orders/")
		require.ErrorIs(t, err, backend.ErrUnavailable)
		assert.Equal(t, sdk.Status{Code: codes.Error, Description: "unavailable"}, f.span().Status())
	})
}

func TestWholeKeysAreShownToThoseWhoAsk(t *testing.T) {
	run(t, trace.Options{WholeKeys: true}, func(f *fixture) {
		_, err := f.Put(f.Context(), "orders/alice", []byte("secret"))
		require.NoError(t, err)
		span := f.span()
		assert.Equal(t, "put orders", span.Name(), "names of spans are few")
		assert.Equal(t, "orders/alice", attributes(span)["seckill.store.key"])
		f.driver.Cut()
		_, err = f.Get(f.Context(), "orders/alice")
		assert.Equal(t, sdk.Status{Code: codes.Error, Description: err.Error()}, f.span().Status())
	})
}

// watch runs a watch until it ends, and returns a function that ends it and
// waits for that.
func (f *fixture) watch(prefix string) (end func()) {
	ctx, cancel := context.WithCancel(f.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for _, err := range f.WatchPrefix(ctx, prefix) {
			_ = err // what it says of it is not at stake
		}
	}()
	synctest.Wait()
	return func() {
		cancel()
		<-ended
	}
}

func TestAWatchIsASpanUntilItsFirstUpdate(t *testing.T) {
	run(t, trace.Options{}, func(f *fixture) {
		rev, err := f.driver.Put(f.Context(), "dir/a", nil)
		require.NoError(t, err)
		f.driver.Cut()
		began := time.Now()
		end := f.watch("dir/")
		assert.Empty(t, f.spans())
		time.Sleep(time.Minute)
		f.driver.Mend()
		synctest.Wait()
		first := f.span()
		assert.Equal(t, "list dir", first.Name())
		assert.Equal(t, time.Minute, first.EndTime().Sub(began))
		assert.Equal(t, base("list", attrs{
			"db.collection.name": "dir", "db.response.returned_rows": int64(1), "seckill.store.revision": int64(rev),
		}), attributes(first))

		_, err = f.driver.Put(f.Context(), "dir/b", nil)
		require.NoError(t, err)
		time.Sleep(time.Hour)
		assert.Empty(t, f.spans(), "changes are no spans")

		f.server.LoseHistory()
		synctest.Wait()
		resync := f.span()
		assert.Equal(t, "resync dir", resync.Name())
		assert.Equal(t, resync.StartTime(), resync.EndTime())
		assert.Equal(t, int64(2), attributes(resync)["db.response.returned_rows"])
		require.Len(t, resync.Links(), 1)
		assert.Equal(t, first.SpanContext(), resync.Links()[0].SpanContext)
		assert.NotEqual(t, first.SpanContext().TraceID(), resync.SpanContext().TraceID())

		end()
		assert.Empty(t, f.spans(), "nothing failed")
	})
}

func TestAWatchThatAnErrorEnds(t *testing.T) {
	run(t, trace.Options{}, func(f *fixture) {
		end := f.watch("dir/")
		first := f.span()
		require.NoError(t, f.driver.Close())
		synctest.Wait()
		failure := f.span()
		end()
		assert.Equal(t, "watch dir", failure.Name())
		assert.Equal(t, sdk.Status{Code: codes.Error, Description: "closed"}, failure.Status())
		require.Len(t, failure.Links(), 1)
		assert.Equal(t, first.SpanContext(), failure.Links()[0].SpanContext)

		f.watch("dir/")()
		failure = f.span()
		assert.Equal(t, "list dir", failure.Name())
		assert.Equal(t, codes.Error, failure.Status().Code)
	})
}

func TestASpanEndsWithItsWatch(t *testing.T) {
	run(t, trace.Options{}, func(f *fixture) {
		f.driver.Cut()
		f.watch("")()
		span := f.span()
		assert.Equal(t, codes.Unset, span.Status().Code)
		assert.Equal(t, base("list", attrs{"db.response.status_code": "canceled"}), attributes(span))
	})
}

func TestALeaseIsTheDriversOwn(t *testing.T) {
	run(t, trace.Options{}, func(f *fixture) {
		lease, err := f.Lease(f.Context(), time.Minute)
		require.NoError(t, err)
		_, err = f.driver.Put(f.Context(), "a", nil, backend.WithLease(lease))
		require.NoError(t, err)
	})
}

func TestAProviderThatRecordsNothing(t *testing.T) {
	driver := memory.New()
	defer func() { require.NoError(t, driver.Close()) }()
	s := trace.New(driver, noop.NewTracerProvider(), trace.Options{})
	_, err := s.Put(t.Context(), "a", nil, backend.If("a", 0))
	require.NoError(t, err)
	_, _, err = backend.List(t.Context(), s, "")
	require.NoError(t, err)
	_, err = s.Get(t.Context(), "b")
	require.ErrorIs(t, err, backend.ErrNotFound)
}

// limited is a store with a quota.
type limited struct{ backend.Store }

func (limited) Space(context.Context) (backend.Space, error) { return backend.Space{Quota: 7}, nil }

func TestSpaceIsPassedOn(t *testing.T) {
	space, err := backend.SpaceOf(t.Context(), trace.New(limited{}, noop.NewTracerProvider(), trace.Options{}))
	require.NoError(t, err)
	assert.EqualValues(t, 7, space.Quota)
}
