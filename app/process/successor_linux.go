package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

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
		if err != nil {
			s.cfg.Log.Error("lets no successor in any more", "error", err)
			return
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
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR2)
	defer signal.Stop(signals)
	for {
		select {
		case <-signals:
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
	s.next = w.peer
	return nil
}

func (s *succession) free() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = 0
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
	if err := hear(ctx, w, serving); err != nil {
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
