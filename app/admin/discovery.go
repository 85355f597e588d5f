package admin

import (
	"context"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"sync"

	"github.com/seed27495941/seckill/recipe/registry"
)

// A TargetGroup is what Prometheus is to scrape, as its HTTP service discovery has it.
type TargetGroup struct {
	Targets []string          `json:"targets" nullable:"false"`
	Labels  map[string]string `json:"labels"`
}

// metaLabel is how the labels begin that Prometheus drops after relabelling.
const metaLabel = "__meta_seckill_"

// Discover lists where monitoring finds the nodes: their ops addresses. Those that tell
// none, and those of their own machine only, are left out; the log says so once for each.
func (s *Service) Discover(context.Context, *struct{}) (*Answer[[]TargetGroup], error) {
	groups, left := []TargetGroup{}, map[string]string{}
	for _, n := range s.directory.Nodes() {
		if warning := opsWarning(n); warning != "" {
			left[n.ID] = warning
			continue
		}
		groups = append(groups, TargetGroup{[]string{n.Ops}, metaLabels(n)})
	}
	s.warned.tell(s.cfg.Log, left)
	return answer(groups), nil
}

// warned is what the log was told of nodes that were left out. The zero value is nothing.
type warned struct {
	mu   sync.Mutex
	left map[string]string // by node
}

// tell tells the log what it was not told before.
func (w *warned) tell(log *slog.Logger, left map[string]string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, why := range left {
		if w.left[id] != why {
			log.Warn("a node is left out of service discovery", "node", id, "because", why)
		}
	}
	w.left = left
}

func metaLabels(n registry.Node) map[string]string {
	labels := map[string]string{
		metaLabel + "id":          n.ID,
		metaLabel + "addr":        n.Addr,
		metaLabel + "version":     n.Version,
		metaLabel + "incarnation": n.Incarnation,
		metaLabel + "config":      n.Config,
		metaLabel + "serves":      strconv.FormatBool(n.Serves()),
	}
	for name, value := range n.Labels {
		labels[metaLabel+"label_"+labelName(name)] = value
	}
	maps.DeleteFunc(labels, func(_, value string) bool { return value == "" }) // which is no label to Prometheus
	return labels
}

// labelName makes a name that Prometheus takes, as its own discoveries do.
func labelName(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, name)
}
