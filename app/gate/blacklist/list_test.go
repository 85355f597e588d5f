package blacklist

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/follow"
	"github.com/seed27495941/seckill/internal/stores"
)

func TestOpen(t *testing.T) {
	t.Parallel()
	l := pushed(t, file(t, "\ufeff1", "", "# two", "alice\r", " 007 ", "1"))
	for _, id := range []string{"1", "alice", "007"} {
		assert.True(t, l.Contains(id), id)
	}
	for _, id := range []string{"", "7", "2", "# two", "bob", "\ufeff1"} {
		assert.False(t, l.Contains(id), id)
	}
	s := l.Status()
	assert.Equal(t, 3, s.IDs)
	assert.Equal(t, int64(27), s.Size)
	assert.Equal(t, follow.Push, s.Mode)
	assert.False(t, s.Verified)
	assert.WithinDuration(t, time.Now(), s.LoadedAt, time.Minute)
	assert.Positive(t, s.Took)
	assert.Equal(t, uint64(1), s.Loads)
	assert.Zero(t, s.BadLines)
	assert.Nil(t, s.Refusal)
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	_, err := Open(t.Context(), follow.Source{}, slog.New(slog.DiscardHandler))
	require.EqualError(t, err, "no file to follow")

	missing := filepath.Join(t.TempDir(), "missing")
	_, err = Open(t.Context(), follow.Source{File: missing, Settle: brief}, slog.New(slog.DiscardHandler))
	require.EqualError(t, err, missing+": can't be read: no such file or directory")
	require.ErrorIs(t, err, fs.ErrNotExist)

	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	_, err = Open(ctx, follow.Source{File: file(t, "1")}, slog.New(slog.DiscardHandler))
	require.EqualError(t, err, "enough")
}

// A line of any length is one line: it is not cut into ids.
func TestBadLines(t *testing.T) {
	t.Parallel()
	lines := []string{"1", "a\x01b", strings.Repeat("9", 5000) + "77", strings.Repeat("8", 10*buffer), "2", "\xff", "3", "alice", "bob"}
	l := pushed(t, file(t, lines...))
	for _, id := range []string{"1", "2", "3", "alice", "bob"} {
		assert.True(t, l.Contains(id), id)
	}
	assert.False(t, l.Contains("77"))
	s := l.Status()
	assert.Equal(t, 5, s.IDs)
	assert.Equal(t, 4, s.BadLines)
	assert.Equal(t, []BadLine{
		{2, "control character U+0001"}, {3, "longer than 128 bytes"}, {4, "longer than 128 bytes"}, {6, "not UTF-8"},
	}, s.FirstBad)
}

func TestTheFirstTenBadLinesAreReported(t *testing.T) {
	t.Parallel()
	lines := make([]string, 0, 100)
	for i := range 50 {
		lines = append(lines, fmt.Sprint(i), "\x01")
	}
	s := pushed(t, file(t, lines...)).Status()
	assert.Equal(t, 50, s.BadLines)
	require.Len(t, s.FirstBad, 10)
	assert.Equal(t, 20, s.FirstBad[9].Line)
}

