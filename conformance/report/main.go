// Command report makes the published report of the conformance suite, a page
// and a JSON file, of what its runs have saved.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/seed27495941/seckill/conformance"
)

func main() {
	results := flag.String("results", "", "directory with the results that runs have saved (required)")
	docs := flag.String("docs", "docs", "directory for conformance.md and conformance.json")
	flag.Parse()
	if err := run(*results, *docs); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

// run writes the report, failures included, and returns an error if there are
// any, or if something is missing that a whole report has.
func run(results, docs string) error {
	all, err := read(results)
	if err != nil {
		return err
	}
	content, err := marshal(all)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(docs, "conformance.json"), content, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(docs, "conformance.md"), page(all), 0o644); err != nil {
		return err
	}
	return check(all)
}

// read collects the results of all runs, in the order of drivers, nodes and
// cases.
func read(dir string) ([]conformance.Result, error) {
	if dir == "" {
		return nil, errors.New("-results: expected a directory")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: no results in it", dir)
	}
	var all []conformance.Result
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var some []conformance.Result
		if err := json.Unmarshal(content, &some); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, some...)
	}
	sortResults(all)
	return all, nil
}

// marshal writes a result a line, so that a change of one is a change of one.
func marshal(all []conformance.Result) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("[\n")
	for i, r := range all {
		line, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		b.Write(line)
		if i < len(all)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString("]\n")
	return b.Bytes(), nil
}

// check finds failures, and runs that lack cases or have too many.
func check(all []conformance.Result) error {
	var errs []error
	for _, s := range subjects(all) {
		missing := map[string]bool{}
		for _, c := range conformance.Cases() {
			missing[c.Name] = true
		}
		for _, r := range all {
			if s != subjectOf(r) {
				continue
			}
			if !missing[r.Case] {
				errs = append(errs, fmt.Errorf("%s: %s: twice, or no case of the suite", s, r.Case))
			}
			delete(missing, r.Case)
			if r.Result == conformance.Fail {
				errs = append(errs, fmt.Errorf("%s: %s: fail", s, r.Case))
			}
		}
		for _, c := range conformance.Cases() {
			if missing[c.Name] {
				errs = append(errs, fmt.Errorf("%s: %s: no result", s, c.Name))
			}
		}
	}
	return errors.Join(errs...)
}
