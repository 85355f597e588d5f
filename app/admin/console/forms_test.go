package console

import (
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/web"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
)

// etag is the version that the only form of a page was made from.
func (o *office) etag(path string) string {
	o.Helper()
	found := regexp.MustCompile(`name="etag" value="([^"]*)"`).FindStringSubmatch(o.get(path).Body.String())
	require.NotNil(o, found, path)
	return html.UnescapeString(found[1])
}

// goods makes some, and tells the version that somebody saw.
func (o *office) goods(id string) (etag string) {
	o.Helper()
	require.Equal(o, http.StatusSeeOther, o.post("/goods/new", "id", id, "sku", "S", "title", "Teapot").Code)
	return o.etag("/goods/" + id)
}

const essay = "An essay that took\nan hour & more"

// kept checks that a page has a text still, and tells nobody of headers.
func (o *office) kept(w *httptest.ResponseRecorder, text string) string {
	o.Helper()
	body := w.Body.String()
	assert.Contains(o, body, html.EscapeString(text))
	assert.NotContains(o, body, "ETag")
	assert.NotContains(o, body, "If-Match")
	return body
}

// Who edits something that is deleted meanwhile gets the form again, to make it anew.
func TestWhatWasTypedOutlivesWhatIsDeleted(t *testing.T) {
	o := open(t)
	t.Run("goods", func(t *testing.T) {
		seen := o.goods("g")
		require.Equal(t, http.StatusSeeOther, o.post("/goods/g/delete", "typed", "g", "etag", seen).Code)
		w := o.post("/goods/g", "etag", seen, "sku", "S", "title", "Teapot", "description", essay)
		assert.Equal(t, http.StatusNotFound, w.Code)
		body := o.kept(w, essay)
		assert.Contains(t, body, "Somebody has deleted this meanwhile")
		assert.Contains(t, body, `action="/goods/new"`)
		assert.Contains(t, body, `name="etag" value=""`)
		require.Equal(t, http.StatusSeeOther, o.post("/goods/new", "id", "g", "sku", "S", "title", "Teapot", "description", essay).Code)
		o.kept(o.get("/goods/g"), essay)
	})
	t.Run("a topic", func(t *testing.T) {
		require.Equal(t, http.StatusSeeOther, o.post("/topics/new", "id", "t", "title", "T").Code)
		seen := o.etag("/topics/t")
		require.Equal(t, http.StatusSeeOther, o.post("/topics/t/delete", "typed", "t", "etag", seen).Code)
		body := o.kept(o.post("/topics/t", "etag", seen, "title", "T", "description", essay), essay)
		assert.Contains(t, body, `action="/topics/new"`)
	})
	t.Run("a draft", func(t *testing.T) {
		draft := []string{
			"title", "A draft", "sku", "D", "price", "1", "currency", "EUR", "opens", "2036-11-11T20:00:00", "closes", "2036-11-11T21:00:00",
			"total", "1", "perUser", "1", "payWithin", "60", "slots", "1",
		}
		w := o.post("/events/new", draft...)
		require.Equal(t, http.StatusSeeOther, w.Code, w.Body)
		at := w.Header().Get("Location")
		seen := o.etag(at + "/edit")
		require.Equal(t, http.StatusSeeOther, o.post(at+"/delete", "typed", "A draft", "etag", seen).Code)
		body := o.kept(o.post(at+"/edit", append(draft, "etag", seen, "description", essay)...), essay)
		assert.Contains(t, body, "Somebody has deleted this meanwhile")
		assert.Contains(t, body, `action="/events/new"`)
		require.Equal(t, http.StatusSeeOther, o.post("/events/new", append(draft, "description", essay)...).Code)
	})
	t.Run("a key", func(t *testing.T) {
		require.Equal(t, http.StatusSeeOther, o.post("/key", "key", "notes/k", "value", "v").Code)
		seen := o.etag("/key?key=notes/k")
		require.NoError(t, o.store.Delete(t.Context(), "notes/k"))
		body := o.kept(o.post("/key", "key", "notes/k", "value", essay, "etag", seen), essay)
		assert.Contains(t, body, "Somebody has deleted this meanwhile")
		assert.Equal(t, http.StatusSeeOther, o.post("/key", "key", "notes/k", "value", essay).Code)
	})
	t.Run("the config", func(t *testing.T) {
		first := o.post("/config/publish", "value", `{"logLevel":"warn"}`, "comment", "c")
		require.Equal(t, http.StatusSeeOther, first.Code, first.Body)
		seen := o.etag("/config")
		require.NoError(t, o.store.Delete(t.Context(), "config"))
		body := o.kept(o.post("/config/publish", "value", `{"logLevel":"error"}`, "comment", essay, "etag", seen), essay)
		assert.Contains(t, body, "Somebody has deleted this meanwhile")
		o.kept(o.post("/config/review", "value", `{"logLevel":"error"}`, "etag", seen), `{"logLevel":"error"}`)
	})
	t.Run("a node", func(t *testing.T) {
		w := o.post("/nodes/gone/push", "value", essay, "comment", "why")
		assert.Equal(t, http.StatusNotFound, w.Code)
		assert.Contains(t, o.kept(w, essay), "What you typed")
	})
}

