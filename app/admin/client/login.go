package client

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// Who is who one is for the service.
type Who struct {
	Name       string `json:"name"`
	Role       string `json:"role"`
	Via        string `json:"via"`
	MustChange bool   `json:"mustChange"` // the password was for one use
}

// Login begins a session. Errors: those of [Client.Do].
func (c *Client) Login(ctx context.Context, name, password string) (Session, Who, error) {
	return c.begin(ctx, Request{Method: http.MethodPost, Path: "/v1/login", Body: map[string]string{"name": name, "password": password}})
}

// ChangePassword gives the user of the session another password, which ends all sessions
// of the user and begins a new one. Errors: those of [Client.Do].
func (c *Client) ChangePassword(ctx context.Context, from, to string) (Session, Who, error) {
	return c.begin(ctx, Request{Method: http.MethodPut, Path: "/v1/password", Body: map[string]string{"from": from, "to": to}})
}

func (c *Client) begin(ctx context.Context, r Request) (Session, Who, error) {
	var who Who
	a, err := c.Do(ctx, r)
	if err != nil {
		return Session{}, who, err
	}
	if err := a.Decode(&who); err != nil {
		return Session{}, who, err
	}
	for _, cookie := range a.cookies {
		if cookie.MaxAge > 0 {
			expires := time.Now().Add(time.Duration(cookie.MaxAge) * time.Second).UTC().Truncate(time.Second)
			return Session{who.Name, cookie.Name, cookie.Value, expires}, who, nil
		}
	}
	return Session{}, who, errors.New("the admin service's answer has no session")
}

// Logout ends the session. Errors: those of [Client.Do].
func (c *Client) Logout(ctx context.Context) error {
	_, err := c.Do(ctx, Request{Method: http.MethodPost, Path: "/v1/logout"})
	return err
}
