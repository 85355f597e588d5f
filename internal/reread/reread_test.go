package reread_test

import (
	"errors"
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

	"github.com/seed27495941/seckill/internal/reread"
)

func good(content []byte) (string, error) {
	if !strings.HasPrefix(string(content), "good") {
		return "", errors.New("expected good")
	}
	return string(content), nil
}

func TestFollows(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	write := func(text string) { require.NoError(t, os.WriteFile(name, []byte(text), 0o600)) }
	write("good 1")

	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		f, err := reread.Open(name, good, slog.New(slog.NewTextHandler(&log, nil)))
		require.NoError(t, err)
		afterwards := func(content string) {
			t.Helper()
			time.Sleep(time.Second)
			for range 3 { // whoever asks next looks, the others are told the same
				assert.Equal(t, content, f.Get())
			}
		}
		logged := func(text string) int { return strings.Count(log.String(), text) }
		assert.Equal(t, "good 1", f.Get())

		write("good 2")
		assert.Equal(t, "good 1", f.Get(), "it was looked at just now")
		afterwards("good 2")
		assert.Equal(t, 1, logged(`level=INFO msg="a changed file is in force" file=`+name))

		write("bad 1")
		afterwards("good 2")
		afterwards("good 2")
		assert.Equal(t, 1, logged("level=ERROR"), "once for each content")
		assert.Equal(t, 1, logged(name+": expected good"))
		write("bad 2")
		afterwards("good 2")
		assert.Equal(t, 2, logged("level=ERROR"))

		require.NoError(t, os.Remove(name))
		afterwards("good 2")
		afterwards("good 2")
		assert.Equal(t, 1, logged("no such file"))

		write("good 2")
		afterwards("good 2")
		afterwards("good 2")
		assert.Equal(t, 1, logged("a file is again what is in force"))
		write("bad 2")
		afterwards("good 2")
		assert.Equal(t, 4, logged("level=ERROR"), "it was good in between")

		write("good" + strings.Repeat("x", 1<<20))
		afterwards("good 2")
		assert.Equal(t, 1, logged("more than 1048576 bytes"))
		write("good 3")
		afterwards("good 3")
		assert.Equal(t, 5, logged("level=ERROR"))
	})
}

func TestManyFollow(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(name, []byte("good 1"), 0o600))
	synctest.Test(t, func(t *testing.T) {
		f, err := reread.Open(name, good, nil)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(name, []byte("good 2"), 0o600))
		time.Sleep(time.Second)
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() { assert.Contains(t, []string{"good 1", "good 2"}, f.Get()) })
		}
		group.Wait()
		assert.Equal(t, "good 2", f.Get())
	})
}

func TestOpenRefuses(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	_, err := reread.Open(name, good, nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, name)
	_, err = reread.Open("", good, nil)
	require.EqualError(t, err, "no file is given")

	require.NoError(t, os.WriteFile(name, []byte("bad"), 0o600))
	_, err = reread.Open(name, good, nil)
	require.EqualError(t, err, name+": expected good")
}
