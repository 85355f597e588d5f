package gate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/follow"
	"github.com/seed27495941/seckill/app/gate/blacklist"
	"github.com/seed27495941/seckill/app/identity"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/figures"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/app/web"
	"github.com/seed27495941/seckill/internal/stores"
)

func TestMain(m *testing.M) { stores.Main(m, nil) }

var silent = slog.New(slog.DiscardHandler)

// anyone believes every token: it is the user.
type anyone struct{}

func (anyone) Verify(token string) (identity.Claims, error) {
	if token == "forged" {
		return identity.Claims{}, errors.New("nobody has signed this token")
	}
	return identity.Claims{Subject: token}, nil
}

// offered are events by their ids.
type offered map[ulid.ULID]event.Event

func (o offered) Event(id ulid.ULID) (event.Event, bool) { e, ok := o[id]; return e, ok }

// The events of the tests. The first is open; the second opens in a minute.
var (
	now      = ulid.MustParseStrict("01KAGR0Q0G0000000000000001")
	unopened = ulid.MustParseStrict("01KAGR0Q0G0000000000000002")
)

// A house has a gate, and behind it a handler for each kind of request.
type house struct {
	testing.TB
	*Gate
	mux     http.ServeMux
	events  offered
	handler http.HandlerFunc // of what has passed

	mu  sync.Mutex
	cpu float64
}

// wide is a cluster config by which nobody is one too many.
func wide() settings.Cluster {
	c := settings.Defaults().Config
	c.RateLimit = settings.RateLimit{Middle: 1e9, Low: 1e9, PerUser: settings.UserRate{Requests: 1e9, Seconds: 1, Burst: 1e9}}
	c.CircuitBreaker = settings.CircuitBreaker{CPU: 80, Latency: 1000}
	return c
}

var routes = map[Kind]string{
	Exempt: "POST /v1/payments", Public: "GET /v1/time", Page: "GET /v1/events/{id}",
	Read: "GET /v1/orders/{id}", Order: "POST /v1/events/{id}/orders", Cancel: "POST /v1/orders/{id}/cancel",
}

// build builds a house whose gate is wide open.
func build(t testing.TB, change func(*Config)) *house {
	t.Helper()
	at := time.Now()
	window := record.Window{Opens: at, Closes: at.Add(time.Hour)}
	soon := record.Window{Opens: at.Add(10 * time.Minute), Closes: at.Add(20 * time.Minute)}
	h := &house{TB: t, events: offered{
		now:      {ID: now, Event: record.Event{Status: record.StatusOnline, Window: window}},
		unopened: {ID: unopened, Event: record.Event{Status: record.StatusOnline, Window: soon}},
	}}
	h.handler = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) }
	cfg := Config{Identity: anyone{}, Events: h.events, Cluster: wide(), Log: silent, CPU: h.processors}
	if change != nil {
		change(&cfg)
	}
	var err error
	h.Gate, err = New(cfg)
	require.NoError(t, err)
	h.SetShare(1)
	for kind, pattern := range routes {
		h.mux.Handle(pattern, h.Guard(Route{Pattern: pattern, Kind: kind}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.handler(w, r) })))
	}
	return h
}

// inHouse runs a test in a bubble, with a gate that is run and whose buckets are full.
func inHouse(t *testing.T, change func(*Config), f func(t *testing.T, h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := build(t, change)
		stores.Start(t, h.Run)
		time.Sleep(time.Second + time.Millisecond)
		f(t, h)
	})
}

func (h *house) processors() (all, own float64, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cpu, h.cpu, nil
}

func (h *house) busy(percent float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cpu = percent
}

// change changes the cluster config, from what it was at first.
func (h *house) change(f func(*settings.Cluster)) {
	c := wide()
	f(&c)
	h.SetConfig(c)
}

// request makes a request of ann's.
func (h *house) request(k Kind, event ulid.ULID) *http.Request {
	method, path, _ := strings.Cut(routes[k], " ")
	id := event.String()
	if k == Read || k == Cancel {
		id = record.PublicID(event, event)
	}
	r := httptest.NewRequestWithContext(h.Context(), method, strings.ReplaceAll(path, "{id}", id), http.NoBody)
	r.Header.Set("Authorization", "Bearer ann")
	return r
}

func (h *house) do(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.mux.ServeHTTP(w, r)
	return w
}

func (h *house) ask(k Kind, event ulid.ULID) *httptest.ResponseRecorder {
	return h.do(h.request(k, event))
}

