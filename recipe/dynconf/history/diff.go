package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/pmezard/go-difflib/difflib"

	"github.com/seed27495941/seckill/backend"
)

// Diff shows what is different from one version to another as a unified diff,
// of the indented text if both are JSON; "" if nothing is. The value of a
// deletion is empty. Errors: ErrInvalid for JSON that is nested deeper than
// [MaxDepth], ErrTooLarge.
func Diff(from, to Version) (string, error) {
	return DiffText(from.title(), from.Value, to.title(), to.Value)
}

// MaxDepth is how deep JSON may be nested to be compared: indented, little text that is
// deep is much.
const MaxDepth = 32

// maxText bounds what is compared, in bytes as it is indented.
const maxText = 1 << 20

// DiffText is Diff of values that need not be versions, under titles of theirs.
func DiffText(fromTitle string, from []byte, toTitle string, to []byte) (string, error) {
	if err := errors.Join(check(fromTitle, from), check(toTitle, to)); err != nil {
		return "", err
	}
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

// check refuses what would be too much once it is indented, without doing that.
func check(title string, value []byte) error {
	size := len(value)
	if text := bytes.TrimSpace(value); len(text) > 0 && (text[0] == '{' || text[0] == '[') {
		var depth int
		if depth, size = measure(text); depth > MaxDepth {
			return fmt.Errorf("%w: %s: nested deeper than %d levels", backend.ErrInvalid, title, MaxDepth)
		}
	}
	if size > maxText {
		return fmt.Errorf("%w: %s: %d bytes when indented, at most %d are compared", backend.ErrTooLarge, title, size, maxText)
	}
	return nil
}

// measure tells how deep a JSON text is, and how long it would be at most if it were
// indented. Of one that is none it tells no less.
func measure(text []byte) (deepest, size int) {
	depth, quoted, escaped := 0, false, false
	for _, c := range text {
		size++
		switch {
		case quoted:
			quoted = escaped || c != '"'
			escaped = !escaped && c == '\\'
			continue
		case c == '"':
			quoted = true
			continue
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth = max(depth-1, 0)
		case c == ':':
			size++
			continue
		case c != ',':
			continue
		}
		size += 1 + len(indent)*depth
	}
	return deepest, size
}

const indent = "  "

func lines(value []byte) []string {
	if len(value) == 0 {
		return nil
	}
	var indented bytes.Buffer
	if json.Indent(&indented, value, "", indent) == nil {
		value = indented.Bytes()
	}
	return difflib.SplitLines(string(value))
}
