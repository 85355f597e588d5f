package credential

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// reread is how long what was read from a file is used before the file is
// looked at again.
const reread = time.Second

// A Source yields a secret that was given directly or is kept in a file. It is
// safe for concurrent use.
type Source struct {
	file string

	mu    sync.Mutex
	value Secret
	read  time.Time
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
	secret, err := readFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return &Source{file: file, value: secret, read: time.Now()}, nil
}

// Format implements fmt.Formatter: a source shows its file at most.
func (s *Source) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "secret")
	if s.file != "" {
		_, _ = io.WriteString(f, " in "+s.file)
	}
}

// Get returns the secret. A file is read again when its content may be more
// than a second old; if it can't be read, or is empty because it is just being
// written, the last good content is used.
func (s *Source) Get() Secret {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != "" && time.Since(s.read) >= reread {
		s.read = time.Now()
		if secret, err := readFile(s.file); err == nil {
			s.value = secret
		}
	}
	return s.value
}

func readFile(name string) (Secret, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	secret := strings.TrimSpace(string(data))
	if secret == "" {
		return "", fmt.Errorf("%s: %w", name, errEmpty)
	}
	return Secret(secret), nil
}

var errEmpty = errors.New("the file is empty, expected a secret")
