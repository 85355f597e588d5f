package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// wireVersion is that of the messages. Processes of different versions refuse each
// other: then the old one goes on.
const wireVersion = 1

const (
	longestMessage = 16 << 10
	mostListeners  = 16
)

// A verb is what a message is about.
type verb string

// What a process that is to be the next, and one that asks for an upgrade, say, and are told.
const (
	succeed verb = "succeed" // let me be your successor
	offer   verb = "offer"   // these are the listeners, by name
	ready   verb = "ready"   // I could serve
	proceed verb = "proceed" // do
	serving verb = "serving" // I do, you can go
	leaving verb = "leaving" // I go

	upgrade verb = "upgrade" // start your successor
	done    verb = "done"    // it serves

	refused verb = "refused" // no, because
)

// A message is one packet. Listeners travel with it as file descriptors, in the
// order of their names.
type message struct {
	Version    int      `json:"version"`
	Verb       verb     `json:"verb"`
	PID        int      `json:"pid,omitempty"` // succeed: the sender's; done: the successor's
	Listeners  []string `json:"listeners,omitempty"`
	Executable string   `json:"executable,omitempty"`
	Reason     string   `json:"reason,omitempty"`
}

// A wire connects two processes of one user on one machine. Packets keep messages
// and their descriptors together.
type wire struct {
	conn *net.UnixConn
	peer int // pid
}

// wireTo connects to a socket that has to be another process's.
func wireTo(ctx context.Context, socket string, pid int) (*wire, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unixpacket", socket)
	if err != nil {
		return nil, err
	}
	w, err := newWire(conn)
	if err != nil {
		return nil, err
	}
	if w.peer != pid {
		w.close()
		return nil, fmt.Errorf("%s is the socket of process %d, expected %d", socket, w.peer, pid)
	}
	return w, nil
}

// newWire takes a connection over. It refuses other users' processes, also root's:
// they get no listeners, and nothing they say is heeded.
func newWire(conn net.Conn) (*wire, error) {
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("expected a connection between processes, got %T", conn), conn.Close())
	}
	peer, err := credentials(unixConn)
	if err == nil && int(peer.Uid) != os.Geteuid() {
		err = fmt.Errorf("process %d belongs to user %d, this one to %d", peer.Pid, peer.Uid, os.Geteuid())
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &wire{unixConn, int(peer.Pid)}, nil
}

// credentials are those of the process which connected, or which listens.
func credentials(conn *net.UnixConn) (peer *unix.Ucred, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	controlled := raw.Control(func(fd uintptr) {
		peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return peer, errors.Join(controlled, err)
}

func (w *wire) close() { _ = w.conn.Close() }

func (w *wire) send(m message, descriptors ...int) error {
	m.Version = wireVersion
	packet, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(packet) > longestMessage {
		return fmt.Errorf("a message of %d bytes is too long", len(packet))
	}
	var rights []byte
	if len(descriptors) > 0 {
		rights = unix.UnixRights(descriptors...)
	}
	_, _, err = w.conn.WriteMsgUnix(packet, rights, nil)
	return err
}

// refuse says no. What is sent may get lost: the end of the wire says no too.
func (w *wire) refuse(reason error) { _ = w.send(message{Verb: refused, Reason: reason.Error()}) }

// A refusal is the other process's no.
type refusal struct{ reason string }

func (r refusal) Error() string { return r.reason }

// receive waits until ctx ends for a message that has to be of one kind, and for
// the descriptors that come with it, which are the caller's. Errors: a refusal; io.EOF if the
// other process has ended, or hung up.
func (w *wire) receive(ctx context.Context, want ...verb) (message, []*os.File, error) {
	defer context.AfterFunc(ctx, func() { _ = w.conn.SetReadDeadline(time.Unix(1, 0)) })()
	m, files, err := w.read()
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, syscall.ECONNRESET): // it went without having read everything
		err = io.EOF
	case err != nil:
	case m.Version != wireVersion:
		err = fmt.Errorf("process %d speaks version %d of the hand-over, this one version %d", w.peer, m.Version, wireVersion)
	case m.Verb == refused:
		err = refusal{m.Reason}
	default:
		err = m.expect(want)
	}
	if err != nil {
		closeAll(files)
		return message{}, nil, err
	}
	return m, files, nil
}

func (m message) expect(want []verb) error {
	for _, v := range want {
		if m.Verb == v {
			return nil
		}
	}
	return fmt.Errorf("expected the message %q, got %q", want, m.Verb)
}

func (w *wire) read() (message, []*os.File, error) {
	packet, rights := make([]byte, longestMessage), make([]byte, unix.CmsgSpace(4*mostListeners))
	n, rn, flags, _, err := w.conn.ReadMsgUnix(packet, rights)
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		return message{}, nil, err
	}
	files, err := parseRights(rights[:rn])
	if err == nil && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		err = errors.New("a message is too long")
	}
	var m message
	if err == nil {
		err = json.Unmarshal(packet[:n], &m)
	}
	return m, files, err
}

func parseRights(rights []byte) (files []*os.File, err error) {
	if len(rights) == 0 {
		return nil, nil
	}
	controls, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, err
	}
	for _, c := range controls {
		descriptors, err := unix.ParseUnixRights(&c)
		if err != nil {
			return files, err
		}
		for _, fd := range descriptors {
			files = append(files, os.NewFile(uintptr(fd), "inherited"))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // nothing was written
	}
}
