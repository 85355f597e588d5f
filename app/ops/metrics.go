package ops

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
)

// A collector makes metrics of the status when it is asked for them, so that
// the two never disagree.
type collector struct {
	status func() Status
}

// Describe implements prometheus.Collector. It names nothing, because what
// there is depends on what the process is.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	s := c.status()
	gauge := func(name, help string, value float64) {
		metrics <- prometheus.MustNewConstMetric(prometheus.NewDesc("seckill_"+name, help, nil, nil), prometheus.GaugeValue, value)
	}
	counter := func(name, help string, value uint64) {
		metrics <- prometheus.MustNewConstMetric(prometheus.NewDesc("seckill_"+name, help, nil, nil), prometheus.CounterValue, float64(value))
	}

	metrics <- prometheus.MustNewConstMetric(
		prometheus.NewDesc("seckill_build_info", "What runs here.", []string{"version", "goversion", "backend"}, nil),
		prometheus.GaugeValue, 1, s.Version, runtime.Version(), s.Backend)
	gauge("ready", "Whether the process is ready to serve.", one(s.Ready))
	gauge("store_reachable", "Whether the store can be expected to answer.", one(s.Store.Reachable))
	if !s.Store.Answered.IsZero() {
		gauge("store_answered_timestamp_seconds", "When the store last answered.", float64(s.Store.Answered.UnixMilli())/1000)
	}
	gauge("config_refused", "Whether the published cluster config was refused, so that the last good one is in force.", one(s.Config.Refusal != nil))
	gauge("config_revision", "Store revision of the cluster config in force, 0 for the process's own settings.", float64(s.Config.Revision))
	counter("config_applied_total", "Published cluster configs that were put in force.", s.Config.Applied)
	counter("config_refusals_total", "Published cluster configs that were refused.", s.Config.Refused)
	gauge("config_override", "Whether a config that was pushed to this node is in force.", one(s.Config.Override != nil))
	if s.Settings != nil {
		gauge("settings_refused", "Whether the settings file as it is now was refused, so that the old settings are in force.", one(s.Settings.Refusal != nil))
		counter("settings_loads_total", "Times that the settings file was taken, at the start too.", s.Settings.Loads)
		counter("settings_refusals_total", "Times that the settings file was refused.", s.Settings.Refusals)
	}
	if s.Node != nil {
		gauge("registered", "Whether the node is listed, as far as it can know.", one(s.Node.Registered))
	}
	if s.Gate != nil {
		collectGate(metrics, *s.Gate)
	}
	if s.Nodes.Synced {
		gauge("nodes", "Nodes that are listed.", float64(s.Nodes.Listed))
		gauge("nodes_staleness_seconds", "Time since the store last confirmed the list of nodes.", s.Nodes.StalenessSeconds)
	}
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
