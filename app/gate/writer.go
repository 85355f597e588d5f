package gate

import (
	"io"
	"net/http"
	"time"

	"github.com/seed27495941/seckill/app/gate/breaker"
)

// A writer writes an answer, and keeps what the access log tells of it. The breaker
// hears of the first byte: what comes after that takes as long as the client does.
type writer struct {
	http.ResponseWriter
	id      string
	user    string // of a route for buyers
	began   time.Time
	call    breaker.Call
	sent    body
	refused bool // by the gate
	status  int  // 0 while nothing is written
	ended   bool // the handler has returned
	bytes   int64
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *writer) WriteHeader(status int) {
	if status >= http.StatusOK {
		w.begin(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(p []byte) (int, error) {
	w.begin(http.StatusOK)
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

func (w *writer) begin(status int) {
	if w.status == 0 {
		w.status = status
		w.call.Done()
	}
}

// end is called when the handler has returned. One that has written nothing has
// answered with 200.
func (w *writer) end() {
	w.begin(http.StatusOK)
	w.ended = true
}

// result is the status of the answer: that of a handler that panicked is a failure,
// whatever it had written.
func (w *writer) result() int {
	if !w.ended && !w.refused {
		return http.StatusInternalServerError
	}
	return w.status
}

// A body is what a client sends, and lets the node wait for.
type body struct {
	io.ReadCloser
	call *breaker.Call
}

func (b *body) Read(p []byte) (n int, err error) {
	b.call.AwaitClient(func() { n, err = b.ReadCloser.Read(p) })
	return n, err
}