// Who is logged out, or may not do it, gets back what was typed; passwords are not shown.
func TestWhatWasTypedOutlivesTheSession(t *testing.T) {
	o := open(t)
	form := url.Values{"id": {"g"}, "title": {essay}, "etag": {`"7"`}}
	w := o.do(sent{path: "/goods/new", form: form})
	assert.Equal(t, http.StatusUnauthorized, w.Code)
	assert.NotContains(t, o.kept(w, essay), "kept-etag", "nobody has typed it")
	w = o.do(sent{path: "/goods/new", form: form, as: access.Viewer})
	assert.Equal(t, http.StatusForbidden, w.Code)
	o.kept(w, essay)
	w = o.do(sent{path: "/goods/new", form: form, as: access.Admin, header: map[string]string{"Origin": "https://evil.example"}})
	assert.Equal(t, http.StatusForbidden, w.Code)
	assert.NotContains(t, w.Body.String(), "essay", "another origin does not fill pages of this one")
	w = o.do(sent{path: "/nowhere", form: url.Values{"password": {"the secret"}, "old": {"the secret"}, "new": {"the secret"}}})
	assert.NotContains(t, w.Body.String(), "the secret")
}

// forward is where a page leads by one of its links.
func forward(t *testing.T, w *httptest.ResponseRecorder, text string) string {
	t.Helper()
	found := regexp.MustCompile(`href="([^"]*)"[^>]*>` + text).FindStringSubmatch(w.Body.String())
	require.NotNil(t, found, "%s: %s", text, w.Body)
	return html.UnescapeString(found[1])
}

