package servers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ory/dockertest/v3"
	"github.com/ory/dockertest/v3/docker"
)

// dockerPatience is how long servers in containers may take to become ready; far longer than they do. What is not reachable by then
// never will be: the daemon's "host" is another machine than ours.
const dockerPatience = 90 * time.Second

var errUnreachable = fmt.Errorf("containers cannot be reached on the loopback interface within %s", dockerPatience)

func startInDocker(ctx context.Context, cfg Config) (*Cluster, error) {
	e, err := openEngine()
	if err != nil {
		return nil, err
	}
	img, err := e.image(ctx, cfg.Kind)
	if err != nil {
		return nil, err
	}
	launch, cancel := context.WithTimeoutCause(ctx, dockerPatience, errUnreachable)
	defer cancel()
	c, err := launchCluster(launch, cfg, &containers{client: e.client, image: img, program: string(cfg.Kind)})
	if errors.Is(err, errUnreachable) {
		e.turn <- struct{}{}
		e.unreachable = err
		<-e.turn
	}
	return c, err
}

// An engine is the Docker daemon, with what was found out about it so that no test needs to find out again.
type engine struct {
	client *docker.Client

	turn        chan struct{} // held while what follows is read or found out
	images      map[Kind]imageResult
	unreachable error // containers run, but not where we can reach them
}

// openEngine is newEngine, once per process.
var openEngine = sync.OnceValues(newEngine)

// newEngine finds the daemon, or why there is none for us.
func newEngine() (*engine, error) {
	pool, err := dockertest.NewPool("")
	if err != nil {
		return nil, fmt.Errorf("docker: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := pool.Client.PingWithContext(ctx); err != nil {
		return nil, fmt.Errorf("docker: %w", err)
	}
	info, err := pool.Client.Info()
	if err != nil {
		return nil, fmt.Errorf("docker: %w", err)
	}
	// Containers share the network of the daemon's host, which has to be ours.
	if runtime.GOOS != "linux" || info.OperatingSystem == "Docker Desktop" {
		return nil, fmt.Errorf("docker: %s runs containers in a virtual machine, whose loopback interface is not ours", info.OperatingSystem)
	}
	if slices.ContainsFunc(info.SecurityOptions, func(o string) bool { return strings.Contains(o, "rootless") }) {
		return nil, errors.New("docker: a rootless daemon has a loopback interface of its own")
	}
	e := &engine{client: pool.Client, turn: make(chan struct{}, 1), images: make(map[Kind]imageResult)}
	if err := e.sweep(ctx); err != nil {
		return nil, err
	}
	return e, nil
}

// label marks our containers.
const label = "seckill.test.server"

// sweep removes containers that were created but never started, because the test process died in the moment between. All others
// remove themselves.
func (e *engine) sweep(ctx context.Context) error {
	all, err := e.client.ListContainers(docker.ListContainersOptions{
		All:     true,
		Filters: map[string][]string{"label": {label}, "status": {"created"}},
		Context: ctx,
	})
	if err != nil {
		return fmt.Errorf("docker: %w", err)
	}
	for _, c := range all {
		if time.Since(time.Unix(c.Created, 0)) > time.Minute {
			if err := removeContainer(e.client, c.ID); err != nil {
				return fmt.Errorf("docker: remove what was never started: %w", err)
			}
		}
	}
	return nil
}

func removeContainer(client *docker.Client, id string) error {
	err := client.RemoveContainer(docker.RemoveContainerOptions{ID: id, RemoveVolumes: true, Force: true})
	if missing := (*docker.NoSuchContainer)(nil); errors.As(err, &missing) {
		return nil
	}
	return err
}

// containers runs servers in containers, each with a guard as PID 1 whose standard input is attached to us.
type containers struct {
	client  *docker.Client
	image   image
	program string
}

func (c *containers) source() string { return c.image.source }

func (c *containers) launch(ctx context.Context, name string, args []string, stdout, stderr io.Writer) (io.WriteCloser, func() error, error) {
	made, err := c.client.CreateContainer(docker.CreateContainerOptions{
		Name: name,
		Config: &docker.Config{
			Image:       c.image.ref,
			Cmd:         append([]string{"/" + name, c.program}, args...),
			Labels:      map[string]string{label: c.program},
			OpenStdin:   true,
			StdinOnce:   true, // when our connection is gone the guard reads EOF
			AttachStdin: true, AttachStdout: true, AttachStderr: true,
		},
		HostConfig: &docker.HostConfig{
			NetworkMode: "host", // the same ports as for a process
			AutoRemove:  true,
			LogConfig:   docker.LogConfig{Type: "none"}, // the log comes to us
		},
		Context: ctx,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("docker: create container: %w", err)
	}
	discard := func(err error) error { return errors.Join(err, removeContainer(c.client, made.ID)) }

	stdin, write := io.Pipe()
	attached := make(chan struct{})
	stream, err := c.client.AttachToContainerNonBlocking(docker.AttachToContainerOptions{
		Container:   made.ID,
		InputStream: stdin, OutputStream: stdout, ErrorStream: stderr,
		Stdin: true, Stdout: true, Stderr: true, Stream: true,
		Success: attached,
	})
	if err != nil {
		return nil, nil, discard(fmt.Errorf("docker: attach: %w", err))
	}
	// The client offers no way to give up on this, but the daemon has answered a moment ago.
	<-attached
	attached <- struct{}{}

	if err := c.client.StartContainerWithContext(made.ID, nil, ctx); err != nil {
		write.Close()
		err = discard(fmt.Errorf("docker: start container: %w", err))
		return nil, nil, errors.Join(err, stream.Wait())
	}
	wait := func() error {
		return errors.Join(stream.Wait(), c.awaitRemoval(context.WithoutCancel(ctx), made.ID))
	}
	return write, wait, nil
}

// awaitRemoval returns when the daemon has removed a container that has ended.
func (c *containers) awaitRemoval(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, guardPatience)
	defer cancel()
	for {
		_, err := c.client.InspectContainerWithContext(id, ctx)
		if missing := (*docker.NoSuchContainer)(nil); errors.As(err, &missing) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("docker: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("docker: container %s was not removed within %s", id, guardPatience)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
