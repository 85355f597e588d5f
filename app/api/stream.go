package api

import (
	"net/http"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/gate"
	"github.com/seed27495941/seckill/app/sale/catalogue"
	"github.com/seed27495941/seckill/app/web"
)

func (s *Service) addStream() { s.Handle(s.describeStream(), http.HandlerFunc(s.stream)) }

// stream tells of an event until that has ended or the client goes away, as the
// HTML standard has it (server-sent events). While the process drains it ends at
// once: any other answer would make an EventSource give up rather than come back.
func (s *Service) stream(w http.ResponseWriter, r *http.Request) {
	e, refusal := s.event(r.PathValue("id"))
	switch {
	case refusal != nil:
		refusal.Write(w)
		return
	case catalogue.PhaseOf(e, time.Now(), false) == catalogue.Ended:
		w.WriteHeader(http.StatusNoContent) // which tells clients not to come back
		return
	}
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", web.EventStream)
		return
	}
	if !s.streams.enter() {
		problem(unavailable, "too many streams here").With("Retry-After", "30").Write(w)
		return
	}
	defer s.streams.leave()
	f := s.feeds.follow(e.ID) //nolint:contextcheck // a feed may outlive the request that began it
	defer s.feeds.leave(f)
	s.tell(r, teller{web.NewStream(w)}, f)
}

// SetStreams bounds how many streams there may be at once. If there are more, nobody is
// let in until enough of them have ended.
func (s *Service) SetStreams(most int) { s.streams.most.Store(int64(most)) }

// streams counts those that there are.
type streams struct{ most, open atomic.Int64 }

// enter takes a place, if there is one; leave has to be called then.
func (s *streams) enter() bool {
	if s.open.Add(1) <= s.most.Load() {
		return true
	}
	s.leave()
	return false
}

func (s *streams) leave() { s.open.Add(-1) }

// look is what the feeds look at.
func (s *Service) look(id ulid.ULID) (state State, ok bool, changed <-chan struct{}) {
	changed = s.cfg.Catalogue.Changed()
	e, ok := s.cfg.Catalogue.Event(id)
	if !ok {
		return State{}, false, changed
	}
	phase, stock := s.now(e)
	return State{
		Event: id.String(), Phase: phase, Opens: e.Window.Opens.UTC(), Closes: e.Window.Closes.UTC(), Stock: stock,
	}, true, changed
}

// tell tells what a feed brings, until the event has ended, or the stream.
func (s *Service) tell(r *http.Request, t teller, f *feed) {
	beat := time.NewTicker(web.Heartbeat)
	defer beat.Stop()
	told, ok, moved := f.current()
	if !ok || !t.Begin() || !t.Event("state", told) {
		return
	}
	for told.Phase != catalogue.Ended {
		select {
		case <-r.Context().Done():
			return
		case <-s.draining:
			return
		case <-beat.C:
			if !t.Beat() {
				return
			}
			continue
		case <-moved:
		}
		var now State
		if now, ok, moved = f.current(); !ok || !t.change(told, now) {
			return
		}
		told = now
	}
}

// A teller writes the stream of an event. Its methods report whether the reader is
// still there.
type teller struct{ *web.Stream }

// change tells what is different.
func (t teller) change(was, now State) bool {
	if name := transition(was.Phase, now.Phase); name != "" {
		return t.Event(name, now)
	}
	return now.sameStock(was) || t.Event("remaining", now)
}

// transition names the change from a phase to another one, "" if that is the same.
func transition(was, now catalogue.Phase) string {
	switch {
	case now == was:
		return ""
	case now == catalogue.Ended:
		return "closes"
	case now == catalogue.Suspended:
		return "suspended"
	case was == catalogue.Suspended:
		return "resumed"
	case now == catalogue.SoldOut:
		return "sold_out"
	case was == catalogue.SoldOut:
		return "available"
	default:
		return "opens"
	}
}

func (s *Service) describeStream() *huma.Operation {
	responses := s.refusals(gate.Public, noSuchEvent, undecided, unavailable)
	responses["200"] = &huma.Response{
		Description: "Server-sent events: `state` at once, then `opens`, `remaining` (at most two a second, or one in five seconds when operators ask for it), `sold_out`, `available`, " +
			"`suspended`, `resumed` and, as the last one, `closes`. The data of each is the whole state. " +
			"A comment comes every 15 seconds.",
		Content: map[string]*huma.MediaType{web.EventStream: {Schema: &huma.Schema{
			Type: huma.TypeString, Description: "The data of each event is a State",
		}}},
	}
	responses["204"] = &huma.Response{Description: "The event has ended: nothing more is to come, and clients stop asking"}
	s.schema(reflect.TypeFor[State]())
	return &huma.Operation{
		OperationID: "stream-event",
		Method:      http.MethodGet,
		Path:        "/v1/events/{id}/stream",
		Tags:        []string{"events"},
		Summary:     "Be told when an event opens, what remains, and when it closes",
		Parameters:  []*huma.Param{pathParam("id", "The event's id")},
		Responses:   responses,
	}
}
