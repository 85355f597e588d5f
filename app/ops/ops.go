// Package ops is what those who run the processes look at: metrics, the status
// and profiles. It is for a network of its own, and on loopback by default.
package ops

import (
	"encoding/json"
	"net/http"
	"net/http/pprof"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/seed27495941/seckill/app/gate"
	"github.com/seed27495941/seckill/app/node"
)

// A Status is what a process says about itself.
type Status struct {
	node.Status
	Gate *gate.Status `json:"gate,omitempty"` // none if buyers do not come here
}

// New makes the service of a process from what it says about itself, and from
// the metrics of its store.
func New(status func() Status, store prometheus.Collector) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		&collector{status},
		store,
	)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry}))
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ") // people read it with curl
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(status())
	})
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	// Not pprof.Cmdline: a password or token among the flags would be on a page.
	mux.HandleFunc("GET /debug/pprof/cmdline", http.NotFound)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}
