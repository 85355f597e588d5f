package api

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/conditional"
	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/gate"
	"github.com/seed27495941/seckill/app/sale/catalogue"
	"github.com/seed27495941/seckill/app/sale/event"
)

// forAMoment lets caches answer for many buyers, and no longer than figures are
// good for.
const forAMoment = "public, max-age=1"

// An Event is what buyers see of one.
type Event struct {
	ID      string          `json:"id"`
	Title   string          `json:"title"`
	SKU     string          `json:"sku"`
	Price   Money           `json:"price" doc:"Of one unit"`
	Opens   time.Time       `json:"opens"`
	Closes  time.Time       `json:"closes"`
	Total   int64           `json:"total" doc:"Units in the sale"`
	PerUser int64           `json:"per_user" doc:"Units that one buyer may have"`
	Phase   catalogue.Phase `json:"phase" enum:"scheduled,open,sold_out,suspended,ended"`
	Stock
}

// A Stock is how many units are left, as far as this process has heard.
type Stock struct {
	Remaining   *int64 `json:"remaining,omitempty" minimum:"0" doc:"Units that are in no order, as last heard; left out if nothing was heard yet"`
	Approximate bool   `json:"approximate" doc:"Always true: remaining is not what an order will find"`
}

// A Detail is all that buyers see of an event.
type Detail struct {
	Event
	Description string `json:"description,omitempty"`
	Goods       *Goods `json:"goods,omitempty" doc:"What the sku names, if the catalogue has it"`
}

// Goods are what an event sells.
type Goods struct {
	SKU         string   `json:"sku"`
	Title       string   `json:"title"`
	Description string   `json:"description,omitempty"`
	Images      []string `json:"images,omitempty" nullable:"false" doc:"URLs, or paths from the root of the shop"`
}

// A Topic is a page of events.
type Topic struct {
	ID          string  `json:"id"`
	Title       string  `json:"title"`
	Description string  `json:"description,omitempty"`
	Events      []Event `json:"events" nullable:"false" doc:"In the order of the page"`
}

func (s *Service) addPages() {
	tags := []string{"events"}
	huma.Register(s, huma.Operation{
		OperationID: "list-events", Method: http.MethodGet, Path: "/v1/events", Tags: tags,
		Summary:   "The events, in the order of their opening",
		Responses: s.pageResponses(invalid, undecided),
	}, s.listEvents)
	huma.Register(s, huma.Operation{
		OperationID: "get-event", Method: http.MethodGet, Path: "/v1/events/{id}", Tags: tags,
		Summary:   "An event",
		Responses: s.pageResponses(noSuchEvent, undecided),
	}, s.getEvent)
	huma.Register(s, huma.Operation{
		OperationID: "get-topic", Method: http.MethodGet, Path: "/v1/topics/{id}", Tags: tags,
		Summary:   "A page of events",
		Responses: s.pageResponses(noSuchTopic, undecided),
	}, s.getTopic)
}

func (s *Service) pageResponses(refusals ...code) map[string]*huma.Response {
	r := s.refusals(gate.Page, refusals...)
	r["304"] = &huma.Response{Description: "It is as If-None-Match says"}
	return r
}

// A page is an answer that may be kept for a moment.
type page[T any] struct {
	CacheControl string `header:"Cache-Control"`
	ETag         string `header:"ETag"`
	Body         T
}

// Known is what a client has of a page already.
type Known struct {
	IfNoneMatch []string `header:"If-None-Match" nullable:"false" doc:"The ETags of what is known already"`
}

// answerPage answers with a page, or that it is known.
func answerPage[T any](k Known, body T) (*page[T], error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, err // strings, numbers and times can be encoded
	}
	tag := strconv.FormatUint(xxhash.Sum64(encoded), 16)
	p := &page[T]{CacheControl: forAMoment, ETag: `"` + tag + `"`, Body: body}
	match := conditional.Params{IfNoneMatch: k.IfNoneMatch}
	if match.HasConditionalParams() {
		if same := match.PreconditionFailed(tag, time.Time{}); same != nil {
			return nil, huma.ErrorWithHeaders(same, http.Header{"Etag": {p.ETag}, "Cache-Control": {p.CacheControl}})
		}
	}
	return p, nil
}

