package traffic

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A connection has one request on it at a time.
type connection struct {
	net.Conn
	in       *bufio.Reader
	address  string
	patience time.Duration
}

func dial(ctx context.Context, address string, patience time.Duration) (*connection, error) {
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &connection{conn, bufio.NewReaderSize(conn, 2<<10), address, patience}, nil
}

func (c *connection) close() { _ = c.Close() } // all that matters has been read

// begin sends a request and reads the head of the answer.
func (c *connection) begin(ctx context.Context, method, path, token, body string, last bool) (*http.Response, error) {
	if err := c.SetDeadline(time.Now().Add(c.patience)); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.address+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Close = last
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if err := req.Write(c); err != nil {
		return nil, err
	}
	return http.ReadResponse(c.in, req)
}

// exchange sends a request and reads the answer. last says, on the way there that the client
// wants no more, and on the way back that the connection is at its end.
func (c *connection) exchange(ctx context.Context, method, path, token, body string, last bool) (answer, bool, error) {
	resp, err := c.begin(ctx, method, path, token, body, last)
	if err != nil {
		return answer{}, true, err
	}
	content, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		return answer{}, true, err
	}
	return readAnswer(resp, content), last || resp.Close, nil
}

// An answer is a status and what the body says.
type answer struct {
	status     int
	body       body
	text       string
	retryAfter time.Duration
}

// A body has what is looked at of an order, an event, the events, and a problem.
type body struct {
	ID     string `json:"id"`
	Code   string `json:"code"`
	Events []struct {
		ID string `json:"id"`
	} `json:"events"`
}

func readAnswer(resp *http.Response, content []byte) answer {
	a := answer{status: resp.StatusCode, text: string(content)}
	if json.Unmarshal(content, &a.body) != nil {
		a.body = body{}
	}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
		a.retryAfter = time.Duration(seconds) * time.Second
	}
	return a
}

// isUndecided: nothing is known yet, and the same is to be asked again.
func (a answer) isUndecided() bool {
	return a.status == http.StatusServiceUnavailable && a.body.Code == "undecided"
}

func (b body) lists(event string) bool {
	for _, e := range b.Events {
		if e.ID == event {
			return true
		}
	}
	return false
}

func (a answer) String() string { return fmt.Sprintf("answered %d: %.200s", a.status, a.text) }
