package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// EventStream is the media type of server-sent events.
const EventStream = "text/event-stream"

const (
	// Heartbeat is how often a stream should say that it is there.
	Heartbeat = 15 * time.Second

	// readerPatience is how long a write may wait for a reader that is slow.
	readerPatience = 10 * time.Second

	// reconnect is how long a client should wait before it comes back.
	reconnect = 3 * time.Second
)

// A Stream writes server-sent events, as the HTML standard has them. Its methods
// report whether the reader is still there.
type Stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

// NewStream makes a stream of an answer of which nothing was written yet.
func NewStream(w http.ResponseWriter) *Stream {
	return &Stream{w: w, control: http.NewResponseController(w)}
}

// Begin writes the headers.
func (s *Stream) Begin() bool {
	h := s.w.Header()
	h.Set("Content-Type", EventStream)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // proxies that gather answers should not
	return s.write(fmt.Sprintf("retry: %d\n\n", reconnect.Milliseconds()))
}

// Beat says that the stream is there.
func (s *Stream) Beat() bool { return s.write(": still there\n\n") }

// Event tells of an event, with data as JSON.
func (s *Stream) Event(name string, data any) bool {
	encoded, err := json.Marshal(data)
	if err != nil {
		return false // strings, numbers and times can be encoded
	}
	return s.write(fmt.Sprintf("event: %s\ndata: %s\n\n", name, encoded))
}

// write writes and flushes, or finds out that the reader is too slow.
func (s *Stream) write(text string) bool {
	if err := s.control.SetWriteDeadline(time.Now().Add(readerPatience)); err != nil {
		return false
	}
	if _, err := s.w.Write([]byte(text)); err != nil {
		return false
	}
	return s.control.Flush() == nil
}