// passes reports whether a request gets through.
func (h *house) passes(k Kind, event ulid.ULID) bool { return h.ask(k, event).Code == http.StatusOK }

// codeOf is why a request was refused, "" if it was not.
func codeOf(w *httptest.ResponseRecorder) string {
	var p struct{ Code string }
	_ = json.Unmarshal(w.Body.Bytes(), &p)
	return p.Code
}

func (h *house) expect(code string, k Kind, event ulid.ULID) *httptest.ResponseRecorder {
	h.Helper()
	w := h.ask(k, event)
	assert.Equal(h, code, codeOf(w), w.Body)
	return w
}

// retryAfter is when to come again.
func retryAfter(t testing.TB, w *httptest.ResponseRecorder) int {
	t.Helper()
	seconds, err := strconv.Atoi(w.Header().Get("Retry-After"))
	require.NoError(t, err, w.Body)
	return seconds
}

// blacklistOf has some users on it.
func blacklistOf(t testing.TB, users ...string) *blacklist.List {
	t.Helper()
	file := filepath.Join(t.TempDir(), "blacklist")
	require.NoError(t, os.WriteFile(file, []byte(strings.Join(users, "\n")+"\n"), 0o600))
	list, err := blacklist.Open(t.Context(), follow.Source{File: file, Mode: follow.Push, Settle: time.Millisecond}, silent)
	require.NoError(t, err)
	return list
}

var kinds = []Kind{Public, Page, Read, Order, Cancel}

func TestWhichChecksAreForWhom(t *testing.T) {
	g := build(t, nil).Gate
	names := func(k Kind) (names []string) {
		for _, s := range g.stations(k) {
			names = append(names, s.name)
		}
		return names
	}
	assert.Empty(t, names(Exempt))
	assert.Equal(t, []string{"breaker", "node_limit"}, names(Public))
	assert.Equal(t, []string{"breaker", "node_limit"}, names(Page))
	assert.Equal(t, []string{"identity", "blacklist", "breaker", "node_limit", "user_limit", "store_limit"}, names(Read))
	assert.Equal(t, []string{"identity", "blacklist", "breaker", "node_limit", "switches", "window", "user_limit", "store_limit"}, names(Order))
	assert.Equal(t, []string{"identity", "blacklist", "breaker", "node_limit", "switches", "user_limit", "store_limit"}, names(Cancel))
	assert.Equal(t, []string{Blacklisted, NotStarted, Overloaded, RateLimited, SwitchedOff, Unauthenticated, Unavailable}, g.Codes(Order))
	assert.Empty(t, g.Codes(Exempt))
}

// Who asks for an order and is refused is counted, once, for the event and by the check;
// of other requests nobody is told.
func TestRefusedOrdersAreCounted(t *testing.T) {
	type refusal struct {
		event ulid.ULID
		check string
	}
	var told []refusal
	list := blacklistOf(t, "mallory")
	inHouse(t, func(c *Config) {
		c.Blacklist = list
		c.Refused = func(event ulid.ULID, check string) { told = append(told, refusal{event, check}) }
	}, func(t *testing.T, h *house) {
		expect := func(check string, r *http.Request) {
			t.Helper()
			told = nil
			assert.NotEqual(t, http.StatusOK, h.do(r).Code)
			event, _ := ulid.ParseStrict(strings.Split(r.URL.Path, "/")[3])
			assert.Equal(t, []refusal{{event, check}}, told)
		}
		as := func(authorization string) *http.Request {
			r := h.request(Order, now)
			r.Header.Set("Authorization", authorization)
			return r
		}
		expect("identity", as("Bearer forged"))
		expect("blacklist", as("Bearer mallory"))
		expect("window", h.request(Order, unopened))
		h.change(func(c *settings.Cluster) {
			c.RateLimit.PerUser = settings.UserRate{Requests: 1, Seconds: 3600, Burst: 1}
		})
		told = nil
		assert.Equal(t, http.StatusOK, h.ask(Order, now).Code)
		assert.Empty(t, told, "it has passed")
		expect("user_limit", h.request(Order, now))
		h.change(func(c *settings.Cluster) { c.RateLimit.Low = 1 })
		h.do(as("Bearer bob"))
		expect("store_limit", as("Bearer bob"))
		h.change(func(c *settings.Cluster) { c.Degrade.ReadOnly = true })
		expect("switches", h.request(Order, now))
		h.SetShare(0)
		expect("node_limit", h.request(Order, now))
		told = nil
		for _, k := range kinds {
			if k != Order {
				assert.NotEqual(t, http.StatusOK, h.ask(k, now).Code)
			}
		}
		assert.Empty(t, told)
		h.SetShare(1)
		h.busy(100)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		expect("breaker", h.request(Order, now))

		for _, s := range h.stations(Order) {
			assert.Contains(t, figures.Reasons, s.name)
		}
	})
}

