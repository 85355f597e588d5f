package conformance

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// resultsEnv names the directory that takes the results of a run.
const resultsEnv = "SECKILL_CONFORMANCE_RESULTS"

// Save writes results as a JSON array into the directory that the environment
// variable SECKILL_CONFORMANCE_RESULTS names, in a file called after the test;
// without the variable it does nothing. The command conformance/report makes
// the published report of such files.
func Save(t *testing.T, results []Result) {
	t.Helper()
	dir := os.Getenv(resultsEnv)
	if dir == "" || len(results) == 0 {
		return
	}
	content, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		t.Fatalf("results: %v", err)
	}
	driver := strings.ReplaceAll(results[0].Driver, string(filepath.Separator), "-")
	name := driver + "-" + strings.ReplaceAll(t.Name(), "/", "-") + ".json"
	if err := os.WriteFile(filepath.Join(dir, name), append(content, '\n'), 0o644); err != nil {
		t.Fatalf("results: %v", err)
	}
}
