package console

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/web"
)

const (
	// lookEvery is how long a stream waits before it looks again whether something is new.
	lookEvery = time.Second

	// beatEvery is how often it says that it is there, whatever is new: the script takes
	// three times that long for an interruption.
	beatEvery = 2 * time.Second

	// lookPatience bounds one look, so that the stream is not silent for longer.
	lookPatience = 4 * time.Second
)

func wantsStream(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Accept"), web.EventStream)
}

// A news is what a page is told: parts of it to be replaced, by their ids, and points of
// its curve.
type news struct {
	parts  map[string]string
	point  *point         // nil: none
	course func() []point // those before it, for streams that were told none yet
	over   bool           // there will be no more
	made   time.Time
}

// shared are the looks that go on. All streams of a page, for users who see the same of
// it, share one: the store is read no more often than for one of them, however many look, and
// not at all when nobody does. The zero value has none.
type shared struct {
	mu sync.Mutex
	of map[string]*sharedLook // by page and role
}

// A sharedLook is what was seen last.
type sharedLook struct {
	streams int           // that share it; held under shared.mu
	turn    chan struct{} // has room for who looks; the rest is that one's
	last    news
	err     error
}

func (s *shared) join(key string) *sharedLook {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.of[key]
	if l == nil {
		if s.of == nil {
			s.of = map[string]*sharedLook{}
		}
		l = &sharedLook{turn: make(chan struct{}, 1)}
		s.of[key] = l
	}
	l.streams++
	return l
}

func (s *shared) leave(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.of[key]; l.streams > 1 {
		l.streams--
		return
	}
	delete(s.of, key)
}

// fresh is for how long what was seen is not looked at again: a little less than
// lookEvery, or a timer that is early would find nothing new. It counts from the end of a
// look: those who waited for one that took long would each begin another.
const fresh = lookEvery * 9 / 10

// see returns what was seen just now, by this stream or another one. It calls say, which
// tells the page that it is not forgotten, with each beat while it waits for another one's
// look, and before its own.
func (l *sharedLook) see(ctx context.Context, beat <-chan time.Time, say func(), look func() (news, error)) (news, error) {
	for mine := false; !mine; {
		select {
		case l.turn <- struct{}{}:
			mine = true
		case <-beat:
			say()
		case <-ctx.Done():
			return news{}, context.Cause(ctx)
		}
	}
	defer func() { <-l.turn }()
	if time.Since(l.last.made) >= fresh {
		say()
		l.last, l.err = look()
		l.last.made = time.Now()
	}
	return l.last, l.err
}

// stream tells a page what is new, until it goes away or may not be told any more.
func (p *page) stream(look func(ctx context.Context) (news, error)) error {
	if !wantsStream(p.r) {
		return web.NewProblem(http.StatusNotFound, "not_found", "There is no such page.")
	}
	end, err := p.cfg.Service.BeginStream(p.ctx)
	if err != nil {
		return err
	}
	defer end()
	key := p.r.URL.Path + " " + string(p.who.Role)
	seen := p.shared.join(key)
	defer p.shared.leave(key)
	to := web.NewStream(p.w)
	glance, beat := time.NewTimer(lookEvery), time.NewTicker(beatEvery)
	defer glance.Stop()
	defer beat.Stop()
	told, last, drawn := map[string]string{}, time.Time{}, false
	ok := to.Begin()
	say := func() { ok = ok && to.Event("beat", nil) }
	for ok {
		n, err := seen.see(p.r.Context(), beat.C, say, func() (news, error) { return p.look(look) })
		if err != nil {
			return nil // the page says that it is told nothing, and comes back
		}
		if fresh := changes(told, n.parts); len(fresh) > 0 {
			ok = ok && to.Event("parts", fresh)
		}
		if n.point != nil && n.made.After(last) {
			points := []point{*n.point}
			if !drawn {
				points, drawn = append(n.course(), points...), true
			}
			ok = ok && to.Event("point", points)
		}
		last = n.made
		if n.over {
			to.Event("over", nil)
			return nil
		}
		glance.Reset(lookEvery)
		for due := false; !due; {
			select {
			case <-p.r.Context().Done():
				return nil
			case <-p.cfg.Service.Draining():
				return nil
			case <-beat.C:
				say()
			case <-glance.C:
				due = true
			}
		}
		ok = ok && p.cfg.Access.Still(p.r.Context(), access.Viewer)
	}
	return nil
}

// look looks once, for a bounded time. It goes on when the page goes away: others share
// what is seen.
func (p *page) look(look func(ctx context.Context) (news, error)) (news, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.r.Context()), lookPatience)
	defer cancel()
	n, err := look(ctx)
	if err != nil {
		return news{}, err
	}
	if n.parts == nil {
		n.parts = map[string]string{}
	}
	n.parts["store-state"], err = p.views.part(layout, "store-state", p.storeState())
	return n, err
}

// changes are the parts that are not as they were told last; they are told from now on.
func changes(told, now map[string]string) map[string]string {
	fresh := map[string]string{}
	for id, html := range now {
		if last, ok := told[id]; !ok || last != html {
			fresh[id], told[id] = html, html
		}
	}
	return fresh
}

// parts makes parts of a page by their templates. A part whose id is not its template's
// name is named as template:id.
func (p *page) parts(view string, data any, names ...string) (news, error) {
	n := news{parts: map[string]string{}}
	for _, name := range names {
		template, id, other := strings.Cut(name, ":")
		if !other {
			id = template
		}
		html, err := p.views.part(view, template, data)
		if err != nil {
			return news{}, err
		}
		n.parts[id] = html
	}
	return n, nil
}
