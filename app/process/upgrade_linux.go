package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// Upgrade asks the process that a PID file names to start its successor, and waits
// until that serves. The successor is started as the process was, from the same
// executable as it is now, or from another one if its path is not "". It gets the pid of the successor.
// An error says why there is none; then the process goes on. The successor does
// not depend on the caller.
func Upgrade(ctx context.Context, file, executable string) (pid int, err error) {
	var w *wire
	err = patiently(ctx, func() error {
		w, err = wireToHolder(ctx, pidFile(file))
		return err
	})
	if err != nil {
		return 0, err
	}
	defer w.close()
	if err := w.send(message{Verb: upgrade, Executable: executable}); err != nil {
		return 0, err
	}
	m, files, err := w.receive(ctx, done)
	closeAll(files)
	if errors.Is(err, io.EOF) {
		err = errors.New("it ended before it answered")
	}
	if err != nil {
		return 0, fmt.Errorf("process %d was not replaced: %w", w.peer, err)
	}
	return m.PID, nil
}

// wireToHolder connects to the process that a PID file names.
func wireToHolder(ctx context.Context, file pidFile) (*wire, error) {
	holder, err := file.read()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("nothing to upgrade: there is no PID file %s", file)
	}
	if err != nil {
		return nil, err
	}
	g, err := hold(holder)
	if errors.Is(err, errGone) {
		return nil, fmt.Errorf("nothing to upgrade: PID file %s: %w", file, err)
	}
	if err != nil {
		return nil, err
	}
	defer g.release()
	w, err := wireTo(ctx, file.socket(), holder.pid)
	if err != nil {
		return nil, passing{fmt.Errorf("process %d can't be asked: %w", holder.pid, err)}
	}
	return w, nil
}
