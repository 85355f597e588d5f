// Package arch holds the module to its layout: which package may depend on
// which. It is a test and nothing else.
//
// The rules are about the code that is shipped, over whole chains of imports.
// Test files may import what they need, drivers included.
package arch

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A graph maps the path of a package to the paths it imports. What the standard
// library imports need not be in it.
type graph map[string][]string

// layers are the module's top directories, each with those its packages may
// depend on besides itself and internal. A directory that is not listed is
// held to the other rules only.
var layers = map[string][]string{
	"backend":     nil,
	"recipe":      {"backend"},
	"app":         {"backend", "recipe"},
	"cmd":         {"backend", "recipe", "app", "conformance"},
	"conformance": {"backend"},
}

// notDrivers are the folders below backend that are no driver. Whatever else is
// there is one, so that a new driver is held to the rules from its first day.
var notDrivers = []string{"backend/credential", "backend/internal", "backend/metrics", "backend/trace"}

// testOnly are packages which only tests import, so they may do as tests do.
var testOnly = []string{"backend/internal/prove", "conformance/example", "conformance/servers", "conformance/selftest", "internal/stores"}

// mayChoose are the places that may name a driver: they choose one.
var mayChoose = append([]string{"bench", "cmd"}, testOnly...)

// libraries lists libraries that have a home, and where that is.
var libraries = map[string][]string{
	"go.etcd.io/etcd":             append([]string{"backend/etcd"}, mayChoose...),
	"github.com/hashicorp/consul": append([]string{"backend/consul"}, mayChoose...),
	"github.com/ory/dockertest":   append([]string{"bench"}, testOnly...),
}

// A rule says what is wrong with a package of the module, in directory from,
// that depends on the package to; "" if nothing is. The directory of to is ""
// for a package of another module.
type rule struct {
	name  string
	check func(from, to, toDir string) string
}

var rules = []rule{
	{"the contract needs the standard library alone", func(from, to, _ string) string {
		if from != "backend" {
			return ""
		}
		return to + " is not of the standard library"
	}},
	{"arrows point one way", func(from, _, toDir string) string {
		lower, upper := layer(from), layer(toDir)
		below, known := layers[lower]
		if !known || toDir == "" || upper == lower || upper == "internal" || slices.Contains(below, upper) || within(from, testOnly...) {
			return ""
		}
		return fmt.Sprintf("%s is not below %s", toDir, lower)
	}},
	{"only who chooses a driver depends on one", func(from, _, toDir string) string {
		folder := driver(toDir)
		if folder == "" || within(from, folder) || within(from, mayChoose...) {
			return ""
		}
		return folder + " is a driver"
	}},
	{"a library stays in its folder", func(from, to, _ string) string {
		for library, homes := range libraries {
			if within(to, library) && !within(from, homes...) {
				return fmt.Sprintf("%s belongs into %s", library, strings.Join(homes, ", "))
			}
		}
		return ""
	}},
	{"what is for tests is not shipped", func(from, _, toDir string) string {
		if !within(toDir, testOnly...) || within(from, testOnly...) || within(from, "bench") {
			return ""
		}
		return toDir + " is for tests only"
	}},
	{"Consul's server stays out of the module", func(_, to, _ string) string {
		if !within(to, "github.com/hashicorp/consul") || within(to, "github.com/hashicorp/consul/api") {
			return ""
		}
		return "its licence is not ours"
	}},
}

// roomless are names that say nothing about what is inside.
var roomless = []string{"base", "common", "helper", "helpers", "misc", "shared", "util", "utils"}

// A violation is a rule and how it was broken.
type violation struct {
	rule string
	text string
}

// violations returns how the packages of a module break the rules, at most once
// for each package and rule, in a stable order. It is a pure function, so that
// the test below can show that it finds what it is there to find.
func violations(module string, g graph) []violation {
	var found []violation
	report := func(rule, format string, args ...any) {
		found = append(found, violation{rule, fmt.Sprintf(format, args...)})
	}

	if _, ok := g[module+"/backend"]; !ok {
		report("there is something to check", "no package %s/backend among %d", module, len(g))
	}
	for _, pkg := range slices.Sorted(maps.Keys(g)) {
		from := directory(module, pkg)
		if from == "" {
			continue
		}
		if slices.Contains(roomless, path.Base(from)) {
			report("a package is named for what it provides", "%s", from)
		}
		broken := make(map[string]bool)
		for _, chain := range chains(g, pkg) {
			to := chain[len(chain)-1]
			for _, r := range rules {
				if broken[r.name] {
					continue // the shortest chain tells enough
				}
				if why := r.check(from, to, directory(module, to)); why != "" {
					broken[r.name] = true
					report(r.name, "%s: %s", strings.Join(chain, " → "), why)
				}
			}
		}
	}
	return found
}

