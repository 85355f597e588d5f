package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/seed27495941/seckill/app/gate"
	"github.com/seed27495941/seckill/app/sale"
	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/slot"
	"github.com/seed27495941/seckill/app/web"
	"github.com/seed27495941/seckill/backend"
)

// A code names a problem, for programs.
type code string

// The codes. What else there is comes from package web.
const (
	invalid         code = "invalid"
	tooLarge        code = "too_large"
	unsupported     code = "unsupported_media_type"
	unauthenticated code = gate.Unauthenticated
	blacklisted     code = gate.Blacklisted
	rateLimited     code = gate.RateLimited
	overloaded      code = gate.Overloaded
	switchedOff     code = gate.SwitchedOff
	forbidden       code = "forbidden"
	noSuchEvent     code = "no_such_event"
	noSuchTopic     code = "no_such_topic"
	noSuchOrder     code = "no_such_order"
	soldOut         code = "sold_out"
	limitReached    code = "limit_reached"
	notStarted      code = gate.NotStarted
	ended           code = "ended"
	suspended       code = "suspended"
	requestReused   code = "request_reused"
	orderPaid       code = "order_paid"
	orderOver       code = "order_over"
	wrongAmount     code = "wrong_amount"
	otherPayment    code = "other_payment"
	archived        code = "archived"
	busy            code = "busy"
	undecided       code = "undecided"
	unavailable     code = gate.Unavailable
)

// A meaning is what a code stands for, in an answer and in the document.
type meaning struct {
	status int
	text   string
}

var meanings = map[code]meaning{
	invalid:         {http.StatusUnprocessableEntity, "The request is not as it should be"},
	tooLarge:        {http.StatusRequestEntityTooLarge, fmt.Sprintf("The body is larger than %d bytes", maxBody)},
	unsupported:     {http.StatusUnsupportedMediaType, "The body has to be application/json"},
	unauthenticated: {http.StatusUnauthorized, "Who sends this can't be told"},
	blacklisted:     {http.StatusForbidden, "The buyer is on a list of those that are refused"},
	rateLimited:     {http.StatusTooManyRequests, "Too many requests, of all or of this buyer; this one was not looked at"},
	overloaded:      {http.StatusServiceUnavailable, "Too much is to be done; the request was not looked at"},
	switchedOff:     {http.StatusServiceUnavailable, "Switched off for now by the operators; the request was not looked at"},
	forbidden:       {http.StatusForbidden, "This is not allowed to who sends it"},
	noSuchEvent:     {http.StatusNotFound, "There is no such event"},
	noSuchTopic:     {http.StatusNotFound, "There is no such topic"},
	noSuchOrder:     {http.StatusNotFound, "The buyer has no such order"},
	soldOut:         {http.StatusConflict, "Every unit is in an order; some may come back"},
	limitReached:    {http.StatusConflict, "The buyer would have more units than one may"},
	notStarted:      {http.StatusConflict, "The sale has not started"},
	ended:           {http.StatusConflict, "The sale has ended"},
	suspended:       {http.StatusConflict, "The sale is suspended for now"},
	requestReused:   {http.StatusUnprocessableEntity, "The same request was made before with another quantity"},
	orderPaid:       {http.StatusConflict, "The order is paid, and so can't be cancelled"},
	orderOver:       {http.StatusConflict, "The order has expired, or its payment is to be given back"},
	wrongAmount:     {http.StatusUnprocessableEntity, "The amount is not what the order costs"},
	otherPayment:    {http.StatusConflict, "Another payment was taken for the order"},
	archived:        {http.StatusGone, "The sale is over, and its orders are kept elsewhere"},
	busy:            {http.StatusTooManyRequests, "Too many requests are waiting; this one was not looked at"},
	undecided:       {http.StatusServiceUnavailable, "Nothing is known yet: the same request, made again, gets the one true answer"},
	unavailable:     {http.StatusServiceUnavailable, "Not here, or not now"},
}

// verdicts are what a seller's errors mean.
var verdicts = []struct {
	err  error
	code code
}{
	{slot.ErrSoldOut, soldOut},
	{ledger.ErrLimit, limitReached},
	{slot.ErrNotStarted, notStarted},
	{slot.ErrEnded, ended},
	{slot.ErrOffline, suspended},
	{slot.ErrBusy, busy},
	{slot.ErrUndecided, undecided},
	{sale.ErrNoSale, undecided}, // not yet, that is: the catalogue has it
	{sale.ErrArchived, archived},
	{ledger.ErrOtherUse, requestReused},
	{ledger.ErrNoOrder, noSuchOrder},
	{ledger.ErrPaid, orderPaid},
	{ledger.ErrOver, orderOver},
	{ledger.ErrOtherPaid, otherPayment},
	{backend.ErrInvalid, invalid},
}

// problem makes a problem of a code. Without a detail it has the code's text.
func problem(c code, detail string) *web.Problem {
	m := meanings[c]
	if detail == "" {
		detail = m.text
	}
	p := web.NewProblem(m.status, string(c), detail)
	switch c {
	case busy, undecided, unavailable, rateLimited, overloaded, switchedOff, notStarted:
		return p.With("Retry-After", "1")
	case unauthenticated:
		return p.With("WWW-Authenticate", `Bearer error="invalid_token"`)
	default:
		return p
	}
}

// verdict makes a problem of a seller's error.
func (s *Service) verdict(ctx context.Context, err error) *web.Problem {
	for _, v := range verdicts {
		if errors.Is(err, v.err) {
			detail := ""
			if v.code == invalid {
				detail = err.Error()
			}
			return problem(v.code, detail)
		}
	}
	// Whatever it is, it does not say that nothing was done.
	if ctx.Err() == nil {
		s.cfg.Log.Error("an answer of the sale that means nothing to buyers", "error", err)
	}
	return problem(undecided, "")
}

// refusals describe problems in the document: those of the gate, and an operation's
// own.
func (s *Service) refusals(kind gate.Kind, own ...code) map[string]*huma.Response {
	responses := map[string]*huma.Response{}
	all := own
	for _, c := range s.cfg.Gate.Codes(kind) {
		if !slices.Contains(own, code(c)) {
			all = append(all, code(c))
		}
	}
	for _, c := range all {
		status, text := strconv.Itoa(meanings[c].status), fmt.Sprintf("%#q: %s.", string(c), meanings[c].text)
		r := responses[status]
		if r == nil {
			r = &huma.Response{Content: map[string]*huma.MediaType{web.ProblemType: web.ProblemSchema(s.schemas())}}
			responses[status] = r
		}
		r.Description = strings.TrimSpace(r.Description + " " + text)
		for name := range problem(c, "").GetHeaders() {
			if r.Headers == nil {
				r.Headers = map[string]*huma.Header{}
			}
			r.Headers[name] = &huma.Header{Schema: &huma.Schema{Type: huma.TypeString}}
		}
	}
	return responses
}

func (s *Service) schemas() huma.Registry { return s.OpenAPI().Components.Schemas }
