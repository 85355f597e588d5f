package traffic_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/load/traffic"
)

// A shop answers as the buyers' API does.
type shop struct {
	trouble func(w http.ResponseWriter, nth int) bool // true: it has answered
	lie     func(order string) string
	keeps   bool          // its streams, until the client goes
	idle    time.Duration // after which it closes a connection; 0: never

	mu     sync.Mutex
	nth    int
	orders map[string]string // by buyer and request
	log    []string          // of requests: who, and what for
}

func newShop() *shop { return &shop{orders: map[string]string{}} }

// open opens the shop, and returns what buyers there are as.
func (s *shop) open(t *testing.T) traffic.Config {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/events/E/orders", s.counted(s.buy))
	mux.HandleFunc("GET /v1/orders/{id}", s.counted(s.read))
	mux.HandleFunc("GET /v1/events", s.counted(page(`{"events":[{"id":"D"},{"id":"E"}]}`)))
	mux.HandleFunc("GET /v1/events/E", s.counted(page(`{"id":"E"}`)))
	mux.HandleFunc("GET /v1/events/E/stream", s.stream)
	server := httptest.NewUnstartedServer(mux)
	server.Config.IdleTimeout = s.idle
	server.Start()
	t.Cleanup(server.Close)
	return traffic.Config{
		Address: server.Listener.Addr().String(), Event: "E", Rate: 500, Interval: 20 * time.Millisecond, Patience: time.Minute,
		Token: func(user string) (string, error) { return "token of " + user, nil },
	}
}

func (s *shop) counted(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.nth++
		if s.trouble == nil || !s.trouble(w, s.nth) {
			next(w, r)
		}
	}
}

func page(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, text) }
}

func (s *shop) buy(w http.ResponseWriter, r *http.Request) {
	var want struct {
		Quantity  int
		RequestID string `json:"request_id"`
	}
	if json.NewDecoder(r.Body).Decode(&want) != nil || want.Quantity != 1 || want.RequestID == "" {
		w.WriteHeader(http.StatusUnprocessableEntity)
		return
	}
	request := r.Header.Get("Authorization") + " " + want.RequestID
	s.log = append(s.log, request)
	order, old := s.orders[request]
	if !old {
		order = fmt.Sprint("order-", len(s.orders))
		s.orders[request] = order
		w.WriteHeader(http.StatusCreated)
	}
	if s.lie != nil {
		order = s.lie(order)
	}
	_, _ = fmt.Fprintf(w, `{"id":%q}`, order)
}

func (s *shop) read(w http.ResponseWriter, r *http.Request) {
	_, _ = fmt.Fprintf(w, `{"id":%q}`, r.PathValue("id"))
}

func (s *shop) stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = fmt.Fprint(w, "retry: 3000\n\nevent: state\ndata: {}\n\n: still there\n\nevent: remaining\ndata: {}\n\n")
	_ = http.NewResponseController(w).Flush()
	if s.keeps {
		<-r.Context().Done()
	}
}

// run lets buyers come until they have so many orders, or something has failed.
func run(t *testing.T, cfg traffic.Config, orders int) traffic.Result {
	t.Helper()
	buyers, err := traffic.Start(cfg)
	require.NoError(t, err)
	for deadline := time.Now().Add(time.Minute); buyers.Orders() < orders && buyers.Failures() == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	return buyers.Stop()
}

func TestEverybodyIsServed(t *testing.T) {
	s := newShop()
	s.keeps = true
	cfg := s.open(t)
	cfg.Streams = 3
	r := run(t, cfg, 200)
	assert.Empty(t, r.Failed)
	assert.Zero(t, r.Failures)
	assert.Len(t, r.Acks, len(s.orders))
	assert.GreaterOrEqual(t, len(r.Acks), 200)
	for _, a := range r.Acks {
		assert.Equal(t, s.orders["Bearer token of "+a.User+" "+a.Request], a.Order)
	}
	assert.Equal(t, s.nth, r.Count())
	assert.Equal(t, len(s.log), r.Requests[traffic.Order]+r.Requests[traffic.Repeat])
	for _, k := range []traffic.Kind{traffic.Order, traffic.Repeat, traffic.Read, traffic.Page} {
		assert.NotZero(t, r.Requests[k], k)
	}
	assert.Greater(t, r.New, 5, "half of the clients keep none")
	assert.NotZero(t, r.Kept)
	assert.Equal(t, 3, r.Streams)
	assert.Equal(t, 6, r.Events)
	assert.EqualValues(t, r.Count(), r.Between.Count())
	assert.Zero(t, r.During.Count())
	assert.LessOrEqual(t, r.Rate(), 600.0)
}

