package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// A succession is this process's part in the line of processes that have a PID file.
type succession struct {
	cfg         SeatConfig
	file        pidFile
	self        identity
	program     program
	predecessor *predecessor   // nil: none
	upgrading   sync.Mutex     // while this process starts its successor
	upgrades    chan os.Signal // each is obeyed while this process offers its seat

	mu      sync.Mutex
	control *net.UnixListener // nil until the file names this process
	next    int               // pid of the process that is about to take over, or has; 0: none
	freed   chan struct{}     // closed when that does not take over after all
	closed  bool              // nobody may become the next

	over chan struct{} // closed when it has
}

const (
	// seatPatience is how long a process waits for one that is just coming or going.
	seatPatience = 5 * time.Second
	seatPause    = 20 * time.Millisecond

	// longestSocket is that of a Unix socket's path, less what a draft's name adds.
	longestSocket = 107 - len(".4194304")
)

func (f pidFile) socket() string { return string(f) + ".sock" }

func newSuccession(ctx context.Context, cfg SeatConfig) (*succession, error) {
	path, err := filepath.Abs(cfg.PIDFile)
	if err != nil {
		return nil, err
	}
	file := pidFile(path)
	if len(file.socket()) > longestSocket {
		return nil, fmt.Errorf("PID file %s: its path is too long, expected at most %d characters: there is a socket beside it", path, longestSocket-len(".sock"))
	}
	self, err := identify(os.Getpid())
	if err != nil {
		return nil, err
	}
	started, err := thisProgram()
	if err != nil {
		return nil, err
	}
	s := &succession{cfg: cfg, file: file, self: self, program: started, upgrades: make(chan os.Signal, 1), over: make(chan struct{})}
	// First: whoever is named can be sent the signal, which nobody would hear of before.
	signal.Notify(s.upgrades, syscall.SIGUSR2)
	if err := s.sit(ctx); err != nil {
		signal.Stop(s.upgrades)
		return nil, err
	}
	return s, nil
}

// A passing error is one that may be over in a moment.
type passing struct{ error }

func (p passing) Unwrap() error { return p.error }

// sit takes the seat, or gets in line.
func (s *succession) sit(ctx context.Context) error {
	return patiently(ctx, func() error { return s.trySit(ctx) })
}

// patiently tries until the error is not a passing one, or has not passed.
func patiently(ctx context.Context, try func() error) error {
	for deadline := time.Now().Add(seatPatience); ; {
		err := try()
		var soon passing
		if !errors.As(err, &soon) || time.Now().After(deadline) {
			return err
		}
		if err := pause(ctx, seatPause); err != nil {
			return err
		}
	}
}

func (s *succession) trySit(ctx context.Context) error {
	holder, err := s.file.read()
	if errors.Is(err, fs.ErrNotExist) {
		return s.enter(s.file.create(s.self))
	}
	if err != nil {
		return err
	}
	grip, err := hold(holder)
	if errors.Is(err, errGone) {
		s.cfg.Log.Info("the PID file is that of a process which is gone", "file", string(s.file), "pid", holder.pid)
		return s.enter(s.file.replace(ctx, holder, s.self))
	}
	if err != nil {
		return err
	}
	s.predecessor, err = follow(ctx, grip, s.file.socket(), s.self.pid)
	if err != nil {
		return fmt.Errorf("process %d has the PID file %s, but does not hand over: %w", holder.pid, s.file, err)
	}
	s.cfg.Log.Info("taking over", "from", holder.pid, "listeners", s.predecessor.names())
	return nil
}

// enter opens the door to successors once the file names this process, or says
// why it does not.
func (s *succession) enter(named error) error {
	switch {
	case errors.Is(named, fs.ErrExist), errors.Is(named, errMoved):
		return passing{named}
	case named != nil:
		return fmt.Errorf("PID file: %w", named)
	}
	return s.listen()
}

// listen makes the socket beside the file. What was there before is replaced.
func (s *succession) listen() error {
	draft := s.file.socket() + "." + strconv.Itoa(s.self.pid)
	if err := os.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	control, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: draft, Net: "unixpacket"})
	if err != nil {
		return err
	}
	control.SetUnlinkOnClose(false) // the name may be a later process's by then
	err = os.Chmod(draft, 0o600)
	if err == nil {
		err = os.Rename(draft, s.file.socket())
	}
	if err != nil {
		return errors.Join(err, control.Close(), os.Remove(draft))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.control = control
	return nil
}

func (s *succession) succeeds() bool { return s.predecessor != nil }

func (s *succession) inherit(name, address string) net.Listener {
	return s.predecessor.inherit(name, address)
}

func (s *succession) vacated() <-chan struct{} { return s.predecessor.gone }

func (s *succession) whileWanted(ctx context.Context) (context.Context, context.CancelFunc) {
	return s.predecessor.whileWanted(ctx)
}

func (s *succession) step(ctx context.Context) error { return s.predecessor.agree(ctx) }

// settle makes this process the one that the file names. Serving is more important
// than being found: if that fails there is no more to do than to say so. An error is that the
// other process goes on.
func (s *succession) settle(ctx context.Context) error {
	if err := s.predecessor.dismiss(ctx); err != nil {
		return err
	}
	err := s.listen() // first: whoever is named can be asked
	if err == nil {
		err = s.file.replace(ctx, s.predecessor.identity, s.self)
	}
	if errors.Is(err, errMoved) { // it took the file away itself, and the socket, which was this one's by then
		s.shut()
		if err = s.listen(); err == nil {
			err = s.file.create(s.self)
		}
	}
	if err != nil {
		s.cfg.Log.Error("serving, but not to be found by the PID file", "file", string(s.file), "error", err)
		return nil
	}
	s.cfg.Log.Info("took over", "from", s.predecessor.pid)
	return nil
}

func (s *succession) handedOver() bool {
	select {
	case <-s.over:
		return true
	default:
		return false
	}
}

// close takes the file and the socket away, unless they are another process's, or
// about to be. If another process has taken over, it waits first for the one before this one to end: for
// the other, this one's end says that all before it have gone.
func (s *succession) close(ctx context.Context) error {
	if s.predecessor != nil {
		if s.handedOver() {
			s.outlive(ctx)
		}
		s.predecessor.close()
	}
	s.shut()
	defer s.deafen()
	if s.handedOver() {
		return nil
	}
	return s.file.remove(ctx, s.self)
}

// deafen says that a signal came too late, if one did.
func (s *succession) deafen() {
	signal.Stop(s.upgrades)
	select {
	case <-s.upgrades:
		s.cfg.Log.Error("no upgrade", "error", "the signal came when this process was ending")
	default:
	}
}

// outlive waits for the process before to end.
func (s *succession) outlive(ctx context.Context) {
	select {
	case <-s.predecessor.gone:
		return
	default:
	}
	s.cfg.Log.Info("waiting for the process before, which is not gone yet", "pid", s.predecessor.pid)
	select {
	case <-s.predecessor.gone:
	case <-ctx.Done():
	}
}

// shut lets nobody in any more.
func (s *succession) shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.control != nil {
		_ = s.control.Close() // it may be closed
	}
}
