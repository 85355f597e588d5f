package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/gate"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/web"
	"github.com/seed27495941/seckill/backend"
)

// Money is an amount.
type Money struct {
	Minor    int64  `json:"minor" minimum:"0" doc:"In the currency's smallest unit"`
	Currency string `json:"currency" pattern:"^[A-Z]{3}$" doc:"ISO 4217" example:"EUR"`
}

// An Order is a buyer's, as buyers see it.
type Order struct {
	ID        string        `json:"id" doc:"The event's id, a hyphen, and one of its own"`
	Event     string        `json:"event"`
	RequestID string        `json:"request_id" doc:"The buyer's own name for the request"`
	Quantity  int64         `json:"quantity" minimum:"1"`
	Status    ledger.Status `json:"status" enum:"pending,paid,cancelled,expired,refund_due" doc:"refund_due: it was paid when it was over, and the money goes back"`
	Total     Money         `json:"total" doc:"What it costs"`
	PlacedAt  time.Time     `json:"placed_at"`
	PayBy     time.Time     `json:"pay_by" doc:"When a pending order expires"`
	ChangedAt time.Time     `json:"changed_at" doc:"When it got its status"`
}

func newOrder(e event.Event, o ledger.Order) Order {
	return Order{
		ID: record.PublicID(e.ID, o.ID), Event: e.ID.String(), RequestID: o.Request,
		Quantity: o.Quantity, Status: o.Status, Total: cost(e, o),
		PlacedAt: o.At.UTC(), PayBy: o.PayBy.UTC(), ChangedAt: o.Changed.UTC(),
	}
}

// cost is what an order costs: at most MaxPrice × MaxQuantity, which is no overflow.
func cost(e event.Event, o ledger.Order) Money {
	return Money{Minor: e.Price.Minor * o.Quantity, Currency: e.Price.Currency}
}

// A demand is what a buyer sends to get an order.
type demand struct {
	Quantity  int64  `json:"quantity" minimum:"1" maximum:"1048576" doc:"Units"`
	RequestID string `json:"request_id,omitempty" minLength:"1" maxLength:"64" doc:"The buyer's own name for this request, at most 64 bytes: there is one order for each. Left out if Idempotency-Key says it."`
}

const idempotencyHeader = "Idempotency-Key"

