// Package conformance proves that a driver keeps the contract of package
// backend. A driver's test calls [Run] with a function that makes a [Harness]:
// a fresh, empty namespace of a real store, and access to it past the driver.
//
// Every [Case] has a name, one sentence of what it proves, and the number of
// the guarantee it belongs to. Nothing is skipped in silence: a case needs
// powers of the harness, and a harness that lacks one must declare it with the
// reason, which the result repeats. Exact errors are asserted. Time is not
// guessed at: a case waits for a condition, under a watchdog that is far off.
package conformance

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed27495941/seckill/backend"
)

// watchdog ends a case that waits for something that does not come. It is no
// measure of speed.
const watchdog = 5 * time.Minute

// A Case proves one thing about a driver.
type Case struct {
	Name      string // "lease/moved-key-outlives-its-old-lease"
	Guarantee int    // of package backend's documentation
	Proves    string // one sentence
	Needs     []Power

	// own says that the case wants the server's limits for itself, as they are
	// by default.
	own bool
	// alone says that the case measures the process: no other runs beside it.
	alone bool
	run   func(t *proof)
}

// Exclusive reports whether the case disturbs the server, or wants it with
// settings of its own or with its limits to itself, so that it can't share one.
func (c Case) Exclusive() bool {
	return c.own || slices.ContainsFunc(c.Needs, func(p Power) bool { return !slices.Contains(shareable, p) })
}

// NeedsPower reports whether the case needs one of the powers.
func (c Case) NeedsPower(powers ...Power) bool {
	return slices.ContainsFunc(c.Needs, func(p Power) bool { return slices.Contains(powers, p) })
}

// Cases lists the suite in the order of the guarantees.
func Cases() []Case {
	return slices.Concat(
		linearizable(), leaderChanges(), concurrency(), conditions(), revisions(), leases(), watches(), watchedConcurrency(), failures(), limits(), contexts(),
	)
}

// Needing lists the cases that need one of the powers.
func Needing(powers ...Power) []Case {
	return slices.DeleteFunc(Cases(), func(c Case) bool { return !c.NeedsPower(powers...) })
}

// The results of a case.
const (
	Pass        = "pass"
	Fail        = "fail"
	Unsupported = "unsupported"
)

// A Result is a line of the report.
type Result struct {
	Case      string `json:"case"`
	Guarantee int    `json:"guarantee"`
	Driver    string `json:"driver"`
	Server    string `json:"server"`
	Nodes     int    `json:"nodes"`
	Result    string `json:"result"`
	Reason    string `json:"reason,omitempty"` // of Unsupported
}

// Run runs cases, all of [Cases] if none are given, as subtests, each with a
// harness of its own: first, one by one, those that measure the process, then
// the others in parallel, because most of them wait. The results are in the
// order of the cases; those that -run left out have none. See [Save].
func Run(t *testing.T, newHarness func(t *testing.T, c Case) Harness, cases ...Case) []Result {
	if len(cases) == 0 {
		cases = Cases()
	}
	var (
		mu      sync.Mutex
		results = map[string]Result{}
	)
	record := func(r Result) {
		mu.Lock()
		defer mu.Unlock()
		results[r.Case] = r
	}
	// Parallel subtests end with the group, so that all results are in.
	t.Run("case", func(t *testing.T) {
		for _, c := range cases {
			if c.alone {
				t.Run(c.Name, func(t *testing.T) { runCase(t, c, newHarness, record) })
			}
		}
		for _, c := range cases {
			if !c.alone {
				t.Run(c.Name, func(t *testing.T) {
					t.Parallel()
					runCase(t, c, newHarness, record)
				})
			}
		}
	})
	return inOrder(cases, results)
}

func inOrder(cases []Case, results map[string]Result) []Result {
	var ordered []Result
	for _, c := range cases {
		if r, ok := results[c.Name]; ok {
			ordered = append(ordered, r)
		}
	}
	return ordered
}

func runCase(t *testing.T, c Case, newHarness func(t *testing.T, c Case) Harness, record func(Result)) {
	r := Result{Case: c.Name, Guarantee: c.Guarantee, Result: Pass}
	// First of all, so that whatever ends the case, the harness's own clean-up
	// included, is in the report.
	t.Cleanup(func() {
		if t.Failed() || t.Skipped() && r.Result != Unsupported {
			r.Result = Fail
			t.Logf("proves (guarantee %d): %s", c.Guarantee, c.Proves)
		}
		record(r)
	})
	h := newHarness(t, c)
	info := h.Describe()
	r.Driver, r.Server, r.Nodes = info.Driver, info.Server, info.Nodes
	if missing, reason := lacking(h, c); missing != "" {
		if reason == "" {
			t.Fatalf("the harness lacks %q, which this case needs, and does not say why", missing)
		}
		r.Result, r.Reason = Unsupported, reason
		t.Skipf("unsupported: lacks %q: %s", missing, reason)
	}
	p := &proof{T: t, Harness: h}
	p.rewind()
	defer func() { p.stop() }()
	c.run(p)
}

// patience is how long the watchdog waits: less where the whole test binary is
// ended soon, so that a case can say what it is waiting for, and others too.
func patience(t *testing.T) time.Duration {
	deadline, ok := t.Deadline()
	if !ok {
		return watchdog
	}
	return min(watchdog, time.Until(deadline)/2)
}

// lacking names the first power that a case needs and the harness has not, and
// the declared reason.
func lacking(h Harness, c Case) (missing Power, reason string) {
	lacks := h.Lacks()
	for _, p := range c.Needs {
		if r, declared := lacks[p]; declared {
			return p, r
		}
		if !has(h, p) {
			return p, ""
		}
	}
	return "", ""
}

// A proof is what a case works with.
type proof struct {
	*testing.T
	Harness

	ctx  context.Context // ends with the watchdog
	stop context.CancelFunc
}

// rewind starts the watchdog anew: a case that does much has got somewhere.
func (t *proof) rewind() {
	if t.stop != nil {
		t.stop()
	}
	limit := patience(t.T)
	t.ctx, t.stop = context.WithTimeoutCause(t.Context(), limit, fmt.Errorf("watchdog: the case took longer than %v", limit))
}

// open opens a store that is closed when the case ends.
func (t *proof) open() Store {
	t.Helper()
	s, err := t.Harness.Open()
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { t.close(s) })
	return s
}

// close closes a store. One that does not come to an end must not take the other
// cases with it.
func (t *proof) close(s Store) {
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Errorf("close: %v", err)
		}
	case <-time.After(staleness):
		t.Errorf("close does not return")
	}
}

// key makes a key under the case's namespace.
func key(parts ...any) string {
	s := make([]string, len(parts))
	for i, p := range parts {
		s[i] = fmt.Sprint(p)
	}
	return strings.Join(s, "/")
}

// value makes a value that tells where it was written.
func value(parts ...any) []byte { return []byte(fmt.Sprint(parts...)) }

var _ backend.Store = Store(nil)
