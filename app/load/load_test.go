package load_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/load"
)

// A shop sells at several addresses from one stock, as nodes do. trouble, if
// given, may answer a request to buy by itself, before the shop does; lie may
// change what the shop answers.
type shop struct {
	trouble func(w http.ResponseWriter, nth int) bool
	lie     func(a *reply, nth int)

	mu       sync.Mutex
	stock    int64
	limit    int64
	nth      int // requests to buy so far
	requests map[string]reply
	orders   map[string]reply
	units    map[string]int64 // by buyer
}

type reply struct {
	Status   int    `json:"-"`
	ID       string `json:"id,omitempty"`
	Quantity int64  `json:"quantity,omitempty"`
	Code     string `json:"code,omitempty"`
}

func newShop(stock, limit int64) *shop {
	return &shop{stock: stock, limit: limit, requests: map[string]reply{}, orders: map[string]reply{}, units: map[string]int64{}}
}

// open opens the shop at so many addresses.
func (s *shop) open(t *testing.T, addresses int) []string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/events/E/orders", s.buy)
	mux.HandleFunc("GET /v1/orders/{id}", s.read)
	var urls []string
	for range addresses {
		server := httptest.NewServer(mux)
		t.Cleanup(server.Close)
		urls = append(urls, server.URL)
	}
	return urls
}

func (s *shop) buy(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nth++
	var want struct {
		Quantity  int64  `json:"quantity"`
		RequestID string `json:"request_id"`
	}
	if err := json.NewDecoder(r.Body).Decode(&want); err != nil || want.RequestID == "" || want.Quantity < 1 {
		write(w, reply{Status: http.StatusUnprocessableEntity, Code: "invalid"})
		return
	}
	a := s.decide(user(r), want.RequestID, want.Quantity)
	if s.trouble != nil && s.trouble(w, s.nth) {
		return
	}
	if s.lie != nil {
		s.lie(&a, s.nth)
	}
	write(w, a)
}

func user(r *http.Request) string {
	return strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer token of ")
}

func (s *shop) decide(user, request string, quantity int64) reply {
	key := user + " " + request
	if a, ok := s.requests[key]; ok {
		a.Status = http.StatusOK
		return a
	}
	switch {
	case s.units[user]+quantity > s.limit:
		return reply{Status: http.StatusConflict, Code: "limit_reached"}
	case quantity > s.stock:
		return reply{Status: http.StatusConflict, Code: "sold_out"}
	}
	s.stock -= quantity
	s.units[user] += quantity
	a := reply{Status: http.StatusCreated, ID: fmt.Sprint("order-", len(s.orders)), Quantity: quantity}
	s.requests[key], s.orders[a.ID] = a, a
	return a
}

func (s *shop) read(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.orders[r.PathValue("id")]
	if !ok {
		a = reply{Status: http.StatusNotFound, Code: "no_such_order"}
	}
	if ok {
		a.Status = http.StatusOK
	}
	write(w, a)
}

func write(w http.ResponseWriter, a reply) {
	w.WriteHeader(a.Status)
	_ = json.NewEncoder(w).Encode(a)
}

// crowd is one for a shop's test.
func crowd(nodes []string, buyers int) load.Config {
	return load.Config{
		Event: "E", Nodes: nodes, Buyers: buyers, PerUser: 2, Concurrency: 20, Patience: time.Minute,
		Token: func(user string) (string, error) { return "token of " + user, nil },
	}
}

func run(t *testing.T, cfg load.Config) load.Result {
	t.Helper()
	r, err := load.Run(t.Context(), cfg)
	require.NoError(t, err)
	return r
}

func TestEverythingIsSoldToWhoeverComesFirst(t *testing.T) {
	s := newShop(100, 2)
	cfg := crowd(s.open(t, 3), 200)
	cfg.Doubles, cfg.Greedy = 0.5, 0.3
	r := run(t, cfg)
	assert.Empty(t, r.Violations)
	assert.Zero(t, r.Unanswered)
	assert.EqualValues(t, 100, r.Units())
	assert.Len(t, r.Acks, len(s.orders))
	assert.Equal(t, len(r.Acks), r.Answers["created"])
	assert.NotZero(t, r.Answers["repeated"], "doubles")
	assert.NotZero(t, r.Answers["limit_reached"], "greedy ones")
	assert.Equal(t, s.nth, r.Decided)
	assert.EqualValues(t, r.Decided, r.Latency.TotalCount())
	assert.Positive(t, r.Throughput())
	assert.LessOrEqual(t, r.Percentile(50), r.Percentile(99))

	violations, err := load.ReadBack(t.Context(), cfg, r.Acks)
	require.NoError(t, err)
	assert.Empty(t, violations)
}

