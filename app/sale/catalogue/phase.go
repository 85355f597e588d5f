package catalogue

import (
	"time"

	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/record"
)

// A Phase is what an event is to buyers at a moment.
type Phase string

// The phases.
const (
	Scheduled Phase = "scheduled" // not yet open
	Open      Phase = "open"
	SoldOut   Phase = "sold_out"  // open, with no units left; some may come back
	Suspended Phase = "suspended" // sells nothing for now
	Ended     Phase = "ended"     // for good
)

// Phases lists all.
func Phases() []Phase { return []Phase{Scheduled, Open, SoldOut, Suspended, Ended} }

// PhaseOf is the phase of an event that buyers may see, at a time. An owner
// refuses orders for the same reasons.
func PhaseOf(e event.Event, at time.Time, soldOut bool) Phase {
	switch {
	case isOver(e.Status), !at.Before(e.Window.Closes):
		return Ended
	case e.Status != record.StatusOnline:
		return Suspended
	case at.Before(e.Window.Opens):
		return Scheduled
	case soldOut:
		return SoldOut
	default:
		return Open
	}
}

// IsPublic reports whether buyers may know of an event of that status.
func isPublic(s record.Status) bool {
	return s != record.StatusDraft && s != record.StatusPublishing
}

func isOver(s record.Status) bool {
	return s != record.StatusOnline && s != record.StatusOffline
}

// boundary is the next moment after at when time alone changes the phase, false if
// there is none.
func boundary(e event.Event, at time.Time) (time.Time, bool) {
	switch {
	case isOver(e.Status):
		return time.Time{}, false
	case at.Before(e.Window.Opens):
		return e.Window.Opens, true
	default:
		return e.Window.Closes, at.Before(e.Window.Closes)
	}
}
