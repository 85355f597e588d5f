package console

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/sale/catalogue"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/web"
)

func (p *page) events() error {
	list, err := p.cfg.Service.ListEvents(p.ctx, &admin.EventsQuery{Page: p.after()})
	if err != nil {
		return err
	}
	return p.show(http.StatusOK, "events", "Events", list.Body, p.more(list.Body.Next))
}

// An eventForm is an event as it is typed.
type eventForm struct {
	Title, Description, SKU, Price, Currency, Opens, Closes, Total, PerUser, PayWithin, Slots string
}

func (f eventForm) fields() []field {
	return []field{
		{"Title", f.Title},
		{"Description", f.Description},
		{"SKU", f.SKU},
		{"Price", f.Price},
		{"Currency", f.Currency},
		{"Opens", f.Opens},
		{"Closes", f.Closes},
		{"Units", f.Total},
		{"Units for each buyer", f.PerUser},
		{"Seconds to pay", f.PayWithin},
		{"Slots", f.Slots},
	}
}

// typedTime is how browsers send a date with a time, here in UTC. Events have milliseconds.
const typedTime = "2006-01-02T15:04:05.999"

func showEvent(e record.Event) eventForm {
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	at := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(typedTime)
	}
	f := eventForm{
		e.Title, e.Description, e.SKU, number(e.Price.Minor), e.Price.Currency, at(e.Window.Opens), at(e.Window.Closes),
		number(e.Total), number(e.PerUser), number(e.PayWithin), number(int64(e.Slots)),
	}
	return f
}

// draft makes of a form what the service takes. What is not even a number or a time is
// told field by field.
func (f eventForm) draft() ([]byte, error) {
	problem := web.NewProblem(http.StatusUnprocessableEntity, "invalid", "Some fields are not as they should be.")
	number := func(name, text string) int64 {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			problem.Faults = append(problem.Faults, web.Fault{Where: name, What: "expected a whole number"})
		}
		return n
	}
	at := func(name, text string) time.Time {
		t, err := time.Parse(typedTime, text)
		if err != nil {
			t, err = time.Parse(typedTime[:len("2006-01-02T15:04")], text)
		}
		if err != nil {
			problem.Faults = append(problem.Faults, web.Fault{Where: name, What: "expected a date and a time, as 2026-11-11T20:00:00"})
		}
		return t
	}
	e := record.Event{
		Title: f.Title, Description: f.Description, SKU: f.SKU,
		Price:   record.Price{Minor: number("Price", f.Price), Currency: f.Currency},
		Window:  record.Window{Opens: at("Opens", f.Opens), Closes: at("Closes", f.Closes)},
		Total:   number("Units", f.Total),
		PerUser: number("Units for each buyer", f.PerUser), PayWithin: number("Seconds to pay", f.PayWithin), Slots: int(number("Slots", f.Slots)),
	}
	if len(problem.Faults) > 0 {
		return nil, problem
	}
	return json.Marshal(e)
}

func (p *page) newEvent() error {
	f := showEvent(event.NewDraft(time.Now().Truncate(time.Second)))
	f.Price, f.Total = "", ""
	return p.show(http.StatusOK, "event-form", "New event", editor[eventForm]{New: true, Form: f})
}

func (p *page) editEvent() error {
	e, err := p.event()
	if err != nil {
		return err
	}
	if e.Body.Status != record.StatusDraft {
		return p.leave(eventPath(e.Body), flash{"care", "Only drafts can be edited."})
	}
	return p.show(http.StatusOK, "event-form", "Edit the draft", editor[eventForm]{ID: e.Body.ID.String(), ETag: e.ETag, Form: showEvent(e.Body.Event)})
}

func (p *page) event() (*admin.Versioned[event.Event], error) {
	return p.cfg.Service.GetEvent(p.ctx, &admin.EventPath{ID: p.r.PathValue("id")})
}

func eventPath(e event.Event) string { return "/events/" + e.ID.String() }

// typedEvent is an event as it was typed.
func (p *page) typedEvent() (e editor[eventForm], err error) {
	form, err := p.form()
	if err != nil {
		return e, err
	}
	get := form.Get
	e = editor[eventForm]{p.r.PathValue("id"), get("etag"), p.r.PathValue("id") == "", eventForm{
		get("title"), get("description"), get("sku"), get("price"), get("currency"), get("opens"), get("closes"),
		get("total"), get("perUser"), get("payWithin"), get("slots"),
	}}
	return e, nil
}

func (p *page) createEvent() error {
	e, err := p.typedEvent()
	if err != nil {
		return err
	}
	to := "/events"
	body, err := e.Form.draft()
	if err == nil {
		var made *admin.Created[event.Event]
		if made, err = p.cfg.Service.CreateEvent(p.ctx, &admin.Draft{RawBody: body}); err == nil {
			to = eventPath(made.Body)
		}
	}
	return edited(p, err, "event-form", to, e, func() (string, eventForm, error) { return "", eventForm{}, err })
}

