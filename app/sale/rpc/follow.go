package rpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/seed27495941/seckill/app/sale/figures"
	"github.com/seed27495941/seckill/app/sale/record"
)

const (
	// alive is how often a process says that it is there when it has nothing to tell.
	alive = 10 * time.Second

	// silence is after how long without a word a stream is given up.
	silence = 3 * alive
)

var errSilent = errors.New("nothing was heard for too long")

// Follow hears the figures of a process, for as long as ctx and the stream last, and
// returns why it has ended.
func (c *Client) Follow(ctx context.Context, incarnation, addr string, hear func(figures.Report)) error {
	conn, err := c.dial(addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // nothing was sent that could be lost
	ctx, cancel := context.WithCancelCause(metadata.AppendToOutgoingContext(ctx, incarnationKey, incarnation))
	defer cancel(nil)
	deadline := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer deadline.Stop()
	stream, err := NewSlotsClient(conn).Follow(ctx, &FollowRequest{})
	for err == nil {
		var told *Figures
		if told, err = stream.Recv(); err != nil {
			break
		}
		deadline.Reset(silence)
		var report figures.Report
		if report, err = decodeFigures(told); err == nil {
			hear(report)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Follow implements SlotsServer.
func (s *server) Follow(_ *FollowRequest, stream grpc.ServerStreamingServer[Figures]) error {
	if err := s.isMeant(stream.Context()); err != nil {
		return err
	}
	ticker := time.NewTicker(alive)
	defer ticker.Stop()
	var version uint64
	for {
		changed, now, moved := s.board.Since(version)
		version = now
		if err := send(stream, changed); err != nil {
			return err
		}
		select {
		case <-moved:
		case <-ticker.C:
		case <-s.board.Closed():
			return status.Error(codes.Unavailable, "this process tells nothing more")
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}

// send sends figures in messages of a bounded size, an empty one if there are none.
func send(stream grpc.ServerStreamingServer[Figures], r figures.Report) error {
	if len(r.Slots)+len(r.Refusals) == 0 {
		return stream.Send(&Figures{})
	}
	for part := range slices.Chunk(r.Slots, most) {
		if err := stream.Send(encodeFigures(figures.Report{Slots: part})); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(r.Refusals, most) {
		if err := stream.Send(encodeFigures(figures.Report{Refusals: part})); err != nil {
			return err
		}
	}
	return nil
}

func encodeFigures(r figures.Report) *Figures {
	f := &Figures{}
	for _, s := range r.Slots {
		f.Slots = append(f.Slots, &SlotFigures{Event: s.Event[:], Slot: uint32(s.Slot), Epoch: s.Epoch, Held: s.Held})
	}
	for _, x := range r.Refusals {
		f.Refusals = append(f.Refusals, &Refusals{Event: x.Event[:], By: x.By})
	}
	return f
}

func decodeFigures(f *Figures) (r figures.Report, err error) {
	for _, s := range f.GetSlots() {
		event, err := decodeID(s.GetEvent())
		if err == nil && (s.GetSlot() >= record.MaxSlots || s.GetHeld() < 0 || s.GetHeld() > record.MaxTotal) {
			err = fmt.Errorf("figures %v: expected a slot below %d, and 0 to %d units", s, record.MaxSlots, record.MaxTotal)
		}
		if err != nil {
			return r, err
		}
		r.Slots = append(r.Slots, figures.Slot{Event: event, Slot: int(s.GetSlot()), Epoch: s.GetEpoch(), Held: s.GetHeld()})
	}
	for _, x := range f.GetRefusals() {
		refusals, err := decodeRefusals(x)
		if err != nil {
			return r, err
		}
		r.Refusals = append(r.Refusals, refusals)
	}
	return r, nil
}

func decodeRefusals(x *Refusals) (figures.Refusals, error) {
	event, err := decodeID(x.GetEvent())
	if err != nil {
		return figures.Refusals{}, err
	}
	r := figures.Refusals{Event: event, By: map[string]int64{}}
	for reason, n := range x.GetBy() {
		if n < 0 {
			return r, fmt.Errorf("%d refusals of %s: expected 0 or more", n, event)
		}
		r.By[figures.Known(reason)] += n
	}
	return r, nil
}