// An order for which there is every reason to refuse it is refused for the first one;
// and when that is gone, for the next.
func TestTheOrderOfTheChecks(t *testing.T) {
	list := blacklistOf(t, "ann")
	inHouse(t, func(c *Config) { c.Blacklist = list }, func(t *testing.T, h *house) {
		limits := func(middle, low, user int, off bool) {
			h.change(func(c *settings.Cluster) {
				c.RateLimit = settings.RateLimit{Middle: middle, Low: low, PerUser: settings.UserRate{Requests: user, Seconds: 3600, Burst: user}}
				c.Degrade.RefuseOrders = off
			})
		}
		order := func(as string) *http.Request {
			r := h.request(Order, unopened)
			r.Header.Set("Authorization", as)
			return r
		}
		refused := func(as, code string) {
			t.Helper()
			for range 3 {
				assert.Equal(t, code, codeOf(h.do(order(as))))
			}
		}
		limits(1, 1, 1, true)
		h.ask(Public, now)
		h.ask(Public, now) // nothing is left of any limit
		h.busy(100)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		for _, as := range []string{"", "Basic x", "Bearer", "Bearer ", "Bearer forged"} {
			refused(as, Unauthenticated)
		}
		refused("bearer ann", Blacklisted)
		refused("Bearer bob", Overloaded)
		h.busy(0)
		time.Sleep(20 * time.Second)
		h.ask(Public, now)
		time.Sleep(20 * time.Second) // a trial with somebody in it
		limits(1, 1, 1, true)
		for h.passes(Public, now) {
		}
		refused("Bearer bob", RateLimited)
		limits(1e9, 1, 1, true)
		time.Sleep(time.Second)
		refused("Bearer bob", SwitchedOff)
		limits(1e9, 1, 1, false)
		refused("Bearer bob", NotStarted)
		time.Sleep(time.Until(h.events[unopened].Window.Opens))
		assert.Equal(t, http.StatusOK, h.do(order("Bearer bob")).Code, "the first one")
		w := h.do(order("Bearer bob"))
		assert.Equal(t, RateLimited, codeOf(w))
		assert.Contains(t, w.Body.String(), "This buyer sends too many requests.")
		assert.Greater(t, retryAfter(t, w), 3, "an hour, or as long as makes sense")
		w = h.do(order("Bearer cem"))
		assert.Equal(t, RateLimited, codeOf(w))
		assert.Contains(t, w.Body.String(), "Too many requests for orders")
		time.Sleep(time.Second)
		assert.Equal(t, http.StatusOK, h.do(order("Bearer dan")).Code)

		for _, d := range h.Status().Checks {
			assert.NotZero(t, d.Passed, d.Check)
			assert.NotZero(t, d.Refused, d.Check)
		}
	})
}

// Each refusal that says that the request was not looked at says it.
func TestRefusalsSayThatNothingIsKnown(t *testing.T) {
	inHouse(t, nil, func(t *testing.T, h *house) {
		for code, change := range map[string]func(*settings.Cluster){
			RateLimited: func(c *settings.Cluster) { c.RateLimit.Middle = 1 },
			SwitchedOff: func(c *settings.Cluster) { c.Degrade.ReadOnly = true },
		} {
			h.change(change)
			h.ask(Public, now)
			h.ask(Public, now)
			assert.Contains(t, h.expect(code, Order, now).Body.String(), "not looked at", code)
			h.change(func(*settings.Cluster) {})
			time.Sleep(time.Second)
		}
		h.SetShare(0)
		assert.Contains(t, h.expect(Unavailable, Order, now).Body.String(), "not looked at")
	})
}

