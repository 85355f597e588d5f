package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A pidFile is where a process says who it is. What it says is checked before it
// is believed: the process may be gone, and its pid another's.
//
// The pid is alone on the first line, as other programs expect it. What follows
// on the second is none that kill(1) would take, should somebody give it the whole file.
type pidFile string

func (id identity) String() string {
	return fmt.Sprintf("%d\nstart=%d boot=%s\n", id.pid, id.start, id.boot)
}

// longestPIDFile bounds what is read.
const longestPIDFile = 512

func parseIdentity(text string) (identity, error) {
	var id identity
	if _, err := fmt.Sscanf(text, "%d\nstart=%d boot=%s\n", &id.pid, &id.start, &id.boot); err != nil || id.pid < 1 || id.String() != text {
		return identity{}, errors.New("expected a pid, and on the next line start=… boot=…, as this program writes them; remove it if nothing needs it")
	}
	return id, nil
}

// read is who the file names. Errors: fs.ErrNotExist.
func (f pidFile) read() (identity, error) {
	file, err := os.Open(string(f))
	if err != nil {
		return identity{}, err
	}
	defer file.Close()
	return f.parse(file)
}

func (f pidFile) parse(file *os.File) (identity, error) {
	text, err := io.ReadAll(io.LimitReader(file, longestPIDFile))
	if err != nil {
		return identity{}, err
	}
	id, err := parseIdentity(string(text))
	if err != nil {
		return identity{}, fmt.Errorf("PID file %s: %w", f, err)
	}
	return id, nil
}

// create makes the file. Errors: fs.ErrExist.
func (f pidFile) create(id identity) error {
	return f.write(id, func(draft string) error { return os.Link(draft, string(f)) })
}

// errMoved says that a PID file is not what it was a moment ago.
var errMoved = errors.New("the PID file was changed by another process")

// replace has the file name another process than before. Errors: errMoved.
func (f pidFile) replace(ctx context.Context, old, id identity) error {
	return f.alone(ctx, old, func() error {
		return f.write(id, func(draft string) error { return os.Rename(draft, string(f)) })
	})
}

// remove takes the file and its socket away if the file names id.
func (f pidFile) remove(ctx context.Context, id identity) error {
	err := f.alone(ctx, id, func() error {
		if err := os.Remove(f.socket()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return os.Remove(string(f))
	})
	if errors.Is(err, errMoved) {
		return nil
	}
	return err
}

// write writes a draft beside the file and puts it into place, so that nobody sees
// half of it.
func (f pidFile) write(id identity, place func(draft string) error) (err error) {
	draft := fmt.Sprintf("%s.%d", f, id.pid)
	if err := os.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(draft, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if left := os.Remove(draft); left != nil && !errors.Is(left, fs.ErrNotExist) {
			err = errors.Join(err, left)
		}
	}()
	_, err = file.WriteString(id.String())
	err = errors.Join(err, file.Chmod(0o644), file.Sync(), file.Close()) // whatever the umask is
	if err != nil {
		return err
	}
	return place(draft)
}

const (
	// A file is locked for as long as it takes to replace it.
	lockPatience = 5 * time.Second
	lockPause    = 5 * time.Millisecond
)

// alone runs change while the file names id, and no other process of this program
// changes it. Errors: errMoved if it names another.
func (f pidFile) alone(ctx context.Context, id identity, change func() error) error {
	file, err := os.Open(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return errMoved
	}
	if err != nil {
		return err
	}
	defer file.Close() // and with it the lock
	if err := lock(ctx, file); err != nil {
		return fmt.Errorf("PID file %s: %w", f, err)
	}
	// It may have been replaced while this process waited.
	locked, err := file.Stat()
	if err != nil {
		return err
	}
	if now, err := os.Stat(string(f)); err != nil || !os.SameFile(locked, now) {
		return errMoved
	}
	if now, err := f.parse(file); err != nil || now != id {
		return errMoved
	}
	return change()
}

// lock waits for a file, but not for ever: whoever may read it can lock it.
func lock(ctx context.Context, file *os.File) error {
	ctx, cancel := context.WithTimeoutCause(ctx, lockPatience, errors.New("locked by another process"))
	defer cancel()
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return err
		}
		if err := pause(ctx, lockPause); err != nil {
			return err
		}
	}
}

// pause waits, and returns the cause of ctx's end if that comes first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
