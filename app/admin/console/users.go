package console

import (
	"net/http"
	"strconv"
	"time"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/web"
)

type usersPage struct {
	Users    []admin.User
	Tokens   []admin.Token
	Problems []string
	Roles    []access.Role
}

const usersAt = "/users"

func (p *page) users() error { return p.showUsers(http.StatusOK) }

func (p *page) showUsers(status int, options ...option) error {
	users, err := p.cfg.Service.ListUsers(p.ctx, nil)
	if err != nil {
		return err
	}
	tokens, err := p.cfg.Service.ListTokens(p.ctx, nil)
	if err != nil {
		return err
	}
	return p.show(status, "users", "Users and tokens", usersPage{
		users.Body.Users, tokens.Body.Tokens, append(users.Body.Problems, tokens.Body.Problems...),
		[]access.Role{access.Viewer, access.Operator, access.Admin},
	}, options...)
}

// A secret is shown once: it goes into no address and no cookie, so not by way of
// another page.
type secret struct{ Label, Secret string }

func (p *page) addUser() error {
	form, err := p.form()
	if err != nil {
		return err
	}
	in := &admin.AddUserInput{}
	in.Body.Name, in.Body.Role = form.Get("name"), access.Role(form.Get("role"))
	made, err := p.cfg.Service.AddUser(p.ctx, in)
	if err != nil {
		return p.again(err, form, p.showUsers)
	}
	return p.show(http.StatusOK, "secret", made.Body.Name+" may log in", secret{"Password for the first login", made.Body.Password})
}

func (p *page) setRole() error {
	form, err := p.form()
	if err != nil {
		return err
	}
	in := &admin.RoleInput{UserPath: p.userPath()}
	in.Body.Role = access.Role(form.Get("role"))
	_, err = p.cfg.Service.SetRole(p.ctx, in)
	return p.did(err, usersAt, in.Name+" is "+string(in.Body.Role)+" now.", usersAt)
}

func (p *page) userPath() admin.UserPath { return admin.UserPath{Name: p.r.PathValue("id")} }

func (p *page) confirmUser() error {
	name := p.r.PathValue("id")
	if !p.who.Role.Includes(access.Admin) {
		return access.Check(p.r.Context(), access.Admin)
	}
	switch p.r.PathValue("step") {
	case "reset":
		return p.confirm(confirmation{
			Question: "Reset the password of " + name + "?", Back: usersAt, Button: "Reset it",
			Consequences: []string{"A password for one login is made, and shown to you once. The present one stops working, and all sessions of " + name + " end."},
		})
	case "remove":
		return p.confirm(confirmation{
			Question: "Remove " + name + "?", Back: usersAt, Button: "Remove", Destroys: true, Type: name,
			Consequences: []string{"Sessions and tokens of " + name + " count no more. It can’t be undone."},
		})
	}
	return web.NewProblem(http.StatusNotFound, "not_found", "There is no such page.")
}

func (p *page) changeUser() error {
	at := p.userPath()
	switch p.r.PathValue("step") {
	case "reset":
		made, err := p.cfg.Service.ResetPassword(p.ctx, &at)
		if err != nil {
			return p.did(err, "", "", usersAt)
		}
		return p.show(http.StatusOK, "secret", "A new password for "+at.Name, secret{"Password for the next login", made.Body.Password})
	case "remove":
		if _, err := p.confirmed(at.Name); err != nil {
			return err
		}
		_, err := p.cfg.Service.RemoveUser(p.ctx, &at)
		return p.did(err, usersAt, at.Name+" is removed.", usersAt)
	}
	return web.NewProblem(http.StatusNotFound, "not_found", "There is no such page.")
}

func (p *page) makeToken() error {
	form, err := p.form()
	if err != nil {
		return err
	}
	in := &admin.TokenInput{}
	in.Body.Name, in.Body.Role = form.Get("name"), access.Role(form.Get("role"))
	if text := form.Get("days"); text != "" {
		days, err := strconv.Atoi(text)
		if err != nil || days < 1 || days > 36500 {
			return p.again(wrong("days", "expected a whole number from 1 on, 36500 at most, or nothing for never"), form, p.showUsers)
		}
		in.Body.Expires = time.Now().UTC().AddDate(0, 0, days).Truncate(time.Second)
	}
	made, err := p.cfg.Service.CreateToken(p.ctx, in)
	if err != nil {
		return p.again(err, form, p.showUsers)
	}
	return p.show(http.StatusOK, "secret", "A token for "+made.Body.Name, secret{"To be sent as Authorization: Bearer …", made.Body.Text})
}

func (p *page) confirmToken() error {
	tokens, err := p.cfg.Service.ListTokens(p.ctx, nil)
	if err != nil {
		return err
	}
	for _, t := range tokens.Body.Tokens {
		if t.ID == p.r.PathValue("id") {
			return p.confirm(confirmation{
				Question: "Revoke the token “" + t.Name + "”?", Back: usersAt, Button: "Revoke", Destroys: true,
				Consequences: []string{"The program that has it is let in no more. It can’t be undone."},
				Facts:        []fact{{"Owner", t.Owner}, {"Role", string(t.Role)}, {"Ends with", t.LastFour}},
			})
		}
	}
	return web.NewProblem(http.StatusNotFound, "not_found", "There is no such token.")
}

func (p *page) revokeToken() error {
	_, err := p.cfg.Service.RevokeToken(p.ctx, &admin.TokenPath{ID: p.r.PathValue("id")})
	return p.did(err, usersAt, "The token counts no more.", usersAt)
}