func TestWhoSendsItIsTold(t *testing.T) {
	list := blacklistOf(t, "bob")
	inHouse(t, func(c *Config) { c.Blacklist = list }, func(t *testing.T, h *house) {
		h.handler = func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, UserOf(r.Context())) }
		assert.Equal(t, "ann", h.ask(Read, now).Body.String())
		assert.Empty(t, h.ask(Public, now).Body.String())
		r := h.request(Read, now)
		r.Header.Del("Authorization")
		assert.Equal(t, "Bearer", h.do(r).Header().Get("WWW-Authenticate"))
		r.Header.Set("Authorization", "Bearer forged")
		w := h.do(r)
		assert.Equal(t, `Bearer error="invalid_token"`, w.Header().Get("WWW-Authenticate"))
		assert.Contains(t, w.Body.String(), "nobody has signed this token")
		r.Header.Set("Authorization", "Bearer bob")
		w = h.do(r)
		assert.Equal(t, http.StatusForbidden, w.Code)
		assert.Equal(t, Blacklisted, codeOf(w))
		assert.NotContains(t, w.Body.String(), "bob")
	})
	inHouse(t, func(c *Config) { c.Identity = nil }, func(t *testing.T, h *house) {
		h.expect(Unauthenticated, Read, now)
		assert.True(t, h.passes(Public, now))
	})
}

func TestTheBlacklistIsExchanged(t *testing.T) {
	list := blacklistOf(t, "bob")
	h := build(t, func(c *Config) { c.Blacklist = list })
	require.True(t, h.passes(Read, now))
	require.NoError(t, os.WriteFile(list.Status().File, []byte("ann\n"), 0o600))
	require.NoError(t, list.Reload(t.Context()))
	h.expect(Blacklisted, Read, now)
	assert.Equal(t, 1, h.Status().Blacklist.IDs)
	assert.True(t, h.passes(Page, now))
}

func TestTheWindow(t *testing.T) {
	inHouse(t, nil, func(t *testing.T, h *house) {
		opens := h.events[unopened].Window.Opens
		for _, before := range []time.Duration{9 * time.Minute, 90 * time.Second, 30500 * time.Millisecond, 10*time.Second + time.Millisecond} {
			time.Sleep(time.Until(opens) - before)
			w := h.expect(NotStarted, Order, unopened)
			assert.Equal(t, http.StatusConflict, w.Code)
			whole := min(60, int((before+time.Second-1)/time.Second)) // it may be another time by then
			assert.GreaterOrEqual(t, retryAfter(t, w), whole)
			assert.LessOrEqual(t, retryAfter(t, w), whole+whole/4+1)
		}
		for _, behind := range []time.Duration{10 * time.Second, 5 * time.Second, time.Second} {
			time.Sleep(time.Until(opens) - behind)
			assert.True(t, h.passes(Order, unopened), "it has opened, if this node's clock is %v behind its owner's", behind)
		}
		time.Sleep(20 * time.Minute)
		assert.True(t, h.passes(Order, unopened), "it may be a repeated request")
		assert.True(t, h.passes(Order, ulid.Make()), "the operation says that there is no such event")
		assert.True(t, h.passes(Read, unopened))

		e := h.events[unopened]
		e.Window.Opens, e.Window.Closes = time.Now().Add(24*time.Hour), time.Now().Add(25*time.Hour)
		h.events[unopened] = e
		assert.LessOrEqual(t, retryAfter(t, h.expect(NotStarted, Order, unopened)), 76, "it may be another time by then")
		e.Status = record.StatusOffline
		h.events[unopened] = e
		assert.True(t, h.passes(Order, unopened), "its owner says that it is suspended")
	})
}

func TestSwitches(t *testing.T) {
	inHouse(t, nil, func(t *testing.T, h *house) {
		off := func(all settings.Switches, first *settings.Switches) {
			h.change(func(c *settings.Cluster) {
				c.Degrade.Switches = all
				if first != nil {
					c.Degrade.Events = map[string]settings.Switches{strings.ToLower(now.String()): *first}
				}
			})
		}
		h.events[unopened] = h.events[now]
		type passing struct{ order, cancel, otherOrder, otherCancel bool }
		look := func() passing {
			assert.True(t, h.passes(Read, now) && h.passes(Page, now) && h.passes(Public, now) && h.passes(Exempt, now))
			return passing{h.passes(Order, now), h.passes(Cancel, now), h.passes(Order, unopened), h.passes(Cancel, unopened)}
		}
		assert.Equal(t, passing{true, true, true, true}, look())
		off(settings.Switches{ReadOnly: true}, nil)
		assert.Equal(t, passing{}, look())
		off(settings.Switches{RefuseOrders: true}, nil)
		assert.Equal(t, passing{cancel: true, otherCancel: true}, look())
		off(settings.Switches{}, &settings.Switches{ReadOnly: true})
		assert.Equal(t, passing{otherOrder: true, otherCancel: true}, look())
		off(settings.Switches{}, &settings.Switches{RefuseOrders: true})
		assert.Equal(t, passing{cancel: true, otherOrder: true, otherCancel: true}, look())
		off(settings.Switches{RefuseOrders: true}, &settings.Switches{ReadOnly: true})
		assert.Equal(t, passing{otherCancel: true}, look())
		w := h.expect(SwitchedOff, Order, now)
		assert.Equal(t, http.StatusServiceUnavailable, w.Code)
		assert.GreaterOrEqual(t, retryAfter(t, w), 20)

		r := h.request(Order, now)
		r.URL.Path = strings.ToLower(r.URL.Path)
		assert.Equal(t, SwitchedOff, codeOf(h.do(r)), "however it is written")
		off(settings.Switches{}, nil)
		assert.Equal(t, passing{true, true, true, true}, look())
		assert.False(t, h.Switches(now).Cached)
		off(settings.Switches{}, &settings.Switches{Cached: true})
		assert.True(t, h.Switches(now).Cached)
		assert.False(t, h.Switches(unopened).Cached)
		assert.True(t, h.Status().Degrade.Events[strings.ToLower(now.String())].Cached)
	})
}

