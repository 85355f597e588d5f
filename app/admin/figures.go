package admin

import (
	"context"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/sale"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/web"
)

const (
	// meterEvery is how often the units in orders are noted.
	meterEvery = time.Second

	// meterSpan is how far back a rate looks.
	meterSpan = 5 * time.Second

	// courseSpan is how far back the course of a sale is known.
	courseSpan = 10 * time.Minute
)

// Live are the figures of an open sale at a moment: approximate, put together from what
// the owners of its slots have told.
type Live struct {
	Event     string        `json:"event"`
	Status    record.Status `json:"status" enum:"online,offline,closing"`
	Total     int64         `json:"total" doc:"Units there are"`
	Held      int64         `json:"held" doc:"Units in orders, pending and paid. Of a slot that was never heard of it is all that was granted: unless all is sold out, it is no more than that while at is 0001-01-01"`
	Remaining int64         `json:"remaining"`
	SoldOut   bool          `json:"soldOut"`

	UnitsPerSecond float64 `json:"unitsPerSecond" doc:"By which held has grown in the last 5 seconds; below 0 where more come back"`

	Refusals          map[string]int64 `json:"refusals" nullable:"false" doc:"Requests for an order that were refused, by reason: the name of the gate's check, if one refused (identity, blacklist, breaker, node_limit, switches, window, user_limit, store_limit), else the code of the problem that the buyer got (sold_out, limit_reached, not_started, ended, suspended, busy, undecided, invalid, and others). Each node counts since it has known the sale to be open"`
	RefusalsPerSecond float64          `json:"refusalsPerSecond" doc:"By which all of them have grown in the last 5 seconds"`

	Slots []LiveSlot `json:"slots" nullable:"false"`
	At    time.Time  `json:"at" doc:"Of the oldest of them; 0001-01-01 if one was never heard of"`
}

// A LiveSlot is one slot of a sale.
type LiveSlot struct {
	Slot    int       `json:"slot"`
	Owner   string    `json:"owner,omitempty" doc:"The incarnation of the process that decides; closed, or left out if there is none at present"`
	Node    string    `json:"node,omitempty" doc:"The id of the node that is"`
	Epoch   uint64    `json:"epoch"`
	Granted int64     `json:"granted" doc:"Units, from the pool"`
	Held    int64     `json:"held" doc:"Of these in orders; all of them if at is left out, for there may be as many"`
	At      time.Time `json:"at,omitzero" doc:"When the owner last said so"`
}

// AtMost reports whether no more is known than how many units may be in orders: the owner of
// a slot was never heard, so that all that was granted to the slot counts as held.
func (l Live) AtMost() bool { return l.At.IsZero() && !l.SoldOut }

// LiveFigures tells how an open sale stands.
func (s *Service) LiveFigures(ctx context.Context, in *EventPath) (*Answer[Live], error) {
	live, err := s.live(ctx, *in)
	if err != nil {
		return nil, err
	}
	return answer(live), nil
}

func (s *Service) live(ctx context.Context, at EventPath) (Live, error) {
	e, err := s.event(ctx, at)
	if err != nil {
		return Live{}, err
	}
	switch e.Status {
	case record.StatusOnline, record.StatusOffline, record.StatusClosing:
	case record.StatusDraft, record.StatusPublishing, record.StatusClosed, record.StatusArchived:
		return Live{}, problem(notLive, "The event is "+string(e.Status))
	}
	live, ok := s.Figures(e.ID)
	if !ok {
		return Live{}, problem(unavailable, "Nothing was heard of the sale yet")
	}
	return live, nil
}

// Figures tells how an open sale stands without asking the store; false if nothing is known
// of it.
func (s *Service) Figures(id ulid.ULID) (Live, bool) {
	f, ok := s.cfg.Figures.Figures(id)
	if !ok {
		return Live{}, false
	}
	return s.show(id, f), true
}

func (s *Service) show(id ulid.ULID, f sale.Figures) Live {
	nodes := map[string]string{}
	for _, n := range s.directory.Nodes() {
		nodes[n.Incarnation] = n.ID
	}
	live := Live{
		Event: id.String(), Status: f.Status, Total: f.Total, Held: f.Held, Remaining: f.Remaining, SoldOut: f.SoldOut,
		Refusals: f.Refused, Slots: make([]LiveSlot, len(f.Slots)), At: f.At.UTC(),
	}
	live.UnitsPerSecond, live.RefusalsPerSecond = s.meter.rates(id)
	for k, x := range f.Slots {
		live.Slots[k] = LiveSlot{k, x.Owner, nodes[x.Owner], x.Epoch, x.Granted, x.Held, x.At.UTC()}
	}
	return live
}