// No page of the console leads to the address of a form, where there is no page.
func TestWhereAFormWasThereIsAWayBack(t *testing.T) {
	o := open(t)
	o.list("n1")
	o.goods("g")
	event := o.publish("Teapot", "1")
	require.Equal(t, http.StatusSeeOther, o.post("/topics/new", "id", "t", "title", "T").Code)
	require.Equal(t, http.StatusSeeOther, o.post("/key", "key", "notes/k", "value", "v").Code)
	for at, from := range map[string][]string{
		"/config/publish": {"/config/review", "/config"}, "/config/edit": {"/config/review", "/config"}, "/config/review": {"/config", "/config"},
		"/config/rollback": {"/config/history/1?x=y", "/config/history/1?x=y"}, "/config/rollout/start": {"/config/rollout/start", "/config/rollout"},
		"/config/rollout/retarget": {"/config/rollout", "/config/rollout"}, "/config/rollout/promote": {"", "/config/rollout"},
		"/nodes/n1/push": {"/nodes/n1/push", "/nodes/n1"}, "/nodes/n1/drain": {"", "/nodes/n1"}, "/nodes/n1/undrain": {"/nodes", "/nodes"},
		"/blacklist": {"/blacklist", "/blacklist"}, "/goods/g": {"/goods/g", "/goods/g"}, "/goods/new": {"", "/goods"}, "/topics/t/delete": {"", "/topics/t"},
		"/key": {"/key?key=notes%2Fk", "/key?key=notes%2Fk"}, "/key/delete": {"", "/key"},
		event + "/publish": {event + "/publish", event + "/publish"}, event + "/edit": {"", event}, event + "/verify": {"", event},
		"/users": {"/users", "/users"}, "/users/the-viewer/role": {"/users", "/users"}, "/users/the-viewer/remove": {"", "/users"}, "/tokens": {"/users", "/users"},
		"/nowhere/else": {"https://evil.example/events", "/"}, "/nowhere": {"//events", "/"},
	} {
		referer := from[0]
		if strings.HasPrefix(referer, "/") && !strings.HasPrefix(referer, "//") {
			referer = "http://example.com" + referer
		}
		header := map[string]string{"Referer": referer}
		w := o.do(sent{path: at, form: url.Values{"x": {"y"}}, header: header})
		require.Equal(t, http.StatusUnauthorized, w.Code, at)
		login := must[*url.URL](t)(url.Parse(forward(t, w, "Log in")))
		assert.Equal(t, from[1], login.Query().Get("next"), at)
		w = o.failing(at, url.Values{"x": {"y"}}, header)
		require.Equal(t, http.StatusServiceUnavailable, w.Code, at)
		assert.Equal(t, from[1], forward(t, w, "Back to where it was"), at)
		if from[1] != "/config/history/1?x=y" { // a version that is not there
			back := o.get(from[1])
			assert.Less(t, back.Code, 400, "%s leads to %s", at, from[1])
		}
	}
	w := o.post("/nodes/n1/weight", "weight", "heavy")
	require.Equal(t, http.StatusUnprocessableEntity, w.Code)
	require.Equal(t, http.StatusSeeOther, o.post("/config/publish", "value", `{"logLevel":"warn"}`, "comment", "c").Code)
	require.Equal(t, http.StatusSeeOther, o.post("/config/rollout/start", "value", `{"logLevel":"error"}`, "percent", "10", "maxFailures", "0", "comment", "c", "etag", o.etag("/config")).Code)
	w = o.post("/config/rollout/retarget", "percent", "many")
	require.Equal(t, http.StatusUnprocessableEntity, w.Code)
	assert.Equal(t, "/config/rollout", forward(t, w, "load the page again"))
	assert.Equal(t, "/events?after=x", forward(t, o.failing("/events?after=x", nil, nil), "Try again"))
}

// failing asks for a page, or sends a form, while the store does not answer.
func (o *office) failing(at string, form url.Values, header map[string]string) *httptest.ResponseRecorder {
	o.Helper()
	return o.refusing(web.NewProblem(http.StatusServiceUnavailable, "unavailable", "The store does not answer"), at, form, header)
}

// refusing does so while there is a problem.
func (o *office) refusing(problem *web.Problem, at string, form url.Values, header map[string]string) *httptest.ResponseRecorder {
	o.Helper()
	last := o.handler
	defer func() { o.handler = last }()
	o.handler = o.access.Authenticate(o.console.handle(func(p *page) error {
		_, _ = p.form()
		return problem
	}))
	return o.do(sent{path: at, form: form, as: access.Admin, header: header})
}

