package console

import (
	"net/http"
	"net/url"

	"github.com/seed27495941/seckill/app/web"
)

// A confirmation asks before a step is taken.
type confirmation struct {
	Question     string
	Consequences []string
	Facts        []fact
	Action       string // where the form goes: the page's own path if empty
	Back         string
	Button       string
	Destroys     bool
	Hidden       []hidden
	Type         string // what is to be typed, "": nothing
	Why          bool   // for those who read the history
}

type fact struct{ Name, Value string }

type hidden struct{ Name, Value string }

func (p *page) confirm(c confirmation) error { return p.confirming(c)(http.StatusOK) }

// confirming shows a confirmation, which may have been refused before.
func (p *page) confirming(c confirmation) func(status int, options ...option) error {
	if c.Action == "" {
		c.Action = p.r.URL.Path
	}
	return func(status int, options ...option) error {
		return p.show(status, "confirm", c.Question, c, options...)
	}
}

// confirmed reads the form of a confirmation, in which something was to be typed.
func (p *page) confirmed(typed string) (url.Values, error) {
	form, err := p.form()
	if err != nil {
		return nil, err
	}
	if form.Get("typed") != typed {
		return nil, web.NewProblem(http.StatusUnprocessableEntity, "not_confirmed", "Nothing was done: what was typed is not "+typed+".")
	}
	return form, nil
}
