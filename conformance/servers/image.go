package servers

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ory/dockertest/v3/docker"
	"golang.org/x/sync/errgroup"
)

// An image is what containers are made of: a server with a guard for its entry point.
type image struct {
	ref    string
	source string // for people
}

// imageResult is what came of the one attempt to get an image.
type imageResult struct {
	image image
	err   error
}

// officialImages are tried unless the environment names others.
var officialImages = map[Kind]string{
	Etcd:   "gcr.io/etcd-development/etcd:v3.6.8",
	Consul: "hashicorp/consul:1.22",
}

const (
	// pullSilence is how long a pull may go without a sign of life.
	pullSilence = 15 * time.Second

	// pullHolidays is for how long a pull that failed is not tried again.
	pullHolidays = 6 * time.Hour
)

func imageEnv(k Kind) string { return addressEnv(k) + "_IMAGE" }

// image returns what containers of the kind are to be made of, and builds it if need be. The outcome is remembered.
func (e *engine) image(ctx context.Context, kind Kind) (image, error) {
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return image{}, context.Cause(ctx)
	}
	if e.unreachable != nil {
		return image{}, e.unreachable
	}
	made, ok := e.images[kind]
	if !ok {
		made.image, made.err = e.prepare(ctx, kind)
		if ctx.Err() == nil {
			e.images[kind] = made
		}
	}
	return made.image, made.err
}

func (e *engine) prepare(ctx context.Context, kind Kind) (image, error) {
	guard, err := guardBinary(ctx)
	if err != nil {
		return image{}, err
	}
	dir, err := cacheDir()
	if err != nil {
		return image{}, err
	}
	// Test processes that start together pull and build once.
	unlock, err := lockFile(ctx, filepath.Join(dir, "image-"+string(kind)+".lock"))
	if err != nil {
		return image{}, err
	}
	defer unlock()

	official, named := os.Getenv(imageEnv(kind)), true
	if official == "" {
		official, named = officialImages[kind], false
	}
	files := map[string]string{"guard": guard} // name in the image: path here
	base, err := e.pulled(ctx, official, named)
	switch {
	case err == nil:
		dockerfile := "FROM " + official + "\nUSER 0\nCOPY guard /guard\nENTRYPOINT [\"/guard\"]\nCMD []\n"
		return e.derive(ctx, kind, dockerfile, base, files, "docker: official image "+official)
	case named:
		return image{}, fmt.Errorf("docker: %s=%s cannot be had: %w", imageEnv(kind), official, err)
	case ctx.Err() != nil:
		return image{}, context.Cause(ctx)
	}
	note("docker: %s: %v; building an image instead", official, err)
	program := string(kind)
	if files[program], err = Binary(ctx, program, os.Stderr); err != nil {
		return image{}, err
	}
	dockerfile := "FROM scratch\nCOPY guard /guard\nCOPY " + program + " /bin/" + program + "\nENTRYPOINT [\"/guard\"]\n"
	return e.derive(ctx, kind, dockerfile, "", files, "docker: image built from scratch")
}

// pulled returns the id of an image, which it pulls if the daemon does not have it.
func (e *engine) pulled(ctx context.Context, name string, insist bool) (id string, err error) {
	if img, err := e.client.InspectImage(name); err == nil {
		return img.ID, nil
	} else if !errors.Is(err, docker.ErrNoSuchImage) {
		return "", err
	}
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	failure := filepath.Join(dir, "no-image-"+shortHash(name))
	if !insist {
		if info, err := os.Stat(failure); err == nil && time.Since(info.ModTime()) < pullHolidays {
			why, _ := os.ReadFile(failure)
			return "", fmt.Errorf("not pulled, as that failed %s ago (%s)", time.Since(info.ModTime()).Round(time.Second), why)
		}
	}
	if err := e.pull(ctx, name); err != nil {
		if ctx.Err() == nil && !insist {
			err = errors.Join(err, os.WriteFile(failure, []byte(err.Error()), 0o644))
		}
		return "", err
	}
	if err := os.Remove(failure); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	img, err := e.client.InspectImage(name)
	if err != nil {
		return "", err
	}
	return img.ID, nil
}

func (e *engine) pull(ctx context.Context, name string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(pullSilence, func() { cancel(fmt.Errorf("pull: nothing came for %s", pullSilence)) })
	defer silence.Stop()
	repository, tag := docker.ParseRepositoryTag(name)
	err := e.client.PullImage(docker.PullImageOptions{
		Repository:   repository,
		Tag:          tag,
		OutputStream: writerFunc(func(p []byte) (int, error) { silence.Reset(pullSilence); return len(p), nil }),
		Context:      ctx,
	}, docker.AuthConfiguration{})
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// derive returns the image that dockerfile makes of files. Its tag is the hash of everything that goes in, so it is built only once.
func (e *engine) derive(ctx context.Context, kind Kind, dockerfile, base string, files map[string]string, source string) (image, error) {
	inputs := dockerfile + base
	for _, name := range []string{"guard", string(kind)} {
		inputs += "\n" + filepath.Base(files[name]) // cached programs have a hash in their names
	}
	img := image{ref: "seckill-test-" + string(kind) + ":" + shortHash(inputs), source: source}
	if _, err := e.client.InspectImage(img.ref); err == nil {
		return img, nil
	}

	var output tail
	content, pipe := io.Pipe()
	var g errgroup.Group
	g.Go(func() error {
		err := writeContext(pipe, dockerfile, files)
		pipe.CloseWithError(err)
		return err
	})
	err := e.client.BuildImage(docker.BuildImageOptions{
		Name:                img.ref,
		InputStream:         content,
		OutputStream:        &output,
		RmTmpContainer:      true,
		ForceRmTmpContainer: true,
		Context:             ctx,
	})
	content.CloseWithError(err) // lets the writer go if the daemon did not want it all
	if writeErr := g.Wait(); err == nil {
		err = writeErr
	}
	if err != nil {
		return image{}, fmt.Errorf("docker: build %s: %w\n%s", img.ref, err, excerpt(output.String()))
	}
	return img, nil
}

// writeContext writes what the daemon builds an image from: a tar archive of the Dockerfile and the files.
func writeContext(w io.Writer, dockerfile string, files map[string]string) error {
	archive := tar.NewWriter(w)
	add := func(name string, size int64, content io.Reader) error {
		if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: size}); err != nil {
			return err
		}
		_, err := io.Copy(archive, content)
		return err
	}
	if err := add("Dockerfile", int64(len(dockerfile)), strings.NewReader(dockerfile)); err != nil {
		return err
	}
	addFile := func(name, path string) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		return add(name, info.Size(), f)
	}
	for name, path := range files {
		if err := addFile(name, path); err != nil {
			return err
		}
	}
	return archive.Close()
}

func shortHash(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:8])
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