// Limits that change count for the next request.
func TestLimitsChangeLive(t *testing.T) {
	inHouse(t, nil, func(t *testing.T, h *house) {
		count := func(k Kind) (passed int) {
			for range 1000 {
				if h.passes(k, now) {
					passed++
				}
			}
			return passed
		}
		assert.Equal(t, 1000, count(Order))
		h.change(func(c *settings.Cluster) { c.RateLimit.Middle = 100 })
		assert.Equal(t, 10, count(Public), "a tenth of a second's worth")
		h.change(func(c *settings.Cluster) { c.RateLimit.Low = 50 })
		time.Sleep(time.Second)
		assert.Equal(t, 10, count(Read), "ten, if that is less than a second's worth")
		assert.Equal(t, 1000, count(Page), "asks no store")
		h.change(func(c *settings.Cluster) { c.RateLimit.PerUser = settings.UserRate{Requests: 2, Seconds: 60, Burst: 7} })
		time.Sleep(time.Minute)
		assert.Equal(t, 7, count(Cancel))
		time.Sleep(time.Minute)
		assert.Equal(t, 2, count(Order))
		s := h.Status().Limits
		assert.InDelta(t, 2./60, s.User.PerSecond, 1e-9)
		assert.Equal(t, Limits{Share: 1, Node: Rate{1e9, 1e8}, Store: Rate{1e9, 1e8}, User: s.User, Users: 1}, s)
		assert.EqualValues(t, 7, s.User.Burst)
		h.change(func(*settings.Cluster) {})
		time.Sleep(time.Second)
		assert.Equal(t, 1000, count(Order))

		bad := wide()
		bad.RateLimit.Middle, bad.CircuitBreaker.CPU = 0, 0
		h.SetConfig(bad) // no validated one is like that
		assert.Equal(t, 1000, count(Order), "the old ones stay")
	})
}

// In no window of time does a rate, or a part of it, let more pass than it says; and
// what it says it does.
func TestLimitsAreExactThroughTheChain(t *testing.T) {
	for _, rate := range []int{100, 10_000, 100_000} {
		t.Run(fmt.Sprint("node/", rate), func(t *testing.T) { exact(t, rate, 1, Public) })
		t.Run(fmt.Sprint("store/", rate), func(t *testing.T) { exact(t, rate, 0.3, Read) })
	}
}

func exact(t *testing.T, rate int, share float64, kind Kind) {
	inHouse(t, func(c *Config) {
		if kind == Read {
			c.Cluster.RateLimit.Low = rate
		} else {
			c.Cluster.RateLimit.Middle = rate
		}
	}, func(t *testing.T, h *house) {
		h.SetShare(share)
		time.Sleep(time.Second)
		own := float64(rate) * share
		burst := partOf(rate, share).Burst
		step, steps := time.Millisecond, 200
		if rate < 1000 {
			step, steps = 20*time.Millisecond, 200
		}
		r := h.request(kind, now)
		passed := make([]int, steps)
		for i := range steps {
			many := 2 + int(1.5*own*step.Seconds())
			if i%100 < 30 {
				many = 0 // a pause, in which the bucket fills
			}
			for range many {
				if h.do(r).Code == http.StatusOK {
					passed[i]++
				}
			}
			time.Sleep(step)
		}
		total := 0
		for i := range steps {
			sum := 0
			for j := i; j < steps; j++ {
				sum += passed[j]
				most := float64(burst) + own*(time.Duration(j-i)*step).Seconds() + 1
				require.LessOrEqual(t, float64(sum), most, "from %d to %d", i, j)
			}
			total += passed[i]
		}
		asked := own * (time.Duration(steps) * step).Seconds() * 0.7
		assert.GreaterOrEqual(t, float64(total), asked*0.99, "what is there is given")
	})
}

