package rpc

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/seed27495941/seckill/app/sale/figures"
	"github.com/seed27495941/seckill/app/sale/slot"
)

// incarnationKey names whom a stream is for, in its metadata.
const incarnationKey = "incarnation"

// longestPatience bounds how long a question is worked on, whatever it says.
const longestPatience = 30 * time.Second

// maxOrders is how many orders one answer can have. A buyer who has made more gets no
// list of them.
const maxOrders = 100_000

// longestMessage is more than an answer of maxOrders takes. A longer one would end the
// stream, and with it what all others have asked.
const longestMessage = 64 << 20

// Register makes a gRPC server answer for the owners of this process, which local
// finds, and tell what is on the board. self is the process's incarnation.
func Register(s grpc.ServiceRegistrar, self ulid.ULID, local func(event ulid.ULID, slot int) *slot.Owner, board *figures.Board) {
	RegisterSlotsServer(s, &server{self: self.String(), local: local, board: board})
}

type server struct {
	UnimplementedSlotsServer
	self  string
	local func(event ulid.ULID, slot int) *slot.Owner
	board *figures.Board
}

// isMeant says whether a stream is for this incarnation.
func (s *server) isMeant(ctx context.Context) error {
	meant := metadata.ValueFromIncomingContext(ctx, incarnationKey)
	if len(meant) != 1 || meant[0] != s.self {
		return status.Errorf(codes.FailedPrecondition, "this is process %s, asked was for %q", s.self, meant)
	}
	return nil
}

// Decide implements SlotsServer.
func (s *server) Decide(stream grpc.BidiStreamingServer[Questions, Answers]) error {
	if err := s.isMeant(stream.Context()); err != nil {
		return err
	}
	answers := newOutbox[*Answer]()
	var working sync.WaitGroup
	sent := make(chan error, 1)
	go func() {
		sent <- answers.drain(func(all []*Answer) error { return stream.Send(&Answers{Answers: all}) })
	}()
	// Who asks more at once than a client does is read no further until there are answers.
	places := make(chan struct{}, maxWaiting)
	var failed error
	for failed == nil {
		var asked *Questions
		if asked, failed = stream.Recv(); failed != nil {
			break
		}
		for _, q := range asked.GetQuestions() {
			places <- struct{}{}
			working.Go(func() {
				defer func() { <-places }()
				answers.add(s.answer(stream.Context(), q))
			})
		}
	}
	working.Wait()
	answers.close()
	if err := <-sent; err != nil {
		return err
	}
	if errors.Is(failed, io.EOF) {
		return nil
	}
	return failed
}

func (s *server) answer(ctx context.Context, q *Question) *Answer {
	patience := min(time.Duration(q.GetPatience())*time.Millisecond, longestPatience)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	a := &Answer{Id: q.GetId()}
	event, err := decodeID(q.GetEvent())
	if err != nil {
		return a
	}
	o := s.local(event, int(q.GetSlot()))
	if o == nil {
		return a
	}
	reply, err := q.Put(ctx, o)
	if len(reply.Orders) > maxOrders {
		return a
	}
	a.Verdict, a.Created, a.Buyers = verdictOf(err), reply.Created, encodeBuyers(reply.Buyers)
	for _, order := range reply.Orders {
		a.Orders = append(a.Orders, encodeOrder(order))
	}
	return a
}
