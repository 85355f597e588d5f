package follow_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/follow"
	"github.com/seed27495941/seckill/internal/stores"
)

// A follower takes what it is told of, and remembers.
type follower struct {
	*follow.File
	told   chan string // contents, "" if there is no file
	refuse atomic.Bool // leave what is told undone
}

func newFollower(t *testing.T, s follow.Source, beside ...string) *follower {
	t.Helper()
	file, err := follow.New(s, slog.New(slog.DiscardHandler), beside...)
	require.NoError(t, err)
	f := &follower{File: file, told: make(chan string, 1000)}
	f.Done(f.Look())
	return f
}

func (f *follower) run(ctx context.Context) error {
	return f.Run(ctx, func(context.Context) {
		stamp := f.Look()
		text, _ := os.ReadFile(f.Source().File)
		if !f.refuse.Load() {
			f.Done(stamp)
		}
		f.told <- string(text)
	})
}

func (f *follower) await(t *testing.T, want string) {
	t.Helper()
	var last string
	stores.Wait(t, "told of "+want, func() bool {
		select {
		case last = <-f.told:
		default:
		}
		return last == want
	})
}

func write(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
}

// moveIn writes elsewhere and renames into place.
func moveIn(t *testing.T, name, text string) {
	t.Helper()
	write(t, name+".new", text)
	require.NoError(t, os.Rename(name+".new", name))
}

const (
	never = 24 * time.Hour       // an interval that has no part in the test
	brief = 5 * time.Millisecond // to settle
)

func TestEvents(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "list")
	write(t, name, "1")
	f := newFollower(t, follow.Source{File: name, Interval: never, Settle: brief})
	stores.Start(t, f.run)

	moveIn(t, name, "renamed")
	f.await(t, "renamed")
	write(t, name, "in place")
	f.await(t, "in place")
	require.NoError(t, os.Remove(name))
	f.await(t, "")
	write(t, name, "back")
	f.await(t, "back")
}

// What is changed between loading and following is not missed.
func TestWhatChangedBefore(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "list")
	write(t, name, "1")
	f := newFollower(t, follow.Source{File: name, Interval: never, Settle: brief})
	moveIn(t, name, "2")
	stores.Start(t, f.run)
	f.await(t, "2")
}

// As Kubernetes does it: list → ..data/list, ..data → ..1.
func TestExchangedLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "list")
	version := func(number, text string) {
		require.NoError(t, os.Mkdir(filepath.Join(dir, ".."+number), 0o700))
		write(t, filepath.Join(dir, ".."+number, "list"), text)
		require.NoError(t, os.Symlink(".."+number, filepath.Join(dir, "..data_tmp")))
		require.NoError(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	version("1", "one")
	require.NoError(t, os.Symlink("..data/list", name))
	f := newFollower(t, follow.Source{File: name, Interval: never, Settle: brief})
	stores.Start(t, f.run)
	version("2", "two")
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "..1")))
	f.await(t, "two")
	version("3", "three")
	f.await(t, "three")
}

// Events of the directory that had the name before are of no use any more.
func TestExchangedDirectory(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	dir := filepath.Join(parent, "dir")
	name := filepath.Join(dir, "list")
	require.NoError(t, os.Mkdir(dir, 0o700))
	write(t, name, "1")
	const interval = time.Second
	f := newFollower(t, follow.Source{File: name, Interval: interval, Settle: brief})
	stores.Start(t, f.run)
	require.NoError(t, os.Rename(dir, filepath.Join(parent, "old")))
	f.await(t, "")
	require.NoError(t, os.Mkdir(dir, 0o700))
	write(t, name, "2")
	f.await(t, "2")
	require.NoError(t, os.RemoveAll(dir))
	f.await(t, "")
	require.NoError(t, os.Mkdir(dir, 0o700))
	write(t, name, "3")
	f.await(t, "3")

	// The new directory has events: not all changes wait for the next look, which
	// from the last one is an interval away.
	fastest := interval
	for i := range 10 {
		began := time.Now()
		write(t, name, fmt.Sprint("new ", i))
		f.await(t, fmt.Sprint("new ", i))
		fastest = min(fastest, time.Since(began))
	}
	assert.Less(t, fastest, interval/2)
}

