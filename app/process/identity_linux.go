package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// An identity names one process for good. Its pid alone does not: it is used again.
type identity struct {
	pid   int
	start uint64 // in clock ticks since the machine was started, as proc(5) has it
	boot  string // which of the machine's starts that was
}

// errGone says that a process has ended.
var errGone = errors.New("there is no such process any more")

// identify finds out who has a pid at this moment. Errors: errGone.
func identify(pid int) (identity, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return identity{}, fmt.Errorf("process %d: %w", pid, errGone)
	}
	if err != nil {
		return identity{}, err
	}
	start, alive, err := parseStat(stat)
	if err != nil {
		return identity{}, fmt.Errorf("/proc/%d/stat: %w", pid, err)
	}
	if !alive {
		return identity{}, fmt.Errorf("process %d: %w", pid, errGone)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return identity{pid, start, string(bytes.TrimSpace(boot))}, err
}

// parseStat reads fields 3 and 22 of proc(5)'s stat: the state, and when the process
// was started. The name before them may have spaces and brackets in it.
func parseStat(stat []byte) (start uint64, alive bool, err error) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return 0, false, errors.New("expected at least 22 fields")
	}
	start, err = strconv.ParseUint(string(fields[19]), 10, 64)
	state := string(fields[0])
	return start, state != "Z" && state != "X", err
}

// A grip is on one process: as long as it is held it stands for that one and no
// other, whoever gets its pid. It has to be let go.
type grip struct {
	identity
	pidfd *os.File
}

// hold gets a grip on a process. Errors: errGone if it has ended, also when another
// one has its pid by now.
func hold(id identity) (*grip, error) {
	fd, err := unix.PidfdOpen(id.pid, 0) // PIDFD_NONBLOCK would be refused before Linux 5.10, with EINVAL too
	switch {
	case errors.Is(err, unix.ESRCH),
		errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT): // before and since Linux 6.16: a thread has the number
		return nil, fmt.Errorf("process %d: %w", id.pid, errGone)
	case err != nil:
		return nil, fmt.Errorf("pidfd_open, which needs Linux 5.3: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	g := &grip{id, os.NewFile(uintptr(fd), "pidfd")}
	// The look comes after the grip: what is seen now is what is held.
	now, err := identify(id.pid)
	if err == nil && now != id {
		err = fmt.Errorf("process %d is another one: %w", id.pid, errGone)
	}
	if err != nil {
		g.release()
		return nil, err
	}
	return g, nil
}

func (g *grip) release() { _ = g.pidfd.Close() }

// awaitEnd waits until the process has ended, or ctx, whose cause it returns then. It is
// for one waiter at a time.
func (g *grip) awaitEnd(ctx context.Context) error {
	raw, err := g.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = g.pidfd.SetReadDeadline(time.Unix(1, 0)) })()
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		var ended bool
		ended, failed = hasEnded(fd)
		return ended || failed != nil
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(err, failed)
}

// hasEnded asks about the process of a pidfd, which can be read from then on.
func hasEnded(fd uintptr) (bool, error) {
	ask := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(ask, 0)
		if !errors.Is(err, unix.EINTR) {
			return n > 0, err
		}
	}
}
