package gate

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/seed27495941/seckill/app/settings"
)

// pagesOf has a handler that makes a new page each time, in some time.
func pagesOf(h *house, took time.Duration) (made func() int) {
	var mu sync.Mutex
	count := 0
	h.handler = func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		count++
		n := count
		mu.Unlock()
		time.Sleep(took)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "public, max-age=1")
		tag := fmt.Sprintf(`"%d"`, n)
		w.Header().Set("ETag", tag)
		switch {
		case r.Header.Get("If-None-Match") == tag:
			w.WriteHeader(http.StatusNotModified)
		case r.URL.Query().Get("limit") == "x":
			w.WriteHeader(http.StatusUnprocessableEntity)
		default:
			fmt.Fprint(w, n)
		}
	}
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return count
	}
}

func cached(c *settings.Cluster) { c.Degrade.Cached = true }

func TestPagesAreAtMostFiveSecondsOld(t *testing.T) {
	inHouse(t, nil, func(t *testing.T, h *house) {
		made := pagesOf(h, 0)
		body := func() string { return h.ask(Page, now).Body.String() }
		assert.Equal(t, "1", body())
		assert.Equal(t, "2", body(), "as long as nobody says otherwise")
		h.change(cached)
		assert.Equal(t, "3", body())
		for range 100 {
			assert.Equal(t, "3", body())
		}
		time.Sleep(3500 * time.Millisecond)
		w := h.ask(Page, now)
		assert.Equal(t, "3", w.Body.String())
		assert.Equal(t, "3", w.Header().Get("Age"))
		assert.Equal(t, "public, max-age=5", w.Header().Get("Cache-Control"))
		assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
		assert.Len(t, w.Header().Values("X-Request-Id"), 1)
		assert.NotEqual(t, w.Header().Get("X-Request-Id"), h.ask(Page, now).Header().Get("X-Request-Id"))
		time.Sleep(1500 * time.Millisecond)
		assert.Equal(t, "4", body())
		assert.Equal(t, "5", h.ask(Page, unopened).Body.String(), "another page")
		assert.Equal(t, "4", body())

		r := h.request(Page, now)
		r.Header.Set("If-None-Match", `"x", W/"4"`)
		w = h.do(r)
		assert.Equal(t, http.StatusNotModified, w.Code)
		assert.Empty(t, w.Body.String())
		assert.Equal(t, `"4"`, w.Header().Get("ETag"))
		r.Method = http.MethodHead
		r.Header.Del("If-None-Match")
		assert.Equal(t, http.StatusOK, h.do(r).Code)

		// A page that somebody knows already is made whole: others do not.
		time.Sleep(time.Minute)
		r = h.request(Page, now)
		r.Header.Set("If-None-Match", `"6"`)
		assert.Equal(t, http.StatusNotModified, h.do(r).Code)
		assert.Equal(t, "6", body())
		assert.Equal(t, 6, made())
		assert.EqualValues(t, 106, h.Status().CachedPages)

		h.change(func(c *settings.Cluster) {
			c.Degrade.Events = map[string]settings.Switches{unopened.String(): {Cached: true}}
		})
		assert.Equal(t, "7", body())
		assert.Equal(t, "8", h.ask(Page, unopened).Body.String())
		assert.Equal(t, "8", h.ask(Page, unopened).Body.String())
		assert.Equal(t, "9", body())
	})
}

// Whoever asks for a page that is too old while it is made gets the new one: it is made
// once.
func TestACrowdMakesAPageOnce(t *testing.T) {
	inHouse(t, func(c *Config) { cached(&c.Cluster) }, func(t *testing.T, h *house) {
		made := pagesOf(h, 100*time.Millisecond)
		var crowd sync.WaitGroup
		for range 100 {
			crowd.Go(func() { assert.Equal(t, "1", h.ask(Page, now).Body.String()) })
		}
		crowd.Wait()
		assert.Equal(t, 1, made())
	})
}

func TestRefusalsAreNotKept(t *testing.T) {
	inHouse(t, func(c *Config) { cached(&c.Cluster) }, func(t *testing.T, h *house) {
		made := pagesOf(h, 0)
		for range 3 {
			r := h.request(Page, now)
			r.URL.RawQuery = "limit=x"
			w := h.do(r)
			assert.Equal(t, http.StatusUnprocessableEntity, w.Code)
			assert.Empty(t, w.Header().Get("Age"))
		}
		assert.Equal(t, 3, made())
	})
}

// However many pages are asked for, what is kept is bounded; and when what was kept is
// old there is room again.
func TestKeptPagesAreBounded(t *testing.T) {
	inHouse(t, func(c *Config) { cached(&c.Cluster) }, func(t *testing.T, h *house) {
		large := strings.Repeat("x", 1_000_000)
		h.handler = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, large) }
		ask := func(i int) *httptest.ResponseRecorder {
			r := h.request(Page, now)
			r.URL.RawQuery = fmt.Sprint("after=", i)
			return h.do(r)
		}
		for range 3 {
			for i := range 50 {
				assert.Len(t, ask(i).Body.String(), len(large))
			}
			assert.LessOrEqual(t, h.pages.size, mostKept)
			assert.InDelta(t, mostKept/len(large), len(h.pages.kept), 1)
			time.Sleep(CachedAge)
		}
		sum := 0
		for key, p := range h.pages.kept {
			sum += p.size(key)
		}
		assert.Equal(t, sum, h.pages.size)
	})
}

// Nobody can keep a page from being kept by asking for others of a name that they made up.
func TestRoomIsMadeForPages(t *testing.T) {
	inHouse(t, func(c *Config) { cached(&c.Cluster) }, func(t *testing.T, h *house) {
		made := pagesOf(h, 0)
		for i := range 2 * mostKept / 1024 {
			r := h.request(Page, now)
			r.URL.RawQuery = fmt.Sprint("x=", i)
			h.do(r)
		}
		before := made()
		for range 3 {
			h.ask(Page, now)
		}
		assert.Equal(t, before+1, made())
		assert.LessOrEqual(t, h.pages.size, mostKept)
	})
}
