package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/api"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/record"
)

// pipes is a listener whose connections are in memory, so that a bubble's clock
// counts for them.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// serve serves over pipes, with the limits of a real process, and returns a client
// and what ends the server's requests.
func (s *shop) serve() (*http.Client, context.CancelFunc) {
	s.Helper()
	l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.Context()))
	server := &http.Server{
		Handler: s.service, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 2 * time.Minute,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	transport := &http.Transport{DialContext: l.dial}
	s.Cleanup(func() {
		cancel()
		transport.CloseIdleConnections()
		require.NoError(s, server.Close())
		require.ErrorIs(s, <-served, http.ErrServerClosed)
	})
	return &http.Client{Transport: transport}, cancel
}

// A told is an event of a stream, or a comment.
type told struct {
	name  string // "" for a comment
	state api.State
	after time.Duration // since the stream began
}

// A listener takes down what a stream tells.
type listener struct {
	*testing.T
	all    chan told // closed when the stream has ended
	cancel context.CancelFunc
}

func (s *shop) listen(client *http.Client, e event.Event) *listener {
	s.Helper()
	return s.listenAt(client, "http://shop", e)
}

func (s *shop) listenAt(client *http.Client, url string, e event.Event) *listener {
	s.Helper()
	ctx, cancel := context.WithCancel(s.Context())
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/events/"+e.ID.String()+"/stream", http.NoBody)
	require.NoError(s, err)
	begun := time.Now()
	resp, err := client.Do(q) //nolint:bodyclose // it is closed below
	require.NoError(s, err)
	require.Equal(s, http.StatusOK, resp.StatusCode)
	assert.Equal(s, "text/event-stream", resp.Header.Get("Content-Type"))
	assert.Equal(s, "no-store", resp.Header.Get("Cache-Control"))
	l := &listener{s.T, make(chan told, 1000), cancel}
	s.Cleanup(cancel)
	go func() {
		defer close(l.all)
		defer resp.Body.Close()
		l.take(resp.Body, begun)
	}()
	return l
}

// take reads a stream as the HTML standard says.
func (l *listener) take(stream io.Reader, begun time.Time) {
	lines := bufio.NewScanner(stream)
	var name string
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "":
			if lines.Text() != "" {
				l.all <- told{after: time.Since(begun)}
			}
		case "retry":
			assert.Equal(l, "3000", value)
		case "event":
			name = value
		case "data":
			var state api.State
			assert.NoError(l, json.Unmarshal([]byte(value), &state))
			l.all <- told{name, state, time.Since(begun)}
		default:
			assert.Fail(l, "a line that means nothing: "+lines.Text())
		}
	}
}

// next is the next event, comments left out; false: the stream has ended.
func (l *listener) next() (told, bool) {
	l.Helper()
	watchdog := time.After(10 * time.Minute)
	for {
		select {
		case t, ok := <-l.all:
			if !ok || t.name != "" {
				return t, ok
			}
		case <-watchdog:
			require.Fail(l, "nothing is told")
		}
	}
}

// until skips what is told before an event.
func (l *listener) until(name string) told {
	l.Helper()
	for {
		t, ok := l.next()
		require.True(l, ok, "the stream has ended, expected %s", name)
		if t.name == name {
			return t
		}
	}
}

func (l *listener) expect(name string, remaining int64) told {
	l.Helper()
	t, ok := l.next()
	require.True(l, ok, "the stream has ended, expected %s", name)
	require.Equal(l, name, t.name)
	if assert.NotNil(l, t.state.Remaining) {
		assert.Equal(l, remaining, *t.state.Remaining)
	}
	assert.True(l, t.state.Approximate)
	return t
}

