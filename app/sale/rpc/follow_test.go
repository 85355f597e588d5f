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
	heard, ended := make(chan figures.Report, 100), make(chan error, 1)
	go func() {
		ended <- c.Follow(ctx, r.id.String(), r.addr, func(r figures.Report) { heard <- r })
	}()
	assert.Empty(t, <-heard, "there is nothing to tell yet")
	one, two := figures.Slot{Event: event, Slot: 1, Epoch: 3, Held: 4}, figures.Slot{Event: event, Slot: 2, Epoch: 5, Held: 6}
	tell := func(slots ...figures.Slot) { r.board.Tell(r.id.String(), figures.Report{Slots: slots}) }
	tell(one, two)
	assert.ElementsMatch(t, []figures.Slot{one, two}, (<-heard).Slots)
	for range 100 {
		tell(one, two)
	}
	two.Held++
	tell(one, two)
	assert.Equal(t, figures.Report{Slots: []figures.Slot{two}}, <-heard, "nothing is said in between")
	r.board.Close()
	require.Equal(t, codes.Unavailable, status.Code(<-ended))
}

func TestFollowAnotherIncarnation(t *testing.T) {
	r, c := serve(t, 3), newClient(t)
	err := c.Follow(t.Context(), ulid.Make().String(), r.addr, func(figures.Report) { assert.Fail(t, "heard") })
	require.Equal(t, codes.FailedPrecondition, status.Code(err))
}

// Figures that can't be are not taken in.
func TestFollowNonsense(t *testing.T) {
	r, c := serve(t, 3), newClient(t)
	r.board.Tell(r.id.String(), figures.Report{Slots: []figures.Slot{{Event: event, Slot: 1, Epoch: 1, Held: -1}}})
	err := c.Follow(t.Context(), r.id.String(), r.addr, func(figures.Report) { assert.Fail(t, "heard") })
	require.ErrorContains(t, err, "expected a slot below")
}

// Refusals are heard as slots are. A reason that only a newer process knows is not left
// out, and no name for it is taken over.
func TestFollowRefusals(t *testing.T) {
	r, c := serve(t, 3), newClient(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	heard, ended := make(chan figures.Report, 100), make(chan error, 1)
	go func() {
		ended <- c.Follow(ctx, r.id.String(), r.addr, func(r figures.Report) { heard <- r })
	}()
	assert.Empty(t, <-heard)
	tell := func(by map[string]int64) {
		r.board.Tell(r.id.String(), figures.Report{Refusals: []figures.Refusals{{Event: event, By: by}}})
	}
	tell(map[string]int64{"sold_out": 4, "blacklist": 1})
	assert.Equal(t, figures.Report{Refusals: []figures.Refusals{{Event: event, By: map[string]int64{"sold_out": 4, "blacklist": 1}}}}, <-heard)
	tell(map[string]int64{"sold_out": 4, "newly": 2, "invented": 3})
	assert.Equal(t, figures.Report{Refusals: []figures.Refusals{{Event: event, By: map[string]int64{"sold_out": 4, figures.Other: 5}}}}, <-heard)
	tell(map[string]int64{"sold_out": -1})
	require.ErrorContains(t, <-ended, "-1 refusals of "+event.String()+": expected 0 or more")
	assert.Empty(t, heard)
}

func TestFollowEnds(t *testing.T) {
	r, c := serve(t, 3), newClient(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := c.Follow(ctx, r.id.String(), r.addr, func(figures.Report) { cancel() })
	require.ErrorIs(t, err, context.Canceled)
}