// A directory with a lot of other files makes a lot of events, and nothing is
// told of them.
func TestOtherFilesAreNoChange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "list")
	write(t, name, "1")
	f := newFollower(t, follow.Source{File: name, Interval: never, Settle: brief})
	stores.Start(t, f.run)
	for range 1000 {
		moveIn(t, filepath.Join(dir, "other"), "x")
	}
	moveIn(t, name, "2")
	assert.Equal(t, "2", <-f.told, "the first that was told")
}

func TestWhatIsBesideTheFileIsPartOfIt(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "list")
	write(t, name, "1")
	f := newFollower(t, follow.Source{File: name, Interval: never, Settle: brief}, name+".sum")
	stores.Start(t, f.run)
	write(t, name+".sum", "of 1")
	assert.Equal(t, "1", <-f.told)
}

func TestWhatIsNotDoneIsToldAgain(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "list")
	write(t, name, "1")
	f := newFollower(t, follow.Source{File: name, Mode: follow.Timer, Interval: brief, Settle: brief})
	f.refuse.Store(true)
	stores.Start(t, f.run)
	write(t, name, "2")
	f.await(t, "2")
	f.await(t, "2")
	f.await(t, "2")
}

// In time that passes as the test says.
func TestTimer(t *testing.T) {
	name := filepath.Join(t.TempDir(), "list")
	write(t, name, "1")
	synctest.Test(t, func(t *testing.T) {
		f := newFollower(t, follow.Source{File: name, Mode: follow.Timer, Interval: time.Minute, Settle: 2 * time.Second})
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { assert.NoError(t, f.run(ctx)) })
		defer running.Wait()
		defer stop()
		pass := func(d time.Duration) int {
			time.Sleep(d)
			synctest.Wait()
			return len(f.told)
		}

		assert.Zero(t, pass(10*time.Minute+time.Second), "nothing has changed")
		write(t, name, "12")
		assert.Zero(t, pass(58*time.Second), "nobody has looked")
		assert.Zero(t, pass(2*time.Second), "it has not settled")
		// A writer that goes on each second, for a while.
		text := "12"
		for range 90 {
			text += "3"
			write(t, name, text)
			require.Zero(t, pass(time.Second))
		}
		assert.Equal(t, 1, pass(3*time.Second))
		assert.Equal(t, text, <-f.told)
		assert.Zero(t, pass(time.Hour), "it is told once")
	})
}

func TestPush(t *testing.T) {
	name := filepath.Join(t.TempDir(), "list")
	write(t, name, "1")
	synctest.Test(t, func(t *testing.T) {
		f := newFollower(t, follow.Source{File: name, Mode: follow.Push})
		ctx, stop := context.WithTimeout(t.Context(), 24*time.Hour)
		defer stop()
		write(t, name, "12")
		require.NoError(t, f.run(ctx))
		assert.Empty(t, f.told)
	})
}

func TestSettleEnds(t *testing.T) {
	f := newFollower(t, follow.Source{File: filepath.Join(t.TempDir(), "list"), Settle: time.Hour})
	ctx, stop := context.WithTimeout(t.Context(), time.Millisecond)
	defer stop()
	require.ErrorIs(t, f.Settle(ctx), context.DeadlineExceeded)
}

func TestBadSources(t *testing.T) {
	for want, bad := range map[string]follow.Source{
		"no file to follow": {},
		`follow x: mode "inotify": expected one of events, timer, push`: {File: "x", Mode: "inotify"},
		"follow x: interval -1s: expected a time":                       {File: "x", Interval: -time.Second},
		"follow x: settle time -1s: expected a time":                    {File: "x", Settle: -time.Second},
	} {
		_, err := follow.New(bad, slog.New(slog.DiscardHandler))
		require.EqualError(t, err, want)
	}
	f, err := follow.New(follow.Source{File: "x"}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	assert.Equal(t, follow.Source{File: "x", Mode: follow.Events, Interval: time.Minute, Settle: 2 * time.Second}, f.Source())
}

// A file that does not settle is not loaded, and that is said.
func TestAFileThatKeepsChangingIsReported(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "list")
		var log strings.Builder
		f, err := follow.New(follow.Source{File: name, Settle: time.Minute}, slog.New(slog.NewTextHandler(&log, nil)))
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- f.Settle(ctx) }()
		time.Sleep(30 * time.Second) // between two looks
		for n := range 10 {
			write(t, name, strings.Repeat("x", n+1))
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		assert.Equal(t, 1, strings.Count(log.String(), "keeps changing"))
		assert.Contains(t, log.String(), "changing_for=10m0s")
	})
}