type eventsQuery struct {
	Known
	After string `query:"after" doc:"The id of the event before the first one wanted: next, of the page before"`
	Limit int    `query:"limit" minimum:"1" maximum:"100" default:"20"`
}

// An EventList is a page of the list of events.
type EventList struct {
	Events []Event `json:"events" nullable:"false"`
	Next   string  `json:"next,omitempty" doc:"To be sent as after, to get the next page; left out on the last one"`
}

func (s *Service) listEvents(_ context.Context, in *eventsQuery) (*page[EventList], error) {
	if s.cfg.Catalogue.Staleness() < 0 {
		return nil, problem(undecided, "")
	}
	events := s.cfg.Catalogue.Events()
	if in.After != "" {
		after, refusal := s.event(in.After)
		if refusal != nil && refusal.Status == http.StatusNotFound {
			refusal = invalidAt("query.after", "there is no such event")
		}
		if refusal != nil {
			return nil, refusal
		}
		i, found := slices.BinarySearchFunc(events, after, catalogue.Compare)
		if found {
			i++
		}
		events = events[i:]
	}
	list := EventList{Events: []Event{}}
	if len(events) > in.Limit {
		events = events[:in.Limit]
		list.Next = events[in.Limit-1].ID.String()
	}
	for _, e := range events {
		list.Events = append(list.Events, s.show(e))
	}
	return answerPage(in.Known, list)
}

type eventPath struct {
	Known
	ID string `path:"id" doc:"The event's id"`
}

func (s *Service) getEvent(_ context.Context, in *eventPath) (*page[Detail], error) {
	e, refusal := s.event(in.ID)
	if refusal != nil {
		return nil, refusal
	}
	d := Detail{Event: s.show(e), Description: e.Description}
	if g, ok := s.cfg.Catalogue.Goods(e.SKU); ok {
		d.Goods = &Goods{SKU: g.SKU, Title: g.Title, Description: g.Description, Images: g.Images}
	}
	return answerPage(in.Known, d)
}

type topicPath struct {
	Known
	ID string `path:"id" doc:"The topic's id"`
}

func (s *Service) getTopic(_ context.Context, in *topicPath) (*page[Topic], error) {
	if s.cfg.Catalogue.Staleness() < 0 {
		return nil, problem(undecided, "")
	}
	t, ok := s.cfg.Catalogue.Topic(in.ID)
	if !ok {
		return nil, problem(noSuchTopic, "")
	}
	view := Topic{ID: in.ID, Title: t.Title, Description: t.Description, Events: []Event{}}
	for _, id := range t.Events {
		parsed, err := ulid.ParseStrict(id)
		if err != nil {
			continue // the record was validated
		}
		if e, ok := s.cfg.Catalogue.Event(parsed); ok {
			view.Events = append(view.Events, s.show(e))
		}
	}
	return answerPage(in.Known, view)
}

// show is what buyers see of an event at this moment.
func (s *Service) show(e event.Event) Event {
	phase, stock := s.now(e)
	return Event{
		ID: e.ID.String(), Title: e.Title, SKU: e.SKU,
		Price: Money{Minor: e.Price.Minor, Currency: e.Price.Currency},
		Opens: e.Window.Opens.UTC(), Closes: e.Window.Closes.UTC(),
		Total: e.Total, PerUser: e.PerUser, Phase: phase, Stock: stock,
	}
}

// now is the phase of an event and what is left of it.
func (s *Service) now(e event.Event) (catalogue.Phase, Stock) {
	stock, soldOut := Stock{Approximate: true}, false
	if f, ok := s.cfg.Seller.Figures(e.ID); ok {
		left := f.Remaining
		soldOut = f.SoldOut
		if soldOut {
			left = 0
		}
		stock.Remaining = &left
	}
	return catalogue.PhaseOf(e, time.Now(), soldOut), stock
}
