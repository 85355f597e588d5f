package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/conformance"
)

// The report in the repository is whole: each case on each driver, none failed,
// and the page says what the JSON says.
func TestPublishedReport(t *testing.T) {
	const docs = "../../docs"
	content, err := os.ReadFile(filepath.Join(docs, "conformance.json"))
	require.NoError(t, err)
	var all []conformance.Result
	require.NoError(t, json.Unmarshal(content, &all))
	require.NoError(t, check(all), "run make conformance")

	var names []string
	for _, s := range subjects(all) {
		names = append(names, s.String())
	}
	require.Equal(t, []string{"etcd, 1 node", "etcd, 3 nodes", "consul, 1 node", "consul, 3 nodes", "memory, 1 node"}, names)

	written, err := os.ReadFile(filepath.Join(docs, "conformance.md"))
	require.NoError(t, err)
	require.Equal(t, string(page(all)), string(written))
}

// whole is a run in which everything passed.
func whole(driver string, nodes int) []conformance.Result {
	var all []conformance.Result
	for _, c := range conformance.Cases() {
		all = append(all, conformance.Result{
			Case: c.Name, Guarantee: c.Guarantee, Driver: driver, Server: driver + " 1.0", Nodes: nodes, Result: conformance.Pass,
		})
	}
	return all
}

func save(t *testing.T, dir, name string, results []conformance.Result) {
	t.Helper()
	content, err := json.Marshal(results)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
}

// A failure, a missing case and a case that nobody knows are told, and the
// report is written all the same.
func TestWhatIsWrongIsTold(t *testing.T) {
	for want, spoil := range map[string]func([]conformance.Result) []conformance.Result{
		"": func(all []conformance.Result) []conformance.Result { return all },
		"etcd, 3 nodes: keys/refused: fail": func(all []conformance.Result) []conformance.Result {
			for i := range all {
				if all[i].Case == "keys/refused" {
					all[i].Result = conformance.Fail
				}
			}
			return all
		},
		"no result": func(all []conformance.Result) []conformance.Result { return all[1:] },
		"twice":     func(all []conformance.Result) []conformance.Result { return append(all, all[0]) },
		"no case of the suite": func(all []conformance.Result) []conformance.Result {
			return append(all, conformance.Result{Case: "made up", Driver: "etcd", Server: "etcd 1.0", Nodes: 3})
		},
	} {
		results, docs := t.TempDir(), t.TempDir()
		save(t, results, "b.json", whole("memory", 1))
		save(t, results, "a.json", spoil(whole("etcd", 3)))
		err := run(results, docs)
		if want == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, want)
		}
		require.FileExists(t, filepath.Join(docs, "conformance.md"))
		var all []conformance.Result
		content, err := os.ReadFile(filepath.Join(docs, "conformance.json"))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(content, &all))
		require.Equal(t, "etcd", all[0].Driver)
	}
}

// An unsupported case refers to its reason, once however often it is given.
func TestReasons(t *testing.T) {
	all := whole("memory", 1)
	for i := range 2 {
		all[i].Result, all[i].Reason = conformance.Unsupported, "there is no network"
	}
	text := string(page(all))
	require.Contains(t, text, "\n1. memory: there is no network\n")
	require.NotContains(t, text, "\n2. ")
	require.Contains(t, text, "| memory, 1 node | memory 1.0 | ")
}

func TestBadResults(t *testing.T) {
	require.ErrorContains(t, run("", t.TempDir()), "-results")
	require.ErrorContains(t, run(t.TempDir(), t.TempDir()), "no results")
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "x.json"), []byte("{"), 0o600))
	require.ErrorContains(t, run(dir, t.TempDir()), "x.json")
}
