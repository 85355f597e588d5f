package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/catalogue"
)

const (
	// maxStreams bounds the streams of one process.
	maxStreams = 10_000

	// heartbeat is how often a stream says that it is there.
	heartbeat = 15 * time.Second

	// readerPatience is how long a write may wait for a reader that is slow.
	readerPatience = 10 * time.Second

	// reconnect is how long a client should wait before it comes back.
	reconnect = 3 * time.Second
)

// eventStream is the media type of server-sent events.
const eventStream = "text/event-stream"

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
		w.Header().Set("Content-Type", eventStream)
		return
	}
	select {
	case s.room <- struct{}{}:
		defer func() { <-s.room }()
	default:
		problem(unavailable, "too many streams here").With("Retry-After", "30").Write(w)
		return
	}
	f := s.feeds.follow(e.ID) //nolint:contextcheck // a feed may outlive the request that began it
	defer s.feeds.leave(f)
	s.tell(r, newTeller(w), f)
}

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
func (s *Service) tell(r *http.Request, t *teller, f *feed) {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	told, ok, moved := f.current()
	if !ok || !t.begin() || !t.event("state", told) {
		return
	}
	for told.Phase != catalogue.Ended {
		select {
		case <-r.Context().Done():
			return
		case <-s.draining:
			return
		case <-beat.C:
			if !t.beat() {
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

// A teller writes a stream. Its methods report whether the reader is still there.
type teller struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func newTeller(w http.ResponseWriter) *teller {
	return &teller{w: w, control: http.NewResponseController(w)}
}

func (t *teller) begin() bool {
	h := t.w.Header()
	h.Set("Content-Type", eventStream)
	h.Set("Cache-Control", noStore)
	h.Set("X-Accel-Buffering", "no") // proxies that gather answers should not
	return t.write(fmt.Sprintf("retry: %d\n\n", reconnect.Milliseconds()))
}

func (t *teller) beat() bool { return t.write(": still there\n\n") }

// change tells what is different.
func (t *teller) change(was, now State) bool {
	if name := transition(was.Phase, now.Phase); name != "" {
		return t.event(name, now)
	}
	return now.sameStock(was) || t.event("remaining", now)
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

func (t *teller) event(name string, s State) bool {
	data, err := json.Marshal(s)
	if err != nil {
		return false // strings, numbers and times can be encoded
	}
	return t.write(fmt.Sprintf("event: %s\ndata: %s\n\n", name, data))
}

// write writes and flushes, or finds out that the reader is too slow.
func (t *teller) write(text string) bool {
	if err := t.control.SetWriteDeadline(time.Now().Add(readerPatience)); err != nil {
		return false
	}
	if _, err := t.w.Write([]byte(text)); err != nil {
		return false
	}
	return t.control.Flush() == nil
}

func (s *Service) describeStream() *huma.Operation {
	responses := s.refusals(noSuchEvent, undecided, unavailable)
	responses["200"] = &huma.Response{
		Description: "Server-sent events: `state` at once, then `opens`, `remaining` (at most two a second), `sold_out`, `available`, " +
			"`suspended`, `resumed` and, as the last one, `closes`. The data of each is the whole state. " +
			"A comment comes every 15 seconds.",
		Content: map[string]*huma.MediaType{eventStream: {Schema: &huma.Schema{
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
