package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// acceptPause is the time from one failure to the next attempt.
const acceptPause = time.Second

// offer lets a successor in until ctx ends, and starts one when SIGUSR2 comes or seckill upgrade asks.
func (s *succession) offer(ctx context.Context, listeners []namedListener, retire func(cause error)) {
	s.mu.Lock()
	control := s.control
	s.mu.Unlock()
	if control == nil {
		return // settle said why
	}
	defer s.shut()
	defer context.AfterFunc(ctx, s.shut)()
	var talking sync.WaitGroup
	defer talking.Wait()
	talking.Go(func() { s.obeySignals(ctx) })
	for {
		conn, err := control.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // of a lack of descriptors, which passes
			s.cfg.Log.Error("can't let a successor in", "error", err)
			if pause(ctx, acceptPause) != nil {
				return
			}
			continue
		}
		w, err := newWire(conn)
		if err != nil {
			s.cfg.Log.Warn("a stranger is at the socket of the PID file", "error", err)
			continue
		}
		talking.Go(func() {
			defer w.close()
			s.answer(ctx, w, listeners, retire)
		})
	}
}

func (s *succession) obeySignals(ctx context.Context) {
	for {
		select {
		case <-s.upgrades:
			if _, err := s.startNext(ctx, ""); err != nil {
				s.cfg.Log.Error("no upgrade", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// answer talks to one process.
func (s *succession) answer(ctx context.Context, w *wire, listeners []namedListener, retire func(cause error)) {
	m, err := s.question(ctx, w)
	if err != nil {
		w.refuse(err)
		return
	}
	if m.Verb == upgrade {
		s.answerUpgrade(ctx, w, m.Executable)
		return
	}
	if err := s.reserve(w, m); err != nil {
		w.refuse(err)
		return
	}
	s.cfg.Log.Info("a successor is getting ready", "pid", w.peer)
	reloading(s.cfg.Log)
	if err := s.handOver(ctx, w, listeners); err != nil {
		s.cfg.Log.Warn("the successor did not get ready, going on", "pid", w.peer, "error", err)
		w.refuse(err)
		s.free()
		notify(s.cfg.Log, "READY=1")
		return
	}
	s.shut()
	replacedBy(s.cfg.Log, w.peer)
	close(s.over)
	retire(fmt.Errorf("process %d took over", w.peer))
}

func (s *succession) question(ctx context.Context, w *wire) (message, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answerPatience, errors.New("no question"))
	defer cancel()
	m, files, err := w.receive(ctx, succeed, upgrade)
	closeAll(files)
	return m, err
}

// reserve makes the process at the other end the successor, unless there is one.
func (s *succession) reserve(w *wire, m message) error {
	if m.PID != w.peer {
		return fmt.Errorf("process %d says that it is process %d", w.peer, m.PID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next != 0 {
		return fmt.Errorf("process %d is taking over already", s.next)
	}
	if s.closed {
		return errors.New("a process that took too long to get ready is being ended")
	}
	s.next, s.freed = w.peer, make(chan struct{})
	return nil
}

func (s *succession) free() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = 0
	close(s.freed)
}

// rule says whether anybody may become the next. It does not rule out one that is about to: then it
// returns what is closed when that has failed.
func (s *succession) rule(out bool) (freed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if out && s.next != 0 {
		return s.freed
	}
	s.closed = out
	return nil
}

// handOver returns nil once the successor serves.
func (s *succession) handOver(ctx context.Context, w *wire, listeners []namedListener) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.ReadyTimeout, fmt.Errorf("it was not ready within %v", s.cfg.ReadyTimeout))
	defer cancel()
	if err := sendListeners(w, listeners); err != nil {
		return err
	}
	if err := hear(ctx, w, ready); err != nil {
		return err
	}
	if err := w.send(message{Verb: proceed}); err != nil {
		return err
	}
	// From here on it may serve: that this process is told to stop does not call it back.
	last, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), answerPatience, errors.New("it was let in, and does not answer"))
	defer cancel()
	if err := hear(last, w, serving); err != nil {
		return err
	}
	_ = w.send(message{Verb: leaving}) // it serves, whether it hears that or not
	return nil
}

// hear waits for a message that says no more than that.
func hear(ctx context.Context, w *wire, v verb) error {
	_, files, err := w.receive(ctx, v)
	closeAll(files)
	return err
}

func sendListeners(w *wire, listeners []namedListener) error {
	if len(listeners) > mostListeners {
		return fmt.Errorf("expected at most %d listeners, have %d", mostListeners, len(listeners))
	}
	var copies []int
	defer func() {
		for _, fd := range copies {
			_ = unix.Close(fd) // the other process has its own
		}
	}()
	for _, l := range listeners {
		fd, err := copyOf(l)
		if err != nil {
			return fmt.Errorf("listener %s: %w", l.name, err)
		}
		copies = append(copies, fd)
	}
	return w.send(message{Verb: offer, Listeners: names(listeners)}, copies...)
}

// copyOf is a listener's descriptor anew. The File method of a listener would do, but for
// the descriptor of its result, which makes the socket block, here too.
func copyOf(l namedListener) (fd int, err error) {
	socket, ok := l.Listener.(syscall.Conn)
	if !ok {
		return 0, fmt.Errorf("%T has no descriptor", l.Listener)
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, err
	}
	controlled := raw.Control(func(of uintptr) { fd, err = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(controlled, err)
}
