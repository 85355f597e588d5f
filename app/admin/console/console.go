// Package console is the pages that operators work with: what package admin can do, as
// HTML. Pages call the same methods as the HTTP API does, so roles, checks and the audit
// log are the same.
//
// Every change is a plain form, which works without scripts. One that replaces something
// carries the version that was seen, and a change of something newer is refused, with both
// shown. Scripts only keep figures live.
package console

import (
	"context"
	"embed"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/web"
)

//go:embed static pages
var files embed.FS

// maxForm bounds what a browser may send: the largest value of a key, encoded as forms
// are.
const maxForm = 1 << 20

// A Config says what a console works with. Everything is needed.
type Config struct {
	Service *admin.Service
	Access  *access.Access
	Log     *slog.Logger
}

// A Console serves the pages. It is safe for concurrent use.
type Console struct {
	cfg     Config
	views   views
	shared  shared
	pages   *http.ServeMux
	handler http.Handler
}

// New makes a console, for the root of a service. Requests have to pass
// [access.Access.Authenticate] before they come to it. Errors: a template that can't be
// read, which is a defect.
func New(cfg Config) (*Console, error) {
	v, err := parse(files)
	if err != nil {
		return nil, err
	}
	static, err := fs.Sub(files, "static")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	c := &Console{cfg: cfg, views: v, pages: mux}
	mux.Handle("GET /static/{file}", http.StripPrefix("/static/", http.FileServerFS(static)))
	mux.Handle("GET /static/", c.handle(notHere)) // a directory is not listed
	c.routes(mux)
	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(c.handle(func(*page) error {
		return web.NewProblem(http.StatusForbidden, "forbidden", "The request comes from a page of another origin.")
	}))
	c.handler = headers(sameOrigin.Handler(http.MaxBytesHandler(mux, maxForm)))
	return c, nil
}

// ServeHTTP implements http.Handler.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.handler.ServeHTTP(w, r) }

// headers keeps browsers from running, loading or framing what is not the console's.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		if access.OverTLS(r.Context()) {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		if strings.HasPrefix(r.URL.Path, "/static/") {
			h.Set("Cache-Control", "no-cache") // they are small, and change with the program
		} else {
			h.Set("Cache-Control", "no-store")
		}
		next.ServeHTTP(w, r)
	})
}

