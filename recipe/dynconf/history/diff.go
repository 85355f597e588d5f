package history

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/pmezard/go-difflib/difflib"
)

// Diff shows what is different from one version to another as a unified diff,
// of the indented text if both are JSON; "" if nothing is. The value of a
// deletion is empty.
func Diff(from, to Version) (string, error) {
	return DiffText(from.title(), from.Value, to.title(), to.Value)
}

// DiffText is Diff of values that need not be versions, under titles of theirs.
func DiffText(fromTitle string, from []byte, toTitle string, to []byte) (string, error) {
	return difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
		A:        lines(from),
		B:        lines(to),
		FromFile: fromTitle,
		ToFile:   toTitle,
		Context:  3,
	})
}

func (v Version) title() string {
	title := fmt.Sprintf("version %d", v.Revision)
	if v.Deleted {
		title += ", deleted"
	}
	return fmt.Sprintf("%s, by %s", title, v.Author)
}

func lines(value []byte) []string {
	if len(value) == 0 {
		return nil
	}
	var indented bytes.Buffer
	if json.Indent(&indented, value, "", "  ") == nil {
		value = indented.Bytes()
	}
	return difflib.SplitLines(string(value))
}
