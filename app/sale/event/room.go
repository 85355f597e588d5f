package event

import (
	"context"
	"errors"
	"fmt"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
)

// ErrNoRoom says that a sale's log could outgrow the store.
var ErrNoRoom = errors.New("the store may be too small for the sale")

// A RoomError is ErrNoRoom in numbers, all of them bytes but Units.
type RoomError struct {
	Event    ulid.ULID
	Units    int64
	Need     int64 // that the log can come to
	Promised int64 // that the logs of other open sales can still grow by
	Space    backend.Space
}

func (e *RoomError) Error() string {
	return fmt.Sprintf("%v: the log of event %s can come to %s (%d units, up to %d bytes each); the store has %s left of %s, of which sales that are open may need %s. "+
		"Archive and purge sales that are over, raise the store's quota (etcd: --quota-backend-bytes on every member), or sell fewer units",
		ErrNoRoom, e.Event, bytesText(e.Need), e.Units, e.Need/e.Units, bytesText(e.Space.Left()), bytesText(e.Space.Quota), bytesText(e.Promised))
}

// Is makes errors.Is(err, ErrNoRoom) true.
func (e *RoomError) Is(target error) bool { return target == ErrNoRoom }

func bytesText(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// perKey is what a key takes besides itself and its value: the namespace's root, and
// what the store notes about each (in etcd revisions, version, and an index of them).
const perKey = 128

// filled is how much of a database's pages holds something, in percent: bbolt begins
// a new one when the last is full to nine tenths, or to less if what comes next does
// not fit. (On etcd 3.7 the worst unit takes 2207 bytes; with these two it is
// given 2802.)
const filled = 85

// stored is what keys take in the store.
func stored(s record.Size) int64 { return (s.Bytes + s.Keys*perKey) * 100 / filled }

// most is what an event's log can come to.
func (e Event) most() int64 { return e.Total * stored(record.MaxUnitSize()) }

// checkRoom compares what the log can come to with what the store has left when all
// other open sales have taken what they can. It is there to keep a mistake in the
// planning from becoming a store that takes no writes in the middle of a sale, and
// reserves nothing. Where nobody knows how much room there is it has nothing to
// say. Errors: a *RoomError, those of [List].
//
// What the store keeps of former revisions, of pools and slots, is not counted: it
// goes with each compaction.
func (e Event) checkRoom(ctx context.Context, s backend.Store) error {
	space, err := backend.SpaceOf(ctx, s)
	if err != nil || space.Quota == 0 {
		return nil //nolint:nilerr // not known, as described
	}
	others, err := openSales(ctx, s, e.ID)
	if err != nil {
		return err
	}
	full := &RoomError{Event: e.ID, Units: e.Total, Need: e.most(), Space: space}
	for _, o := range others {
		full.Promised += o.most()
	}
	if full.fits() {
		return nil // without reading the logs
	}
	full.Promised = 0
	for _, o := range others {
		written, err := o.written(ctx, s)
		if err != nil {
			return err
		}
		full.Promised += max(o.most()-written, 0)
	}
	if full.fits() {
		return nil
	}
	return full
}

func (e *RoomError) fits() bool { return e.Need+e.Promised <= e.Space.Left() }

// openSales are the events, but one, whose logs may still grow.
func openSales(ctx context.Context, s backend.Store, but ulid.ULID) (open []Event, err error) {
	all, _, err := List(ctx, s)
	for _, e := range all {
		switch e.Status {
		case record.StatusPublishing, record.StatusOnline, record.StatusOffline, record.StatusClosing:
			if e.ID != but {
				open = append(open, e)
			}
		case record.StatusDraft, record.StatusClosed, record.StatusArchived:
		}
	}
	return open, err
}

// written is what an event's log takes by now. It reads one slot after the other.
func (e Event) written(ctx context.Context, s backend.Store) (int64, error) {
	var size record.Size
	for k := range e.Slots {
		entries, _, err := backend.List(ctx, s, record.LogDir(e.ID, k))
		if err != nil {
			return 0, err
		}
		for _, entry := range entries {
			size.Keys++
			size.Bytes += int64(len(entry.Key) + len(entry.Value))
		}
	}
	return stored(size), nil
}
