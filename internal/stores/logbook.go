package stores

import (
	"log/slog"
	"strings"
	"sync"
)

// A Logbook keeps what is logged. The zero value is empty; it is safe for
// concurrent use.
type Logbook struct {
	mu    sync.Mutex
	lines []string
}

// Write implements [io.Writer], a line at a time, as the handlers of slog do.
func (l *Logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(p))
	return len(p), nil
}

// Logger makes a logger whose warnings and errors are kept.
func (l *Logbook) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// Count counts the lines with a text.
func (l *Logbook) Count(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// String is all that was logged.
func (l *Logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "")
}