// same compares figures, whenever they are of.
func (l Live) same(other Live) bool {
	return reflect.DeepEqual(l.timeless(), other.timeless())
}

func (l Live) timeless() Live {
	slots := make([]LiveSlot, len(l.Slots))
	for k, x := range l.Slots {
		x.At = time.Time{}
		slots[k] = x
	}
	l.Slots, l.At = slots, time.Time{}
	return l
}

// lookEvery is how often a stream looks whether there is something to tell.
const lookEvery = 500 * time.Millisecond

// stream tells how a sale stands, until it is over or the reader goes away, or may not
// see it any more.
func (s *Service) stream(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	at := EventPath{ID: r.PathValue("id")}
	told, err := s.live(ctx, at)
	if err != nil {
		writeProblem(w, err)
		return
	}
	end, err := s.BeginStream(ctx)
	if err != nil {
		writeProblem(w, err)
		return
	}
	defer end()
	to := web.NewStream(w)
	look, beat := time.NewTicker(lookEvery), time.NewTicker(web.Heartbeat)
	defer look.Stop()
	defer beat.Stop()
	for ok := to.Begin() && to.Event("figures", told); ok; {
		select {
		case <-ctx.Done():
			return
		case <-s.draining:
			return
		case <-beat.C:
			ok = to.Beat()
		case <-look.C:
			now, open := s.look(told)
			switch {
			case !s.cfg.Access.Still(ctx, access.Viewer):
				return
			case !open:
				to.Event("ended", told)
				return
			case !now.same(told):
				ok = to.Event("figures", now)
				told = now
			}
		}
	}
}

// look is how a sale stands now, without asking the store; false if it is open no more.
func (s *Service) look(before Live) (Live, bool) {
	id, err := ulid.ParseStrict(before.Event)
	if err != nil {
		return before, false
	}
	if now, ok := s.Figures(id); ok {
		return now, true
	}
	return before, false
}

// A Moment is how many units were in orders at a time.
type Moment struct {
	At   time.Time
	Held int64
}

// Course is how an open sale went in the last ten minutes, as far as this process has
// looked on: a moment for each second, but for those between two others that are the
// same. The oldest is first.
func (s *Service) Course(event ulid.ULID) []Moment { return s.meter.course(event) }

// A meter notes how sales stand, to tell how fast they go and how they went. The zero
// value has noted nothing.
type meter struct {
	mu    sync.Mutex
	notes map[ulid.ULID][]note // the oldest first
}

type note struct {
	at            time.Time
	held, refused int64
}

// note notes those of which all slots were heard. Of others the figures are no more than
// what could be: a process that has just started would note that all was sold.
func (m *meter) note(now time.Time, all map[ulid.ULID]sale.Figures) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := make(map[ulid.ULID][]note, len(all))
	for id, f := range all {
		notes := m.notes[id]
		for len(notes) > 0 && now.Sub(notes[0].at) > courseSpan {
			notes = notes[1:]
		}
		if !f.At.IsZero() {
			notes = append(notes, note{now, f.Held, sum(f.Refused)})
		}
		next[id] = notes
	}
	m.notes = next
}

func sum(by map[string]int64) (n int64) {
	for _, x := range by {
		n += x
	}
	return n
}

// rates are of units in orders and of refusals, a second; 0 if too little was noted.
func (m *meter) rates(id ulid.ULID) (units, refusals float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	notes := m.notes[id]
	if len(notes) < 2 {
		return 0, 0
	}
	last := notes[len(notes)-1]
	first := last
	for _, n := range slices.Backward(notes) {
		if last.at.Sub(n.at) > meterSpan {
			break
		}
		first = n
	}
	seconds := last.at.Sub(first.at).Seconds()
	if seconds == 0 {
		return 0, 0
	}
	return float64(last.held-first.held) / seconds, float64(last.refused-first.refused) / seconds
}

func (m *meter) course(id ulid.ULID) (course []Moment) {
	m.mu.Lock()
	defer m.mu.Unlock()
	notes := m.notes[id]
	for i, n := range notes {
		if i == 0 || i == len(notes)-1 || n.held != notes[i-1].held || n.held != notes[i+1].held {
			course = append(course, Moment{n.at, n.held})
		}
	}
	return course
}
