package console

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/admin/access"
)

// Whatever is answered tells browsers what not to do with it.
func TestEveryAnswerIsGuarded(t *testing.T) {
	o := open(t)
	o.list("n1")
	for name, w := range map[string]*httptest.ResponseRecorder{
		"a page":             o.get("/nodes"),
		"the login":          o.do(sent{path: "/login"}),
		"a redirect":         o.do(sent{path: "/nodes"}),
		"a step":             o.post("/nodes/n1/drain", "reason", "r"),
		"a refused step":     o.post("/nodes/n1/weight", "weight", "x"),
		"a page not allowed": o.do(sent{path: "/users", as: access.Viewer}),
		"no such page":       o.get("/nowhere"),
		"a forged form":      o.do(sent{path: "/logout", form: url.Values{}, as: access.Admin, header: map[string]string{"Origin": "https://evil.example"}}),
		"too much":           o.post("/key", "key", "x", "value", strings.Repeat("x", 2<<20)),
		"a file":             o.do(sent{path: "/static/console.css"}),
		"no such file":       o.do(sent{path: "/static/none.css"}),
	} {
		t.Run(name, func(t *testing.T) {
			h := w.Header()
			csp := h.Get("Content-Security-Policy")
			for _, rule := range []string{"default-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'", "object-src 'none'"} {
				assert.Contains(t, csp, rule)
			}
			assert.NotContains(t, csp, "unsafe")
			assert.Equal(t, "nosniff", h.Get("X-Content-Type-Options"))
			assert.Equal(t, "same-origin", h.Get("Referrer-Policy"))
			assert.Equal(t, "same-origin", h.Get("Cross-Origin-Opener-Policy"))
			assert.Empty(t, h.Get("Strict-Transport-Security"), "it did not come over TLS")
			switch name {
			case "a file":
				assert.Equal(t, "no-cache", h.Get("Cache-Control"))
			case "no such file": // it has no data of anybody
			default:
				assert.Equal(t, "no-store", h.Get("Cache-Control"))
			}
		})
	}
}

// Directories are not listed, and nothing but the files of static is to be had.
func TestOnlyFilesOfStaticAreServed(t *testing.T) {
	o := open(t)
	for _, who := range []access.Role{"", access.Admin} {
		w := o.do(sent{path: "/static/console.js", as: who})
		assert.Equal(t, http.StatusOK, w.Code)
		assert.Contains(t, w.Header().Get("Content-Type"), "javascript")
		for _, path := range []string{"/static/", "/static/none", "/static/pages/", "/static/%2e%2e/pages/layout.html", "/static/..%2fpages%2flayout.html", "/static/%2e", "/static/%2e%2e"} {
			w := o.do(sent{path: path, as: who})
			assert.NotEqual(t, http.StatusOK, w.Code, path)
			assert.NotContains(t, w.Body.String(), "console.css\">console.css", path)
			assert.NotContains(t, w.Body.String(), "{{define", path)
		}
		assert.Equal(t, http.StatusNotFound, o.do(sent{path: "/static/", as: who}).Code)
	}
}

// A browser that came over TLS is to come that way again, and sends cookies over nothing
// else. A proxy is believed about it on this machine only.
func TestOverTLS(t *testing.T) {
	o := open(t)
	o.list("n1")
	for name, c := range map[string]struct {
		remote, proto string
		secure        bool
	}{
		"no TLS":                   {"10.1.0.1:1", "", false},
		"a proxy on this machine":  {"127.0.0.1:1", "https", true},
		"one that speaks no TLS":   {"127.0.0.1:1", "http", false},
		"somebody who claims it":   {"10.1.0.1:1", "https", false},
		"a client on this machine": {"127.0.0.1:1", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := o.do(sent{path: "/nodes/n1/drain", form: url.Values{"reason": {"r"}}, as: access.Admin, remote: c.remote, header: map[string]string{"X-Forwarded-Proto": c.proto}})
			cookies := w.Result().Cookies()
			require.Len(t, cookies, 1)
			assert.Equal(t, c.secure, cookies[0].Secure)
			assert.Equal(t, c.secure, strings.HasPrefix(cookies[0].Name, "__Host-"))
			assert.Equal(t, c.secure, w.Header().Get("Strict-Transport-Security") != "")
			shown := o.do(sent{path: "/nodes", as: access.Admin, remote: c.remote, header: map[string]string{"X-Forwarded-Proto": c.proto, "Cookie": cookies[0].Name + "=" + cookies[0].Value}})
			assert.Contains(t, shown.Body.String(), "The node is drained")
		})
	}
}

// TLS that ends here is told from the connection. The session's cookie goes by the same.
func TestOverTLSHere(t *testing.T) {
	o := open(t)
	server := httptest.NewTLSServer(o.handler)
	t.Cleanup(server.Close)
	client := server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/login", http.NoBody)
	require.NoError(t, err)
	response, err := client.Do(r)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.GreaterOrEqual(t, response.TLS.Version, uint16(tls.VersionTLS12))
	assert.Equal(t, "max-age=31536000", response.Header.Get("Strict-Transport-Security"))
}
