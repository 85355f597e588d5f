package gate

import (
	"context"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/singleflight"

	"github.com/seed27495941/seckill/app/settings"
)

const (
	// CachedAge is how old what buyers are shown may be when operators say so.
	CachedAge = 5 * time.Second

	// mostKept bounds the pages that are kept, in bytes.
	mostKept = 16 << 20
)

// pages answers as it did some seconds ago, while operators say that it may.
type pages struct {
	switches func(event ulid.ULID) settings.Switches
	making   singleflight.Group
	answered atomic.Uint64 // by a page that was kept

	mu   sync.Mutex
	kept map[string]*page
	size int // of all that is kept
}

// A page is an answer as it was made.
type page struct {
	header http.Header
	status int
	body   []byte
	made   time.Time
}

func newPages(switches func(ulid.ULID) settings.Switches) *pages {
	return &pages{switches: switches, kept: map[string]*page{}}
}

// before stands before what makes the pages of a route.
func (p *pages) before(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !p.switches(eventOf(Page, r)).Cached {
			next.ServeHTTP(w, r)
			return
		}
		key := r.URL.RequestURI()
		found := p.fresh(key)
		if found != nil {
			p.answered.Add(1)
		} else {
			found = p.make(key, next, r) //nolint:contextcheck // others may wait for the page too
		}
		found.answer(w, r)
	})
}

// fresh is a page that is not too old, nil if there is none.
func (p *pages) fresh(key string) *page {
	p.mu.Lock()
	defer p.mu.Unlock()
	if found := p.kept[key]; found != nil && !found.isOld() {
		return found
	}
	return nil
}

// make makes a page, once for all who ask for it at the same time.
func (p *pages) make(key string, next http.Handler, r *http.Request) *page {
	made, _, _ := p.making.Do(key, func() (any, error) {
		if found := p.fresh(key); found != nil {
			return found, nil
		}
		whole := r.Clone(context.WithoutCancel(r.Context()))
		whole.Method = http.MethodGet
		whole.Header.Del("If-None-Match")
		made := &page{header: http.Header{}, status: http.StatusOK, made: time.Now()}
		next.ServeHTTP(made, whole)
		p.keep(key, made)
		return made, nil
	})
	return made.(*page) //nolint:errcheck // it is what the function above returns
}

// keep keeps a page, if it is one. Others have to make room for it, whichever they are: so
// nobody can keep a page out by asking for many.
func (p *pages) keep(key string, made *page) {
	size := made.size(key)
	if made.status != http.StatusOK || size > mostKept {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(key)
	for other := range p.kept {
		if p.size+size <= mostKept {
			break
		}
		p.drop(other)
	}
	p.kept[key] = made
	p.size += size
}

// drop forgets a page. The caller holds mu.
func (p *pages) drop(key string) {
	if old := p.kept[key]; old != nil {
		p.size -= old.size(key)
		delete(p.kept, key)
	}
}

// Header implements http.ResponseWriter.
func (p *page) Header() http.Header { return p.header }

// WriteHeader implements http.ResponseWriter.
func (p *page) WriteHeader(status int) { p.status = status }

func (p *page) Write(b []byte) (int, error) {
	p.body = append(p.body, b...)
	return len(b), nil
}

func (p *page) isOld() bool { return time.Since(p.made) >= CachedAge }

// size is about what it takes to keep a page.
func (p *page) size(key string) int { return len(key) + len(p.body) + 1024 }

// answer answers with the page, or that it is known. Caches on the way may keep it for
// as long as it may be shown here.
func (p *page) answer(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	maps.Copy(h, p.header)
	if p.status != http.StatusOK {
		w.WriteHeader(p.status)
		_, _ = w.Write(p.body)
		return
	}
	h.Set("Age", strconv.Itoa(int(time.Since(p.made)/time.Second)))
	h.Set("Cache-Control", "public, max-age="+strconv.Itoa(int(CachedAge/time.Second)))
	if isKnown(r.Header.Values("If-None-Match"), h.Get("Etag")) {
		h.Del("Content-Type")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write(p.body)
}

// isKnown reports whether a client has what has this tag, by RFC 9110.
func isKnown(headers []string, tag string) bool {
	for _, header := range headers {
		for known := range strings.SplitSeq(header, ",") {
			known = strings.TrimPrefix(strings.TrimSpace(known), "W/")
			if tag != "" && (known == tag || known == "*") {
				return true
			}
		}
	}
	return false
}
