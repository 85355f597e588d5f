package console

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/web"
)

// A page is a request for one, and what answers it.
type page struct {
	*Console
	w   http.ResponseWriter
	r   *http.Request
	ctx context.Context // bounded, but for streams
	who access.Principal

	secure bool // it came over TLS
}

// A frame is what a page is shown with.
type frame struct {
	Title string
	Data  any

	User            string
	Role            access.Role
	Operator, Admin bool
	Pages           []link
	Store           storeState

	Self     string       // the page's address, or that of the page whose form was sent
	Stream   string       // where the page is told what is new; "": nowhere
	More     string       // the list's next page
	Flash    *flash       // what came of the last step
	Problem  *web.Problem // why nothing was saved
	Conflict *conflict
	Refused  refused
}

// A refused form is shown again, with what was typed into it.
type refused struct {
	Step string // which form of the page it is: the last part of its address
	url.Values
}

// Typed is what a field of a form begins with: what was typed, if that form was refused.
func (f frame) Typed(step, name string, otherwise any) string {
	if f.Refused.Step == step {
		return f.Refused.Get(name)
	}
	return fmt.Sprint(otherwise)
}

// Wrong is what is wrong with a field of a form that was refused; step "" is the page's
// only form.
func (f frame) Wrong(step, name string) (wrong []string) {
	if f.Problem == nil || step != "" && f.Refused.Step != step {
		return nil
	}
	for _, fault := range f.Problem.Faults {
		if place(fault.Where) == name {
			wrong = append(wrong, fault.What)
		}
	}
	return wrong
}

// place is the field that a fault is in: the service says where in a request it is, as
// body.labels.zone.
func place(where string) string {
	_, in, ok := strings.Cut(where, ".")
	if !ok {
		in = where
	}
	name, _, _ := strings.Cut(in, ".")
	name, _, _ = strings.Cut(name, "[")
	return name
}

type link struct {
	Path, Name string
	role       access.Role // that it takes to see anything there
	Here       bool
}

var menu = []link{
	{"/", "Overview", access.Viewer, false},
	{"/events", "Events", access.Viewer, false},
	{"/goods", "Goods", access.Viewer, false},
	{"/topics", "Topics", access.Viewer, false},
	{"/orders", "Orders", access.Operator, false},
	{"/nodes", "Nodes", access.Viewer, false},
	{"/blacklist", "Blacklist", access.Viewer, false},
	{"/config", "Config", access.Viewer, false},
	{"/keys", "Keys", access.Viewer, false},
	{"/jobs", "Jobs", access.Viewer, false},
	{"/users", "Users", access.Admin, false},
	{"/audit", "Audit", access.Viewer, false},
}

// An option changes how a page is shown.
type option func(*frame)

func live(at string) option { return func(f *frame) { f.Stream = at } }

func troubled(p *web.Problem) option { return func(f *frame) { f.Problem = p } }

// keeping has the form that the page was sent show what was typed.
func (p *page) keeping(form url.Values) option {
	return func(f *frame) { f.Refused = refused{path.Base(p.r.URL.Path), form} }
}

// again shows a form that was refused, with why. Who may not do it at all is told on a
// page of its own.
func (p *page) again(err error, form url.Values, show func(status int, options ...option) error) error {
	problem := p.problem(err)
	if final(problem) {
		return problem
	}
	return show(problem.Status, troubled(problem), p.keeping(form))
}

// final reports whether there is nothing to be said about a step on the page that it was
// taken from.
func final(problem *web.Problem) bool {
	switch problem.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusInternalServerError:
		return true
	}
	return false
}

// show answers with a page.
func (p *page) show(status int, view, title string, data any, options ...option) error {
	f := frame{Title: title, Data: data, Self: p.self(), Flash: p.takeFlash()}
	if p.who.Name != "" {
		f.User, f.Role = p.who.Name, p.who.Role
		f.Operator, f.Admin = p.who.Role.Includes(access.Operator), p.who.Role.Includes(access.Admin)
		f.Store = p.storeState()
		f.Pages = p.pages()
	}
	for _, o := range options {
		o(&f)
	}
	var b bytes.Buffer
	if err := p.views.page(&b, view, f); err != nil {
		return err
	}
	p.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	p.w.WriteHeader(status)
	_, _ = p.w.Write(b.Bytes())
	return nil
}

// pages are those that somebody may see.
func (p *page) pages() (links []link) {
	if p.who.MustChange {
		return nil
	}
	section, _, _ := strings.Cut(strings.TrimPrefix(p.r.URL.Path, "/"), "/")
	if section == "key" {
		section = "keys"
	}
	for _, l := range menu {
		if p.who.Role.Includes(l.role) {
			l.Here = l.Path == "/"+section
			links = append(links, l)
		}
	}
	return links
}

