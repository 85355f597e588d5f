package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// A predecessor is the process whose place this one takes.
type predecessor struct {
	*grip
	wire      *wire
	inherited []namedListener // that this process has not taken yet
	gone      chan struct{}   // closed when it has ended
	answered  chan struct{}   // closed when it has agreed, refused, or hung up
	answer    error           // readable after answered

	forget  context.CancelFunc
	watched sync.WaitGroup
}

// answerPatience bounds the wait for what the other process says at once.
const answerPatience = 10 * time.Second

// follow gets in line behind a process that has a seat, and takes the grip over.
// self is this process's pid.
func follow(ctx context.Context, g *grip, socket string, self int) (*predecessor, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answerPatience, errors.New("it does not answer"))
	defer cancel()
	w, err := wireTo(ctx, socket, g.pid)
	if err != nil {
		g.release()
		return nil, passing{err} // it may just be coming, or going
	}
	listeners, err := ask(ctx, w, self)
	if err != nil {
		w.close()
		g.release()
		if errors.Is(err, io.EOF) {
			return nil, passing{err}
		}
		return nil, err
	}
	life, forget := context.WithCancel(context.WithoutCancel(ctx))
	p := &predecessor{
		grip: g, wire: w, inherited: listeners, forget: forget,
		gone: make(chan struct{}), answered: make(chan struct{}),
	}
	p.watched.Go(func() {
		if g.awaitEnd(life) == nil {
			close(p.gone)
		}
	})
	p.watched.Go(func() {
		p.answer = hear(life, w, proceed)
		close(p.answered)
	})
	return p, nil
}

// ask gets the listeners.
func ask(ctx context.Context, w *wire, self int) ([]namedListener, error) {
	if err := w.send(message{Verb: succeed, PID: self}); err != nil {
		return nil, err
	}
	m, files, err := w.receive(ctx, offer)
	if err != nil {
		return nil, err
	}
	defer closeAll(files)
	if len(m.Listeners) != len(files) {
		return nil, fmt.Errorf("expected %d listeners, got %d", len(m.Listeners), len(files))
	}
	var listeners []namedListener
	for i, name := range m.Listeners {
		l, err := net.FileListener(files[i])
		if err != nil {
			closeListeners(listeners)
			return nil, fmt.Errorf("listener %.40q: %w", name, err)
		}
		listeners = append(listeners, namedListener{name, l})
	}
	return listeners, nil
}

func (p *predecessor) names() []string { return names(p.inherited) }

func names(listeners []namedListener) []string {
	all := []string{}
	for _, l := range listeners {
		all = append(all, l.name)
	}
	return all
}

// inherit is the listener of a name, if it listens on the address; nil if there is none.
func (p *predecessor) inherit(name, address string) net.Listener {
	for i, l := range p.inherited {
		if l.name == name && listensOn(l.Addr(), address) {
			p.inherited = append(p.inherited[:i:i], p.inherited[i+1:]...)
			return l.Listener
		}
	}
	return nil
}

// listensOn reports whether a listener is what was asked for: any port will do for
// port 0.
func listensOn(at net.Addr, address string) bool {
	has, ok := at.(*net.TCPAddr)
	wants, err := net.ResolveTCPAddr("tcp", address)
	if !ok || err != nil {
		return false
	}
	anywhere := len(wants.IP) == 0 || wants.IP.IsUnspecified()
	return (wants.Port == 0 || wants.Port == has.Port) &&
		(wants.IP.Equal(has.IP) || anywhere && has.IP.IsUnspecified())
}

// whileWanted ends when the other process refuses to wait any longer.
func (p *predecessor) whileWanted(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	p.watched.Go(func() {
		select {
		case <-p.answered:
			if isRefusal(p.answer) {
				end(p.refused(p.answer))
			}
		case <-ctx.Done():
		}
	})
	return ctx, func() { end(nil) }
}

func isRefusal(answer error) bool { return errors.As(answer, new(refusal)) }

func (p *predecessor) refused(why error) error {
	return fmt.Errorf("process %d does not hand over: %w", p.pid, why)
}

// agree asks to be let in, and returns when this process may serve: the other one
// has agreed, or is gone.
func (p *predecessor) agree(ctx context.Context) error {
	closeListeners(p.inherited)
	p.inherited = nil
	_ = p.wire.send(message{Verb: ready}) // if it fails there is an answer too
	timer := time.NewTimer(answerPatience)
	defer timer.Stop()
	select {
	case <-p.answered:
	case <-timer.C:
		return p.refused(errors.New("no answer"))
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	// One that hung up is stopping, or died. Then the address is this one's to answer.
	if p.answer == nil || !isRefusal(p.answer) && p.endsSoon(ctx) {
		return nil
	}
	return p.refused(p.answer)
}

// endsSoon waits for the process to end, as long as one may take that is stopping.
func (p *predecessor) endsSoon(ctx context.Context) bool {
	timer := time.NewTimer(answerPatience)
	defer timer.Stop()
	select {
	case <-p.gone:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// dismiss tells it that it can leave, and waits until it says that it does, or is gone.
// It may refuse, if this process took too long until it served: then it goes on, and
// there is to be one process.
func (p *predecessor) dismiss(ctx context.Context) error {
	_ = p.wire.send(message{Verb: serving}) // if it fails there is an answer too
	answer := hear(ctx, p.wire, leaving)
	// One that hung up without a word has died, or its refusal was lost.
	if answer != nil && ctx.Err() == nil && (isRefusal(answer) || !p.endsSoon(ctx)) {
		return p.refused(answer)
	}
	return nil
}

func (p *predecessor) close() {
	p.forget()
	p.watched.Wait()
	closeListeners(p.inherited)
	p.wire.close()
	p.release()
}

func closeListeners(listeners []namedListener) {
	for _, l := range listeners {
		_ = l.Close() // nothing comes from it
	}
}