func TestStreamTellsTheWholeSale(t *testing.T) {
	inShop(t, func(t *testing.T, s *shop) {
		client, _ := s.serve()
		e := s.publish(func(e *record.Event) { e.Total = 3; e.Window.Opens = e.Window.Opens.Add(3 * time.Minute) })
		time.Sleep(time.Second) // figures are known
		l := s.listen(client, e)
		first := l.expect("state", 3)
		assert.Equal(t, "scheduled", string(first.state.Phase))
		assert.Equal(t, e.Window.Opens, first.state.Opens)
		assert.Equal(t, e.Window.Closes, first.state.Closes)

		opened := l.expect("opens", 3)
		assert.Equal(t, e.Window.Opens, time.Now().UTC(), "at that moment")
		assert.Greater(t, opened.after, 150*time.Second, "longer than the server gives others")

		var o api.Order
		s.order(e, "ann", `{"quantity":2,"request_id":"r"}`).read(http.StatusCreated, &o)
		l.expect("remaining", 1)
		s.order(e, "bob", `{"quantity":1,"request_id":"r"}`).read(http.StatusCreated, &api.Order{})
		s.order(e, "cem", `{"quantity":1,"request_id":"r"}`).refused(http.StatusConflict, "sold_out")
		require.Zero(t, *l.until("sold_out").state.Remaining)
		s.post("/v1/orders/"+o.ID+"/cancel", "ann", "").read(http.StatusOK, &o)
		if *l.until("available").state.Remaining != 2 { // the pool may be heard of before the order's slot
			l.expect("remaining", 2)
		}

		_, err := event.Suspend(t.Context(), s.store, e.ID)
		require.NoError(t, err)
		l.expect("suspended", 2)
		_, err = event.Resume(t.Context(), s.store, e.ID)
		require.NoError(t, err)
		l.expect("resumed", 2)
		l.expect("remaining", 3) // bob did not pay
		l.expect("closes", 3)
		assert.Equal(t, e.Window.Closes, time.Now().UTC())
		_, ok := l.next()
		assert.False(t, ok, "nothing comes after that")
	})
}

// At most two changes of figures a second, and the last one is always told.
func TestFiguresAreGathered(t *testing.T) {
	inShop(t, func(t *testing.T, s *shop) {
		client, _ := s.serve()
		const units = 60
		e := s.publish(func(e *record.Event) { e.Total, e.PerUser = units, units })
		time.Sleep(time.Second)
		l := s.listen(client, e)
		l.expect("state", units)
		for i := range units / 2 {
			s.order(e, "ann", `{"quantity":1,"request_id":"`+strings.Repeat("x", i+1)+`"}`).read(http.StatusCreated, &api.Order{})
			time.Sleep(100 * time.Millisecond)
		}
		count, last := 0, told{after: -time.Hour}
		for last.state.Remaining == nil || *last.state.Remaining > units/2 {
			next, ok := l.next()
			require.True(t, ok)
			require.Equal(t, "remaining", next.name)
			require.GreaterOrEqual(t, next.after-last.after, 450*time.Millisecond)
			count, last = count+1, next
		}
		assert.LessOrEqual(t, count, 8, "in three seconds")
		assert.GreaterOrEqual(t, count, 3)
	})
}

func TestStreamBeats(t *testing.T) {
	inShop(t, func(t *testing.T, s *shop) {
		client, _ := s.serve()
		e := s.publish(func(e *record.Event) {
			e.Window.Opens = e.Window.Opens.Add(time.Hour)
			e.Window.Closes = e.Window.Opens.Add(time.Hour)
		})
		time.Sleep(time.Second)
		l := s.listen(client, e)
		l.expect("state", 10)
		for i := range 20 {
			beat, ok := <-l.all
			require.True(t, ok)
			assert.Empty(t, beat.name)
			assert.Equal(t, time.Duration(i+1)*15*time.Second, beat.after)
		}
	})
}

