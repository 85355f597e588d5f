package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/export"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/slot"
	"github.com/seed27495941/seckill/backend"
)

// maxReads bounds how many read the orders of sales at once: each has those of a slot in
// memory, or of a whole sale, and costs the store as much.
const maxReads = 4

// turn takes one of the turns to read the orders of sales, which has to be ended. Nobody
// waits for one: the next page and the next person would queue behind.
func (s *Service) turn() (end func(), err error) {
	select {
	case s.reads <- struct{}{}:
		return func() { <-s.reads }, nil
	default:
		return nil, problem(busy, "").With("Retry-After", "5")
	}
}

// OrdersQuery asks for orders: of an event, of a buyer, or one by its id.
type OrdersQuery struct {
	Page
	Event  string `query:"event" maxLength:"200" doc:"Those of this event"`
	Buyer  string `query:"buyer" maxLength:"128" doc:"Those of this buyer, of all events that the store has the orders of, or of event"`
	Order  string `query:"order" maxLength:"200" doc:"The one with this id"`
	Status string `query:"status" enum:"pending,paid,cancelled,expired,refund_due" doc:"Only those"`
}

// An OrderList is a page of orders: slot after slot, in each in the order in which they
// were decided.
type OrderList struct {
	Orders []export.Order `json:"orders" nullable:"false"`
	Next   string         `json:"next,omitempty" doc:"To be sent as after, to get the next page; left out on the last one"`
}

// FindOrders searches the logs of sales, which have every order that anybody was told of.
// What was archived is not among them.
func (s *Service) FindOrders(ctx context.Context, in *OrdersQuery) (*Answer[OrderList], error) {
	if err := s.may(ctx, access.Operator, in); err != nil {
		return nil, err
	}
	end, err := s.turn()
	if err != nil {
		return nil, err
	}
	defer end()
	search := search{service: s, in: *in}
	switch {
	case in.Order != "":
		err = search.one(ctx)
	case in.Event != "":
		err = search.event(ctx)
	case in.Buyer != "":
		err = search.buyer(ctx)
	default:
		err = invalidAt("query", "expected event, buyer or order")
	}
	if err != nil {
		return nil, s.refuse(err, noSuchEvent)
	}
	page, next := cut(in.Page, search.found, func(o export.Order) string { return fmt.Sprintf("%d/%s", o.Slot, o.ID) })
	if page == nil {
		page = []export.Order{}
	}
	return answer(OrderList{page, next}), nil
}

// A search gathers a page of orders, and one more if there is.
type search struct {
	service *Service
	in      OrdersQuery
	skip    bool // until the order that was the last of the page before
	found   []export.Order
}

func (q *search) isFull() bool { return len(q.found) > q.in.limit() }

// take takes those orders of a slot that fit.
func (q *search) take(_ int, orders []export.Order) error {
	_, last, _ := strings.Cut(q.in.After, "/")
	for _, o := range orders {
		if q.skip {
			q.skip = o.ID != last
			continue
		}
		if q.fits(o) && !q.isFull() {
			q.found = append(q.found, o)
		}
	}
	q.skip = false // the one it was is in this slot, or nowhere
	if q.isFull() {
		return errEnough
	}
	return nil
}

var errEnough = errors.New("the page is full")

func (q *search) fits(o export.Order) bool {
	return (q.in.Buyer == "" || o.User == q.in.Buyer) &&
		(q.in.Status == "" || string(o.Status) == q.in.Status) &&
		(q.in.Order == "" || o.ID == q.in.Order)
}