// When all is sold the rush is told so, and leaves the rate of the store to others.
func TestOrdersForWhatIsSoldOutUseUpNoRate(t *testing.T) {
	soldOut := false
	change := func(c *Config) {
		c.Cluster.RateLimit.Low = 1
		c.SoldOut = func(event ulid.ULID) bool { return soldOut && event == now }
	}
	inHouse(t, change, func(t *testing.T, h *house) {
		soldOut = true
		for range 1000 {
			require.True(t, h.passes(Order, now))
		}
		assert.True(t, h.passes(Read, now), "there is the whole rate")
		h.expect(RateLimited, Read, now)
		h.expect(RateLimited, Cancel, now)
		soldOut = false
		h.expect(RateLimited, Order, now)
		time.Sleep(time.Second)
		assert.True(t, h.passes(Order, now))
		h.expect(RateLimited, Order, now)
	})
}

func TestShares(t *testing.T) {
	inHouse(t, func(c *Config) { c.Cluster.RateLimit.Middle, c.Cluster.RateLimit.Low = 1000, 100 }, func(t *testing.T, h *house) {
		require.NoError(t, h.Ready())
		h.SetShare(0.25)
		assert.Equal(t, Limits{Share: 0.25, Node: Rate{250, 25}, Store: Rate{25, 10}, User: Rate{1e9, 1e9}}, h.Status().Limits)
		h.SetShare(0)
		require.Error(t, h.Ready())
		for _, k := range kinds {
			w := h.expect(Unavailable, k, now)
			assert.Equal(t, http.StatusServiceUnavailable, w.Code)
			assert.Positive(t, retryAfter(t, w))
		}
		assert.True(t, h.passes(Exempt, now))
		assert.Zero(t, h.Status().Limits.Node)

		h.SetShare(0.5)
		require.NoError(t, h.Ready())
		h.Drain()
		h.SetShare(0)
		assert.True(t, h.passes(Order, now), "the last requests of a process that ends")
	})
	_, err := New(Config{Log: silent, CPU: func() (float64, float64, error) { return 0, 0, nil }})
	require.ErrorContains(t, err, "gate: ")
	fresh, err := New(Config{Log: silent, Cluster: wide(), CPU: func() (float64, float64, error) { return 0, 0, nil }})
	require.NoError(t, err)
	require.Error(t, fresh.Ready())
}

func TestParts(t *testing.T) {
	for _, c := range []struct {
		rate  int
		share float64
		burst int64
	}{
		{100_000, 1, 10_000}, {100_000, 0.1, 1000}, {100_000, 1e-4, 10}, {50, 1, 10}, {5, 1, 5}, {1, 1, 1}, {1, 0.01, 1}, {1e9, 1, 1e8},
	} {
		l := partOf(c.rate, c.share)
		require.NoError(t, l.Validate())
		assert.Equal(t, c.burst, l.Burst, "%+v", c)
		assert.InEpsilon(t, float64(c.rate)*c.share, rateOf(l).PerSecond, 1e-6, "%+v", c)
	}
}

func TestWhenToComeAgain(t *testing.T) {
	l := newLater(http.StatusServiceUnavailable, Overloaded, "")
	for wait, least := range map[time.Duration]int{0: 1, 1: 1, time.Second: 1, 1001 * time.Millisecond: 2, 8 * time.Second: 8, time.Hour: 60} {
		seen := map[int]bool{}
		for range 2000 {
			w := httptest.NewRecorder()
			l.after(wait).Write(w)
			seen[retryAfter(t, w)] = true
		}
		assert.Len(t, seen, least/4+2, "not all at once")
		for seconds := range seen {
			assert.GreaterOrEqual(t, seconds, least)
			assert.LessOrEqual(t, seconds, least+least/4+1)
		}
	}
}