// refuse answers with why a page can't be shown, or sends to where it can.
func (p *page) refuse(err error) {
	problem := p.problem(err)
	switch {
	case problem.Status == http.StatusUnauthorized && p.r.Method == http.MethodGet && !wantsStream(p.r):
		p.w.Header().Set("Location", "/login?next="+url.QueryEscape(p.r.URL.RequestURI()))
		p.w.WriteHeader(http.StatusSeeOther)
		return
	case problem.Code == "must_change_password" && !wantsStream(p.r):
		p.w.Header().Set("Location", "/password")
		p.w.WriteHeader(http.StatusSeeOther)
		return
	}
	for name, values := range problem.GetHeaders() {
		p.w.Header()[name] = values
	}
	title := map[int]string{
		http.StatusNotFound:            "Not here",
		http.StatusForbidden:           "Not allowed",
		http.StatusUnauthorized:        "Log in first",
		http.StatusServiceUnavailable:  "The store does not answer",
		http.StatusInternalServerError: "Something is broken",
	}[problem.Status]
	switch {
	case problem.Code == tooMuch:
		title = "Too much at once"
	case title == "":
		title = http.StatusText(problem.Status)
	}
	if err := p.show(problem.Status, "error", title, p.deadEnd(problem)); err != nil {
		p.cfg.Log.Error("a page could not be shown", "path", p.r.URL.Path, "error", err)
		http.Error(p.w, "the page could not be shown", http.StatusInternalServerError)
	}
}

// tooMuch is the code of what this process has no room for: the store has not been asked.
const tooMuch = "busy"

// Away reports whether it is that the store does not answer.
func (d dead) Away() bool { return d.Status == http.StatusServiceUnavailable && d.Code != tooMuch }

// self is where the page is that is shown. That of a form is where the form was: its own
// address has none, so that it can't be loaded again.
func (p *page) self() string {
	if p.r.Method != http.MethodPost {
		return local(p.r.URL.RequestURI())
	}
	from, err := url.Parse(p.r.Referer())
	if err != nil || from.Host != p.r.Host {
		from = &url.URL{Path: path.Dir(p.r.URL.Path)}
	}
	for at := path.Clean("/" + from.Path); at != "/"; at = path.Dir(at) {
		if p.isPage(at) {
			return (&url.URL{Path: at, RawQuery: from.RawQuery}).RequestURI()
		}
		from.RawQuery = ""
	}
	return "/"
}

// A dead end is where a step led that could not be taken.
type dead struct {
	*web.Problem
	Sent  bool     // it was a form
	Typed []hidden // into it
	Again []hidden // all of it, if it can be sent again and does nothing twice
	To    string   // where it is sent
}

// silent are the fields that are not shown again: nobody has typed them, or nobody else is
// to see them.
var silent = map[string]bool{"etag": true, "lineEnds": true, "typed": true, "next": true, "user": true}

// confidential are the fields that are not even sent back.
var confidential = map[string]bool{"password": true, "old": true, "new": true, "again": true}

// deadEnd has what the form had that was sent, if it was read: it may be nowhere else. It
// can be sent again if nothing was done for certain, or if it is about one revision.
func (p *page) deadEnd(problem *web.Problem) dead {
	d := dead{Problem: problem, Sent: p.r.Method == http.MethodPost, To: local(p.r.URL.RequestURI())}
	form := p.r.PostForm //nolint:forbidigo // the request's, not the function of that name
	again := problem.Status == http.StatusUnauthorized || problem.Status == http.StatusServiceUnavailable && form.Get("etag") != ""
	for _, name := range slices.Sorted(maps.Keys(form)) {
		text := form.Get(name)
		if again = again && !confidential[name]; again {
			d.Again = append(d.Again, hidden{name, text})
		}
		if text != "" && !silent[name] && !confidential[name] {
			d.Typed = append(d.Typed, hidden{name, text})
		}
	}
	if !again {
		d.Again = nil
	}
	return d
}

// problem is what is wrong, for whoever asks.
func (p *page) problem(err error) *web.Problem {
	var known *web.Problem
	var long *http.MaxBytesError
	switch {
	case errors.As(access.Problem(err), &known):
		return p.inWords(known)
	case errors.As(err, &long):
		return web.NewProblem(http.StatusRequestEntityTooLarge, "too_large", "That is more than a form may have.")
	}
	p.cfg.Log.Error("a page failed", "path", p.r.URL.Path, "error", err)
	return web.NewProblem(http.StatusInternalServerError, "internal", "The log of this process has more.")
}

// inWords tells people what programs are told about the headers of a request.
func (p *page) inWords(problem *web.Problem) *web.Problem {
	headers := slices.ContainsFunc(problem.Faults, func(f web.Fault) bool { return strings.HasPrefix(f.Where, "header.") })
	switch {
	case problem.Code == "changed":
		return web.NewProblem(problem.Status, problem.Code, p.whatChanged(revision(problem.GetHeaders().Get("ETag"))))
	case problem.Code == "precondition_required" || headers:
		return web.NewProblem(problem.Status, problem.Code, "The form did not say which revision it was made from, so nothing was done. Open the page again.")
	}
	return problem
}

