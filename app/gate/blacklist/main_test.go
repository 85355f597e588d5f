package blacklist

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/follow"
	"github.com/seed27495941/seckill/internal/stores"
)

func TestMain(m *testing.M) { stores.Main(m, nil) }

const (
	never = 24 * time.Hour       // an interval that has no part in the test
	brief = 5 * time.Millisecond // to settle
)

func write(t testing.TB, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
}

// moveIn writes elsewhere and renames into place.
func moveIn(t testing.TB, name, text string) {
	t.Helper()
	write(t, name+".new", text)
	require.NoError(t, os.Rename(name+".new", name))
}

// file makes a file of lines.
func file(t testing.TB, lines ...string) (name string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "blacklist.txt")
	write(t, name, text(lines...))
	return name
}

func text(lines ...string) string { return strings.Join(lines, "\n") + "\n" }

func load(t testing.TB, s follow.Source) *List {
	t.Helper()
	if s.Interval == 0 {
		s.Interval = never
	}
	s.Settle = brief
	l, err := Open(t.Context(), s, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return l
}

// pushed opens a list that is loaded when it is told to.
func pushed(t testing.TB, name string) *List {
	t.Helper()
	return load(t, follow.Source{File: name, Mode: follow.Push})
}

// followed opens a list and runs it.
func followed(t testing.TB, name string) *List {
	t.Helper()
	l := load(t, follow.Source{File: name})
	stores.Start(t, l.Run)
	return l
}

func await(t testing.TB, l *List, id string) {
	t.Helper()
	stores.Wait(t, id+" on the list", func() bool { return l.Contains(id) })
}
