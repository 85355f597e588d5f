package rpc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/seed27495941/seckill/app/sale/slot"
)

// defaultPatience is that of a question whose context has no deadline.
const defaultPatience = 5 * time.Second

// maxWaiting is how many questions may wait for the answers of one process.
const maxWaiting = 16384

// A Client asks the owners in other processes. It is safe for concurrent use.
type Client struct {
	dial func(addr string) (*grpc.ClientConn, error)

	mu     sync.Mutex
	peers  map[string]*peer // by incarnation
	closed bool
}

// NewClient makes a client. dial makes the connection to an address.
func NewClient(dial func(addr string) (*grpc.ClientConn, error)) *Client {
	return &Client{dial: dial, peers: map[string]*peer{}}
}

// ErrUnreachable says that a process did not get a question, or that its answer
// can't come any more. It matches slot.ErrUndecided.
var ErrUnreachable = fmt.Errorf("the owner can't be reached: %w", slot.ErrUndecided)

// ErrReplaced says that another process is at the address by now: the one that was
// meant is gone. It matches slot.ErrUndecided.
var ErrReplaced = fmt.Errorf("the owner was replaced by another process: %w", slot.ErrUndecided)

// Ask puts a question to a process. Errors: the owner's, ErrUnreachable,
// ErrReplaced; slot.ErrBusy if too many wait for its answers, and it was not asked.
func (c *Client) Ask(ctx context.Context, incarnation, addr string, q *Question) (Reply, error) {
	p, err := c.peer(incarnation, addr) //nolint:contextcheck // a stream outlives the question that opens it
	if err != nil {
		return Reply{}, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return p.ask(ctx, q)
}

// Keep ends the streams to all processes but these.
func (c *Client) Keep(incarnations map[string]bool) {
	c.mu.Lock()
	var gone []*peer
	for id, p := range c.peers {
		if !incarnations[id] {
			gone = append(gone, p)
			delete(c.peers, id)
		}
	}
	c.mu.Unlock()
	for _, p := range gone {
		p.close()
	}
}

// Close ends all streams. Nothing is asked any more.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.Keep(nil)
}

var errClientClosed = errors.New("the client was closed")

func (c *Client) peer(incarnation, addr string) (*peer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClientClosed
	}
	if p := c.peers[incarnation]; p != nil && !p.isOver() {
		return p, nil
	}
	conn, err := c.dial(addr)
	if err != nil {
		return nil, err
	}
	p := newPeer(conn, incarnation)
	c.peers[incarnation] = p
	return p, nil
}

// A peer is the stream to one process. When it fails, whatever was asked on it is
// unanswered, and the next question opens another one.
type peer struct {
	conn      *grpc.ClientConn
	cancel    context.CancelFunc
	questions *outbox[*Question]
	ended     chan struct{} // closed when no answer comes any more
	err       error         // why, readable after ended
	opened    atomic.Bool   // there is a connection

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan *Answer
}

func newPeer(conn *grpc.ClientConn, incarnation string) *peer {
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(context.Background(), incarnationKey, incarnation))
	p := &peer{conn: conn, cancel: cancel, questions: newOutbox[*Question](), ended: make(chan struct{}), waiting: map[uint64]chan *Answer{}}
	go p.run(ctx)
	return p
}

// run is the life of a stream. It closes the connection.
func (p *peer) run(ctx context.Context) {
	err := p.talk(ctx)
	p.cancel()
	p.questions.close()
	p.err = ErrUnreachable
	if status.Code(err) == codes.FailedPrecondition {
		p.err = ErrReplaced
	}
	if err != nil {
		p.err = fmt.Errorf("%w: %w", p.err, err)
	}
	_ = p.conn.Close() // nothing more is asked
	close(p.ended)
}

func (p *peer) talk(ctx context.Context) error {
	stream, err := NewSlotsClient(p.conn).Decide(ctx, grpc.MaxCallRecvMsgSize(longestMessage))
	if err != nil {
		return err
	}
	p.opened.Store(true)
	var sending sync.WaitGroup
	sending.Go(func() {
		_ = p.questions.drain(func(all []*Question) error { return stream.Send(&Questions{Questions: all}) }) // Recv tells why
		_ = stream.CloseSend()
	})
	defer sending.Wait()
	defer p.questions.close()
	for {
		answers, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, a := range answers.GetAnswers() {
			p.hear(a)
		}
	}
}

func (p *peer) hear(a *Answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if to, ok := p.waiting[a.GetId()]; ok {
		delete(p.waiting, a.GetId())
		to <- a
	}
}

func (p *peer) ask(ctx context.Context, q *Question) (Reply, error) {
	patience := defaultPatience
	if deadline, ok := ctx.Deadline(); ok {
		patience = max(time.Until(deadline), 0)
	}
	q.Patience = uint32(min(patience, longestPatience).Milliseconds())
	answer, ok := p.expect(q)
	if !ok {
		return Reply{}, slot.ErrBusy
	}
	defer p.forget(q.GetId())
	if !p.questions.add(q) {
		<-p.ended
		return Reply{}, p.err
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case a := <-answer:
		return decodeReply(a)
	case <-ctx.Done():
		return Reply{}, fmt.Errorf("%w: %w", p.silence(), context.Cause(ctx))
	case <-timer.C:
		return Reply{}, fmt.Errorf("%w: no answer in %v", p.silence(), patience)
	case <-p.ended:
		return Reply{}, p.err
	}
}

// silence is what it means that no answer came: the process may be slow, as its store
// is, if it can be reached at all.
func (p *peer) silence() error {
	if p.opened.Load() {
		return slot.ErrUndecided
	}
	return ErrUnreachable
}

// expect gives a question its number, and a place for the answer; false if there
// is none left.
func (p *peer) expect(q *Question) (<-chan *Answer, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) >= maxWaiting {
		return nil, false
	}
	p.last++
	q.Id = p.last
	answer := make(chan *Answer, 1)
	p.waiting[q.GetId()] = answer
	return answer, true
}

func (p *peer) forget(id uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, id)
}

func (p *peer) isOver() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

func (p *peer) close() {
	p.cancel()
	<-p.ended
}
