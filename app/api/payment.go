package api

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/gate"
	"github.com/seed27495941/seckill/app/payment"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/web"
)

func (s *Service) addPayments() { s.Handle(s.describePayment(), http.HandlerFunc(s.takePayment)) }

// A callback is what the payment service sends.
type callback struct {
	Order   string `json:"order" doc:"The order's id"`
	Payment string `json:"payment" minLength:"1" maxLength:"128" doc:"The payment service's own name for the payment, at most 128 bytes"`
	Amount  Money  `json:"amount" doc:"What was paid: exactly what the order costs"`
}

// A settlement is what became of a payment.
type settlement struct {
	Order   string        `json:"order"`
	Payment string        `json:"payment"`
	Status  ledger.Status `json:"status" enum:"paid,refund_due" doc:"refund_due: it came when the order was over, and the money has to be given back"`
}

func (s *Service) takePayment(w http.ResponseWriter, r *http.Request) {
	p, refusal := s.readPayment(w, r)
	if refusal != nil {
		refusal.Write(w)
		return
	}
	e, order, refusal := s.order(p.Order)
	if refusal != nil {
		refusal.Write(w)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	o, refusal := s.pay(ctx, e, order, p)
	if refusal != nil {
		refusal.Write(w)
		return
	}
	writeJSON(w, http.StatusOK, settlement{Order: p.Order, Payment: p.Payment, Status: o.Status})
}

// readPayment reads what was sent, after its signature was found good.
func (s *Service) readPayment(w http.ResponseWriter, r *http.Request) (callback, *web.Problem) {
	if s.cfg.Payments == nil {
		return callback{}, problem(forbidden, "no payments are taken here: no secret is set to tell the payment service by")
	}
	body, refusal := readBody(w, r)
	if refusal != nil {
		return callback{}, refusal
	}
	if err := s.cfg.Payments.Verify(r.Header.Get(payment.Header), body, time.Now()); err != nil {
		s.cfg.Log.Warn("a payment was refused", "error", err)
		return callback{}, problem(unauthenticated, err.Error()).With("WWW-Authenticate", payment.Header)
	}
	p, refusal := decode[callback](body)
	if refusal != nil {
		return callback{}, refusal
	}
	if p.Payment == "" || len(p.Payment) > record.MaxPayment {
		return callback{}, invalidAt("body.payment", fmt.Sprintf("has %d bytes, expected 1 to %d", len(p.Payment), record.MaxPayment))
	}
	return p, nil
}

// pay takes a payment of the right amount in. What an order costs never changes, so
// it can be looked at before.
func (s *Service) pay(ctx context.Context, e event.Event, order ulid.ULID, p callback) (ledger.Order, *web.Problem) {
	o, err := s.cfg.Seller.Lookup(ctx, e.ID, order)
	if err != nil {
		return ledger.Order{}, s.verdict(ctx, err)
	}
	if due := cost(e, o); p.Amount != due {
		return ledger.Order{}, problem(wrongAmount, fmt.Sprintf("%d %.3s, the order costs %d %s", p.Amount.Minor, p.Amount.Currency, due.Minor, due.Currency))
	}
	if o, err = s.cfg.Seller.Pay(ctx, e.ID, order, p.Payment); err != nil {
		return ledger.Order{}, s.verdict(ctx, err)
	}
	return o, nil
}

func (s *Service) describePayment() *huma.Operation {
	responses := s.refusals(gate.Exempt, unauthenticated, forbidden, noSuchOrder, otherPayment, ended, archived, tooLarge, unsupported, invalid, wrongAmount, busy, undecided)
	maps.Copy(responses, map[string]*huma.Response{"200": {
		Description: "What became of it",
		Content:     map[string]*huma.MediaType{"application/json": {Schema: s.schema(reflect.TypeFor[settlement]())}},
	}})
	return &huma.Operation{
		OperationID: "take-payment",
		Method:      http.MethodPost,
		Path:        "/v1/payments",
		Tags:        []string{"payments"},
		Summary:     "Tell that an order was paid",
		Description: "For the payment service, which signs the body. The same payment can be told again: the answer is the same. " +
			"One that comes when the order has expired makes it live again if there are units; else its status is refund_due. A payment that is refused, other than with 401, 410, 429 and 503, was not taken and has to be given back. " +
			"After 410 that is so unless it was taken before, which the archive tells.",
		Security: []map[string][]string{{"signature": {}}},
		RequestBody: &huma.RequestBody{
			Required: true,
			Content:  map[string]*huma.MediaType{"application/json": {Schema: s.schema(reflect.TypeFor[callback]())}},
		},
		Responses: responses,
	}
}
