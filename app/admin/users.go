package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/seed27495941/seckill/app/admin/access"
)

// A Session is who somebody is here.
type Session struct {
	Name       string      `json:"name"`
	Role       access.Role `json:"role" enum:"viewer,operator,admin"`
	Via        access.Via  `json:"via" enum:"session,token"`
	MustChange bool        `json:"mustChange" doc:"The password was for one use: change it first"`
}

// A Begun session comes with a cookie.
type Begun struct {
	SetCookie    http.Cookie `header:"Set-Cookie"`
	CacheControl string      `header:"Cache-Control"`
	Body         Session
}

// Ended takes the cookie away.
type Ended struct {
	SetCookie http.Cookie `header:"Set-Cookie"`
}

// LoginInput is who wants to come in.
type LoginInput struct {
	Body struct {
		Name     string `json:"name" maxLength:"64"`
		Password string `json:"password" maxLength:"1024"`
	}
}

// PasswordInput is a new password of who asks.
type PasswordInput struct {
	Body struct {
		From string `json:"from" maxLength:"1024" doc:"The present one"`
		To   string `json:"to" maxLength:"1024" doc:"Another one, of 12 to 256 characters"`
	}
}

func show(p access.Principal) Session { return Session{p.Name, p.Role, p.Via, p.MustChange} }

// Login begins a session.
func (s *Service) Login(ctx context.Context, in *LoginInput) (*Begun, error) {
	if err := fits(in); err != nil {
		return nil, err
	}
	login, err := s.cfg.Access.Login(ctx, in.Body.Name, in.Body.Password)
	if err != nil {
		return nil, s.refuse(access.Problem(err), "")
	}
	return &Begun{login.Cookie, "no-store", show(login.Principal)}, nil
}

// ChangePassword gives who asks a new password, and ends the sessions there were.
func (s *Service) ChangePassword(ctx context.Context, in *PasswordInput) (*Begun, error) {
	if err := fits(in); err != nil {
		return nil, err
	}
	login, err := s.cfg.Access.ChangePassword(ctx, in.Body.From, in.Body.To)
	if err != nil {
		return nil, s.refuse(access.Problem(err), "")
	}
	return &Begun{login.Cookie, "no-store", show(login.Principal)}, nil
}

// Logout ends the session of who asks.
func (s *Service) Logout(ctx context.Context, _ *struct{}) (*Ended, error) {
	cookie, err := s.cfg.Access.Logout(ctx)
	if err != nil {
		return nil, s.refuse(access.Problem(err), "")
	}
	return &Ended{cookie}, nil
}

// Whoami tells who asks.
func (s *Service) Whoami(ctx context.Context, _ *struct{}) (*Answer[Session], error) {
	who, ok := access.FromContext(ctx)
	if !ok {
		return nil, s.allow(ctx, access.Viewer)
	}
	return answer(show(who)), nil
}

// A User is somebody who may log in.
type User struct {
	Name       string      `json:"name"`
	Role       access.Role `json:"role" enum:"viewer,operator,admin"`
	MustChange bool        `json:"mustChange" doc:"The password is for one use, and has not been changed yet"`
	Created    time.Time   `json:"created"`
	Changed    time.Time   `json:"changed" doc:"When password or role last were"`
}

// A UserList is all users.
type UserList struct {
	Users    []User   `json:"users" nullable:"false"`
	Problems []string `json:"problems,omitempty" nullable:"false" doc:"Records that can't be read, and why"`
}

// UserPath names a user.
type UserPath struct {
	Name string `path:"name" maxLength:"64"`
}

// AddUserInput is somebody who is to be let in.
type AddUserInput struct {
	Body struct {
		Name string      `json:"name" maxLength:"64"`
		Role access.Role `json:"role" enum:"viewer,operator,admin"`
	}
}

// RoleInput is another role of a user.
type RoleInput struct {
	UserPath
	Body struct {
		Role access.Role `json:"role" enum:"viewer,operator,admin"`
	}
}

// A OneTime is a password for the next login, where it has to be changed. It is shown
// this once.
type OneTime struct {
	Name     string `json:"name"`
	Password string `json:"password"`
}

// A Secret is an answer that nobody is to keep.
type Secret[T any] struct {
	CacheControl string `header:"Cache-Control"`
	Body         T
}

func secret[T any](body T) *Secret[T] { return &Secret[T]{"no-store", body} }

// ListUsers lists the users.
func (s *Service) ListUsers(ctx context.Context, _ *struct{}) (*Answer[UserList], error) {
	if err := s.allow(ctx, access.Admin); err != nil {
		return nil, err
	}
	users, problems, err := s.cfg.Access.Accounts().Users(ctx)
	if err != nil {
		return nil, s.refuse(err, "")
	}
	list := UserList{Users: []User{}, Problems: texts(problems)}
	for _, u := range users {
		list.Users = append(list.Users, User(u))
	}
	return answer(list), nil
}

func texts(errs []error) (texts []string) {
	for _, err := range errs {
		texts = append(texts, err.Error())
	}
	return texts
}

