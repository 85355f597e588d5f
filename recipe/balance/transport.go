package balance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// attempts is how often a request is sent at most, each time to another
// endpoint as long as there are any.
const attempts = 3

// A Transport is an http.RoundTripper for URLs that name a cluster instead of a
// host: http://api/v1/orders goes to an endpoint of the cluster "api". Requests
// for other hosts go to the base as they are, so redirects elsewhere work.
//
// The Host header keeps the cluster's name, or what the request's Host says.
// With https it is the endpoint's address that a certificate is checked
// against, unless the base's TLS config has a ServerName.
//
// A request is sent again, elsewhere, if it certainly was not sent: no
// connection could be made; or if it may be sent twice: its method is
// idempotent (GET, HEAD, OPTIONS, TRACE, PUT, DELETE) or it has an
// Idempotency-Key, as in net/http. A body has to be one that GetBody can bring
// back. Whatever the answer is, it is an answer: a 503 is not tried again.
//
// An endpoint's response time is the time until its header is there: how fast a
// body is read says more about the reader. A request is under way until its
// body has been read to the end or closed. An answer of 500 and above, or 429
// (too many requests), counts as failed.
type Transport struct {
	base     http.RoundTripper
	clusters map[string]upstream
}

type upstream struct {
	cluster *Cluster
	picker  *Picker
}

// NewTransport makes a transport for some clusters by name. The base does the
// work; its connections are its own, idle ones to nodes that have gone end by
// its IdleConnTimeout. Errors: ErrInvalid for a policy that does not exist.
func NewTransport(base http.RoundTripper, policy Policy, clusters map[string]*Cluster) (*Transport, error) {
	t := &Transport{base: base, clusters: map[string]upstream{}}
	for name, c := range clusters {
		p, err := c.Picker(policy)
		if err != nil {
			return nil, err
		}
		t.clusters[name] = upstream{c, p}
	}
	return t, nil
}

// RoundTrip implements http.RoundTripper. Until a cluster has heard of its
// nodes for the first time requests wait for that, as long as their contexts
// allow. Errors: ErrNoEndpoint, or those of the base.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	to, ok := t.clusters[req.URL.Host]
	if !ok {
		return t.base.RoundTrip(req)
	}
	if err := to.cluster.await(req.Context()); err != nil {
		closeBody(req)
		return nil, err
	}
	var tried []Endpoint
	for sent := req; ; {
		e, done, err := to.picker.Pick(tried...)
		if err != nil {
			closeBody(sent)
			return nil, fmt.Errorf("%s: %w", req.URL.Host, err)
		}
		resp, err := t.send(req, sent, e, done)
		if err == nil {
			return resp, nil
		}
		tried = append(tried, e)
		if len(tried) < attempts && mayRepeat(req, err) {
			if sent, err = rewind(req); err == nil {
				continue
			}
		}
		return nil, fmt.Errorf("%s (node %s at %s): %w", req.URL.Host, e.ID, e.Addr, err)
	}
}

// await waits until the cluster knows its endpoints.
func (c *Cluster) await(ctx context.Context) error {
	select {
	case <-c.Synced():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the nodes are not known yet: %w", context.Cause(ctx))
	}
}

// send sends a request to an endpoint and tells how it went.
func (t *Transport) send(req, sent *http.Request, e Endpoint, done func(Result)) (*http.Response, error) {
	out := sent.Clone(sent.Context())
	out.URL.Host = e.Addr
	if out.Host == "" {
		out.Host = req.URL.Host
	}
	begun := time.Now()
	resp, err := t.base.RoundTrip(out)
	result := Result{Latency: time.Since(begun)}
	if err != nil {
		result.Outcome = Failed
		if req.Context().Err() != nil {
			result.Outcome = Abandoned
		}
		done(result)
		return nil, err
	}
	if resp.StatusCode >= http.StatusInternalServerError || resp.StatusCode == http.StatusTooManyRequests {
		result.Outcome = Failed
	}
	resp.Request = req // whose URL a redirect is relative to
	if resp.StatusCode == http.StatusSwitchingProtocols || resp.Body == http.NoBody {
		done(result)
		return resp, nil
	}
	var once sync.Once
	resp.Body = &body{resp.Body, func(err error) {
		once.Do(func() {
			if err != nil && req.Context().Err() == nil {
				result.Outcome = Failed
			}
			done(result)
		})
	}}
	return resp, nil
}

// Loads lists what is known of a cluster's endpoints, for people to see.
func (t *Transport) Loads(cluster string) []Load {
	to, ok := t.clusters[cluster]
	if !ok {
		return nil
	}
	return to.picker.Loads()
}

// mayRepeat reports whether a request that failed can and may be sent again.
func mayRepeat(req *http.Request, err error) bool {
	hasBody := req.Body != nil && req.Body != http.NoBody
	return req.Context().Err() == nil && (wasNotSent(err) || isIdempotent(req)) && (!hasBody || req.GetBody != nil)
}

// rewind is the request with its body from the beginning.
func rewind(req *http.Request) (*http.Request, error) {
	again := req.Clone(req.Context())
	if req.GetBody == nil {
		return again, nil
	}
	content, err := req.GetBody()
	again.Body = content
	return again, err
}

// wasNotSent reports whether a request certainly has not left: there was no
// connection.
func wasNotSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

func isIdempotent(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	_, ok := req.Header["Idempotency-Key"]
	return ok
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close() // nobody is there to be told
	}
}

// A body tells when it is over, and why if it broke off.
type body struct {
	io.ReadCloser
	over func(err error)
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		b.over(nil)
	default:
		b.over(err)
	}
	return n, err
}

func (b *body) Close() error {
	b.over(nil)
	return b.ReadCloser.Close()
}