// What is undecided is asked until it is decided, also after the end.
func TestWhatIsUndecidedIsAskedAgain(t *testing.T) {
	s := newShop()
	s.trouble = func(w http.ResponseWriter, nth int) bool {
		if nth%5 != 0 {
			return false
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = fmt.Fprint(w, `{"code":"undecided"}`)
		return true
	}
	r := run(t, s.open(t), 100)
	assert.Empty(t, r.Failed)
	assert.Len(t, r.Acks, len(s.orders))
	assert.NotZero(t, r.Undecided[traffic.Order], "%v", r.Undecided)
	total := 0
	for _, n := range r.Undecided {
		total += n
	}
	assert.Equal(t, s.nth/5, total)
	assert.NotZero(t, r.Decided.Count())
	assert.LessOrEqual(t, r.Decided.Count(), int64(total), "some were so more than once")
}

func TestRetryAfterIsHonoured(t *testing.T) {
	s := newShop()
	var refused, again time.Time
	s.trouble = func(w http.ResponseWriter, nth int) bool {
		if nth > 1 {
			again = time.Now()
			return false
		}
		refused = time.Now()
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = fmt.Fprint(w, `{"code":"undecided"}`)
		return true
	}
	cfg := s.open(t)
	cfg.Rate, cfg.Interval = 1, time.Second // one client
	r := run(t, cfg, 1)
	assert.Empty(t, r.Failed)
	assert.GreaterOrEqual(t, again.Sub(refused), time.Second)
}

// Whatever is wrong is found out.
func TestFailuresAreNoticed(t *testing.T) {
	answers := func(status int, body string) func(w http.ResponseWriter, nth int) bool {
		return func(w http.ResponseWriter, nth int) bool {
			if nth <= 20 {
				return false
			}
			w.WriteHeader(status)
			_, _ = fmt.Fprint(w, body)
			return true
		}
	}
	for name, c := range map[string]struct {
		says  string
		spoil func(s *shop)
	}{
		"a connection that breaks": {"no answer", func(s *shop) {
			s.trouble = func(_ http.ResponseWriter, nth int) bool {
				if nth > 20 {
					panic(http.ErrAbortHandler)
				}
				return false
			}
		}},
		"an answer that breaks off": {"no answer", func(s *shop) {
			s.trouble = func(w http.ResponseWriter, nth int) bool {
				if nth > 20 {
					w.Header().Set("Content-Length", "100")
					_, _ = fmt.Fprint(w, `{"id":"order-0","quan`)
					panic(http.ErrAbortHandler)
				}
				return false
			}
		}},
		"a connection that is closed between requests": {"no answer", func(s *shop) { s.idle = time.Nanosecond }},
		"not ready":                 {"answered 503", func(s *shop) { s.trouble = answers(503, `{"code":"unavailable"}`) }},
		"too busy":                  {"answered 429", func(s *shop) { s.trouble = answers(429, `{"code":"busy"}`) }},
		"broken":                    {"answered 500", func(s *shop) { s.trouble = answers(500, "") }},
		"nothing":                   {"answered 200", func(s *shop) { s.trouble = answers(200, "{}") }},
		"another order than before": {"of buyer-", func(s *shop) { n := 0; s.lie = func(o string) string { n++; return fmt.Sprint(o, n) } }},
		"an order that was there before": {"answered 200", func(s *shop) {
			for i := range 10 {
				s.orders[fmt.Sprintf("Bearer token of buyer-%d 1", i)] = "order"
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop()
			c.spoil(s)
			r := run(t, s.open(t), 10_000)
			require.NotEmpty(t, r.Failed)
			assert.Contains(t, r.Failed[0], c.says)
			assert.GreaterOrEqual(t, r.Failures, len(r.Failed))
		})
	}
}

// Latency counts from when a request was to begin: one slow answer delays all that the
// client has to ask meanwhile.
func TestSlownessIsNotHidden(t *testing.T) {
	s := newShop()
	release := make(chan struct{})
	s.trouble = func(http.ResponseWriter, int) bool {
		<-release
		return false
	}
	cfg := s.open(t)
	cfg.Rate, cfg.Interval = 100, 10*time.Millisecond // one client
	buyers, err := traffic.Start(cfg)
	require.NoError(t, err)
	asked := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.nth
	}
	buyers.During(func() {
		time.Sleep(300 * time.Millisecond)
		close(release)
		for asked() < 35 {
			time.Sleep(time.Millisecond)
		}
	})
	r := buyers.Stop()
	assert.Empty(t, r.Failed)
	n := float64(r.During.Count())
	assert.GreaterOrEqual(t, r.During.Percentile(100*(n-15)/n), 100*time.Millisecond, "15 requests at least")
	assert.GreaterOrEqual(t, r.During.Percentile(100), 300*time.Millisecond)
	assert.EqualValues(t, r.Count(), r.During.Count()+r.Between.Count())
}

func TestConfig(t *testing.T) {
	good := traffic.Config{
		Address: "127.0.0.1:1", Event: "E", Rate: 10, Interval: time.Second, Patience: time.Second,
		Token: func(string) (string, error) { return "", nil },
	}
	for says, spoil := range map[string]func(c *traffic.Config){
		"an address":        func(c *traffic.Config) { c.Address = "" },
		"an event":          func(c *traffic.Config) { c.Event = "" },
		"make tokens":       func(c *traffic.Config) { c.Token = nil },
		"rate 0":            func(c *traffic.Config) { c.Rate = 0 },
		"interval 1ms":      func(c *traffic.Config) { c.Interval = time.Millisecond },
		"-1 streams":        func(c *traffic.Config) { c.Streams = -1 },
		"patience 0s":       func(c *traffic.Config) { c.Patience = 0 },
		"token of buyer-0:": func(c *traffic.Config) { c.Token = func(string) (string, error) { return "", errors.New("no key") } },
	} {
		cfg := good
		spoil(&cfg)
		_, err := traffic.Start(cfg)
		assert.ErrorContains(t, err, says)
	}
}
