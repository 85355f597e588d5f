package rpc_test

import (
	"context"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/seed27495941/seckill/app/sale/figures"
)

// What a process tells is heard once, and only what has changed after that.
func TestFollow(t *testing.T) {
	r, c := serve(t, 3), newClient(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	heard, ended := make(chan []figures.Slot, 100), make(chan error, 1)
	go func() {
		ended <- c.Follow(ctx, r.id.String(), r.addr, func(s []figures.Slot) { heard <- s })
	}()
	assert.Empty(t, <-heard, "there is nothing to tell yet")
	one, two := figures.Slot{Event: event, Slot: 1, Epoch: 3, Held: 4}, figures.Slot{Event: event, Slot: 2, Epoch: 5, Held: 6}
	r.board.Tell(r.id.String(), []figures.Slot{one, two})
	assert.ElementsMatch(t, []figures.Slot{one, two}, <-heard)
	for range 100 {
		r.board.Tell(r.id.String(), []figures.Slot{one, two})
	}
	two.Held++
	r.board.Tell(r.id.String(), []figures.Slot{one, two})
	assert.Equal(t, []figures.Slot{two}, <-heard, "nothing is said in between")
	r.board.Close()
	require.Equal(t, codes.Unavailable, status.Code(<-ended))
}

func TestFollowAnotherIncarnation(t *testing.T) {
	r, c := serve(t, 3), newClient(t)
	err := c.Follow(t.Context(), ulid.Make().String(), r.addr, func([]figures.Slot) { assert.Fail(t, "heard") })
	require.Equal(t, codes.FailedPrecondition, status.Code(err))
}

// Figures that can't be are not taken in.
func TestFollowNonsense(t *testing.T) {
	r, c := serve(t, 3), newClient(t)
	r.board.Tell(r.id.String(), []figures.Slot{{Event: event, Slot: 1, Epoch: 1, Held: -1}})
	err := c.Follow(t.Context(), r.id.String(), r.addr, func([]figures.Slot) { assert.Fail(t, "heard") })
	require.ErrorContains(t, err, "expected a slot below")
}

func TestFollowEnds(t *testing.T) {
	r, c := serve(t, 3), newClient(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := c.Follow(ctx, r.id.String(), r.addr, func([]figures.Slot) { cancel() })
	require.ErrorIs(t, err, context.Canceled)
}
