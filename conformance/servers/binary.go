package servers

import (
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

const module = "github.com/seed27495941/seckill"

// A tool is a program that the Go toolchain builds from one of the modules pinned under tools/.
type tool struct {
	dir  string // its module, in the repository's tools folder
	pkg  string
	slow string // why the first build takes long, if it does
}

var tools = map[string]tool{
	"etcd":    {dir: "etcd", pkg: "go.etcd.io/etcd/server/v3"},
	"etcdctl": {dir: "etcd", pkg: "go.etcd.io/etcd/etcdctl/v3"},
	"consul": {
		dir: "consul", pkg: "github.com/hashicorp/consul",
		slow: "Consul has some 2,000 packages; with a cold build cache that is about five minutes on two cores, once",
	},
}

// Tools are the names that Binary knows.
func Tools() []string { return slices.Sorted(maps.Keys(tools)) }

// Binary returns the path of a statically linked "etcd", "etcdctl" or "consul", built from the version that the repository pins. It is
// built once and kept in the user's cache directory; processes that ask at the same time wait for one of them to build. What
// happens meanwhile is told to progress, unless that is nil.
func Binary(ctx context.Context, name string, progress io.Writer) (string, error) {
	t, ok := tools[name]
	if !ok {
		return "", fmt.Errorf("servers: no program is called %q, only %s", name, strings.Join(Tools(), ", "))
	}
	dir, err := toolDir(ctx, t.dir)
	if err != nil {
		return "", fmt.Errorf("servers: %w", err)
	}
	h := sha256.New()
	for _, file := range []string{"go.mod", "go.sum"} {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return "", fmt.Errorf("servers: %w", err)
		}
		h.Write(b)
	}
	path, err := cached(ctx, name, h.Sum(nil), func(out string) error {
		return goBuild(ctx, dir, t.pkg, out, t.slow, progress)
	})
	if err != nil {
		return "", fmt.Errorf("servers: build %s: %w", name, err)
	}
	return path, nil
}

//go:embed guard/*.go
var guardSource embed.FS

// guardBinary is the guard program, built from the source embedded here, so that it matches this package wherever the tests run.
func guardBinary(ctx context.Context) (string, error) {
	files := map[string][]byte{"go.mod": []byte("module guard\n\ngo 1.24\n")}
	entries, err := guardSource.ReadDir("guard")
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if files[e.Name()], err = guardSource.ReadFile("guard/" + e.Name()); err != nil {
			return "", err
		}
	}
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h.Write(files[name])
	}
	path, err := cached(ctx, "guard", h.Sum(nil), func(out string) error {
		dir := filepath.Join(filepath.Dir(out), "src")
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		for name, content := range files {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
				return err
			}
		}
		return goBuild(ctx, dir, ".", out, "", nil)
	})
	if err != nil {
		return "", fmt.Errorf("build the guard: %w", err)
	}
	return path, nil
}

// toolDir finds a module under tools/: beside this source file, or, in test binaries that were built with -trimpath, in the module
// that go test runs in.
func toolDir(ctx context.Context, name string) (string, error) {
	_, file, _, _ := runtime.Caller(0)
	dir := filepath.Join(filepath.Dir(file), "..", "..", "tools", name)
	if isModule(dir) {
		return dir, nil
	}
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err == nil {
		dir = filepath.Join(strings.TrimSpace(string(out)), "tools", name)
		if isModule(dir) {
			return dir, nil
		}
	}
	return "", fmt.Errorf("%s not found: servers are built from a checkout of %s; elsewhere, name running ones in %s and %s",
		dir, module, addressEnv(Etcd), addressEnv(Consul))
}

func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// cacheDir is where binaries and notes live between runs of the tests.
func cacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(base, "seckill", "bin")
	return dir, os.MkdirAll(dir, 0o755)
}

// cached returns the program called name made from the given inputs by this toolchain, and has build make it if there is none yet.
func cached(ctx context.Context, name string, inputs []byte, build func(out string) error) (string, error) {
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	key := fmt.Sprintf("%x %s %s %s", inputs, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	path := filepath.Join(dir, name+"-"+shortHash(key))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}

	unlock, err := lockFile(ctx, path+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(path); err == nil {
		return path, nil // built while we waited
	}
	// Under the lock, what lies about was left by a process that died.
	const building = ".building-"
	stale, err := filepath.Glob(path + building + "*")
	if err != nil {
		return "", err
	}
	for _, s := range stale {
		os.RemoveAll(s)
	}
	work, err := os.MkdirTemp(dir, filepath.Base(path)+building)
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	out := filepath.Join(work, name)
	if err := build(out); err != nil {
		return "", err
	}
	return path, os.Rename(out, path)
}

// goBuild builds pkg of the module in dir as a static binary and reports how long it has been at it.
func goBuild(ctx context.Context, dir, pkg, out, slow string, progress io.Writer) error {
	if progress == nil {
		progress = io.Discard
	}
	name := filepath.Base(out)
	var output tail
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", out, pkg)
	cmd.Dir = dir
	// GOFLAGS and GOWORK of whoever runs the tests are about their own code.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-buildvcs=false")
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // lets it remove its own work
	cmd.WaitDelay = 10 * time.Second

	began := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	tick := time.NewTicker(15 * time.Second)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				return errors.Join(err, errors.New(excerpt(output.String())))
			}
			fmt.Fprintf(progress, "built %s in %s\n", name, time.Since(began).Round(time.Second/10))
			return nil
		case <-tick.C:
			fmt.Fprintf(progress, "building %s … %s", name, time.Since(began).Round(time.Second))
			if slow != "" {
				fmt.Fprintf(progress, " (%s)", slow)
			}
			fmt.Fprintln(progress)
		}
	}
}