// whatChanged tells what happened since a form was shown. now is the revision that there
// is, "" if that is not known.
func (p *page) whatChanged(now string) string {
	seen := revision(p.r.PostForm.Get("etag")) //nolint:forbidigo // the request's, not the function of that name
	switch {
	case seen == "":
		return "Somebody else changed it at the same moment, so nothing was done. Look at what is there now, then do it again."
	case now == "" || now == seen:
		return "You saw revision " + seen + ". Somebody has changed or deleted it since, so nothing was done. Look at what is there now, then do it again."
	}
	return "You saw revision " + seen + ". Somebody has changed it since: it is at revision " + now + " now, so nothing was done. Look at what is there, then do it again."
}

// revision is the number in the name of a version.
func revision(etag string) string { return strings.Trim(etag, `"`) }

// form reads what was typed. Errors: what can't be a form.
func (p *page) form() (url.Values, error) {
	if err := p.r.ParseForm(); err != nil {
		var long *http.MaxBytesError
		if errors.As(err, &long) {
			return nil, err
		}
		return nil, web.NewProblem(http.StatusBadRequest, "malformed", "The form can’t be read.")
	}
	form := p.r.PostForm //nolint:forbidigo // the request's, not the function of that name
	for _, values := range form {
		for i := range values {
			values[i] = strings.ReplaceAll(values[i], "\r\n", "\n") // which is how browsers send what was typed as a line's end
		}
	}
	if form.Get("lineEnds") == crlf {
		form.Set("value", strings.ReplaceAll(form.Get("value"), "\n", "\r\n"))
	}
	return form, nil
}

// crlf is what a form says of a value whose lines end so: browsers send all alike.
const crlf = "crlf"

// lineEnds tells how the lines of a value end: crlf, mixed if a form can't keep it, or "".
func lineEnds(value string) string {
	returns, ends := strings.Count(value, "\r"), strings.Count(value, "\r\n")
	switch {
	case returns == 0:
		return ""
	case returns == ends && ends == strings.Count(value, "\n"):
		return crlf
	}
	return "mixed"
}

// leave sends the browser to another page, with a word on what came of this one.
func (p *page) leave(to string, said flash) error {
	p.putFlash(said)
	p.w.Header().Set("Location", to)
	p.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// did sends the browser on after a step: to where it can be seen, or with err to where
// it began. Who may not do it at all is told on a page of its own.
func (p *page) did(err error, to, done, from string) error {
	if err == nil {
		return p.leave(to, flash{"good", done})
	}
	problem := p.problem(err)
	if final(problem) {
		return problem
	}
	return p.leave(from, flash{"bad", sentence(problem)})
}

// sentence is a problem in one.
func sentence(p *web.Problem) string {
	text := p.Detail
	for _, f := range p.Faults {
		text += "; " + f.What
	}
	return text
}

// A flash is a word that the next page begins with.
type flash struct {
	Kind string // as the style sheet has it: good, care or bad
	Text string
}

const longestFlash = 1000

func (p *page) putFlash(f flash) {
	if len(f.Text) > longestFlash {
		f.Text = strings.ToValidUTF8(f.Text[:longestFlash], "") + "…"
	}
	http.SetCookie(p.w, p.flashCookie(base64.RawURLEncoding.EncodeToString([]byte(f.Kind+" "+f.Text)), 60))
}

func (p *page) flashCookie(value string, seconds int) *http.Cookie {
	return &http.Cookie{
		Name: p.flashName(), Value: value, Path: "/", MaxAge: seconds,
		HttpOnly: true, Secure: p.secure, SameSite: http.SameSiteLaxMode,
	}
}

// flashName makes browsers refuse a cookie that did not come over TLS, where there is TLS:
// so it is with the session's.
func (p *page) flashName() string {
	if p.secure {
		return "__Host-seckill-flash"
	}
	return "seckill-flash"
}

// takeFlash reads the word that was left by the page before, once.
func (p *page) takeFlash() *flash {
	cookie, err := p.r.Cookie(p.flashName())
	if err != nil {
		return nil
	}
	http.SetCookie(p.w, p.flashCookie("", -1))
	decoded, err := base64.RawURLEncoding.DecodeString(cookie.Value)
	kind, text, _ := strings.Cut(string(decoded), " ")
	if err != nil || text == "" {
		return nil
	}
	f := flash{kind, text}
	if f.Kind != "good" && f.Kind != "care" {
		f.Kind = "bad"
	}
	return &f
}

// A conflict is what somebody else has changed meanwhile. A revision is "" where nothing
// was, or is.
type conflict struct {
	Seen, Have string
	Fields     []difference
}

// A difference is a field of which there are two versions.
type difference struct{ Name, Mine, Theirs string }

// A field is one of a form, as it is typed.
type field struct{ name, text string }

// compare lists the fields that differ.
func compare(seen, have string, mine, theirs []field) *conflict {
	c := &conflict{Seen: revision(seen), Have: revision(have)}
	for i, m := range mine {
		their := ""
		if i < len(theirs) {
			their = theirs[i].text
		}
		if m.text != their {
			c.Fields = append(c.Fields, difference{m.name, m.text, their})
		}
	}
	return c
}

func conflicting(c *conflict) option { return func(f *frame) { f.Conflict = c } }

// views are the templates, by the name of the page.
type views map[string]*template.Template
