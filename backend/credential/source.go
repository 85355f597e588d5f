package credential

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/seed27495941/seckill/internal/reread"
)

// A Source yields a secret that was given directly or is kept in a file. It is
// safe for concurrent use.
type Source struct {
	value Secret
	name  string               // the file's, "" for none
	file  *reread.File[Secret] // nil: none
}

// NewSource makes a source of a value or of a file, whose content is the secret
// without the white space around it. Both may be empty: then the secret is.
// Errors: both are given, the file can't be read, the file is empty.
func NewSource(what string, value Secret, file string) (*Source, error) {
	if file == "" {
		return &Source{value: value}, nil
	}
	if value != "" {
		return nil, fmt.Errorf("%s: given directly and as the file %s, expected one of them", what, file)
	}
	f, err := reread.Open(file, parse, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return &Source{name: file, file: f}, nil
}

// Format implements fmt.Formatter: a source shows its file at most.
func (s *Source) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "secret")
	if s.name != "" {
		_, _ = io.WriteString(f, " in "+s.name)
	}
}

// Get returns the secret. A file is read again when its content may be more
// than a second old; if it can't be read, or is empty because it is just being
// written, the last good content is used.
func (s *Source) Get() Secret {
	if s.file == nil {
		return s.value
	}
	return s.file.Get()
}

func parse(content []byte) (Secret, error) {
	secret := strings.TrimSpace(string(content))
	if secret == "" {
		return "", errEmpty
	}
	return Secret(secret), nil
}

var errEmpty = errors.New("the file is empty, expected a secret")
