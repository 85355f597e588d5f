package main

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/seed27495941/seckill/conformance"
)

// A subject is what a run tested: a column of the page.
type subject struct {
	driver, server string
	nodes          int
}

func subjectOf(r conformance.Result) subject { return subject{r.Driver, r.Server, r.Nodes} }

func (s subject) String() string {
	if s.nodes == 1 {
		return s.driver + ", 1 node"
	}
	return fmt.Sprintf("%s, %d nodes", s.driver, s.nodes)
}

// drivers are in the order in which people ask for them.
var drivers = []string{"etcd", "consul", "memory"}

func sortResults(all []conformance.Result) {
	place := map[string]int{}
	for i, c := range conformance.Cases() {
		place[c.Name] = i
	}
	slices.SortStableFunc(all, func(a, b conformance.Result) int {
		return cmp.Or(
			cmp.Compare(slices.Index(drivers, a.Driver), slices.Index(drivers, b.Driver)),
			cmp.Compare(a.Nodes, b.Nodes),
			cmp.Compare(place[a.Case], place[b.Case]),
		)
	})
}

func subjects(all []conformance.Result) []subject {
	var found []subject
	for _, r := range all {
		if s := subjectOf(r); !slices.Contains(found, s) {
			found = append(found, s)
		}
	}
	return found
}

// guarantees are the headings, after package backend's documentation.
var guarantees = map[int]string{
	1: "Linearizable", 2: "Atomic", 3: "Revisions", 4: "Leases", 5: "Watch", 6: "Errors", 7: "Keys and values", 8: "Contexts",
}

const preamble = `# Conformance

What the suite in ` + "`conformance`" + ` proved of each driver, against real servers. Written by ` + "`make conformance`" + `, which runs
every case anew; [conformance.json](conformance.json) has the same for programs. The numbers of the guarantees are those of
package ` + "`backend`" + ` (` + "`go doc ./backend`" + `); how the suite itself is tested stands in [selftest.md](selftest.md).

✅ passed · ❌ failed · a number: unsupported, for the reason listed at the end

`

// page is the report for people.
func page(all []conformance.Result) []byte {
	var (
		b       bytes.Buffer
		columns = subjects(all)
		reasons []string
		results = map[subject]map[string]conformance.Result{}
	)
	for _, r := range all {
		s := subjectOf(r)
		if results[s] == nil {
			results[s] = map[string]conformance.Result{}
		}
		results[s][r.Case] = r
	}
	b.WriteString(preamble)
	summary(&b, columns, results)
	last := 0
	for _, c := range conformance.Cases() {
		if c.Guarantee != last {
			last = c.Guarantee
			heading(&b, last, columns)
		}
		fmt.Fprintf(&b, "| `%s`: %s |", c.Name, escape(c.Proves))
		for _, s := range columns {
			fmt.Fprintf(&b, " %s |", mark(results[s][c.Name], &reasons))
		}
		b.WriteByte('\n')
	}
	b.WriteString("\n## Unsupported\n\n")
	for i, reason := range reasons {
		fmt.Fprintf(&b, "%d. %s\n", i+1, reason)
	}
	return b.Bytes()
}

func summary(b *bytes.Buffer, columns []subject, results map[subject]map[string]conformance.Result) {
	b.WriteString("| tested | server | passed | failed | unsupported |\n|---|---|---|---|---|\n")
	for _, s := range columns {
		count := map[string]int{}
		for _, r := range results[s] {
			count[r.Result]++
		}
		fmt.Fprintf(b, "| %s | %s | %d | %d | %d |\n", s, s.server,
			count[conformance.Pass], count[conformance.Fail], count[conformance.Unsupported])
	}
}

func heading(b *bytes.Buffer, guarantee int, columns []subject) {
	fmt.Fprintf(b, "\n## %d. %s\n\n| case |", guarantee, guarantees[guarantee])
	for _, s := range columns {
		fmt.Fprintf(b, " %s |", s)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(columns)) + "\n")
}

// mark is a result as a cell; a reason is referred to by its number.
func mark(r conformance.Result, reasons *[]string) string {
	switch r.Result {
	case conformance.Pass:
		return "✅"
	case conformance.Fail:
		return "❌"
	case conformance.Unsupported:
		reason := fmt.Sprintf("%s: %s", r.Driver, r.Reason)
		if !slices.Contains(*reasons, reason) {
			*reasons = append(*reasons, reason)
		}
		return fmt.Sprint(slices.Index(*reasons, reason) + 1)
	default:
		return "not run"
	}
}

// escape keeps a sentence within its cell.
func escape(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
