package admin_test

import (
	"bytes"
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/admin/console"
	"github.com/seed27495941/seckill/internal/stores"
)

// A listener takes a stream down.
type listener struct {
	mu     sync.Mutex
	header http.Header
	text   bytes.Buffer
}

func (l *listener) Header() http.Header              { return l.header }
func (l *listener) WriteHeader(int)                  {}
func (l *listener) Flush()                           {}
func (l *listener) SetWriteDeadline(time.Time) error { return nil }

func (l *listener) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *listener) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Each stream is a connection, and has the figures put together twice a second: a user has
// so many, wherever they are open, and another user has as many.
func TestStreamsOfAUserAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := open(t, stores.NewMemory())
		e := o.published()
		live := request{method: http.MethodGet, path: "/v1/events/" + e.ID.String() + "/live", as: access.Viewer}
		stores.Wait(t, "figures", func() bool { return o.get("/v1/events/"+e.ID.String()+"/figures").status == http.StatusOK })
		pages := must[*console.Console](t)(console.New(console.Config{Service: o.service, Access: o.access, Log: silent}))
		page := o.access.Authenticate(admin.Remember(pages))
		ctx, leave := context.WithCancel(t.Context())
		var streams sync.WaitGroup
		for i := range 20 {
			handler, r := o.handler, o.make(live)
			if i == 0 {
				handler, r = page, o.make(live.at("/live").with("Accept", "text/event-stream"))
			}
			l := &listener{header: http.Header{}}
			streams.Go(func() { handler.ServeHTTP(l, r.WithContext(ctx)) })
			synctest.Wait()
			require.NotEmpty(t, l.String())
		}
		a := o.do(live).refused(http.StatusTooManyRequests, "throttled")
		assert.Equal(t, "10", a.header.Get("Retry-After"))
		other, stop := context.WithCancel(t.Context())
		l := &listener{header: http.Header{}}
		r := o.make(live.by(access.Operator))
		streams.Go(func() { o.handler.ServeHTTP(l, r.WithContext(other)) })
		synctest.Wait()
		assert.Contains(t, l.String(), "event: figures")
		stop()
		leave()
		streams.Wait()
		again, stop := context.WithCancel(t.Context())
		l = &listener{header: http.Header{}}
		r = o.make(live)
		streams.Go(func() { o.handler.ServeHTTP(l, r.WithContext(again)) })
		synctest.Wait()
		assert.Contains(t, l.String(), "event: figures", "what has ended counts no more")
		stop()
		streams.Wait()
	})
}

// All who look at the same page share one reader of the store, and it reads nothing when
// nobody looks.
func TestStreamsShareTheirReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := open(t, stores.NewMemory())
		o.published()
		pages := must[*console.Console](t)(console.New(console.Config{Service: o.service, Access: o.access, Log: silent}))
		var reads atomic.Int64
		count := func(string) error {
			reads.Add(1)
			return nil
		}
		o.faulty.Set(stores.Hooks{Get: count, Watch: count})
		handler := o.access.Authenticate(admin.Remember(pages))
		roles := []access.Role{access.Viewer, access.Operator, access.Admin}
		const span = 20 * time.Second
		// Streams of each role, which come one after another, each at its own part of a second.
		watch := func(each int) (read int64, all []*listener) {
			ctx, leave := context.WithCancel(t.Context())
			var open sync.WaitGroup
			for i := range each {
				for _, role := range roles {
					l := &listener{header: http.Header{}}
					all = append(all, l)
					r := o.make(request{method: http.MethodGet, path: "/live", as: role}.with("Accept", "text/event-stream"))
					open.Go(func() { handler.ServeHTTP(l, r.WithContext(ctx)) })
				}
				time.Sleep(time.Duration(37+i) * time.Millisecond)
			}
			before := reads.Load()
			time.Sleep(span)
			read = reads.Load() - before
			leave()
			open.Wait()
			return read, all
		}
		one, _ := watch(1)
		many, all := watch(20)
		before := reads.Load()
		time.Sleep(span)
		idle := reads.Load() - before
		t.Logf("in %v: %d reads for one stream of each role, %d for 20, %d for none", span, one, many, idle)
		require.Greater(t, one-idle, int64(span/time.Second), "they look")
		assert.LessOrEqual(t, many, one+one/5, "more streams cost nothing")
		assert.Less(t, idle, one/4)
		for _, l := range all {
			require.Contains(t, l.String(), "Phone", "each is told all")
		}
	})
}