func TestBreakerOpensOnLatencyAndLetsBack(t *testing.T) {
	inHouse(t, nil, func(t *testing.T, h *house) {
		took := 2 * time.Second
		h.handler = func(w http.ResponseWriter, _ *http.Request) { time.Sleep(took); _, _ = w.Write([]byte("ok")) }
		crowd := func(many int) {
			var all sync.WaitGroup
			for range many {
				all.Go(func() { h.ask(Order, now) })
			}
			all.Wait()
		}
		crowd(200)
		time.Sleep(2 * time.Second)
		for _, k := range kinds {
			w := h.expect(Overloaded, k, now)
			assert.Equal(t, http.StatusServiceUnavailable, w.Code)
			assert.InDelta(t, 4, retryAfter(t, w), 3)
		}
		took = 0
		for range 1000 {
			require.Equal(t, http.StatusOK, h.ask(Exempt, now).Code, "payments are always taken")
		}
		assert.Equal(t, "open", string(h.Status().Breaker.State))

		took = 2 * time.Second
		h.change(func(c *settings.Cluster) { c.CircuitBreaker.Latency = 5000 })
		time.Sleep(6 * time.Second)
		crowd(50)
		time.Sleep(2 * time.Second)
		assert.Equal(t, "closed", string(h.Status().Breaker.State))
		took = 0
		assert.True(t, h.passes(Order, now))
	})
}

// The processors' threshold counts from the moment it changes.
func TestBreakerFollowsTheProcessors(t *testing.T) {
	inHouse(t, nil, func(t *testing.T, h *house) {
		h.busy(70)
		time.Sleep(10 * time.Second)
		assert.True(t, h.passes(Order, now))
		h.change(func(c *settings.Cluster) { c.CircuitBreaker.CPU = 60 })
		time.Sleep(2 * time.Second)
		h.expect(Overloaded, Order, now)
		h.change(func(c *settings.Cluster) { c.CircuitBreaker.CPU = 100 })
		time.Sleep(6 * time.Second)
		assert.True(t, h.passes(Order, now))
	})
}

// A slow is a body that takes its time.
type slow struct{ io.Reader }

func (s slow) Read(p []byte) (int, error) {
	time.Sleep(10 * time.Second)
	return s.Reader.Read(p)
}

// A few clients who send slowly must not be able to open the breaker for all.
func TestSlowClientsAreNoSign(t *testing.T) {
	inHouse(t, nil, func(t *testing.T, h *house) {
		h.handler = func(w http.ResponseWriter, r *http.Request) {
			sent, err := io.ReadAll(r.Body)
			assert.NoError(t, err)
			_, _ = w.Write(sent)
		}
		var all sync.WaitGroup
		for range 200 {
			all.Go(func() {
				r := h.request(Order, now)
				r.Body = io.NopCloser(slow{strings.NewReader("sent")})
				assert.Equal(t, "sent", h.do(r).Body.String())
			})
		}
		all.Wait()
		time.Sleep(time.Second)
		s := h.Status().Breaker
		assert.Equal(t, "closed", string(s.State))
		assert.Equal(t, 200, s.Requests)
		assert.Less(t, s.Latency, 10.0)
	})
}

// Nor is who decides about a request: the owner of a slot, or the store.
func TestWhoDecidesSlowlyIsNoSign(t *testing.T) {
	inHouse(t, nil, func(t *testing.T, h *house) {
		h.handler = func(w http.ResponseWriter, r *http.Request) {
			Await(r.Context(), func() { time.Sleep(2 * time.Second) })
			time.Sleep(5 * time.Millisecond)
			_, _ = w.Write([]byte("ok"))
		}
		for _, k := range []Kind{Read, Order, Cancel} {
			var all sync.WaitGroup
			for range 200 {
				all.Go(func() { assert.True(t, h.passes(k, now)) })
			}
			all.Wait()
		}
		time.Sleep(time.Second)
		s := h.Status().Breaker
		assert.Equal(t, "closed", string(s.State))
		assert.Equal(t, 600, s.Requests)
		assert.InDelta(t, 5, s.Latency, 0.2)
		assert.True(t, h.passes(Exempt, now), "nobody measures these")
	})
}

// Nor can they keep it open: in a trial they have no place while they send.
func TestSlowClientsEndNoTrial(t *testing.T) {
	inHouse(t, nil, func(t *testing.T, h *house) {
		h.handler = func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }
		h.busy(100)
		time.Sleep(5 * time.Second)
		h.expect(Overloaded, Order, now)
		h.busy(0)
		time.Sleep(7 * time.Second)
		require.Equal(t, "half-open", string(h.Status().Breaker.State))
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				r := h.request(Order, now)
				r.Body = io.NopCloser(slow{strings.NewReader("sent")})
				h.do(r)
			})
		}
		time.Sleep(time.Second)
		for range 20 {
			assert.True(t, h.passes(Order, now))
		}
		time.Sleep(time.Second)
		assert.Equal(t, "closed", string(h.Status().Breaker.State))
		all.Wait()
	})
}

