package ops

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed27495941/seckill/app/gate"
	"github.com/seed27495941/seckill/app/gate/breaker"
)

// collectGate makes metrics of a gate's status.
func collectGate(metrics chan<- prometheus.Metric, s gate.Status) {
	send := func(kind prometheus.ValueType, name, help string, value float64, labels ...string) {
		var names, values []string
		for i := 0; i < len(labels); i += 2 {
			names, values = append(names, labels[i]), append(values, labels[i+1])
		}
		metrics <- prometheus.MustNewConstMetric(prometheus.NewDesc("seckill_gate_"+name, help, names, nil), kind, value, values...)
	}
	gauge := func(name, help string, value float64, labels ...string) {
		send(prometheus.GaugeValue, name, help, value, labels...)
	}
	counter := func(name, help string, value uint64, labels ...string) {
		send(prometheus.CounterValue, name, help, float64(value), labels...)
	}

	for _, c := range s.Checks {
		const help = "Requests that a check has let pass or refused."
		counter("decisions_total", help, c.Passed, "check", c.Check, "decision", "passed")
		counter("decisions_total", help, c.Refused, "check", c.Check, "decision", "refused")
	}
	for _, state := range []breaker.State{breaker.Closed, breaker.HalfOpen, breaker.Open} {
		gauge("breaker_state", "1 for the state that the circuit breaker is in.", one(s.Breaker.State == state), "state", string(state))
	}
	counter("breaker_opened_total", "How often the circuit breaker has opened.", s.Breaker.Opened)
	gauge("cpu_ratio", "How busy the processors are that the process may use, as the circuit breaker sees it.", s.Breaker.CPU/100)
	gauge("latency_p99_seconds", "99th percentile of what requests took that were let through, of the last ten seconds.", s.Breaker.Latency/1000)

	gauge("share", "This node's part of the cluster's rates.", s.Limits.Share)
	for limit, rate := range map[string]gate.Rate{"node": s.Limits.Node, "store": s.Limits.Store, "user": s.Limits.User} {
		gauge("limit_requests_per_second", "The rate in force at this node.", rate.PerSecond, "limit", limit)
	}
	gauge("users", "Users that there is a bucket for.", float64(s.Limits.Users))
	counter("cached_pages_total", "Answers that were made some seconds before, as operators say they may be.", s.CachedPages)

	if list := s.Blacklist; list != nil {
		gauge("blacklist_ids", "Users on the blacklist.", float64(list.IDs))
		gauge("blacklist_refused", "Whether the blacklist's file as it is now was not taken, so that the last good one is in force.", one(list.Refusal != nil))
		gauge("blacklist_loaded_timestamp_seconds", "When the blacklist in force was loaded.", float64(list.LoadedAt.UnixMilli())/1000)
		counter("blacklist_loads_total", "How often a blacklist was loaded.", list.Loads)
		counter("blacklist_refusals_total", "How often the blacklist's file was not taken.", list.Refusals)
	}
}
