// Package trace makes spans of what a program asks of a [backend.Store], with
// OpenTelemetry.
//
//	store := trace.New(driver, provider, trace.Options{System: "etcd"})
//
// Each call is a client span with the attributes of OpenTelemetry's
// conventions for databases. Its db.response.status_code says how it ended
// ("conflict", "unavailable"), and if that is a failure so do error.type and
// the span's status; that a key does not exist or a condition does not hold is
// an answer and none. The names are those of package metrics.
//
// A watch lives for hours and no span does. One called "list" lasts until the
// first update. Each further snapshot is a "resync", and an error that ends the
// watch later is a "watch": spans without duration, in traces of their own,
// linked to the first.
//
// Keys often name people, and traces go far. So a key is shown by its first
// segment only, as db.collection.name and in the name of the span, unless
// [Options] say otherwise, and the texts of errors, which quote keys, are not
// shown. Values never are.
package trace

import (
	"context"
	"iter"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/internal/outcome"
)

// The attributes that no convention has a name for.
const (
	keyAttribute        = attribute.Key("seckill.store.key") // or prefix
	conditionsAttribute = attribute.Key("seckill.store.conditions")
	leaseAttribute      = attribute.Key("seckill.store.lease")
	revisionAttribute   = attribute.Key("seckill.store.revision")
)

// Options say what spans show.
type Options struct {
	// System is the kind of store, for db.system.name: "etcd", "consul".
	System string

	// WholeKeys shows keys as they are, and the texts of errors.
	WholeKeys bool
}

// New wraps a store. It uses no provider but the one given, which must not be
// nil, and that only to begin spans: it is the caller's to shut down.
func New(store backend.Store, provider trace.TracerProvider, opts Options) backend.Store {
	return &traced{
		store:  store,
		opts:   opts,
		tracer: provider.Tracer("github.com/seed27495941/seckill/backend/trace", trace.WithSchemaURL(semconv.SchemaURL)),
	}
}

type traced struct {
	store  backend.Store
	opts   Options
	tracer trace.Tracer
}

// begin begins the span of an operation on a key or a prefix.
func (t *traced) begin(ctx context.Context, operation, key string, more ...trace.SpanStartOption) (context.Context, trace.Span) {
	name, attributes := operation, []attribute.KeyValue{
		semconv.DBSystemNameKey.String(t.opts.System),
		semconv.DBOperationName(operation),
	}
	if collection, _, ok := strings.Cut(key, "/"); ok {
		name += " " + collection
		attributes = append(attributes, semconv.DBCollectionName(collection))
	}
	if t.opts.WholeKeys {
		attributes = append(attributes, keyAttribute.String(key))
	}
	more = append(more, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...))
	return t.tracer.Start(ctx, name, more...)
}

// end ends the span of what returned err.
func (t *traced) end(span trace.Span, result outcome.Outcome, err error) {
	defer span.End()
	if result == outcome.OK || !span.IsRecording() {
		return
	}
	word := result.String()
	span.SetAttributes(semconv.DBResponseStatusCode(word))
	if !result.Failed() {
		return
	}
	span.SetAttributes(semconv.ErrorTypeKey.String(word))
	if t.opts.WholeKeys {
		word = err.Error()
	}
	span.SetStatus(codes.Error, word)
}

// Lease implements [backend.Store].
func (t *traced) Lease(ctx context.Context, ttl time.Duration) (backend.Lease, error) {
	ctx, span := t.begin(ctx, "lease", "")
	l, err := t.store.Lease(ctx, ttl)
	if err == nil {
		span.SetAttributes(leaseAttribute.String(l.ID()))
	}
	t.end(span, outcome.Of(err), err)
	return l, err
}

// Put implements [backend.Store].
func (t *traced) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	ctx, span := t.begin(ctx, "put", key)
	rev, err := t.store.Put(ctx, key, value, opts...)
	if span.IsRecording() {
		describe(span, key, value, opts)
		found(span, rev)
	}
	t.end(span, outcome.Of(err), err)
	return rev, err
}

// describe shows the options of a put, unless they are not valid.
func describe(span trace.Span, key string, value []byte, opts []backend.PutOption) {
	o, err := backend.ResolvePut(key, value, opts...)
	if err != nil {
		return
	}
	span.SetAttributes(conditionsAttribute.Int(len(o.Conditions)))
	if o.Lease != nil {
		span.SetAttributes(leaseAttribute.String(o.Lease.ID()))
	}
}

// found shows the revision that a call made or found, if it did.
func found(span trace.Span, rev backend.Revision) {
	if rev != 0 {
		span.SetAttributes(revisionAttribute.Int64(int64(rev))) // there is no unsigned attribute; no store gets that far
	}
}

// Get implements [backend.Store].
func (t *traced) Get(ctx context.Context, key string) (backend.Entry, error) {
	ctx, span := t.begin(ctx, "get", key)
	e, err := t.store.Get(ctx, key)
	found(span, e.Revision)
	t.end(span, outcome.Of(err), err)
	return e, err
}

// Delete implements [backend.Store].
func (t *traced) Delete(ctx context.Context, key string, conds ...backend.Condition) error {
	ctx, span := t.begin(ctx, "delete", key)
	span.SetAttributes(conditionsAttribute.Int(len(conds)))
	err := t.store.Delete(ctx, key, conds...)
	t.end(span, outcome.Of(err), err)
	return err
}

// Space implements [backend.Spacious], without a span.
func (t *traced) Space(ctx context.Context) (backend.Space, error) {
	return backend.SpaceOf(ctx, t.store)
}

// WatchPrefix implements [backend.Store].
func (t *traced) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		// The watch itself goes on in the caller's context: it outlives the span.
		_, span := t.begin(ctx, "list", prefix)
		defer span.End() // again, unless the store yields nothing at all
		begun := false
		for u, err := range t.store.WatchPrefix(ctx, prefix) {
			switch {
			case !begun:
				snapshot(span, u)
				t.end(span, outcome.OfWatch(ctx, err), err)
			case u.Snapshot:
				t.later(ctx, "resync", prefix, span, u, nil)
			case err != nil && ctx.Err() == nil:
				t.later(ctx, "watch", prefix, span, u, err)
			}
			begun = true
			if !yield(u, err) {
				return
			}
		}
	}
}

// later makes the span of something that happened to a watch after its first
// update.
func (t *traced) later(ctx context.Context, what, prefix string, first trace.Span, u backend.Update, err error) {
	link := trace.WithLinks(trace.Link{SpanContext: first.SpanContext()})
	_, span := t.begin(ctx, what, prefix, trace.WithNewRoot(), link)
	snapshot(span, u)
	t.end(span, outcome.Of(err), err)
}

// snapshot shows how much a watch was told, if it was.
func snapshot(span trace.Span, u backend.Update) {
	if u.Snapshot {
		span.SetAttributes(semconv.DBResponseReturnedRows(len(u.Puts)))
		found(span, u.Revision)
	}
}
