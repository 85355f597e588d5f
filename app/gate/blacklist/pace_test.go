package blacklist

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		took := func(p *pace) time.Duration {
			began := time.Now()
			for range 100 {
				time.Sleep(10 * time.Millisecond) // it works
				require.NoError(t, p.rest(t.Context()))
			}
			return time.Since(began)
		}
		assert.Equal(t, time.Second, took(&pace{}))
		assert.Equal(t, 2*time.Second, took(gently()))
		ctx, cancel := context.WithCancelCause(t.Context())
		long := gently()
		time.Sleep(time.Hour)
		time.AfterFunc(time.Second, func() { cancel(errors.New("enough")) })
		require.EqualError(t, long.rest(ctx), "enough")
		require.EqualError(t, (&pace{}).rest(ctx), "enough")
	})
}

// A sluggish file takes a while for each read.
type sluggish struct{ io.Reader }

func (s sluggish) Read(p []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return s.Reader.Read(p)
}

// Reading rests between lines, and making the set between shards.
func TestWhatRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := strings.Repeat("1\n", 10*breather)
		took := func(p *pace) time.Duration {
			began := time.Now()
			r := &reader{in: bufio.NewReaderSize(sluggish{strings.NewReader(lines)}, 2*maxID)}
			require.NoError(t, r.readAll(t.Context(), p))
			return time.Since(began)
		}
		usual := took(&pace{})
		assert.InEpsilon(t, 2*usual, took(gently()), 0.01)

		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("enough"))
		_, err := (&builder{}).build(ctx, gently())
		require.EqualError(t, err, "enough")
	})
}

// A list that is reloaded leaves processors to requests. What is measured is of the whole
// process, the garbage collector too, so no other test runs at the same time.
func TestAReloadTakesHalfAProcessor(t *testing.T) {
	var ids strings.Builder
	for i := range 300_000 {
		fmt.Fprintf(&ids, "user-%d\n", i)
	}
	name := file(t, "1")
	l := pushed(t, name)
	require.NoError(t, os.WriteFile(name, []byte(ids.String()), 0o600))
	began, before := time.Now(), used(t)
	require.NoError(t, l.Reload(t.Context()))
	assert.Equal(t, 300_000, l.Status().IDs)
	share := (used(t) - before).Seconds() / time.Since(began).Seconds()
	t.Logf("%.2f processors for %v", share, time.Since(began))
	assert.Less(t, share, 0.75)
}

// used is how long this process has had processors.
func used(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
