package servers

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// Whoever asks at the same time gets the same program, built once.
func TestCachedBuildsOnce(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	var builds atomic.Int32
	var g errgroup.Group
	for range 8 {
		g.Go(func() error {
			path, err := cached(t.Context(), "program", []byte("inputs"), func(out string) error {
				builds.Add(1)
				return os.WriteFile(out, []byte("content"), 0o755)
			})
			if err != nil {
				return err
			}
			_, err = os.Stat(path)
			return err
		})
	}
	require.NoError(t, g.Wait())
	require.EqualValues(t, 1, builds.Load())
}

// A build that fails leaves nothing that would be taken for a program, and the next one cleans up behind a build that was killed.
func TestCachedAfterFailure(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	broken := errors.New("broken")
	_, err := cached(t.Context(), "program", nil, func(out string) error {
		return errors.Join(broken, os.WriteFile(out, []byte("half"), 0o755))
	})
	require.ErrorIs(t, err, broken)

	var work string
	path, err := cached(t.Context(), "program", nil, func(out string) error {
		work = filepath.Dir(out)
		return os.WriteFile(out, []byte("whole"), 0o755)
	})
	require.NoError(t, err)
	require.NoDirExists(t, work)
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "whole", string(content))
}

func TestBinaryUnknown(t *testing.T) {
	_, err := Binary(t.Context(), "zookeeper", nil)
	require.ErrorContains(t, err, "consul, etcd, etcdctl")
}

func TestBinaryWorks(t *testing.T) {
	if testing.Short() {
		t.Skip("builds etcdctl; run without -short")
	}
	path, err := Binary(testContext(t), "etcdctl", nil)
	require.NoError(t, err)
	out, err := exec.Command(path, "version").CombinedOutput()
	require.NoError(t, err)
	require.Contains(t, string(out), "etcdctl version")
}

// The compiler's words are in the error, and an end of the context ends the build.
func TestGoBuildFails(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module broken\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\nfunc main() { undefinedThing() }\n"), 0o644))
	require.ErrorContains(t, goBuild(t.Context(), dir, ".", filepath.Join(dir, "out"), "", nil), "undefinedThing")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, goBuild(ctx, dir, ".", filepath.Join(dir, "out"), "", nil), context.Canceled)
}