// Whatever is wrong with a file: the old list stays, and the status says which
// file, line and reason.
func TestWrongFiles(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		spoil  func(t *testing.T, name string)
		line   int
		beside bool // it is about the checksum file
		reason string
	}{
		"deleted": {spoil: func(t *testing.T, name string) { require.NoError(t, os.Remove(name)) }, reason: "can't be read: no such file or directory"},
		"a directory": {spoil: func(t *testing.T, name string) {
			require.NoError(t, os.Remove(name))
			require.NoError(t, os.Mkdir(name, 0o700))
		}, reason: "is a directory, expected a regular file"},
		"endless": {spoil: func(t *testing.T, name string) {
			require.NoError(t, os.Remove(name))
			require.NoError(t, os.Symlink("/dev/zero", name))
		}, reason: "is a special file, expected a regular file"},
		"huge":             {spoil: func(t *testing.T, name string) { require.NoError(t, os.Truncate(name, maxSize+1)) }, reason: "has 2147483649 bytes, expected at most 2147483648"},
		"half-written":     {spoil: func(t *testing.T, name string) { write(t, name, "1\n2\n34") }, line: 3, reason: "the last line has no end, as if the file were still being written"},
		"cut in long line": {spoil: func(t *testing.T, name string) { write(t, name, "1\n"+strings.Repeat("2", 3*buffer)) }, line: 2, reason: "the last line has no end, as if the file were still being written"},
		"truncated":        {spoil: func(t *testing.T, name string) { write(t, name, "") }, reason: "is empty, expected ids, or a line that begins with # to say that nobody is on the list"},
		"compressed":       {spoil: func(t *testing.T, name string) { write(t, name, "1\n\x1f\x8b\x08\x00\n\xff\xfe\n\xff\n") }, line: 2, reason: "not UTF-8; 3 such lines and 1 with an id, expected a file of ids"},
		"wrong checksum": {spoil: func(t *testing.T, name string) {
			write(t, name+".sha256", fmt.Sprintf("%x  blacklist.txt\n", sha256.Sum256([]byte("1\n2\n"))))
			write(t, name, "1\n")
		}, reason: fmt.Sprintf("its SHA-256 is %x, expected %x as ", sha256.Sum256([]byte("1\n")), sha256.Sum256([]byte("1\n2\n")))},
		"no checksum":       {beside: true, spoil: func(t *testing.T, name string) { write(t, name+".sha256", "tbd\n") }, line: 1, reason: "expected a SHA-256 in 64 hexadecimal digits, as sha256sum prints it"},
		"short checksum":    {beside: true, spoil: func(t *testing.T, name string) { write(t, name+".sha256", "abcd blacklist.txt\n") }, line: 1, reason: "expected a SHA-256 in 64 hexadecimal digits, as sha256sum prints it"},
		"checksum a folder": {beside: true, spoil: func(t *testing.T, name string) { require.NoError(t, os.Mkdir(name+".sha256", 0o700)) }, reason: "is a directory, expected a regular file"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			name := file(t, "1", "alice")
			l := pushed(t, name)
			before := l.Status()
			c.spoil(t, name)
			err := l.Reload(t.Context())
			refusal := (*FileError)(nil)
			require.ErrorAs(t, err, &refusal)
			if c.beside {
				name += ".sha256"
			}
			assert.Equal(t, name, refusal.File)
			assert.Equal(t, c.line, refusal.Line)
			assert.Contains(t, refusal.Reason, c.reason)
			if c.line > 0 {
				assert.EqualError(t, err, fmt.Sprintf("%s: line %d: %s", refusal.File, refusal.Line, refusal.Reason))
			}
			assert.True(t, l.Contains("1"))
			assert.True(t, l.Contains("alice"))
			s := l.Status()
			assert.Equal(t, refusal, s.Refusal)
			assert.Equal(t, uint64(1), s.Refusals)
			s.Refusal, s.RefusedAt, s.Refusals = nil, time.Time{}, 0
			assert.Equal(t, before, s, "the list in force is the old one")

			require.NoError(t, os.RemoveAll(l.Status().File))
			require.NoError(t, os.RemoveAll(l.Status().File+".sha256"))
			moveIn(t, l.Status().File, "2\n")
			require.NoError(t, l.Reload(t.Context()))
			assert.True(t, l.Contains("2"))
			assert.False(t, l.Contains("1"))
			s = l.Status()
			assert.Nil(t, s.Refusal)
			assert.Equal(t, uint64(2), s.Loads)
			assert.Equal(t, uint64(1), s.Refusals)
		})
	}
}

