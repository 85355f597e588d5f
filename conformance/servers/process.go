package servers

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// processes runs servers as child processes.
type processes struct {
	guard, binary string
}

func newProcesses(ctx context.Context, kind Kind) (*processes, error) {
	binary, err := Binary(ctx, string(kind), os.Stderr)
	if err != nil {
		return nil, err
	}
	guard, err := guardBinary(ctx)
	if err != nil {
		return nil, err
	}
	return &processes{guard: guard, binary: binary}, nil
}

func (*processes) source() string { return "process" }

// dataDir is where the guard of a node that is a child process keeps the server's data.
func dataDir(node string) string { return filepath.Join(os.TempDir(), node) }

func (p *processes) launch(ctx context.Context, name string, args []string, stdout, stderr io.Writer) (io.WriteCloser, func() error, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, context.Cause(ctx)
	}
	cmd := exec.Command(p.guard, append([]string{dataDir(name), p.binary}, args...)...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	// A session of its own, so that whoever kills the tests' process group does not take the guard before it has cleaned up.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	return stdin, cmd.Wait, nil
}
