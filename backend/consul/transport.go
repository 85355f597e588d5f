package consul

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/seed27495941/seckill/backend/credential"
)

// placeholder stands where the client library wants a token, so that it takes
// none from the environment. The transport replaces it.
const placeholder = "the transport puts the token here"

const (
	tokenHeader       = "X-Consul-Token"
	keepAliveInterval = 15 * time.Second
	idleConnections   = 64
	maxCalls          = 56 // connections beside those of watches: below Consul's 200 together

	// Consul ends a connection that was opened and not used for 10s, which a
	// burst of calls leaves behind. A write on its way meanwhile has no known
	// outcome: so they are closed before.
	idleTimeout = 5 * time.Second
)

// newClient makes a client that takes everything from the settings.
func newClient(s *settings, datacenter string) (*api.Client, *transport, error) {
	t := newTransport(s)
	client, err := api.NewClient(&api.Config{
		Address:    s.endpoints[0].Host,
		Scheme:     s.endpoints[0].Scheme,
		Datacenter: datacenter,
		Token:      placeholder,
		HttpClient: &http.Client{
			Transport: t,
			// A redirected write would leave the endpoints configured.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	})
	return client, t, err
}

// A transport sends each request to the endpoint that worked last, with the
// credentials of the moment, and goes on to the next endpoint when that is
// safe.
type transport struct {
	base      *http.Transport
	endpoints []*url.URL
	token     *credential.Source
	user      string
	password  *credential.Source

	current atomic.Uint32 // index into endpoints
}

func newTransport(s *settings) *transport {
	dialer := &net.Dialer{Timeout: s.dialTimeout, KeepAlive: keepAliveInterval}
	return &transport{
		base: &http.Transport{
			DialContext:         dialer.DialContext,
			TLSClientConfig:     s.tls,
			TLSHandshakeTimeout: s.dialTimeout,
			MaxIdleConnsPerHost: idleConnections,
			MaxConnsPerHost:     MaxFollowed + maxCalls,
			IdleConnTimeout:     idleTimeout,
		},
		endpoints: s.endpoints,
		token:     s.token,
		user:      s.user,
		password:  s.password,
	}
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	defer closeBody(req)
	token, err := sendable(t.token)
	if err != nil {
		return nil, err
	}
	for tries := 1; ; tries++ {
		at := t.current.Load()
		resp, x, err := t.try(req, token, t.endpoints[at])
		if err == nil {
			t.judge(req.Context(), at, resp)
			return resp, nil
		}
		if x.stale() && req.Context().Err() == nil {
			// The connection was closed while it was idle. That says nothing
			// about the endpoint, and the next one is another or new.
			tries--
			continue
		}
		if !gaveUp(req.Context()) {
			t.leave(at)
		}
		if x.turnedAway() && req.Context().Err() == nil {
			err = errTurnedAway // net/http has no good words for it
		}
		repeatable := !x.sent() || req.Method == http.MethodGet
		if !repeatable || tries == len(t.endpoints) || req.Context().Err() != nil {
			return nil, err
		}
	}
}

// leave makes the endpoint after at the one to use, unless that happened
// already.
func (t *transport) leave(at uint32) {
	t.current.CompareAndSwap(at, (at+1)%uint32(len(t.endpoints)))
}

// try sends a request to one endpoint and tells how far it got.
func (t *transport) try(req *http.Request, token credential.Secret, endpoint *url.URL) (*http.Response, *exchange, error) {
	ctx, x := trace(req.Context())
	out := req.Clone(ctx)
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return nil, x, err
		}
		out.Body = body
	}
	out.URL.Scheme, out.URL.Host, out.Host = endpoint.Scheme, endpoint.Host, endpoint.Host
	t.dropEnvironment(out)
	t.authenticate(out, token)
	resp, err := t.base.RoundTrip(out)
	return resp, x, err
}

// dropEnvironment takes out what the client library has from CONSUL_NAMESPACE
// and CONSUL_PARTITION.
func (t *transport) dropEnvironment(req *http.Request) {
	query := req.URL.Query()
	if query.Has("ns") || query.Has("partition") {
		query.Del("ns")
		query.Del("partition")
		req.URL.RawQuery = query.Encode()
	}
}

func (t *transport) authenticate(req *http.Request, token credential.Secret) {
	req.Header.Del(tokenHeader)
	if token != "" {
		req.Header.Set(tokenHeader, token.Reveal())
	}
	if t.user != "" {
		req.SetBasicAuth(t.user, t.password.Get().Reveal())
	}
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close() // it is in memory
	}
}

// An exchange knows how far a request got.
type exchange struct{ asked, got, reused, wrote atomic.Bool }

// trace observes a call. The store's own transport always tells what it sends.
func (s *Store) trace(ctx context.Context) (context.Context, *exchange) {
	ctx, x := trace(ctx)
	x.asked.Store(s.transport != nil)
	return ctx, x
}

// trace observes the requests sent with the context returned.
func trace(ctx context.Context) (context.Context, *exchange) {
	x := &exchange{}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:          func(string) { x.asked.Store(true) },
		GotConn:          func(info httptrace.GotConnInfo) { x.got.Store(true); x.reused.Store(info.Reused) },
		WroteHeaderField: func(string, []string) { x.wrote.Store(true) },
		WroteHeaders:     func() { x.wrote.Store(true) },
	}), x
}

// sent reports whether anything may have left. A transport that does not tell,
// as that of somebody's own client may be, is taken to have sent.
func (x *exchange) sent() bool { return x.wrote.Load() || !x.asked.Load() }

// stale reports whether a failed request had a connection of before and sent
// nothing over it.
func (x *exchange) stale() bool { return x.reused.Load() && !x.sent() }

// turnedAway reports whether a failed request got a new connection that was
// closed before anything was sent.
func (x *exchange) turnedAway() bool { return x.got.Load() && !x.reused.Load() && !x.sent() }

var errTurnedAway = errors.New("the server closed a new connection at once: its limits.http_max_conns_per_client may be reached, counting all processes of this address")

var errNoAnswer = noAnswerError{}

// noAnswerError ends a request that was not answered in time.
type noAnswerError struct{}

func (noAnswerError) Error() string { return "no answer in time" }

func (noAnswerError) Is(target error) bool { return target == context.DeadlineExceeded }

// answerWithin bounds a request by the time until its answer begins, and the
// answer by another: how long a large one takes says little about the health of
// the server.
func answerWithin(ctx context.Context, begin, body time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(begin, func() { cancel(errNoAnswer) })
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotFirstResponseByte: func() { timer.Reset(body) },
	})
	return ctx, func() {
		timer.Stop()
		cancel(nil)
	}
}
