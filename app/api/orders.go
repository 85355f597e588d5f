package api

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/gate"
	"github.com/seed27495941/seckill/app/sale"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/web"
)

func (s *Service) addOrders() {
	s.Handle(s.describeOrder(), http.HandlerFunc(s.placeOrder))
	huma.Register(s, huma.Operation{
		OperationID: "get-order", Method: http.MethodGet, Path: "/v1/orders/{id}",
		Tags: []string{"orders"}, Security: bearer,
		Summary:     "An order of the buyer",
		Description: "Somebody else's is as unknown as one that does not exist: 404, not 403.",
		Responses:   s.refusals(gate.Read, noSuchOrder, archived, busy, undecided),
	}, s.getOrder)
	huma.Register(s, huma.Operation{
		OperationID: "cancel-order", Method: http.MethodPost, Path: "/v1/orders/{id}/cancel",
		Tags: []string{"orders"}, Security: bearer,
		Summary:     "Give an order up",
		Description: "Its units return. One that was cancelled already is no error. It can be repeated.",
		Responses:   s.refusals(gate.Cancel, noSuchOrder, orderPaid, orderOver, ended, busy, undecided),
	}, s.cancelOrder)
	huma.Register(s, huma.Operation{
		OperationID: "list-my-orders", Method: http.MethodGet, Path: "/v1/me/orders",
		Tags: []string{"orders"}, Security: bearer,
		Summary:     "All orders of the buyer, the latest first",
		Description: "Those of events that are archived are not among them.",
		Responses:   s.refusals(gate.Read, busy, undecided),
	}, s.listMyOrders)
}

type orderPath struct {
	ID string `path:"id" doc:"The order's id"`
}

type orderAnswer struct {
	CacheControl string `header:"Cache-Control"`
	Body         Order
}

func answerOrder(e event.Event, o ledger.Order) *orderAnswer {
	return &orderAnswer{CacheControl: noStore, Body: newOrder(e, o)}
}

const noStore = "no-store"

func (s *Service) getOrder(ctx context.Context, in *orderPath) (*orderAnswer, error) {
	return s.withOrder(ctx, in.ID, s.cfg.Seller.Find)
}

func (s *Service) cancelOrder(ctx context.Context, in *orderPath) (*orderAnswer, error) {
	return s.withOrder(ctx, in.ID, s.cfg.Seller.Cancel)
}

// withOrder does something with an order of the buyer.
func (s *Service) withOrder(
	ctx context.Context, id string, do func(context.Context, ulid.ULID, string, ulid.ULID) (ledger.Order, error),
) (*orderAnswer, error) {
	e, order, refusal := s.order(id)
	if refusal != nil {
		return nil, refusal
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var o ledger.Order
	var err error
	gate.Await(ctx, func() { o, err = do(ctx, e.ID, gate.UserOf(ctx), order) })
	if err != nil {
		return nil, s.verdict(ctx, err)
	}
	return answerOrder(e, o), nil
}

// order takes an order's id apart. That of an unknown event is no order's.
func (s *Service) order(id string) (event.Event, ulid.ULID, *web.Problem) {
	eventID, order, err := record.ParsePublicID(id)
	if err != nil {
		return event.Event{}, ulid.ULID{}, problem(noSuchOrder, "")
	}
	e, refusal := s.find(eventID, noSuchOrder)
	return e, order, refusal
}

type orderList struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		Orders []Order `json:"orders" nullable:"false"`
	}
}

func (s *Service) listMyOrders(ctx context.Context, _ *struct{}) (*orderList, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	list := &orderList{CacheControl: noStore}
	list.Body.Orders = []Order{}
	var found []sale.EventOrders
	var err error
	gate.Await(ctx, func() { found, err = s.cfg.Seller.OrdersOfAll(ctx, gate.UserOf(ctx)) })
	if err != nil {
		return nil, s.verdict(ctx, err) // a part of them would look like all
	}
	for _, of := range found {
		e, ok := s.cfg.Catalogue.Event(of.Event)
		if !ok {
			return nil, problem(undecided, "") // it has just been published, or can't be read
		}
		for _, o := range of.Orders {
			list.Body.Orders = append(list.Body.Orders, newOrder(e, o))
		}
	}
	slices.SortFunc(list.Body.Orders, func(a, b Order) int {
		if latest := b.PlacedAt.Compare(a.PlacedAt); latest != 0 {
			return latest
		}
		return strings.Compare(a.ID, b.ID)
	})
	return list, nil
}