// chains returns, for each package outside the standard library that pkg
// depends on, the shortest chain of imports to it. Shorter chains come first.
func chains(g graph, pkg string) [][]string {
	seen := map[string]bool{pkg: true}
	queue := [][]string{{pkg}}
	for i := 0; i < len(queue); i++ {
		for _, next := range slices.Sorted(slices.Values(g[queue[i][len(queue[i])-1]])) {
			if seen[next] || standard(next) {
				continue
			}
			seen[next] = true
			queue = append(queue, append(slices.Clone(queue[i]), next))
		}
	}
	return queue[1:]
}

// standard tells packages of the standard library by what all others have: a
// dot in the first element of the path.
func standard(pkg string) bool {
	first, _, _ := strings.Cut(pkg, "/")
	return !strings.Contains(first, ".")
}

// directory returns where in the module a package is: "" for one that is in
// another module, "." for the module's root.
func directory(module, pkg string) string {
	if pkg == module {
		return "."
	}
	dir, ok := strings.CutPrefix(pkg, module+"/")
	if !ok {
		return ""
	}
	return dir
}

func layer(dir string) string {
	first, _, _ := strings.Cut(dir, "/")
	return first
}

// driver returns the folder of the driver that dir is part of, or "".
func driver(dir string) string {
	rest, ok := strings.CutPrefix(dir, "backend/")
	if !ok || within(dir, notDrivers...) {
		return ""
	}
	return "backend/" + layer(rest)
}

// within tells whether a path is one of some others, or below one.
func within(p string, tops ...string) bool {
	return slices.ContainsFunc(tops, func(top string) bool { return p == top || strings.HasPrefix(p, top+"/") })
}

func TestLayout(t *testing.T) {
	module, g := load(t)
	for _, v := range violations(module, g) {
		t.Errorf("%s:\n\t%s", v.rule, v.text)
	}
}

// load asks the go command for the graph of this module.
func load(t *testing.T) (string, graph) {
	t.Helper()
	golist := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...)
		cmd.Env = append(os.Environ(), "GOWORK=off")
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		require.NoError(t, err, "go list %s:\n%s", strings.Join(args, " "), &stderr)
		return strings.TrimSpace(string(out))
	}

	module, root, _ := strings.Cut(golist("-m", "-f", "{{.Path}} {{.Dir}}"), " ")

	// What a child process reads does not count when go test decides whether an earlier result still holds. What the
	// test reads does: so it looks at every directory itself.
	require.NoError(t, filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && p != root && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		return err
	}))

	g := make(graph)
	for line := range strings.Lines(golist("-deps", "-f", `{{if not .Standard}}{{.ImportPath}} {{join .Imports " "}}{{end}}`, module+"/...")) {
		if fields := strings.Fields(line); len(fields) > 0 {
			g[fields[0]] = fields[1:]
		}
	}
	return module, g
}

// sound is a graph that breaks no rule: the module as it is meant to be.
func sound() graph {
	return graph{
		"m.test":                         {"m.test/app"},
		"m.test/backend":                 {"context", "vendor/golang.org/x/net/idna", "C"},
		"m.test/backend/credential":      {"m.test/backend", "os"},
		"m.test/backend/etcd":            {"m.test/backend", "m.test/backend/credential", "go.etcd.io/etcd/client/v3"},
		"m.test/backend/etcd/embed":      {"m.test/backend/etcd", "go.etcd.io/etcd/server/v3/embed"},
		"m.test/backend/consul":          {"m.test/backend", "m.test/internal/x", "github.com/hashicorp/consul/api"},
		"m.test/backend/memory":          {"m.test/backend"},
		"m.test/backend/metrics":         {"m.test/backend", "github.com/prometheus/client_golang/prometheus"},
		"m.test/internal/x":              {"strings"},
		"m.test/recipe/lock":             {"m.test/backend", "m.test/recipe/election"},
		"m.test/recipe/election":         {"m.test/backend"},
		"m.test/app":                     {"m.test/app/sale"},
		"m.test/app/sale":                {"m.test/recipe/lock", "m.test/backend", "m.test/backend/metrics", "go.etcd.io/etcdish"},
		"m.test/cmd/seckill":             {"m.test/app/sale", "m.test/backend/etcd", "m.test/backend/consul", "go.etcd.io/etcd/client/v3"},
		"m.test/bench/peers":             {"m.test/backend/consul", "m.test/conformance/servers"},
		"m.test/conformance":             {"testing", "m.test/backend", "github.com/anishathalye/porcupine"},
		"m.test/conformance/selftest":    {"m.test/conformance", "m.test/backend/memory"},
		"m.test/conformance/servers":     {"github.com/ory/dockertest/v3", "go.etcd.io/etcd/client/v3"},
		"go.etcd.io/etcd/client/v3":      {"google.golang.org/grpc"},
		"github.com/ory/dockertest/v3":   {"os/exec"},
		"github.com/hashicorp/consul":    {"github.com/hashicorp/consul/agent"},
		"github.com/far/away":            {"go.etcd.io/etcd/client/v3"},
		"github.com/far/away/containers": {"github.com/ory/dockertest/v3"},
	}
}

