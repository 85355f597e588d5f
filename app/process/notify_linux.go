package process

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// notify tells the service manager, if there is one, how the process stands: see
// sd_notify(3).
func notify(log *slog.Logger, states ...string) {
	tell(log, states, func(*net.UnixConn) error { return nil })
}

// tell is notify, with something else to do on the connection.
func tell(log *slog.Logger, states []string, then func(*net.UnixConn) error) {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return
	}
	if err := send(socket, strings.Join(states, "\n"), then); err != nil {
		log.Warn("can't tell the service manager", "state", states, "error", err)
	}
}

func send(socket, state string, then func(*net.UnixConn) error) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(barrierPatience)) // one that reads nothing does not keep this process from ending
	if _, err := conn.Write([]byte(state)); err != nil {
		return err
	}
	return then(conn)
}

// replacedBy says that another process is the main one from now on, and waits until that
// has been read: a manager that learns of it after this one has ended takes the
// service for dead.
func replacedBy(log *slog.Logger, pid int) {
	tell(log, []string{fmt.Sprintf("MAINPID=%d", pid), "READY=1"}, barrier)
}

// reloading says that the process is about to be replaced.
func reloading(log *slog.Logger) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		log.Warn("no monotonic clock", "error", err)
		return
	}
	notify(log, "RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000))
}

// barrierPatience bounds each wait for the manager.
const barrierPatience = 5 * time.Second

// barrier waits until everything sent before has been read: the manager then closes
// the pipe it is sent.
func barrier(conn *net.UnixConn) error {
	reading, writing, err := os.Pipe()
	if err != nil {
		return err
	}
	defer reading.Close()
	raw, err := conn.SyscallConn() // the connection's own method is not for those that are connected
	if err != nil {
		return errors.Join(err, writing.Close())
	}
	var sent error
	err = raw.Control(func(fd uintptr) {
		sent = unix.Sendmsg(int(fd), []byte("BARRIER=1"), unix.UnixRights(int(writing.Fd())), nil, 0)
	})
	err = errors.Join(err, sent, writing.Close(), reading.SetReadDeadline(time.Now().Add(barrierPatience)))
	if err != nil {
		return err
	}
	_, err = reading.Read(make([]byte, 1))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("not read within %v", barrierPatience)
	}
	return nil
}
