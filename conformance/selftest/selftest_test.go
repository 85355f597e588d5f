// Package selftest shows that the conformance suite can fail. It has stores
// that are broken in one way each, mostly ways in which real ones have been,
// and requires of each that the cases which are about it fail. It is a test and
// nothing else.
//
// A case that fails fails its test binary. So each broken store runs in a
// process of its own: this test binary again, which the environment tells what
// store to be.
package selftest

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed27495941/seckill/conformance"
)

// A defect is a way for a store to be broken.
type defect struct {
	name  string   // of the broken store
	wrong string   // what it does
	seen  string   // whose mistake it was; "" if it is only easy to make
	cases []string // that are about it, and must fail

	// waits is set if the defect is that something never comes, which only the
	// watchdog can tell: what the cases say they were waiting for. after is by
	// when it should have come, if that is long.
	waits string
	after time.Duration

	breaks breaks
}

// unbroken is the name of the store that shows that it is not the harness that
// fails.
const unbroken = "unbroken"

func defects() []defect {
	return slices.Concat(writes(), leases(), watches(), failures(), limits())
}

// stores are all that are run: the broken ones, and one that is not, with all
// cases that are about some defect.
func stores() []defect {
	all := defects()
	control := defect{name: unbroken, breaks: each(sound)}
	for _, d := range all {
		control.cases = append(control.cases, d.cases...)
	}
	slices.Sort(control.cases)
	control.cases = slices.Compact(control.cases)
	return append(all, control) // last, when most of the others are waiting
}

const (
	// storeEnv names the store to be.
	storeEnv = "SECKILL_SELFTEST_STORE"
	// resultsEnv is where package conformance saves results.
	resultsEnv = "SECKILL_CONFORMANCE_RESULTS"
)

func TestMain(m *testing.M) {
	if os.Getenv(storeEnv) != "" {
		os.Exit(m.Run()) // broken stores may leak
	}
	goleak.VerifyTestMain(m)
}

func TestStores(t *testing.T) {
	if name := os.Getenv(storeEnv); name != "" {
		be(t, name)
		return
	}
	slots := make(chan struct{}, atOnce)
	for _, d := range stores() {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			slots <- struct{}{}
			defer func() { <-slots }()
			d.reject(t)
		})
	}
}

// atOnce is how many stores run at the same time. Most of their cases wait.
const atOnce = 16

// be runs the cases that are about a store on it.
func be(t *testing.T, name string) {
	i := slices.IndexFunc(stores(), func(d defect) bool { return d.name == name })
	require.NotEqual(t, -1, i, "no store %q", name)
	d := stores()[i]
	cases := slices.DeleteFunc(conformance.Cases(), func(c conformance.Case) bool { return !slices.Contains(d.cases, c.Name) })
	conformance.Save(t, conformance.Run(t, func(t *testing.T, _ conformance.Case) conformance.Harness {
		return newHarness(t, d.breaks)
	}, cases...))
}

// escaped reports whether one of the cases that are to fail has passed.
func (d defect) escaped(results map[string]string) bool {
	return slices.ContainsFunc(d.cases, func(name string) bool { return results[name] == conformance.Pass })
}

// reject requires that the cases of a store fail, or pass if it is not broken.
func (d defect) reject(t *testing.T) {
	results, logs := d.run(t)
	// Some defects are races, which a run need not meet.
	for n := 1; n < 3 && d.name != unbroken && d.escaped(results); n++ {
		results, logs = d.run(t)
	}
	want := conformance.Fail
	if d.name == unbroken {
		want = conformance.Pass
	}
	for _, name := range d.cases {
		switch {
		case !assert.Equal(t, want, results[name], "%s\n%s", name, logs[name]):
		case want == conformance.Pass:
		case d.waits != "":
			assert.Contains(t, logs[name], d.waits, name)
		default:
			assert.True(t, told(logs[name]), "%s: nothing but time has told:\n%s", name, logs[name])
		}
	}
}

// run runs a store's cases in a process of its own, and returns the result
// of each case and what those that failed have said.
func (d defect) run(t *testing.T) (results, logs map[string]string) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), d.patience()+time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, "-test.run=^TestStores$", "-test.parallel=64", "-test.timeout="+d.patience().String())
	cmd.Env = append(os.Environ(), storeEnv+"="+d.name, resultsEnv+"="+dir)
	out, err := cmd.CombinedOutput()
	files, globErr := filepath.Glob(filepath.Join(dir, "*.json"))
	require.NoError(t, globErr)
	require.Len(t, files, 1, "no results: %v\n%s", err, out)
	content, err := os.ReadFile(files[0])
	require.NoError(t, err)
	var all []conformance.Result
	require.NoError(t, json.Unmarshal(content, &all))
	results = map[string]string{}
	for _, r := range all {
		results[r.Case] = r.Result
	}
	return results, byCase(string(out))
}

// patience is how long a store may take for its cases. One that waits for what
// does not come gives up when half of that is over; the others don't need it.
func (d defect) patience() time.Duration {
	if d.waits == "" {
		return 10 * time.Minute
	}
	return 2 * max(d.after+d.after/4, 25*time.Second)
}

// byCase finds what each case that failed has said.
func byCase(out string) map[string]string {
	const failed = "--- FAIL: TestStores/case/"
	logs := map[string]string{}
	for _, part := range strings.Split(out, failed)[1:] {
		name, log, _ := strings.Cut(part, " (")
		logs[name] = log
	}
	return logs
}

// told reports whether something failed before the watchdog ended the case.
func told(log string) bool {
	begins := regexp.MustCompile(`(?m)^ +\w+\.go:\d+: `)
	for _, entry := range begins.Split(log, -1)[1:] {
		if !strings.Contains(entry, "watchdog: ") && !strings.HasPrefix(entry, "proves (") {
			return true
		}
	}
	return false
}

// No case passes everything: each has been seen to fail, on a broken store or on
// a driver that was broken by hand.
func TestEveryCaseCanFail(t *testing.T) {
	content, err := os.ReadFile(mutationsPath)
	require.NoError(t, err)
	mutations := string(content)
	broken := map[string]bool{}
	for _, d := range defects() {
		for _, c := range d.cases {
			broken[c] = true
		}
	}
	for _, c := range conformance.Cases() {
		assert.True(t, broken[c.Name] || strings.Contains(mutations, "`"+c.Name+"`"),
			"%s: no broken store here is rejected by it, and no edit in %s noticed", c.Name, mutationsPath)
	}
}

// Names are used once, and cases are those of the suite.
func TestTable(t *testing.T) {
	known := map[string]bool{}
	for _, c := range conformance.Cases() {
		known[c.Name] = true
	}
	seen := map[string]bool{}
	for _, d := range defects() {
		assert.False(t, seen[d.name], d.name)
		seen[d.name] = true
		assert.NotEmpty(t, d.wrong, d.name)
		assert.NotEmpty(t, d.cases, d.name)
		for _, c := range d.cases {
			assert.True(t, known[c], "%s: no case %q", d.name, c)
		}
	}
}