// placeOrder is the one path that has to be fast.
func (s *Service) placeOrder(w http.ResponseWriter, r *http.Request) {
	e, refusal := s.event(r.PathValue("id"))
	if refusal != nil {
		refusal.Write(w)
		return
	}
	d, refusal := readDemand(w, r)
	if refusal != nil {
		s.refuse(w, e.ID, refusal)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	var o ledger.Order
	var created bool
	var err error
	gate.Await(ctx, func() { o, created, err = s.cfg.Seller.Order(ctx, e.ID, d) })
	if err != nil {
		s.refuse(w, e.ID, s.verdict(ctx, err))
		return
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	view := newOrder(e, o)
	w.Header().Set("Location", "/v1/orders/"+view.ID)
	writeJSON(w, status, view)
}

// refuse answers with why there is no order, and counts it.
func (s *Service) refuse(w http.ResponseWriter, event ulid.ULID, why *web.Problem) {
	s.cfg.Seller.Refused(event, why.Code)
	why.Write(w)
}

// event finds an event by what a path says. An id that is none is that of no event.
func (s *Service) event(id string) (event.Event, *web.Problem) {
	parsed, err := ulid.ParseStrict(id)
	if err != nil {
		return event.Event{}, problem(noSuchEvent, "")
	}
	return s.find(parsed, noSuchEvent)
}

// find finds an event. Without it the code is the answer, but only if it is known that
// there is none: who is told so makes a new request, or gives a payment back.
func (s *Service) find(id ulid.ULID, without code) (event.Event, *web.Problem) {
	e, ok := s.cfg.Catalogue.Event(id)
	switch {
	case ok:
		return e, nil
	case s.cfg.Catalogue.MayHave(id):
		return event.Event{}, problem(undecided, "")
	}
	return event.Event{}, problem(without, "")
}

func readDemand(w http.ResponseWriter, r *http.Request) (ledger.Demand, *web.Problem) {
	body, refusal := readBody(w, r)
	if refusal != nil {
		return ledger.Demand{}, refusal
	}
	sent, plain := readPlain(body)
	if !plain {
		if sent, refusal = decode[demand](body); refusal != nil {
			return ledger.Demand{}, refusal
		}
	}
	request, refusal := requestID(sent.RequestID, r.Header.Get(idempotencyHeader))
	if refusal != nil {
		return ledger.Demand{}, refusal
	}
	d := ledger.Demand{User: gate.UserOf(r.Context()), Request: request, Quantity: sent.Quantity}
	if d.Quantity < 1 || d.Quantity > record.MaxQuantity {
		return d, invalidAt("body.quantity", fmt.Sprintf("%d, expected 1 to %d", d.Quantity, record.MaxQuantity))
	}
	return d, nil
}

// plainDemand is a demand as nearly all are sent.
var plainDemand = regexp.MustCompile(
	`^[ \t\r\n]*\{[ \t\r\n]*"quantity"[ \t\r\n]*:[ \t\r\n]*([1-9][0-9]{0,6})[ \t\r\n]*,` +
		`[ \t\r\n]*"request_id"[ \t\r\n]*:[ \t\r\n]*"([0-9A-Za-z._:-]{1,64})"[ \t\r\n]*\}[ \t\r\n]*$`)

// readPlain reads a plain demand in a fraction of the time that decode takes; false:
// it is not one, or none at all.
func readPlain(body []byte) (demand, bool) {
	m := plainDemand.FindSubmatch(body)
	if m == nil {
		return demand{}, false
	}
	quantity, err := strconv.ParseInt(string(m[1]), 10, 64)
	return demand{Quantity: quantity, RequestID: string(m[2])}, err == nil
}

// requestID is what the body and the header say, if they do not contradict. A
// header in quotes is the same as without.
func requestID(body, header string) (string, *web.Problem) {
	header = strings.TrimSuffix(strings.TrimPrefix(header, `"`), `"`)
	id := body
	if id == "" {
		id = header
	}
	switch {
	case header != "" && id != header:
		return "", invalidAt("body.request_id", fmt.Sprintf("%.64q, but %s says %.64q", body, idempotencyHeader, header))
	case id == "" || len(id) > record.MaxRequest || !utf8.ValidString(id):
		return "", invalidAt("body.request_id", fmt.Sprintf("has %d bytes, expected 1 to %d of UTF-8, here or in the header %s",
			len(id), record.MaxRequest, idempotencyHeader))
	}
	return id, nil
}

// readBody reads a body of JSON that is not too large.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, *web.Problem) {
	if !web.IsJSON(r.Header.Get("Content-Type")) {
		return nil, problem(unsupported, fmt.Sprintf("Content-Type %.64q, expected application/json", r.Header.Get("Content-Type")))
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, problem(tooLarge, "")
	case err != nil:
		return nil, invalidAt("body", "it was not sent to its end")
	case !utf8.Valid(body):
		return nil, invalidAt("body", "it is not UTF-8")
	}
	return body, nil
}

// decode reads exactly one JSON value with no fields but those of T.
func decode[T any](body []byte) (T, *web.Problem) {
	v, err := backend.DecodeJSON[T](backend.Entry{Key: "body", Value: body})
	if err != nil {
		return v, invalidAt("body", strings.TrimPrefix(err.Error(), `"body": `))
	}
	return v, nil
}

// invalidAt says which part of a request is wrong.
func invalidAt(where, what string) *web.Problem {
	p := problem(invalid, where+": "+what)
	p.Faults = []web.Fault{{Where: where, What: what}}
	return p
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	encoded, err := json.Marshal(v)
	if err != nil {
		web.NewProblem(http.StatusInternalServerError, "internal", "").Write(w)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(encoded, '\n'))
}

// describeOrder is the operation that placeOrder is.
func (s *Service) describeOrder() *huma.Operation {
	order := map[string]*huma.MediaType{"application/json": {Schema: s.schema(reflect.TypeFor[Order]())}}
	responses := s.refusals(gate.Order, noSuchEvent, soldOut, limitReached, notStarted, ended, suspended,
		tooLarge, unsupported, invalid, requestReused, busy, undecided)
	maps.Copy(responses, map[string]*huma.Response{
		"201": {Description: "There is a new order", Content: order, Headers: map[string]*huma.Header{
			"Location": {Description: "Where the order is", Schema: &huma.Schema{Type: huma.TypeString}},
		}},
		"200": {Description: "The request was answered before: the order as it is now", Content: order},
	})
	longest := record.MaxRequest
	return &huma.Operation{
		OperationID: "place-order",
		Method:      http.MethodPost,
		Path:        "/v1/events/{id}/orders",
		Tags:        []string{"orders"},
		Summary:     "Order units of an event",
		Description: "Answers within some two seconds. After 503 it is not known whether there is an order: " +
			"the same request, made again with the same request id, tells. One request id has one order, whose quantity is that of the first time.",
		Security: bearer,
		Parameters: []*huma.Param{
			pathParam("id", "The event's id"),
			{
				Name: idempotencyHeader, In: "header", Description: "The request id, if the body has none; the same, if it has one",
				Schema: &huma.Schema{Type: huma.TypeString, MaxLength: &longest},
			},
		},
		RequestBody: &huma.RequestBody{
			Required: true,
			Content:  map[string]*huma.MediaType{"application/json": {Schema: s.schema(reflect.TypeFor[demand]())}},
		},
		Responses: responses,
	}
}

func (s *Service) schema(t reflect.Type) *huma.Schema { return s.schemas().Schema(t, true, t.Name()) }