func (c *Console) routes(mux *http.ServeMux) {
	stranger := map[string]func(*page) error{
		"GET /login":     (*page).login,
		"POST /login":    (*page).doLogin,
		"POST /logout":   (*page).logout,
		"GET /password":  (*page).password,
		"POST /password": (*page).changePassword,
	}
	known := map[string]func(*page) error{
		"GET /{$}":  (*page).overview,
		"GET /live": (*page).overviewLive,

		"GET /events":              (*page).events,
		"GET /events/new":          (*page).newEvent,
		"POST /events/new":         (*page).createEvent,
		"GET /events/{id}":         (*page).sale,
		"GET /events/{id}/live":    (*page).saleLive,
		"GET /events/{id}/edit":    (*page).editEvent,
		"POST /events/{id}/edit":   (*page).saveEvent,
		"GET /events/{id}/{step}":  (*page).confirmStep,
		"POST /events/{id}/{step}": (*page).takeStep,

		"GET /goods":               (*page).goodsList,
		"GET /goods/new":           (*page).newGoods,
		"POST /goods/new":          (*page).saveGoods,
		"GET /goods/{id}":          (*page).goods,
		"POST /goods/{id}":         (*page).saveGoods,
		"GET /goods/{id}/delete":   (*page).confirmGoods,
		"POST /goods/{id}/delete":  (*page).deleteGoods,
		"GET /topics":              (*page).topics,
		"GET /topics/new":          (*page).newTopic,
		"POST /topics/new":         (*page).saveTopic,
		"GET /topics/{id}":         (*page).topic,
		"POST /topics/{id}":        (*page).saveTopic,
		"GET /topics/{id}/delete":  (*page).confirmTopic,
		"POST /topics/{id}/delete": (*page).deleteTopic,

		"GET /events/{id}/verify":  (*page).askVerify,
		"POST /events/{id}/verify": (*page).verify,

		"GET /nodes":               (*page).nodes,
		"GET /nodes/live":          (*page).nodesLive,
		"GET /nodes/{id}":          (*page).node,
		"POST /nodes/{id}/drain":   (*page).drain,
		"POST /nodes/{id}/undrain": (*page).undrain,
		"POST /nodes/{id}/weight":  (*page).weigh,
		"POST /nodes/{id}/unweigh": (*page).unweigh,
		"POST /nodes/{id}/push":    (*page).push,
		"POST /nodes/{id}/clear":   (*page).clear,
		"POST /nodes/{id}/reload":  (*page).reload,
		"GET /blacklist":           (*page).blacklist,
		"POST /blacklist":          (*page).reloadBlacklist,

		"GET /config":                   (*page).config,
		"GET /config/live":              (*page).configLive,
		"POST /config/edit":             (*page).editConfig,
		"POST /config/review":           (*page).reviewConfig,
		"POST /config/publish":          (*page).publishConfig,
		"GET /config/delete":            (*page).askDeleteConfig,
		"POST /config/delete":           (*page).deleteConfig,
		"GET /config/history":           (*page).configHistory,
		"GET /config/history/{rev}":     (*page).configVersion,
		"POST /config/rollback":         (*page).rollbackConfig,
		"GET /config/rollout":           (*page).rollout,
		"GET /config/rollout/live":      (*page).rolloutLive,
		"POST /config/rollout/start":    (*page).startRollout,
		"POST /config/rollout/retarget": (*page).retargetRollout,
		"POST /config/rollout/promote":  (*page).promoteRollout,
		"POST /config/rollout/abandon":  (*page).abandonRollout,

		"GET /keys":        (*page).keys,
		"GET /keys/new":    (*page).newKey,
		"GET /key":         (*page).key,
		"POST /key":        (*page).saveKey,
		"GET /key/delete":  (*page).confirmKey,
		"POST /key/delete": (*page).deleteKey,

		"GET /orders":    (*page).orders,
		"GET /jobs":      (*page).jobs,
		"GET /jobs/live": (*page).jobsLive,
		"GET /audit":     (*page).audit,

		"GET /users":               (*page).users,
		"POST /users":              (*page).addUser,
		"POST /users/{id}/role":    (*page).setRole,
		"GET /users/{id}/{step}":   (*page).confirmUser,
		"POST /users/{id}/{step}":  (*page).changeUser,
		"POST /tokens":             (*page).makeToken,
		"GET /tokens/{id}/revoke":  (*page).confirmToken,
		"POST /tokens/{id}/revoke": (*page).revokeToken,
	}
	for pattern, h := range stranger {
		mux.Handle(pattern, c.handle(h))
	}
	for pattern, h := range known {
		mux.Handle(pattern, c.handle(forKnown(h)))
	}
	mux.Handle("/", c.handle(forKnown(notHere)))
}

// isPage reports whether there is a page at a path, to be looked at and not only to be sent
// a form.
func (c *Console) isPage(at string) bool {
	_, pattern := c.pages.Handler(&http.Request{Method: http.MethodGet, URL: &url.URL{Path: at}})
	return strings.HasPrefix(pattern, http.MethodGet+" ")
}

func notHere(*page) error {
	return web.NewProblem(http.StatusNotFound, "not_found", "There is no such page.")
}

// forKnown lets those see a page who may see anything.
func forKnown(h func(*page) error) func(*page) error {
	return func(p *page) error {
		if problem := access.Check(p.r.Context(), access.Viewer); problem != nil {
			if p.r.Method == http.MethodPost {
				_, _ = p.form() // what was typed is shown, so that it is not lost with the session
			}
			return problem
		}
		return h(p)
	}
}

// patience bounds what a page waits for: what is not there by then is told to be away.
const patience = 10 * time.Second

// handle makes a handler of a page.
func (c *Console) handle(h func(*page) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := &page{Console: c, w: w, r: r}
		p.who, _ = access.FromContext(r.Context())
		p.secure = access.OverTLS(r.Context())
		ctx, cancel := context.WithTimeout(r.Context(), patience)
		defer cancel()
		p.ctx = ctx
		if err := h(p); err != nil {
			p.refuse(err)
		}
	})
}
