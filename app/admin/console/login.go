package console

import (
	"net/http"
	"strings"
	"unicode"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/web"
)

type loginForm struct{ Name, Next string }

func (p *page) login() error {
	if p.who.Name != "" {
		return p.onward(p.r.URL.Query().Get("next"))
	}
	return p.show(http.StatusOK, "login", "Log in", loginForm{Next: p.r.URL.Query().Get("next")})
}

func (p *page) doLogin() error {
	form, err := p.form()
	if err != nil {
		return err
	}
	login, err := p.cfg.Access.Login(p.r.Context(), form.Get("name"), form.Get("password"))
	if err != nil {
		p.who = access.Principal{}
		problem := p.problem(err)
		return p.show(problem.Status, "login", "Log in", loginForm{form.Get("name"), form.Get("next")}, p.toldWhen(problem))
	}
	http.SetCookie(p.w, &login.Cookie)
	if login.Principal.MustChange {
		return p.onward("/password")
	}
	return p.onward(form.Get("next"))
}

// toldWhen shows a problem, and tells the browser what the problem tells programs.
func (p *page) toldWhen(problem *web.Problem) option {
	for name, values := range problem.GetHeaders() {
		if name != "Www-Authenticate" { // which would have the browser ask by itself
			p.w.Header()[name] = values
		}
	}
	return troubled(problem)
}

// onward sends the browser to a page of the console, and nowhere else.
func (p *page) onward(to string) error {
	p.w.Header().Set("Location", local(to))
	p.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// local is an address if it is one of the console, else that of its first page.
func local(to string) string {
	if !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.Contains(to, `\`) || strings.ContainsFunc(to, unicode.IsControl) {
		return "/"
	}
	return to
}

func (p *page) logout() error {
	cookie, err := p.cfg.Access.Logout(p.r.Context())
	if err != nil {
		return err
	}
	http.SetCookie(p.w, &cookie)
	return p.onward("/login")
}

type passwordForm struct{ Required bool }

func (p *page) password() error {
	if p.who.Name == "" {
		return access.Check(p.r.Context(), access.Viewer)
	}
	return p.showPassword(http.StatusOK)
}

func (p *page) showPassword(status int, options ...option) error {
	return p.show(status, "password", "Password", passwordForm{p.who.MustChange}, options...)
}

func (p *page) changePassword() error {
	if p.who.Name == "" {
		return access.Check(p.r.Context(), access.Viewer)
	}
	form, err := p.form()
	if err != nil {
		return err
	}
	if form.Get("new") != form.Get("again") {
		return p.showPassword(http.StatusUnprocessableEntity, troubled(web.NewProblem(
			http.StatusUnprocessableEntity, "invalid", "The new password is not the same both times.")))
	}
	in := &admin.PasswordInput{}
	in.Body.From, in.Body.To = form.Get("old"), form.Get("new")
	begun, err := p.cfg.Service.ChangePassword(p.r.Context(), in)
	if err != nil {
		problem := p.problem(err)
		return p.showPassword(problem.Status, p.toldWhen(problem))
	}
	http.SetCookie(p.w, &begun.SetCookie)
	return p.leave("/", flash{"good", "The password is changed. Other sessions of yours have ended."})
}