// read takes orders of the slots from first on, before end.
func (q *search) read(ctx context.Context, e event.Event, first, end int) error {
	err := export.Range(ctx, q.service.cfg.Store, e, first, end, q.take)
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// one looks for one order where its id says.
func (q *search) one(ctx context.Context) error {
	id, order, err := record.ParsePublicID(q.in.Order)
	if err != nil {
		return invalidAt("query.order", err.Error())
	}
	e, err := event.Get(ctx, q.service.cfg.Store, id)
	if err != nil {
		return err
	}
	k := slot.Of(order)
	return q.read(ctx, e, k, k+1)
}

// event looks through the slots of an event, or the one of a buyer.
func (q *search) event(ctx context.Context) error {
	e, err := q.service.event(ctx, EventPath{q.in.Event})
	if err != nil {
		return err
	}
	first, end := 0, e.Slots
	if q.in.After != "" {
		k, _, ok := strings.Cut(q.in.After, "/")
		if first, err = strconv.Atoi(k); !ok || err != nil || first < 0 || first >= e.Slots {
			return invalidAt("query.after", "expected next, of the page before")
		}
		q.skip = true
	}
	if q.in.Buyer != "" {
		first = record.SlotOf(q.in.Buyer, e.Slots)
		end = first + 1
	}
	return q.read(ctx, e, first, end)
}

// buyer looks through the buyer's slots of all events, the newest first.
func (q *search) buyer(ctx context.Context) error {
	all, _, err := event.List(ctx, q.service.cfg.Store)
	if err != nil {
		return err
	}
	slices.Reverse(all)
	_, last, _ := strings.Cut(q.in.After, "/")
	for _, e := range all {
		if q.isFull() {
			return nil
		}
		if last != "" && e.ID.String() > last[:min(len(last), ulid.EncodedSize)] {
			continue
		}
		q.skip = last != "" && strings.HasPrefix(last, e.ID.String())
		k := record.SlotOf(q.in.Buyer, e.Slots)
		err := q.read(ctx, e, k, k+1)
		if err != nil && !errors.Is(err, export.ErrNotThere) && !errors.Is(err, backend.ErrNotFound) {
			return err
		}
	}
	return nil
}

// exportPatience is how long it may take to write a part of an export.
const exportPatience = time.Minute

// export streams the orders of a sale. One that can't be read to its end is cut off, so
// that nobody takes a part for the whole.
func (s *Service) export(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	e, format, err := s.exported(r)
	if err != nil {
		writeProblem(w, err)
		return
	}
	end, err := s.turn()
	if err != nil {
		writeProblem(w, err)
		return
	}
	defer end()
	media := map[export.Format]string{export.CSV: "text/csv; charset=utf-8", export.NDJSON: "application/x-ndjson"}[format]
	begun := false
	_, err = do(ctx, s, deed{access.Operator, "orders.export", e.ID.String()}, nil, noSuchEvent, func(ctx context.Context) (exported, error) {
		var done exported
		to, err := export.NewWriter(w, format)
		if err != nil {
			return done, err
		}
		control := http.NewResponseController(w)
		w.Header().Set("Content-Type", media)
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="orders-%s.%s"`, e.ID, format))
		err = export.Orders(ctx, s.cfg.Store, e, func(_ int, orders []export.Order) error {
			_ = control.SetWriteDeadline(time.Now().Add(exportPatience)) // if it can't be set the server's stays
			begun = true
			done.Orders += len(orders)
			return to.Write(orders)
		})
		if err == nil {
			err = to.Flush()
		}
		return done, err
	})
	switch {
	case err == nil:
	case begun:
		s.cfg.Log.Error("an export was cut off", "event", e.ID.String(), "error", err)
		panic(http.ErrAbortHandler)
	default:
		w.Header().Del("Content-Disposition")
		writeProblem(w, err)
	}
}

type exported struct {
	Orders int `json:"orders"`
}

// exported is what a request wants to have exported.
func (s *Service) exported(r *http.Request) (e event.Event, format export.Format, err error) {
	if err := s.allow(r.Context(), access.Operator); err != nil {
		return e, "", err
	}
	format = export.CSV
	if given := r.URL.Query().Get("format"); given != "" {
		format = export.Format(given)
	}
	if format != export.CSV && format != export.NDJSON {
		return e, "", invalidAt("query.format", fmt.Sprintf("expected %s or %s", export.CSV, export.NDJSON))
	}
	e, err = s.event(r.Context(), EventPath{r.PathValue("id")})
	return e, format, err
}