// That this process has no room for something says nothing of the store.
func TestTooMuchAtOnceIsNotTheStore(t *testing.T) {
	o := open(t)
	busy := web.NewProblem(http.StatusServiceUnavailable, "busy", "Nothing was done: try again in a few seconds")
	page := o.refusing(busy, "/events/x/verify", url.Values{}, nil).Body.String()
	assert.NotContains(t, page, "The store does not answer")
	assert.NotContains(t, page, "needs the store")
	assert.Contains(t, page, "Too much at once")
	assert.Contains(t, page, `<p class="quiet">Nothing was done: try again in a few seconds</p>`)
	assert.Contains(t, o.failing("/events/x/verify", url.Values{}, nil).Body.String(), "needs the store")
}

// What could not be done can be sent again as it was typed, where that does nothing twice.
func TestAFormCanBeSentAgain(t *testing.T) {
	o := open(t)
	replays := func(w *httptest.ResponseRecorder) (form url.Values, ok bool) {
		body := w.Body.String()
		_, body, ok = strings.Cut(body, `<form method="post" action="/goods/g" class="again">`)
		form = url.Values{}
		for _, field := range regexp.MustCompile(`(?s)name="([^"]*)" value="([^"]*)"`).FindAllStringSubmatch(strings.SplitN(body, "</form>", 2)[0], -1) {
			form.Add(field[1], html.UnescapeString(field[2]))
		}
		return form, ok
	}
	typed := url.Values{"etag": {o.goods("g")}, "sku": {"S"}, "title": {"Kettle"}, "description": {essay}}
	for name, w := range map[string]*httptest.ResponseRecorder{
		"the session has ended":     o.do(sent{path: "/goods/g", form: typed}),
		"the store does not answer": o.failing("/goods/g", typed, nil),
	} {
		form, ok := replays(w)
		require.True(t, ok, name)
		assert.Equal(t, typed, form, name)
	}
	form, _ := replays(o.failing("/goods/g", typed, nil))
	require.Equal(t, http.StatusSeeOther, o.do(sent{path: "/goods/g", form: form, as: access.Admin}).Code)
	assert.Contains(t, o.get("/goods/g").Body.String(), "Kettle")
	w := o.do(sent{path: "/goods/g", form: form, as: access.Admin})
	assert.Equal(t, http.StatusPreconditionFailed, w.Code, "it was done already")

	typed.Del("etag")
	_, ok := replays(o.do(sent{path: "/goods/g", form: typed}))
	assert.True(t, ok, "nothing was done for who is not logged in")
	_, ok = replays(o.failing("/goods/g", typed, nil))
	assert.False(t, ok, "it may have been done")
	typed.Set("password", "the secret")
	_, ok = replays(o.do(sent{path: "/goods/g", form: typed}))
	assert.False(t, ok, "a password is not sent back")
	_, ok = replays(o.do(sent{path: "/goods/g", form: typed, as: access.Viewer}))
	assert.False(t, ok, "who may not do it may not the next time")
}

// Of what changed people are told the revisions, and not the headers of a protocol that
// they do not see.
func TestConflictsAreToldInWords(t *testing.T) {
	o := open(t)
	o.list("n1")
	seen := o.goods("g")
	require.Equal(t, http.StatusSeeOther, o.post("/goods/g", "etag", seen, "sku", "S", "title", "Kettle").Code)
	now := o.etag("/goods/g")
	require.NotEqual(t, seen, now)
	w := o.post("/goods/g/delete", "typed", "g", "etag", seen)
	require.Equal(t, http.StatusSeeOther, w.Code)
	said := o.do(sent{path: "/goods/g", as: access.Admin, header: map[string]string{"Cookie": strings.SplitN(w.Header().Get("Set-Cookie"), ";", 2)[0]}})
	body := o.kept(said, "You saw revision "+revision(seen))
	assert.Contains(t, body, "it is at revision "+revision(now)+" now")

	for _, forged := range []string{"", "x", `W/"1"`} {
		w := o.post("/goods/g", "etag", forged, "sku", "S", "title", essay)
		assert.GreaterOrEqual(t, w.Code, 400)
		o.kept(w, essay)
	}

	first := o.post("/config/publish", "value", `{"logLevel":"warn"}`, "comment", "c")
	require.Equal(t, http.StatusSeeOther, first.Code)
	seen = o.etag("/config")
	require.Equal(t, http.StatusSeeOther, o.post("/config/publish", "value", `{"logLevel":"error"}`, "comment", "c", "etag", seen).Code)
	for _, step := range [][]string{{"/config/delete", "typed", "config"}, {"/config/rollback", "to", revision(seen)}, {"/config/publish", "value", "{}"}} {
		w := o.post(step[0], append(step[1:], "comment", essay, "etag", seen)...)
		assert.Equal(t, http.StatusPreconditionFailed, w.Code, step)
		assert.Regexp(t, "(You saw|You began with) revision "+revision(seen), o.kept(w, essay), step)
	}
}