// AddUser makes a user.
func (s *Service) AddUser(ctx context.Context, in *AddUserInput) (*Secret[OneTime], error) {
	var password string
	err := s.account(ctx, "user.add", in.Body.Name, in, map[string]any{"role": in.Body.Role}, func(ctx context.Context) (err error) {
		password, err = s.cfg.Access.Accounts().Add(ctx, in.Body.Name, in.Body.Role)
		return err
	})
	if err != nil {
		return nil, err
	}
	return secret(OneTime{in.Body.Name, password}), nil
}

// SetRole gives a user another role, and ends the user's sessions.
func (s *Service) SetRole(ctx context.Context, in *RoleInput) (*struct{}, error) {
	return nil, s.account(ctx, "user.role", in.Name, in, map[string]any{"role": in.Body.Role}, func(ctx context.Context) error {
		return s.cfg.Access.Accounts().SetRole(ctx, in.Name, in.Body.Role)
	})
}

// ResetPassword gives a user a new password for the next login, and ends the user's
// sessions.
func (s *Service) ResetPassword(ctx context.Context, in *UserPath) (*Secret[OneTime], error) {
	var password string
	err := s.account(ctx, "user.reset", in.Name, in, nil, func(ctx context.Context) (err error) {
		password, err = s.cfg.Access.Accounts().Reset(ctx, in.Name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return secret(OneTime{in.Name, password}), nil
}

// RemoveUser removes a user: the user's sessions and tokens count no more.
func (s *Service) RemoveUser(ctx context.Context, in *UserPath) (*struct{}, error) {
	return nil, s.account(ctx, "user.remove", in.Name, in, nil, func(ctx context.Context) error {
		return s.cfg.Access.Accounts().Remove(ctx, in.Name)
	})
}

// account changes something about who may do what, as in says. after is what the audit log is told,
// which is never a secret.
func (s *Service) account(ctx context.Context, name, target string, in, after any, f func(context.Context) error) error {
	if err := s.may(ctx, access.Admin, in); err != nil {
		return err
	}
	_, err := do(ctx, s, deed{access.Admin, name, target}, nil, "", func(ctx context.Context) (any, error) {
		if err := f(ctx); err != nil {
			return nil, problemOf(err)
		}
		return after, nil
	})
	return err
}

// A Token lets a program in.
type Token struct {
	ID       string      `json:"id"`
	Name     string      `json:"name" doc:"What it is for"`
	Owner    string      `json:"owner"`
	Role     access.Role `json:"role" enum:"viewer,operator,admin" doc:"It may do what this and its owner's both may"`
	LastFour string      `json:"lastFour" doc:"Characters of its text"`
	Created  time.Time   `json:"created"`
	Expires  time.Time   `json:"expires,omitzero" doc:"Left out: never"`
}

// A TokenList is all tokens, also those that have expired.
type TokenList struct {
	Tokens   []Token  `json:"tokens" nullable:"false"`
	Problems []string `json:"problems,omitempty" nullable:"false" doc:"Records that can't be read, and why"`
}

// A NewToken has its text, which is shown this once.
type NewToken struct {
	Token
	Text string `json:"text" doc:"To be sent as Authorization: Bearer …"`
}

// TokenInput is a token that is to be.
type TokenInput struct {
	Body struct {
		Owner   string      `json:"owner,omitempty" maxLength:"64" doc:"Left out: who asks"`
		Name    string      `json:"name" minLength:"1" maxLength:"64" doc:"What it is for"`
		Role    access.Role `json:"role" enum:"viewer,operator,admin"`
		Expires time.Time   `json:"expires,omitzero" doc:"Left out: never"`
	}
}

// TokenPath names a token.
type TokenPath struct {
	ID string `path:"id" maxLength:"200"`
}

// ListTokens lists the tokens.
func (s *Service) ListTokens(ctx context.Context, _ *struct{}) (*Answer[TokenList], error) {
	if err := s.allow(ctx, access.Admin); err != nil {
		return nil, err
	}
	tokens, problems, err := s.cfg.Access.Accounts().Tokens(ctx)
	if err != nil {
		return nil, s.refuse(err, "")
	}
	list := TokenList{Tokens: []Token{}, Problems: texts(problems)}
	for _, t := range tokens {
		list.Tokens = append(list.Tokens, Token(t))
	}
	return answer(list), nil
}

// CreateToken makes a token.
func (s *Service) CreateToken(ctx context.Context, in *TokenInput) (*Secret[NewToken], error) {
	who, _ := access.FromContext(ctx)
	owner := in.Body.Owner
	if owner == "" {
		owner = who.Name
	}
	var made NewToken
	after := map[string]any{"name": in.Body.Name, "role": in.Body.Role, "expires": in.Body.Expires}
	err := s.account(ctx, "token.create", owner, in, after, func(ctx context.Context) error {
		text, t, err := s.cfg.Access.Accounts().CreateToken(ctx, owner, in.Body.Name, in.Body.Role, in.Body.Expires)
		made = NewToken{Token(t), text}
		after["id"] = t.ID
		return err
	})
	if err != nil {
		return nil, err
	}
	return secret(made), nil
}

// RevokeToken deletes a token: it counts no more.
func (s *Service) RevokeToken(ctx context.Context, in *TokenPath) (*struct{}, error) {
	return nil, s.account(ctx, "token.revoke", in.ID, in, nil, func(ctx context.Context) error {
		return s.cfg.Access.Accounts().RevokeToken(ctx, in.ID)
	})
}
