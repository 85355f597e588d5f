package conformance

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/seed27495941/seckill/backend"
)

// checkLimit ends a check. Undecided it is a failure: nothing was proven.
const checkLimit = time.Minute

// check requires that one order of the operations explains the history: each
// takes effect at once, at a moment between its call and its return.
func (h *history) check() {
	h.t.Helper()
	h.mu.Lock()
	ops := slices.Clone(h.operations)
	h.mu.Unlock()
	v, err := judge(ops, checkLimit)
	if err != nil {
		h.t.Fatalf("history: %v", err)
	}
	switch v.result {
	case porcupine.Ok:
	case porcupine.Unknown:
		h.t.Fatalf("history: undecided after %v: %d operations, %d of them open", checkLimit, len(v.ops), len(v.model.open))
	default:
		complaint := shortest(ops).complaint(h.t)
		h.t.Fatalf("the history is not linearizable: %s", strings.ReplaceAll(complaint, h.dir, ""))
	}
}

// A verdict is what the checker says about operations.
type verdict struct {
	model  *model
	ops    []porcupine.Operation
	result porcupine.CheckResult
}

func judge(recorded []*operation, limit time.Duration) (*verdict, error) {
	ops := prepare(recorded)
	m, err := newModel(ops)
	if err != nil {
		return nil, err
	}
	return &verdict{m, ops, porcupine.CheckOperationsTimeout(m.porcupine(), ops, limit)}, nil
}

// An impossibility is a history that nothing explains, but for its last return.
type impossibility struct {
	*verdict
	culprit *operation
	info    porcupine.LinearizationInfo
	longest []porcupine.Operation // the longest order that can be explained
}

// shortest finds the return up to which a history was possible.
func shortest(recorded []*operation) *impossibility {
	const limit = 5 * time.Second // for each try
	recorded = slices.Clone(recorded)
	slices.SortFunc(recorded, func(a, b *operation) int { return cmp.Compare(a.returned, b.returned) })
	n := sort.Search(len(recorded)-1, func(i int) bool {
		v, err := judge(until(recorded, recorded[i].returned), limit)
		return err == nil && v.result == porcupine.Illegal
	})
	x := &impossibility{culprit: recorded[n]}
	x.verdict, _ = judge(until(recorded, recorded[n].returned), limit) // a part of what was judged
	_, x.info = porcupine.CheckOperationsVerbose(x.model.porcupine(), x.ops, limit)
	for _, orders := range x.info.PartialLinearizationsOperations() {
		for _, order := range orders {
			if len(order) > len(x.longest) {
				x.longest = order
			}
		}
	}
	return x
}

// until is what was known of a history at a moment: writes that had not returned
// were open.
func until(recorded []*operation, end time.Duration) []*operation {
	var known []*operation
	for _, o := range recorded {
		switch {
		case o.called > end:
		case o.returned <= end:
			known = append(known, o)
		case o.writes():
			open := *o
			open.class = backend.ErrUnknown
			known = append(known, &open)
		}
	}
	return known
}

// complaint tells what can't be explained and what led to it, and draws a
// picture of it.
func (x *impossibility) complaint(t testing.TB) string {
	const most = 20 // lines of a kind
	var b strings.Builder
	list := func(ops []porcupine.Operation) {
		for _, p := range ops {
			b.WriteString(line(input(p)))
		}
	}
	b.WriteString("no order of the operations explains, with times in ms," + line(x.culprit))
	b.WriteString("\nwhile without it all could have been in an order that ends")
	list(x.longest[max(0, len(x.longest)-most):])
	explained := map[*operation]bool{}
	var s state
	for _, p := range x.longest {
		explained[input(p)] = true
		s, _ = x.model.step(s, input(p))
	}
	fmt.Fprintf(&b, "\nand makes %s. That leaves", x.model.describe(s))
	left := slices.DeleteFunc(slices.Clone(x.ops), func(p porcupine.Operation) bool {
		return explained[input(p)] || input(p).kind == opEnd
	})
	list(left[:min(most, len(left))])
	if more := len(left) - most; more > 0 {
		fmt.Fprintf(&b, "\n  and %d more", more)
	}
	path := filepath.Join(t.ArtifactDir(), "history.html")
	if err := porcupine.VisualizePath(x.model.porcupine(), x.info, path); err != nil {
		path = err.Error()
	}
	fmt.Fprintf(&b, "\nA picture of it, which go test -artifacts keeps: %s", path)
	return b.String()
}

func line(o *operation) string {
	return fmt.Sprintf("\n  %10.3f … %10.3f  client %d: %s", milliseconds(o.called), milliseconds(o.returned), o.client, o)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