func (p *page) saveEvent() error {
	e, err := p.typedEvent()
	if err != nil {
		return err
	}
	body, err := e.Form.draft()
	if err == nil {
		_, err = p.cfg.Service.EditEvent(p.ctx, &admin.DraftInput{
			EventPath: admin.EventPath{ID: e.ID}, Seen: admin.Seen{IfMatch: e.ETag}, Draft: admin.Draft{RawBody: body},
		})
	}
	return edited(p, err, "event-form", "/events/"+e.ID, e, func() (string, eventForm, error) {
		now, err := p.event()
		if err != nil {
			return "", eventForm{}, err
		}
		return now.ETag, showEvent(now.Body.Event), nil
	})
}

// phase is how a sale stands, in the words of buyers' pages.
func phase(e event.Event, soldOut bool, now time.Time) string {
	switch e.Status {
	case record.StatusOnline:
		return strings.ReplaceAll(string(catalogue.PhaseOf(e, now, soldOut)), "_", " ")
	case record.StatusDraft, record.StatusPublishing, record.StatusOffline, record.StatusClosing, record.StatusClosed, record.StatusArchived:
	}
	return string(e.Status)
}

// A step leads from one status of an event to another.
type step struct {
	Name, Label string
	Main        bool
	from        []record.Status
	question    string
	means       []string
	done        string
	destroys    bool
	take        func(*admin.Service, context.Context, *admin.EventSeen) (*admin.Versioned[event.Event], error)
}

var steps = []step{
	{
		Name: "publish", Label: "Publish…", Main: true, from: []record.Status{record.StatusDraft, record.StatusPublishing},
		question: "Publish", done: "It is published, and sells while its window is open.",
		means: []string{"From then on it sells while its window is open. Units for each buyer and slots are fixed for good; the rest can’t be edited either."},
		take:  (*admin.Service).PublishEvent,
	},
	{
		Name: "edit", Label: "Edit", from: []record.Status{record.StatusDraft},
	},
	{
		Name: "suspend", Label: "Pause…", from: []record.Status{record.StatusOnline},
		question: "Pause", done: "It is paused.",
		means: []string{"No new orders are taken until it goes on. Orders are paid and cancelled as before."},
		take:  (*admin.Service).SuspendEvent,
	},
	{
		Name: "resume", Label: "Go on…", Main: true, from: []record.Status{record.StatusOffline},
		question: "Go on with", done: "It goes on.",
		means: []string{"New orders are taken again while its window is open."},
		take:  (*admin.Service).ResumeEvent,
	},
	{
		Name: "close", Label: "Close…", from: []record.Status{record.StatusOnline, record.StatusOffline, record.StatusClosing},
		question: "Close", done: "It is closed for good.", destroys: true,
		means: []string{"The sale ends for good: it can’t be opened again. Orders that are not paid stay as they are."},
		take:  (*admin.Service).CloseEvent,
	},
	{
		Name: "delete", Label: "Delete…", from: []record.Status{record.StatusDraft},
		question: "Delete", done: "The draft is deleted.", destroys: true,
		means: []string{"The draft is gone then. It can’t be undone."},
		take: func(s *admin.Service, ctx context.Context, in *admin.EventSeen) (*admin.Versioned[event.Event], error) {
			_, err := s.DeleteEvent(ctx, in)
			return nil, err
		},
	},
}

// stepsFrom are those that lead from a status.
func stepsFrom(status record.Status) (possible []step) {
	for _, s := range steps {
		for _, from := range s.from {
			if from == status {
				possible = append(possible, s)
			}
		}
	}
	return possible
}

// step finds the step that the address names.
func (p *page) step() (step, error) {
	for _, s := range steps {
		if s.Name == p.r.PathValue("step") && s.take != nil {
			return s, nil
		}
	}
	return step{}, web.NewProblem(http.StatusNotFound, "not_found", "There is no such page.")
}

func (p *page) confirmStep() error {
	s, err := p.step()
	if err != nil {
		return err
	}
	e, err := p.event()
	if err != nil {
		return err
	}
	c := confirmation{
		Question: s.question + " “" + e.Body.Title + "”?", Consequences: s.means, Back: eventPath(e.Body), Destroys: s.destroys,
		Button: s.question + " it", Hidden: []hidden{{"etag", e.ETag}},
		Facts: []fact{
			{"Sells", e.Body.SKU + " at " + money(e.Body.Price)},
			{"Units", grouped(e.Body.Total) + ", at most " + grouped(e.Body.PerUser) + " for each buyer"},
			{"Window", e.Body.Window.Opens.UTC().Format(time.DateTime) + " to " + e.Body.Window.Closes.UTC().Format(time.DateTime) + " UTC"},
		},
	}
	if s.destroys {
		c.Type = e.Body.Title
	}
	return p.confirm(c)
}

func (p *page) takeStep() error {
	s, err := p.step()
	if err != nil {
		return err
	}
	form, err := p.form()
	if err != nil {
		return err
	}
	at := admin.EventPath{ID: p.r.PathValue("id")}
	if s.destroys {
		e, err := p.event()
		if err != nil {
			return err
		}
		if _, err := p.confirmed(e.Body.Title); err != nil {
			return err
		}
	}
	to := "/events/" + at.ID
	after := to
	if s.Name == "delete" {
		after = "/events"
	}
	_, err = s.take(p.cfg.Service, p.ctx, &admin.EventSeen{EventPath: at, Seen: seen(form)})
	return p.did(err, after, s.done, to)
}
