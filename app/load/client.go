package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// What is counted where there is no answer.
const (
	codeTimeout     = "timeout"
	codeUnreachable = "unreachable"
)

// A client speaks HTTP with the nodes. All buyers share its connections.
type client struct {
	http     *http.Client
	patience time.Duration
	orders   string // the path
}

func newClient(cfg Config) *client {
	dialer := &net.Dialer{Timeout: cfg.Patience, KeepAlive: 15 * time.Second}
	return &client{
		http: &http.Client{Transport: &http.Transport{
			DialContext: dialer.DialContext,
			// Each place may have its connection to each node: none is opened again
			// and again.
			MaxIdleConnsPerHost: 2 * cfg.Concurrency,
			IdleConnTimeout:     time.Minute,
			TLSHandshakeTimeout: cfg.Patience,
			DisableCompression:  true,
			WriteBufferSize:     2 << 10,
			ReadBufferSize:      2 << 10,
		}},
		patience: cfg.Patience,
		orders:   "/v1/events/" + cfg.Event + "/orders",
	}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// An order is what a buyer is told of one.
type order struct {
	ID       string `json:"id"`
	Quantity int64  `json:"quantity"`
}

// An answer is what came of a request.
type answer struct {
	status int
	code   string // created, repeated, or the problem's; where there is no answer, why
	order  order
	again  bool          // nothing is decided: ask again
	wait   time.Duration // but not before, if the node has said so
}

// order makes a request at a node.
func (c *client) order(ctx context.Context, node, token string, r *request) answer {
	body, err := json.Marshal(r)
	if err != nil {
		return answer{code: err.Error()} // a string and a number can be encoded
	}
	return c.do(ctx, http.MethodPost, node+c.orders, token, body)
}

// find reads an order at a node.
func (c *client) find(ctx context.Context, node, token, id string) answer {
	return c.do(ctx, http.MethodGet, node+"/v1/orders/"+id, token, nil)
}

// longest bounds what is read of an answer.
const longest = 64 << 10

func (c *client) do(ctx context.Context, method, url, token string, body []byte) answer {
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return answer{code: err.Error()}
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return lost(err)
	}
	defer func() { _ = resp.Body.Close() }()
	content, err := io.ReadAll(io.LimitReader(resp.Body, longest))
	if err != nil {
		return lost(err)
	}
	return read(resp, content)
}

// lost is a request that has no answer: it may have been decided or not.
func lost(err error) answer {
	if errors.Is(err, context.DeadlineExceeded) {
		return answer{code: codeTimeout, again: true}
	}
	return answer{code: codeUnreachable, again: true}
}

func read(resp *http.Response, content []byte) answer {
	a := answer{status: resp.StatusCode}
	switch a.status {
	case http.StatusOK, http.StatusCreated:
		if err := json.Unmarshal(content, &a.order); err != nil || a.order.ID == "" {
			return answer{status: a.status, code: "without an order"}
		}
		a.code = "repeated"
		if a.status == http.StatusCreated {
			a.code = "created"
		}
		return a
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		a.again = true
		if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
			a.wait = min(time.Duration(seconds)*time.Second, time.Minute)
		}
	}
	var problem struct {
		Code string `json:"code"`
	}
	if err := json.Unmarshal(content, &problem); err != nil || problem.Code == "" {
		problem.Code = fmt.Sprintf("status %d", a.status)
	}
	a.code = problem.Code
	return a
}

// isRefusal reports whether a status is a no that a buyer can expect.
func isRefusal(status int) bool { return status == http.StatusConflict }