// A stream is through when it begins; what is exempt, and what the gate refuses further
// on, is not measured.
func TestWhatTheBreakerMeasures(t *testing.T) {
	inHouse(t, nil, func(t *testing.T, h *house) {
		h.handler = func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v1/time" {
				_, _ = w.Write([]byte("it begins"))
				assert.NoError(t, http.NewResponseController(w).Flush())
			}
			time.Sleep(3 * time.Second)
		}
		var all sync.WaitGroup
		for range 200 {
			all.Go(func() { h.ask(Exempt, now) })
			all.Go(func() { h.ask(Public, now) })
			all.Go(func() { h.ask(Order, unopened) })
		}
		all.Wait()
		time.Sleep(time.Second)
		s := h.Status().Breaker
		assert.Equal(t, "closed", string(s.State))
		assert.Equal(t, 200, s.Requests)
		assert.Less(t, s.Latency, 10.0)

		// One that panics is through as well.
		h.handler = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
		assert.Panics(t, func() { h.ask(Order, now) })
		time.Sleep(time.Second)
		assert.Equal(t, 201, h.Status().Breaker.Requests)
	})
}

func TestRequestIDs(t *testing.T) {
	h := build(t, nil)
	for given, taken := range map[string]bool{
		"a": true, "Req-7.3_x": true, strings.Repeat("a", 64): true,
		"": false, strings.Repeat("a", 65): false, "a b": false, "a\n": false, "ä": false, `"`: false,
	} {
		for _, k := range append(kinds, Exempt) {
			r := h.request(k, unopened)
			r.Header.Set("X-Request-Id", given)
			told := h.do(r).Header().Get("X-Request-Id")
			assert.Equal(t, taken, told == given, "%q", given)
			assert.True(t, web.IsRequestID(told))
		}
	}
	first := h.ask(Public, now).Header()
	assert.NotEqual(t, first, h.ask(Public, now).Header())
}

// A line is what the access log says.
type line struct {
	Level, Msg, ID, Method, Route string
	Status, Bytes, Took, Requests int
}

func TestAccessLog(t *testing.T) {
	log := &bytes.Buffer{}
	inHouse(t, func(c *Config) { c.Log = slog.New(slog.NewJSONHandler(log, nil)) }, func(t *testing.T, h *house) {
		lines := func() (all []line) {
			for text := range strings.Lines(log.String()) {
				var l line
				require.NoError(t, json.Unmarshal([]byte(text), &l))
				if l.Msg == "request" {
					all = append(all, l)
				}
			}
			log.Reset()
			return all
		}
		h.handler = func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(50 * time.Millisecond)
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write([]byte("12345"))
		}
		w := h.ask(Order, now)
		assert.NotContains(t, log.String(), "ann", "who a buyer is is nobody's business")
		assert.Equal(t, []line{{
			Level: "INFO", Msg: "request", ID: w.Header().Get("X-Request-Id"), Method: "POST", Route: "POST /v1/events/{id}/orders",
			Status: 201, Bytes: 5, Took: int(50 * time.Millisecond), Requests: 1,
		}}, lines())

		// Many, for ten seconds: about ten lines a second, which stand for all.
		h.handler = func(http.ResponseWriter, *http.Request) {}
		const many = 5000
		for range many {
			h.ask(Public, now)
			time.Sleep(2 * time.Millisecond)
		}
		time.Sleep(time.Second)
		h.ask(Public, now)
		all, stand := lines(), 0
		for _, l := range all {
			stand += l.Requests
			assert.Equal(t, 200, l.Status)
		}
		assert.Equal(t, many+1, stand)
		assert.InDelta(t, 110, len(all), 5)

		// Failures have lines of their own, however many requests there are, and as many at most: they
		// come in thousands when the store is away. The gate's own refusals are none, however they are called.
		h.handler = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
		for range 1000 {
			h.ask(Order, now)
		}
		h.SetShare(0)
		for range 100 {
			h.ask(Order, now)
		}
		time.Sleep(time.Second)
		h.SetShare(1)
		h.ask(Order, now)
		all = lines()
		require.LessOrEqual(t, len(all), 30)
		failed := 0
		for _, l := range all {
			if l.Level == "WARN" {
				failed += l.Requests
			}
		}
		assert.Equal(t, 1001, failed)
		h.handler = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
		assert.Panics(t, func() { h.ask(Order, now) })
		assert.Equal(t, 500, lines()[0].Status)
	})
}
