package process

import (
	"context"
	"log/slog"
	"net"
	"time"
)

// A Seat is what one process after another has: a PID file, by which it is found,
// and the sockets it listens on. A process that finds the seat taken asks the one that has it
// for the sockets, serves on them once it is ready, and the other one leaves. So the
// address always answers. If the newcomer does not get ready, the other one goes on as if nothing had
// been.
//
// A process without a PID file has a seat that nobody else can find. Package process works
// with PID files on Linux alone; docs/upgrade.md tells how to use them.
//
// It is safe for concurrent use once its listeners are taken. No Seat at all is
// like one without a PID file.
type Seat struct {
	listeners  []namedListener
	succession *succession // nil: no PID file
}

// A SeatConfig says which seat to take.
type SeatConfig struct {
	PIDFile string // its socket is beside it, under the same name and .sock; "" for none
	Log     *slog.Logger

	// ReadyTimeout bounds how long a successor may take until it serves: 2 minutes
	// if 0.
	ReadyTimeout time.Duration
}

const defaultReadyTimeout = 2 * time.Minute

type namedListener struct {
	name string
	net.Listener
}

// TakeSeat takes a seat, or gets in line behind the process that has it: then the
// seat is taken by Run. It has to be closed.
func TakeSeat(ctx context.Context, cfg SeatConfig) (*Seat, error) {
	if cfg.PIDFile == "" {
		return &Seat{}, nil
	}
	if cfg.ReadyTimeout == 0 {
		cfg.ReadyTimeout = defaultReadyTimeout
	}
	succession, err := newSuccession(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &Seat{succession: succession}, nil
}

// Listen takes an address for a service, from the process before or as the function
// Listen does. The next process gets it too. The caller closes the listener.
func (s *Seat) Listen(ctx context.Context, name, address, flag string) (listener net.Listener, err error) {
	if s.Succeeds() {
		listener = s.succession.inherit(name, address)
	}
	if listener == nil {
		if listener, err = Listen(ctx, name, address, flag); err != nil {
			return nil, err
		}
	}
	s.listeners = append(s.listeners, namedListener{name, listener})
	return listener, nil
}

// Succeeds reports whether this process takes the place of another one.
func (s *Seat) Succeeds() bool { return s != nil && s.succession != nil && s.succession.succeeds() }

// Vacated is closed when the process whose place this one takes has ended; nil if
// there was none.
func (s *Seat) Vacated() <-chan struct{} {
	if !s.Succeeds() {
		return nil
	}
	return s.succession.vacated()
}

// HandedOver reports whether another process has taken this one's place.
func (s *Seat) HandedOver() bool { return s != nil && s.succession != nil && s.succession.handedOver() }

// Close gives the seat up, unless another process has it. Of the listeners it
// closes those that this process was given and has not taken.
func (s *Seat) Close(ctx context.Context) error {
	if s.succession == nil {
		return nil
	}
	return s.succession.close(ctx)
}

// step takes the place of the process before: when this one is warm, and the other one agrees or
// has ended.
func (s *Seat) step(ctx context.Context, warm func(context.Context) error) error {
	if !s.Succeeds() {
		return nil
	}
	wanted, cancel := s.succession.whileWanted(ctx)
	defer cancel()
	if err := warm(wanted); err != nil {
		return err
	}
	return s.succession.step(ctx)
}

// settle tells the process before, and whoever looks for this one, that this one
// serves now. An error is that the process before goes on.
func (s *Seat) settle(ctx context.Context, log *slog.Logger) error {
	if s.Succeeds() {
		return s.succession.settle(ctx)
	}
	notify(log, "READY=1")
	return nil
}

// offer lets a successor in until ctx ends. retire is called, once, when one serves.
func (s *Seat) offer(ctx context.Context, retire func(cause error)) {
	if s != nil && s.succession != nil {
		s.succession.offer(ctx, s.listeners, retire)
	}
}