func TestASecondCrowdIsOfOthers(t *testing.T) {
	s := newShop(1000, 2)
	cfg := crowd(s.open(t, 1), 10)
	run(t, cfg)
	cfg.First = 10
	assert.Equal(t, map[string]int{"created": 10}, run(t, cfg).Answers)
	assert.Len(t, s.units, 20)
}

// Whatever gives no answer is asked again, until there is one.
func TestTroubleIsNoAnswer(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for name, c := range map[string]struct {
		code    string
		trouble func(w http.ResponseWriter, nth int) bool
	}{
		"busy": {"busy", func(w http.ResponseWriter, _ int) bool {
			write(w, reply{Status: http.StatusTooManyRequests, Code: "busy"})
			return true
		}},
		"undecided": {"undecided", func(w http.ResponseWriter, _ int) bool {
			write(w, reply{Status: http.StatusServiceUnavailable, Code: "undecided"})
			return true
		}},
		"a proxy's 503": {"status 503", func(w http.ResponseWriter, _ int) bool {
			http.Error(w, "no upstream", http.StatusServiceUnavailable)
			return true
		}},
		"a connection that breaks": {"unreachable", func(http.ResponseWriter, int) bool { panic(http.ErrAbortHandler) }},
		"an answer that breaks off": {"unreachable", func(w http.ResponseWriter, _ int) bool {
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write([]byte(`{"id":"order-0","quan`))
			panic(http.ErrAbortHandler)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(50, 2)
			s.trouble = func(w http.ResponseWriter, nth int) bool { return nth%3 == 0 && c.trouble(w, nth) }
			cfg := crowd(append(s.open(t, 2), gone.URL), 60)
			cfg.Doubles = 0.2
			r := run(t, cfg)
			assert.Empty(t, r.Violations)
			assert.Zero(t, r.Unanswered)
			assert.EqualValues(t, 50, r.Units())
			assert.NotZero(t, r.Answers[c.code], "%v", r.Answers)
			assert.NotZero(t, r.Answers["unreachable"], "one of the nodes is gone")
		})
	}
}

func TestSlowNodesAreNotWaitedFor(t *testing.T) {
	s := newShop(50, 2)
	over := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-over }))
	t.Cleanup(slow.Close)
	t.Cleanup(func() { close(over) })
	cfg := crowd(append(s.open(t, 1), slow.URL), 20)
	cfg.Patience = 300 * time.Millisecond
	r := run(t, cfg)
	assert.Empty(t, r.Violations)
	assert.Len(t, r.Acks, 20)
	assert.NotZero(t, r.Answers["timeout"])
}

func TestRetryAfterIsHonoured(t *testing.T) {
	s := newShop(50, 2)
	var refused, served time.Time
	s.trouble = func(w http.ResponseWriter, nth int) bool {
		if nth > 1 {
			served = time.Now()
			return false
		}
		refused = time.Now()
		w.Header().Set("Retry-After", "1")
		write(w, reply{Status: http.StatusTooManyRequests, Code: "busy"})
		return true
	}
	r := run(t, crowd(s.open(t, 1), 1))
	assert.Len(t, r.Acks, 1)
	assert.GreaterOrEqual(t, served.Sub(refused), time.Second)
}

