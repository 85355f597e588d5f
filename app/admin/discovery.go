package admin

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
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
// none, and those of their own machine only, are left out, and so are labels whose name is
// another one's to Prometheus; the log says so once for each node. A list that was not read
// yet is an error, upon which Prometheus keeps the targets that it has.
func (s *Service) Discover(context.Context, *struct{}) (*Answer[[]TargetGroup], error) {
	if s.directory.Staleness() < 0 {
		return nil, problem(unavailable, "The list of nodes was not read yet")
	}
	groups, left := []TargetGroup{}, map[string]omission{}
	for _, n := range s.directory.Nodes() {
		if warning := opsWarning(n); warning != "" {
			left[n.ID] = omission{"a node", warning}
			continue
		}
		labels, same := metaLabels(n)
		if len(same) > 0 {
			left[n.ID] = omission{"a label", strings.Join(same, "; ")}
		}
		groups = append(groups, TargetGroup{[]string{n.Ops}, labels})
	}
	s.warned.tell(s.cfg.Log, left)
	return answer(groups), nil
}

// An omission is what of a node was left out, and why.
type omission struct{ what, why string }

// warned is what the log was told of nodes. The zero value is nothing.
type warned struct {
	mu   sync.Mutex
	left map[string]omission // by node
}

// tell tells the log what it was not told before.
func (w *warned) tell(log *slog.Logger, left map[string]omission) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, o := range left {
		if w.left[id] != o {
			log.Warn("left out of service discovery", "what", o.what, "node", id, "because", o.why)
		}
	}
	w.left = left
}

// metaLabels are the labels of a node's targets. Of the node's own ones that have the same
// name here the first counts; the others are told.
func metaLabels(n registry.Node) (labels map[string]string, same []string) {
	labels = map[string]string{
		metaLabel + "id":          n.ID,
		metaLabel + "addr":        n.Addr,
		metaLabel + "version":     n.Version,
		metaLabel + "incarnation": n.Incarnation,
		metaLabel + "config":      n.Config,
		metaLabel + "serves":      strconv.FormatBool(n.Serves()),
	}
	first := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(n.Labels)) {
		if n.Labels[name] == "" {
			continue // which is no label to Prometheus
		}
		meta := metaLabel + "label_" + labelName(name)
		if other, taken := first[meta]; taken {
			same = append(same, fmt.Sprintf("its labels %s and %s are one to Prometheus", name, other))
			continue
		}
		first[meta], labels[meta] = name, n.Labels[name]
	}
	maps.DeleteFunc(labels, func(_, value string) bool { return value == "" })
	return labels, same
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
