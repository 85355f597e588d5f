package gate

import (
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/seed27495941/seckill/app/gate/limit"
)

// linesPerSecond bounds the access log: of failures, and of all else.
const linesPerSecond = 10

// An accessLog has a line for each request while there are few, and for some of them
// when there are many. Nothing in it tells who a buyer is.
type accessLog struct {
	log           *slog.Logger
	plain, failed *sampler
}

// A sampler picks requests that have a line, each of which says for how many it stands.
type sampler struct {
	lines  *limit.Bucket
	unsaid atomic.Int64 // requests since the last line
}

func newAccessLog(log *slog.Logger) (*accessLog, error) {
	plain, err := newSampler()
	if err != nil {
		return nil, err
	}
	failed, err := newSampler()
	return &accessLog{log, plain, failed}, err
}

func newSampler() (*sampler, error) {
	lines, err := limit.NewBucket(limit.PerSecond(linesPerSecond, linesPerSecond))
	return &sampler{lines: lines}, err
}

// pick is for how many requests a line stands that is to be written now; 0: none is.
func (s *sampler) pick() int64 {
	s.unsaid.Add(1)
	if ok, _ := s.lines.Allow(); !ok {
		return 0
	}
	return s.unsaid.Swap(0)
}

// over writes a line about a request that is over, if it is time for one. That the gate
// refuses with 503 is no failure.
func (a *accessLog) over(w *writer, r *http.Request, pattern string) {
	w.begin(http.StatusInternalServerError) // only a panic has written nothing
	level, requests := slog.LevelInfo, a.plain
	if w.result() >= http.StatusInternalServerError && !w.refused {
		level, requests = slog.LevelWarn, a.failed
	}
	stands := requests.pick()
	if stands == 0 {
		return
	}
	a.log.LogAttrs(r.Context(), level, "request",
		slog.String("id", w.id),
		slog.String("method", r.Method),
		slog.String("route", pattern),
		slog.Int("status", w.result()),
		slog.Int64("bytes", w.bytes),
		slog.Duration("took", time.Since(w.began)),
		slog.Int64("requests", stands),
	)
}