// A shop that lies is found out.
func TestLiesAreNoticed(t *testing.T) {
	for name, c := range map[string]struct {
		says string
		lie  func(a *reply, nth int)
	}{
		"another order": {"it was answered", func(a *reply, nth int) {
			if a.Status == http.StatusOK {
				a.ID += fmt.Sprint(" again ", nth)
			}
		}},
		"sold out after an order": {"it was answered", func(a *reply, _ int) {
			if a.Status == http.StatusOK {
				*a = reply{Status: http.StatusConflict, Code: "sold_out"}
			}
		}},
		"an order after sold out": {"it was answered", func(a *reply, _ int) {
			if a.Status == http.StatusCreated {
				*a = reply{Status: http.StatusConflict, Code: "sold_out"}
			}
		}},
		"more units":        {"wanted", func(a *reply, _ int) { a.Quantity++ }},
		"created, and what": {"201 without an order", func(a *reply, _ int) { *a = reply{Status: http.StatusCreated} }},
		"no such event":     {"404 no_such_event", func(a *reply, _ int) { *a = reply{Status: http.StatusNotFound, Code: "no_such_event"} }},
		"unauthenticated":   {"401 unauthenticated", func(a *reply, _ int) { *a = reply{Status: http.StatusUnauthorized, Code: "unauthenticated"} }},
		"broken":            {"500 status 500", func(a *reply, _ int) { *a = reply{Status: http.StatusInternalServerError} }},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(50, 2)
			s.lie = c.lie
			cfg := crowd(s.open(t, 2), 40)
			cfg.Doubles = 1
			r := run(t, cfg)
			require.NotEmpty(t, r.Violations)
			assert.Contains(t, r.Violations[0], c.says)
		})
	}
	t.Run("more than allowed", func(t *testing.T) {
		s := newShop(1000, 4)
		cfg := crowd(s.open(t, 2), 10)
		cfg.Greedy = 1
		r := run(t, cfg)
		require.NotEmpty(t, r.Violations)
		assert.Contains(t, r.Violations[0], "2 are allowed")
	})
	t.Run("forgotten", func(t *testing.T) {
		s := newShop(50, 2)
		cfg := crowd(s.open(t, 2), 10)
		r := run(t, cfg)
		delete(s.orders, r.Acks[3].Order)
		violations, err := load.ReadBack(t.Context(), cfg, r.Acks)
		require.NoError(t, err)
		require.Len(t, violations, 2, "at each node")
		assert.Contains(t, violations[0], r.Acks[3].Order)
		assert.Contains(t, violations[0], "404 no_such_order")
	})
}

func TestBuyersComeAtARate(t *testing.T) {
	s := newShop(1000, 2)
	cfg := crowd(s.open(t, 1), 31)
	cfg.Rate = 100
	r := run(t, cfg)
	assert.GreaterOrEqual(t, r.Took, 290*time.Millisecond)
	assert.Len(t, r.Acks, 31)
	assert.Equal(t, 31, r.Decided)
}

// Those who have no answer when the run ends are counted.
func TestTheEndLeavesSomeWithoutAnAnswer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := newShop(1000, 2)
	s.trouble = func(w http.ResponseWriter, nth int) bool {
		if nth == 10 {
			cancel()
		}
		write(w, reply{Status: http.StatusServiceUnavailable})
		return true
	}
	cfg := crowd(s.open(t, 1), 1000)
	r, err := load.Run(ctx, cfg)
	require.NoError(t, err)
	assert.Positive(t, r.Unanswered)
	assert.Empty(t, r.Acks)
	assert.Zero(t, r.Decided)
}

func TestConfig(t *testing.T) {
	good := crowd([]string{"http://127.0.0.1:1"}, 1)
	for says, spoil := range map[string]func(c *load.Config){
		"no event":          func(c *load.Config) { c.Event = "" },
		"no nodes":          func(c *load.Config) { c.Nodes = nil },
		`node "here:8080"`:  func(c *load.Config) { c.Nodes = []string{"here:8080"} },
		"tokens":            func(c *load.Config) { c.Token = nil },
		"0 buyers":          func(c *load.Config) { c.Buyers = 0 },
		"up to 0 units":     func(c *load.Config) { c.PerUser = 0 },
		"doubles 1.5":       func(c *load.Config) { c.Doubles = 1.5 },
		"concurrency 0":     func(c *load.Config) { c.Concurrency = 0 },
		"patience 0s":       func(c *load.Config) { c.Patience = 0 },
		"token of buyer-0":  func(c *load.Config) { c.Token = func(string) (string, error) { return "", errors.New("no key") } },
		"from number -1 on": func(c *load.Config) { c.First = -1 },
	} {
		cfg := good
		spoil(&cfg)
		_, err := load.Run(t.Context(), cfg)
		assert.ErrorContains(t, err, says)
	}
}