// fieldOf is the part of a page that one field takes.
func fieldOf(t *testing.T, body, id string) string {
	t.Helper()
	at := strings.Index(body, `id="`+id+`"`)
	require.GreaterOrEqual(t, at, 0, id)
	begin := strings.LastIndex(body[:at], `<div class="field">`)
	end := strings.Index(body[at:], "</div>")
	return body[begin : at+end]
}

// What is wrong with a field is beside it, and what was typed is still in it.
func TestFieldsSayWhatIsWrongWithThem(t *testing.T) {
	o := open(t)
	o.list("n1")
	require.Equal(t, http.StatusSeeOther, o.post("/config/publish", "value", `{"logLevel":"warn"}`, "comment", "c").Code)
	first := revision(o.etag("/config"))
	require.Equal(t, http.StatusSeeOther, o.post("/config/publish", "value", `{"logLevel":"error"}`, "comment", "c", "etag", o.etag("/config")).Code)
	seen := o.etag("/config")
	for _, c := range []struct {
		path, id, typed string
		form            []string
	}{
		{"/nodes/n1/weight", "weight", "heavy", []string{"weight", "heavy"}},
		{"/nodes/n1/push", "minutes", "12 h", []string{"value", "{}", "minutes", "12 h", "comment", "c"}},
		{"/nodes/n1/push", "minutes", "1441", []string{"value", "{}", "minutes", "1441", "comment", "c"}},
		{"/nodes/n1/push", "why", " ", []string{"value", "{}", "comment", " "}},
		{"/config/publish", "comment", " ", []string{"value", "{}", "etag", seen, "comment", " "}},
		{"/config/rollout/start", "percent", "many", []string{"value", "{}", "etag", seen, "percent", "many", "maxFailures", "0", "comment", "c"}},
		{"/config/rollout/start", "failures", "none", []string{"value", "{}", "etag", seen, "percent", "10", "maxFailures", "none", "comment", "c"}},
		{"/config/rollout/start", "labels", "zone", []string{"value", "{}", "etag", seen, "percent", "10", "maxFailures", "0", "labels", "zone", "comment", "c"}},
		{"/config/rollback", "comment", " ", []string{"to", first, "etag", seen, "comment", " "}},
		{"/config/delete", "typed", "", []string{"typed", "yes", "etag", seen, "comment", "c"}},
		{"/config/delete", "comment", " ", []string{"typed", "config", "etag", seen, "comment", " "}},
		{"/tokens", "token-days", "ten", []string{"name", "ci", "role", "viewer", "days", "ten"}},
	} {
		w := o.post(c.path, c.form...)
		require.Equal(t, http.StatusUnprocessableEntity, w.Code, c.path)
		f := fieldOf(t, w.Body.String(), c.id)
		assert.Contains(t, f, "expected", c.path)
		assert.Contains(t, f, `aria-invalid="true"`, c.path)
		if c.id != "typed" { // what confirms is typed anew
			assert.Contains(t, f, `value="`+c.typed+`"`, c.path)
		}
	}
	body := o.post("/config/rollout/start", "value", `{"logLevel":"info"}`, "etag", seen, "percent", "many", "maxFailures", "3", "labels", "zone=a", "comment", "because").Body.String()
	for id, typed := range map[string]string{"percent": "many", "failures": "3", "labels": "zone=a", "rollout-comment": "because"} {
		assert.Contains(t, fieldOf(t, body, id), `value="`+typed+`"`)
	}
}

