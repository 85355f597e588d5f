package embed

import (
	"context"
	"log/slog"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// noise is what etcd warns of at every start: it does not concern a server of
// this kind, or, as the last two, passes when the first snapshot of the schema
// is there.
var noise = map[string]bool{
	"Running http and grpc server on single port. This is not recommended for production.": true,
	"simple token is not cryptographically signed":                                         true,
	"Failed to detect schema version":                                                      true,
	"failed to update storage version":                                                     true,
}

// zapLogger passes warnings and errors on to a logger of the standard library,
// until closing is set: etcd reports each listener that it has closed itself as
// an error.
func zapLogger(to *slog.Logger, closing *atomic.Bool) *zap.Logger {
	if to == nil {
		return zap.NewNop()
	}
	return zap.New(&bridge{to: to.Handler(), closing: closing})
}

// A bridge is a zap core in front of a slog handler.
type bridge struct {
	to      slog.Handler
	closing *atomic.Bool
}

var _ zapcore.Core = (*bridge)(nil)

func (b *bridge) Enabled(level zapcore.Level) bool {
	return level >= zapcore.WarnLevel && !b.closing.Load() && b.to.Enabled(context.Background(), slogLevel(level))
}

func (b *bridge) With(fields []zapcore.Field) zapcore.Core {
	return &bridge{to: b.to.WithAttrs(attrs(fields)), closing: b.closing}
}

func (b *bridge) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !b.Enabled(e.Level) || noise[e.Message] {
		return checked
	}
	return checked.AddCore(e, b)
}

func (b *bridge) Write(e zapcore.Entry, fields []zapcore.Field) error {
	r := slog.NewRecord(e.Time, slogLevel(e.Level), "etcd: "+e.Message, 0)
	r.AddAttrs(attrs(fields)...)
	return b.to.Handle(context.Background(), r)
}

func (b *bridge) Sync() error { return nil }

func slogLevel(level zapcore.Level) slog.Level {
	switch {
	case level >= zapcore.ErrorLevel:
		return slog.LevelError
	case level == zapcore.WarnLevel:
		return slog.LevelWarn
	case level == zapcore.InfoLevel:
		return slog.LevelInfo
	default:
		return slog.LevelDebug
	}
}

func attrs(fields []zapcore.Field) []slog.Attr {
	out := make([]slog.Attr, 0, len(fields))
	for _, f := range fields {
		values := zapcore.NewMapObjectEncoder()
		f.AddTo(values)
		for key, value := range values.Fields {
			out = append(out, slog.Any(key, value))
		}
	}
	return out
}
