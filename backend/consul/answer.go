package consul

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
)

// awayTexts are in the answers of an agent that finds no way to the leader: all
// that Consul's status 500 does not tell from a refusal.
var awayTexts = []string{
	"No cluster leader",
	"node is not the leader",
	"leadership lost",
	"Raft leader not found",
	"No known Consul servers",
	"No path to datacenter",
	"Not ready to serve consistent reads",
	"rpc error getting client",
	"rpc error making call: EOF",
	"i/o timeout",
	"connection reset",
}

// maxText is how much of a failure's text is read to understand it.
const maxText = 4 << 10

// judge leaves an endpoint whose answer shows that it does not work for the
// moment, now or when the rest of the answer does not come.
func (t *transport) judge(ctx context.Context, at uint32, resp *http.Response) {
	body := &answer{ReadCloser: resp.Body, broken: func() {
		if !gaveUp(ctx) {
			t.leave(at)
		}
	}}
	resp.Body = body
	switch resp.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		t.leave(at)
	case http.StatusInternalServerError:
		if containsAny(body.peek(), awayTexts) {
			t.leave(at)
		}
	}
}

// gaveUp reports whether a request ended because its caller wanted no more, for
// whatever cause. That says nothing about the endpoint, as a timeout does.
func gaveUp(ctx context.Context) bool {
	return errors.Is(ctx.Err(), context.Canceled) && !errors.Is(context.Cause(ctx), errNoAnswer)
}

// An answer is the body of a response that tells when it breaks off.
type answer struct {
	io.ReadCloser
	broken func()
	read   []byte      // by peek
	closed atomic.Bool // the client library reads on after that
}

func (a *answer) Read(p []byte) (int, error) {
	if len(a.read) > 0 {
		n := copy(p, a.read)
		a.read = a.read[n:]
		return n, nil
	}
	n, err := a.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && !a.closed.Load() {
		a.broken()
	}
	return n, err
}

// Close implements io.Closer.
func (a *answer) Close() error {
	a.closed.Store(true)
	return a.ReadCloser.Close()
}

// peek returns the beginning of the body, which is still there to be read.
func (a *answer) peek() string {
	var text bytes.Buffer
	_, _ = io.CopyN(&text, a, maxText) // an error comes again
	a.read = text.Bytes()
	return text.String()
}
