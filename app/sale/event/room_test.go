package event_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/etcd"
	"github.com/seed27495941/seckill/conformance/servers"
	"github.com/seed27495941/seckill/internal/stores"
)

// roomy is a store that says how much room it has.
type roomy struct {
	backend.Store
	space backend.Space
	err   error
}

func (r roomy) Space(context.Context) (backend.Space, error) { return r.space, r.err }

// need is what a sale of so many units must find in the store.
func need(t *testing.T, units int64) int64 {
	t.Helper()
	s := open(t)
	e := create(t, s, units)
	_, err := event.Publish(t.Context(), roomy{s, backend.Space{Quota: 1}, nil}, e.ID)
	var full *event.RoomError
	require.ErrorAs(t, err, &full)
	require.ErrorIs(t, err, event.ErrNoRoom)
	return full.Need
}

func TestPublishingNeedsRoom(t *testing.T) {
	each := need(t, 1)
	require.Equal(t, 100*each, need(t, 100))
	s := open(t)
	e := create(t, s, 100)
	with := func(left int64) backend.Store {
		return roomy{s, backend.Space{Quota: left + 1000, Used: 2000, InUse: 1000}, nil}
	}
	_, err := event.Publish(t.Context(), with(100*each-1), e.ID)
	require.ErrorIs(t, err, event.ErrNoRoom)
	for _, part := range []string{e.ID.String(), "100 units", " MiB left of ", "--quota-backend-bytes", "Archive and purge"} {
		require.ErrorContains(t, err, part)
	}
	got, err := event.Get(t.Context(), s, e.ID)
	require.NoError(t, err)
	assert.Equal(t, e, got, "nothing was done")
	_, err = event.Publish(t.Context(), with(100*each), e.ID)
	require.NoError(t, err)

	t.Log("what others may still write is not there, what they have written is counted once")
	next := create(t, s, 50)
	_, err = event.Publish(t.Context(), with(150*each-1), next.ID)
	require.ErrorIs(t, err, event.ErrNoRoom)
	key := record.LogKey(e.ID, 0, record.Place{Epoch: 1, Seq: 1})
	_, err = s.Put(t.Context(), key, []byte(strings.Repeat("x", int(80*each))))
	require.NoError(t, err)
	_, err = event.Publish(t.Context(), with(50*each-1), next.ID)
	var full *event.RoomError
	require.ErrorAs(t, err, &full)
	assert.Less(t, full.Promised, 20*each, "what was written counts with its overhead")
	_, err = event.Close(t.Context(), s, e.ID)
	require.NoError(t, err)
	_, err = event.Publish(t.Context(), with(50*each), next.ID)
	require.NoError(t, err, "a closed sale grows no more")
}

func TestPublishingWhereRoomIsUnknown(t *testing.T) {
	for _, told := range []roomy{{err: errors.ErrUnsupported}, {err: backend.ErrDenied}, {space: backend.Space{Used: 1 << 40}}} {
		told.Store = open(t)
		_, err := event.Publish(t.Context(), told, create(t, told.Store, 100).ID)
		require.NoError(t, err)
	}
}

// The bound holds on a real server: the worst that so many units can write takes no
// more than was asked for, and with the room that was asked for it can be written.
func TestTheBoundHoldsOnEtcd(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a server process; run without -short")
	}
	const units = 1000
	cluster := servers.ForTest(t, servers.Config{Kind: servers.Etcd, Extra: []string{"--quota-backend-bytes=4194304"}})
	s, err := etcd.Open(etcd.Config{Endpoints: cluster.Endpoints()})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })

	_, err = event.Publish(t.Context(), s, create(t, s, 100_000).ID)
	require.ErrorIs(t, err, event.ErrNoRoom)
	e, err := event.Publish(t.Context(), s, create(t, s, units).ID)
	require.NoError(t, err)
	before, err := s.Space(t.Context())
	require.NoError(t, err)
	size := record.MaxUnitSize()
	value := []byte(strings.Repeat("x", int(size.Bytes/size.Keys)-len(record.LogKey(e.ID, 0, record.Place{}))))
	var writing errgroup.Group
	writing.SetLimit(16)
	for n := range units * size.Keys {
		writing.Go(func() error {
			_, err := s.Put(t.Context(), record.LogKey(e.ID, 0, record.Place{Epoch: 1, Seq: uint64(n + 1)}), value)
			return err
		})
	}
	require.NoError(t, writing.Wait())
	var after backend.Space
	stores.Wait(t, "all is written out", func() bool {
		after, err = s.Space(t.Context())
		return assert.NoError(t, err) && after.InUse-before.InUse >= units*size.Bytes
	})
	took, most := after.InUse-before.InUse, need(t, units)
	t.Logf("%d units, the worst case: %d bytes each, %d were asked for; the file grew by %d", units, took/units, most/units, after.Used-before.Used)
	assert.LessOrEqual(t, took, most)
	assert.Greater(t, took, most/2, "the bound is not far off")
	_, err = event.Publish(t.Context(), s, create(t, s, units).ID)
	require.ErrorIs(t, err, event.ErrNoRoom, "there is no room for a second one")
}