// What the service says of a part of a request is said of the field that has it.
func TestWhatTheServiceSaysIsBesideItsField(t *testing.T) {
	o := open(t)
	o.list("n1")
	for _, c := range []struct{ step, where, name, id string }{
		{"drain", "body.reason", "reason", "reason"},
		{"weight", "body.weight", "weight", "weight"},
		{"push", "body.comment", "comment", "why"},
		{"push", "body.value", "value", "value"},
		{"push", "body.seconds", "minutes", "minutes"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/nodes/n1/"+c.step, http.NoBody)
		r.SetPathValue("id", "n1")
		w := httptest.NewRecorder()
		p := &page{Console: o.console, w: w, r: r, ctx: t.Context(), who: access.Principal{Name: "ann", Role: access.Admin}}
		refusal := web.NewProblem(http.StatusUnprocessableEntity, "invalid", "The request is not as it should be")
		refusal.Faults = []web.Fault{{Where: c.where, What: "it is not as it should be there"}}
		require.NoError(t, p.changed(refusal, url.Values{c.name: {essay}}, ""))
		f := fieldOf(t, w.Body.String(), c.id)
		assert.Contains(t, f, "it is not as it should be there", c.where)
		assert.Contains(t, f, html.EscapeString(essay), c.where)
		assert.Equal(t, 1, strings.Count(w.Body.String(), `class="wrong"`), "and beside no other: %s", c.where)
	}
	assert.Equal(t, "labels", place("body.labels.zone"))
	assert.Equal(t, "images", place("body.images[2]"))
	assert.Equal(t, "comment", place("comment"))
	assert.Empty(t, place(""))
}

// A node that went away drained can be let in again, though it has no page.
func TestUndrainingANodeThatIsGone(t *testing.T) {
	o := open(t)
	o.list("n1")
	require.Equal(t, http.StatusSeeOther, o.post("/nodes/n1/drain", "reason", "a disk").Code)
	stores.Wait(t, "drained", func() bool { _, ok := o.drained("n1"); return ok })
	require.NoError(t, o.store.Delete(t.Context(), "nodes/n1"))
	stores.Wait(t, "gone", func() bool { _, ok := o.node.Directory().Node("n1"); return !ok })
	body := o.get("/nodes").Body.String()
	assert.Contains(t, body, "Drained, and not listed")
	assert.Contains(t, body, "a disk")
	assert.NotContains(t, o.do(sent{path: "/nodes", as: access.Viewer}).Body.String(), "/undrain")
	w := o.post("/nodes/n1/undrain")
	require.Equal(t, http.StatusSeeOther, w.Code)
	assert.Equal(t, "/nodes", w.Header().Get("Location"))
	stores.Wait(t, "let in", func() bool { _, ok := o.drained("n1"); return !ok })
	assert.NotContains(t, o.get("/nodes").Body.String(), "not listed")
}

// untouched is the form of a page as a browser sends it when nobody has typed anything.
func (o *office) untouched(at, action string) url.Values {
	o.Helper()
	_, body, ok := strings.Cut(o.get(at).Body.String(), `action="`+action+`"`)
	require.True(o, ok, at)
	body, _, _ = strings.Cut(body, "</form>")
	form := url.Values{}
	send := func(name, value string) {
		lines := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(html.UnescapeString(value))
		form.Set(name, strings.ReplaceAll(lines, "\n", "\r\n"))
	}
	for _, tag := range regexp.MustCompile(`<input [^>]*>`).FindAllString(body, -1) {
		name, value := regexp.MustCompile(`name="([^"]*)"`).FindStringSubmatch(tag), regexp.MustCompile(`value="([^"]*)"`).FindStringSubmatch(tag)
		require.NotNil(o, value, tag)
		send(name[1], value[1])
	}
	for _, area := range regexp.MustCompile(`(?s)<textarea [^>]*name="([^"]*)"[^>]*>\n(.*?)</textarea>`).FindAllStringSubmatch(body, -1) {
		send(area[1], area[2])
	}
	return form
}

// Who saves a form as it was has changed nothing.
func TestAFormThatNobodyTouchedChangesNothing(t *testing.T) {
	o := open(t)
	t.Run("an event", func(t *testing.T) {
		draft := event.NewDraft(time.Now())
		draft.Title, draft.SKU, draft.Price.Currency, draft.Total = "A draft", "S", "EUR", 1
		draft.Window = record.Window{Opens: time.Date(2036, 1, 2, 3, 4, 5, 678_000_000, time.UTC), Closes: time.Date(2036, 1, 2, 3, 5, 0, 0, time.UTC)}
		made := must[event.Event](t)(event.Create(t.Context(), o.store, draft))
		at := "/events/" + made.ID.String() + "/edit"
		assert.Contains(t, o.get(at).Body.String(), `step="0.001" value="2036-01-02T03:04:05.678"`)
		require.Equal(t, http.StatusSeeOther, o.do(sent{path: at, form: o.untouched(at, at), as: access.Admin}).Code)
		saved := must[event.Event](t)(event.Get(t.Context(), o.store, made.ID))
		assert.Equal(t, made.Event, saved.Event)
		assert.Contains(t, o.get(at).Body.String(), `step="1" value="2036-01-02T03:05:00"`)
		assert.NotContains(t, o.get("/events/new").Body.String(), "0.001")
	})
	for name, value := range map[string]string{"lines of Windows": "a\r\nb\r\n\r\n", "lines": "a\nb\n", "one line": "a", "begins with one": "\r\na"} {
		t.Run("a key, "+name, func(t *testing.T) {
			must[backend.Revision](t)(o.store.Put(t.Context(), "notes/k", []byte(value)))
			require.Equal(t, http.StatusSeeOther, o.do(sent{path: "/key", form: o.untouched("/key?key=notes/k", "/key"), as: access.Admin}).Code)
			saved := must[backend.Entry](t)(o.store.Get(t.Context(), "notes/k"))
			assert.Equal(t, value, string(saved.Value))
			assert.NotContains(t, o.get("/key?key=notes/k").Body.String(), "line ends")
		})
	}
	t.Run("a key, of both kinds", func(t *testing.T) {
		for _, value := range []string{"a\r\nb\n", "a\rb"} {
			must[backend.Revision](t)(o.store.Put(t.Context(), "notes/k", []byte(value)))
			assert.Contains(t, o.get("/key?key=notes/k").Body.String(), "line ends", "they can’t be kept")
		}
	})
	t.Run("the config", func(t *testing.T) {
		const value = "{\r\n\"logLevel\": \"warn\"\r\n}"
		must[backend.Revision](t)(o.store.Put(t.Context(), "config", []byte(value)))
		w := o.do(sent{path: "/config/review", form: o.untouched("/config", "/config/review"), as: access.Admin})
		assert.Contains(t, w.Body.String(), "Nothing differs")
		form := o.untouched("/config", "/config/review")
		form.Set("value", strings.Replace(form.Get("value"), "warn", "error", 1))
		w = o.do(sent{path: "/config/review", form: form, as: access.Admin})
		assert.Equal(t, 1, strings.Count(w.Body.String(), `class="out"`), "one line differs")
		assert.Equal(t, 3, strings.Count(w.Body.String(), `name="lineEnds"`), "and each step from there keeps them")
	})
}
