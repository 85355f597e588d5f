package console

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/internal/stores"
)

// A listener takes down what a page is told, and when.
type listener struct {
	mu     sync.Mutex
	header http.Header
	text   bytes.Buffer
	told   []time.Time
}

func (l *listener) Header() http.Header              { return l.header }
func (l *listener) WriteHeader(int)                  {}
func (l *listener) Flush()                           {}
func (l *listener) SetWriteDeadline(time.Time) error { return nil }

func (l *listener) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = append(l.told, time.Now())
	return l.text.Write(b)
}

// events are the data of those of a name.
func (l *listener) events(name string) (data []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for e := range strings.SplitSeq(l.text.String(), "\n\n") {
		if is, text, ok := strings.Cut(e, "\ndata: "); ok && strings.HasSuffix(is, "event: "+name) {
			data = append(data, text)
		}
	}
	return data
}

// listen opens a stream, until the test is over or leave is called.
func (o *office) listen(handler http.Handler, at string, role access.Role) (l *listener, leave func()) {
	o.Helper()
	ctx, cancel := context.WithCancel(o.Context())
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, at, http.NoBody)
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("Authorization", "Bearer "+o.tokens[role])
	l = &listener{header: http.Header{}}
	var open sync.WaitGroup
	open.Go(func() { handler.ServeHTTP(l, r) })
	leave = func() {
		cancel()
		open.Wait()
	}
	o.Cleanup(leave)
	return l, leave
}

// own has the desk own all slots: it is listed.
func (o *office) own(at string) (event ulid.ULID) {
	o.Helper()
	event = must[ulid.ULID](o)(ulid.ParseStrict(path.Base(at)))
	_, err := o.store.Put(o.Context(), "nodes/self", []byte(`{"addr":"10.0.0.9:8080","incarnation":"`+o.self.String()+`"}`))
	require.NoError(o, err)
	stores.Wait(o, "all slots are heard of", func() bool {
		f, ok := o.desk.Figures(event)
		return ok && !f.At.IsZero()
	})
	return event
}

// Whoever opens the page of a sale is told how it went so far, also where somebody else
// looks on already.
func TestEveryStreamIsToldTheCourse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := open(t)
		at := o.publish("Teapot", "1000")
		event := o.own(at)
		begun := time.Now()
		for i := range 5 {
			_, _, err := o.desk.Order(t.Context(), event, ledger.Demand{User: "buyer" + strconv.Itoa(i), Request: "1", Quantity: 1})
			require.NoError(t, err)
			time.Sleep(2 * time.Second)
		}
		ended := time.Now()
		check := func(name string, l *listener, since time.Time) {
			t.Helper()
			var course []point
			for _, data := range l.events("point") {
				var points []point
				require.NoError(t, json.Unmarshal([]byte(data), &points))
				course = append(course, points...)
			}
			require.NotEmpty(t, course, name)
			assert.Less(t, course[0].At, begun.Add(2*time.Second).UnixMilli(), "%s: it begins with the sale", name)
			before := 0
			for i, p := range course {
				if p.At < ended.UnixMilli() {
					before++
				}
				if i > 0 {
					assert.GreaterOrEqual(t, p.At, course[i-1].At, name)
				}
			}
			assert.Greater(t, before, 2, name)
			assert.Greater(t, course[len(course)-1].At, since.UnixMilli(), "%s: it goes on", name)
		}
		first, leave := o.listen(o.handler, at+"/live", access.Viewer)
		time.Sleep(2500 * time.Millisecond)
		second, _ := o.listen(o.handler, at+"/live", access.Viewer)
		since := time.Now()
		time.Sleep(3 * time.Second)
		check("the first", first, since)
		check("the second", second, since)
		leave()
		since = time.Now()
		again, _ := o.listen(o.handler, at+"/live", access.Viewer)
		time.Sleep(3 * time.Second)
		check("who comes back", again, since)
	})
}

// A store that is slow is not asked the more, the more pages look, and none of them is left
// without a word.
func TestSlowLooksAreShared(t *testing.T) {
	const takes, span = 2 * time.Second, time.Minute
	synctest.Test(t, func(t *testing.T) {
		o := open(t)
		var looks atomic.Int64
		slow := o.access.Authenticate(o.console.handle(func(p *page) error {
			return p.stream(func(context.Context) (news, error) {
				time.Sleep(takes)
				return news{parts: map[string]string{"n": strconv.FormatInt(looks.Add(1), 10)}}, nil
			})
		}))
		var all []*listener
		for i := range 5 {
			l, _ := o.listen(slow, "/live", access.Viewer)
			all = append(all, l)
			time.Sleep(time.Duration(37*i) * time.Millisecond)
		}
		begun := time.Now()
		time.Sleep(span)
		assert.LessOrEqual(t, looks.Load(), int64(span/(takes+fresh))+1, "between two looks the store has rest")
		for i, l := range all {
			l.mu.Lock()
			told := append(slices.Clone(l.told), time.Now())
			l.mu.Unlock()
			last := begun
			for _, at := range told {
				if at.After(last) {
					assert.LessOrEqual(t, at.Sub(last), 2*beatEvery, "stream %d is silent at %v", i, at.Sub(begun))
					last = at
				}
			}
			assert.Greater(t, len(l.events("parts")), int(span/(takes+2*lookEvery)), "stream %d is told what is new", i)
		}
	})
}