// TestCheckerCanFail breaks a sound graph, one rule at a time.
func TestCheckerCanFail(t *testing.T) {
	require.Empty(t, violations("m.test", sound()))

	const (
		contract = "the contract needs the standard library alone"
		arrows   = "arrows point one way"
		drivers  = "only who chooses a driver depends on one"
		library  = "a library stays in its folder"
		tests    = "what is for tests is not shipped"
		server   = "Consul's server stays out of the module"
		name     = "a package is named for what it provides"
		nothing  = "there is something to check"
	)
	cases := []struct {
		rule     string
		from, to string // an import that is added
		chain    string // what the report says
	}{
		{contract, "backend", "github.com/google/uuid", "m.test/backend → github.com/google/uuid"},
		{contract, "backend", "m.test/internal/x", "m.test/backend → m.test/internal/x"},
		{contract, "backend", "m.test/backend/credential", "m.test/backend → m.test/backend/credential"},
		{arrows, "backend/metrics", "m.test/recipe/lock", "m.test/backend/metrics → m.test/recipe/lock"},
		{arrows, "backend/etcd", "m.test/conformance", "m.test/backend/etcd → m.test/conformance"},
		{arrows, "recipe/lock", "m.test/app/sale", "m.test/recipe/lock → m.test/app/sale"},
		{arrows, "app/sale", "m.test/cmd/seckill", "m.test/app/sale → m.test/cmd/seckill"},
		{arrows, "app/sale", "m.test", "m.test/app/sale → m.test: "},
		{arrows, "conformance", "m.test/recipe/lock", "m.test/conformance → m.test/recipe/lock"},
		{arrows, "internal/x", "m.test/recipe/lock", "m.test/backend/consul → m.test/internal/x → m.test/recipe/lock"},
		{drivers, "app/sale", "m.test/backend/etcd", "m.test/app/sale → m.test/backend/etcd: backend/etcd is a driver"},
		{drivers, "recipe/election", "m.test/backend/memory", "m.test/app/sale → m.test/recipe/lock → m.test/recipe/election → m.test/backend/memory"},
		{drivers, "conformance", "m.test/backend/memory", "m.test/conformance → m.test/backend/memory"},
		{drivers, "backend/consul", "m.test/backend/etcd/embed", "m.test/backend/consul → m.test/backend/etcd/embed"},
		{drivers, "app/sale", "m.test/backend/zookeeper", "backend/zookeeper is a driver"},
		{drivers, "examples/one", "m.test/backend/etcd", "m.test/examples/one → m.test/backend/etcd"},
		{library, "app/sale", "go.etcd.io/etcd/client/v3", "m.test/app/sale → go.etcd.io/etcd/client/v3"},
		{library, "app/sale", "github.com/far/away", "m.test/app/sale → github.com/far/away → go.etcd.io/etcd/client/v3"},
		{library, "backend/memory", "github.com/hashicorp/consul/api", "m.test/backend/memory → github.com/hashicorp/consul/api"},
		{library, "conformance", "github.com/far/away/containers", "m.test/conformance → github.com/far/away/containers → github.com/ory/dockertest/v3"},
		{library, "cmd/seckill", "github.com/ory/dockertest/v3", "m.test/cmd/seckill → github.com/ory/dockertest/v3"},
		{tests, "cmd/seckill", "m.test/conformance/servers", "m.test/cmd/seckill → m.test/conformance/servers"},
		{server, "conformance/servers", "github.com/hashicorp/consul", "m.test/conformance/servers → github.com/hashicorp/consul: "},
		{name, "app/utils", "strings", "app/utils"},
	}
	untested := map[string]bool{}
	for _, r := range rules {
		untested[r.name] = true
	}
	for _, c := range cases {
		g := sound()
		g["m.test/"+c.from] = append(g["m.test/"+c.from], c.to)
		found := violations("m.test", g)
		assert.True(t, slices.ContainsFunc(found, func(v violation) bool {
			return v.rule == c.rule && strings.Contains(v.text, c.chain)
		}), "%s imports %s: want %q with %q, got %q", c.from, c.to, c.rule, c.chain, found)
		delete(untested, c.rule)
	}
	assert.Empty(t, untested, "rules that nothing shows to work")

	for _, g := range []graph{nil, {}, {"m.test/internal/arch": {"testing"}}, {"other.test/backend": nil}} {
		found := violations("m.test", g)
		if assert.Len(t, found, 1, "a graph without the contract") {
			assert.Equal(t, nothing, found[0].rule)
		}
	}
}