// Streams end at once when the process is about to stop, whichever way it says so.
// One that is begun after that does too: its client comes back.
func TestStreamsEndWithTheProcess(t *testing.T) {
	for name, stop := range map[string]func(s *shop, cancel context.CancelFunc){
		"drained": func(s *shop, _ context.CancelFunc) { s.service.Drain(); s.service.Drain() },
		"cut off": func(_ *shop, cancel context.CancelFunc) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			inShop(t, func(t *testing.T, s *shop) {
				client, cancel := s.serve()
				e := s.publish(asItIs)
				time.Sleep(time.Second)
				l, other := s.listen(client, e), s.listen(client, e)
				l.expect("state", 10)
				other.expect("state", 10)
				before := time.Now()
				stop(s, cancel)
				_, ok := l.next()
				assert.False(t, ok)
				_, ok = other.next()
				assert.False(t, ok)
				assert.Equal(t, before, time.Now())
				if name == "drained" {
					late := s.listen(client, e)
					late.expect("state", 10)
					_, ok = late.next()
					assert.False(t, ok)
					assert.Equal(t, before, time.Now())
				}
			})
		})
	}
}

func TestStreamsAreBounded(t *testing.T) {
	inShop(t, func(t *testing.T, s *shop) {
		s.service.SetStreams(1)
		client, _ := s.serve()
		e := s.publish(asItIs)
		time.Sleep(time.Second)
		l := s.listen(client, e)
		l.expect("state", 10)
		s.get("/v1/events/"+e.ID.String()+"/stream", "").refused(http.StatusServiceUnavailable, "unavailable")
		l.cancel()
		synctest.Wait()
		s.listen(client, e).expect("state", 10)
	})
}

// A reader that does not read is given up, and makes nobody else wait.
func TestSlowReaderIsDropped(t *testing.T) {
	inShop(t, func(t *testing.T, s *shop) {
		s.service.SetStreams(2)
		client, _ := s.serve()
		transport, ok := client.Transport.(*http.Transport)
		require.True(t, ok)
		e := s.publish(asItIs)
		time.Sleep(time.Second)
		conn, err := transport.DialContext(t.Context(), "", "")
		require.NoError(t, err)
		defer conn.Close()
		_, err = conn.Write([]byte("GET /v1/events/" + e.ID.String() + "/stream HTTP/1.1\r\nHost: shop\r\n\r\n"))
		require.NoError(t, err)
		l := s.listen(client, e)
		l.expect("state", 10)
		s.order(e, "ann", `{"quantity":2,"request_id":"r"}`).read(http.StatusCreated, &api.Order{})
		l.expect("remaining", 8)
		s.get("/v1/events/"+e.ID.String()+"/stream", "").refused(http.StatusServiceUnavailable, "unavailable")
		time.Sleep(11 * time.Second)
		s.listen(client, e).expect("state", 8)
		_, err = io.Copy(io.Discard, conn)
		assert.True(t, err == nil || errors.Is(err, io.ErrClosedPipe), "%v", err)
	})
}

// An event that is deleted behind everybody's back ends its streams.
func TestStreamOfAnEventThatIsGone(t *testing.T) {
	inShop(t, func(t *testing.T, s *shop) {
		client, _ := s.serve()
		e := s.publish(asItIs)
		time.Sleep(time.Second)
		l := s.listen(client, e)
		l.expect("state", 10)
		require.NoError(t, s.store.Delete(t.Context(), record.EventKey(e.ID)))
		_, ok := l.next()
		assert.False(t, ok)
		time.Sleep(2 * time.Minute) // until a new one would be known
		s.get("/v1/events/"+e.ID.String()+"/stream", "").refused(http.StatusNotFound, "no_such_event")
	})
}

func TestHeadOfAStreamEnds(t *testing.T) {
	inScript(t, func(t *testing.T, s *shop, _ *scripted) {
		e := s.publish(asItIs)
		a := s.do(request{method: http.MethodHead, path: "/v1/events/" + e.ID.String() + "/stream"})
		assert.Equal(t, http.StatusOK, a.status)
		assert.Equal(t, "text/event-stream", a.header.Get("Content-Type"))
	})
}