func TestNobodyOnTheList(t *testing.T) {
	t.Parallel()
	name := file(t, "1")
	l := pushed(t, name)
	write(t, name, "# nobody\n")
	require.NoError(t, l.Reload(t.Context()))
	assert.Zero(t, l.Status().IDs)
	assert.False(t, l.Contains("1"))
	write(t, name, "")
	require.NoError(t, l.Reload(t.Context()), "nothing is lost by it")

	write(t, name, "1\n")
	require.NoError(t, l.Reload(t.Context()))
	write(t, name, "")
	write(t, name+".sha256", fmt.Sprintf("%x", sha256.Sum256(nil)))
	require.NoError(t, l.Reload(t.Context()), "it is meant")
	assert.Zero(t, l.Status().IDs)
}

func TestFollowed(t *testing.T) {
	t.Parallel()
	name := file(t, "1")
	l := followed(t, name)
	moveIn(t, name, "2\n")
	await(t, l, "2")
	assert.False(t, l.Contains("1"))
	write(t, name, "3\n")
	await(t, l, "3")

	require.NoError(t, os.Remove(name))
	stores.Wait(t, "a refusal", func() bool { return l.Status().Refusal != nil })
	assert.True(t, l.Contains("3"))
	write(t, name, "4\n")
	await(t, l, "4")
	stores.Wait(t, "no refusal", func() bool { return l.Status().Refusal == nil })

	require.NoError(t, os.Rename(name, name+".away"))
	stores.Wait(t, "a refusal", func() bool { return l.Status().Refusal != nil })
	require.NoError(t, os.Rename(name+".away", name))
	stores.Wait(t, "no refusal: it is the file that was loaded, but it was gone", func() bool { return l.Status().Refusal == nil })
}

func TestFollowedByTimer(t *testing.T) {
	t.Parallel()
	name := file(t, "1")
	l := load(t, follow.Source{File: name, Mode: follow.Timer, Interval: brief})
	stores.Start(t, l.Run)
	write(t, name, "2\n")
	await(t, l, "2")
}

// A writer that writes in place, slowly, and pauses in the middle of a line for
// longer than the settle time: none of what there is meanwhile is ever taken.
func TestRewrittenInPlaceInParts(t *testing.T) {
	t.Parallel()
	name := file(t, "1")
	l := followed(t, name)
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_TRUNC, 0)
	require.NoError(t, err)
	defer f.Close()
	for i := range 20 {
		_, err := fmt.Fprintf(f, "\n%d\n9", 1000+i)
		require.NoError(t, err)
		if i%10 == 5 { // it settles, and is refused: as it is now, which may have been before this line runs
			last := 3 + 2*i // that has no end
			stores.Wait(t, "a refusal", func() bool { r := l.Status().Refusal; return r != nil && r.Line == last })
		}
		require.Equal(t, 1, l.Status().IDs)
		require.True(t, l.Contains("1"))
	}
	_, err = f.WriteString("\n")
	require.NoError(t, err)
	await(t, l, "1019")
	assert.Equal(t, 21, l.Status().IDs)
}

// The checksum may come before its file or after it. Nothing is taken before both
// are there, even if it pauses at the end of a line.
func TestChecksum(t *testing.T) {
	t.Parallel()
	sum := func(text string) string { return fmt.Sprintf("%x  blacklist.txt\n", sha256.Sum256([]byte(text))) }
	name := file(t, "1")
	write(t, name+".sha256", sum("1\n"))
	l := followed(t, name)
	assert.True(t, l.Status().Verified)
	refused := func(f func()) {
		seen := l.Status().Refusals
		f()
		stores.Wait(t, "a refusal", func() bool { return l.Status().Refusals > seen })
		require.NotEqual(t, l.Contains("1"), l.Contains("2"))
	}

	refused(func() { moveIn(t, name, "2\n") })
	assert.True(t, l.Contains("1"))
	assert.Contains(t, l.Status().Refusal.Reason, "its SHA-256 is")
	write(t, name+".sha256", sum("2\n"))
	await(t, l, "2")
	stores.Wait(t, "no refusal", func() bool { return l.Status().Refusal == nil })

	refused(func() { write(t, name+".sha256", sum("3\n4\n5")) })
	refused(func() { write(t, name, "3\n") })
	refused(func() { write(t, name, "3\n4\n") })
	write(t, name, "3\n4\n5") // no end: the checksum knows better
	await(t, l, "5")
	assert.True(t, l.Status().Verified)
}

func TestExchangedLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "blacklist.txt")
	version := func(number, text string) {
		require.NoError(t, os.Mkdir(filepath.Join(dir, ".."+number), 0o700))
		write(t, filepath.Join(dir, ".."+number, "blacklist.txt"), text)
		require.NoError(t, os.Symlink(".."+number, filepath.Join(dir, "..data_tmp")))
		require.NoError(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	version("1", "1\n")
	require.NoError(t, os.Symlink("..data/blacklist.txt", name))
	l := followed(t, name)
	version("2", "2\n")
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "..1")))
	await(t, l, "2")
}

// While lists are exchanged everybody who is on both of two is always refused.
func TestReloadsAreSeenAsAWhole(t *testing.T) {
	t.Parallel()
	name := file(t, "0", "always", "1")
	l := pushed(t, name)
	done := make(chan struct{})
	var asking sync.WaitGroup
	for range 2 {
		asking.Go(func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(10 * time.Microsecond):
				}
				if !l.Contains("always") || !l.Contains("0") {
					t.Error("not on the list")
					return
				}
			}
		})
	}
	var loading sync.WaitGroup
	for range 2 {
		loading.Go(func() {
			for range 20 {
				assert.NoError(t, l.Reload(t.Context()))
			}
		})
	}
	loading.Wait()
	close(done)
	asking.Wait()
	assert.Equal(t, uint64(41), l.Status().Loads)
}

// A file that changes while it is read is a mixture of two.
func TestChangedWhileRead(t *testing.T) {
	t.Parallel()
	name := file(t, "1")
	l := pushed(t, name)
	stamp := l.file.Look()
	write(t, name, "1\n2\n")
	_, err := l.read(t.Context(), stamp)
	require.EqualError(t, err, name+": has changed while it was read")
}

func TestLoadingEnds(t *testing.T) {
	t.Parallel()
	l := pushed(t, file(t, "1"))
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	require.EqualError(t, l.Reload(ctx), "enough")
	_, err := read(ctx, l.Status().File, &pace{})
	require.EqualError(t, err, "enough")
	assert.Zero(t, l.Status().Refusals)
}

// What was dealt with is not read again before it changes; what could not be read
// is tried again, and the log says it once. In time that passes as the test says.
func TestWhatIsTriedAgain(t *testing.T) {
	name := file(t, "1")
	synctest.Test(t, func(t *testing.T) {
		log := &bytes.Buffer{}
		l, err := Open(t.Context(), follow.Source{File: name, Mode: follow.Timer}, slog.New(slog.NewTextHandler(log, nil)))
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { assert.NoError(t, l.Run(ctx)) })
		defer running.Wait()
		defer stop()
		hour := func() (loads, refusals uint64) {
			before := l.Status()
			time.Sleep(time.Hour)
			synctest.Wait()
			after := l.Status()
			return after.Loads - before.Loads, after.Refusals - before.Refusals
		}

		loads, refusals := hour()
		assert.Zero(t, loads+refusals)
		write(t, name, "half")
		loads, refusals = hour()
		assert.Zero(t, loads)
		assert.Equal(t, uint64(1), refusals)
		require.NoError(t, os.Remove(name))
		loads, refusals = hour()
		assert.Zero(t, loads)
		assert.InDelta(t, 60, refusals, 1)
		write(t, name, "2\n")
		loads, refusals = hour()
		assert.Equal(t, uint64(1), loads)
		assert.Zero(t, refusals)
		assert.Equal(t, 2, strings.Count(log.String(), "refused"), log.String())
	})
}
