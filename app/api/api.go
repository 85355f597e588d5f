// Package api is the buyers' HTTP service. Nothing about the system itself is
// told here: that is the business of packages admin and ops.
package api

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/gate"
	"github.com/seed27495941/seckill/app/sale"
	"github.com/seed27495941/seckill/app/sale/catalogue"
	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/web"
)

const (
	// patience is how long a buyer waits for a decision. What is not decided then
	// may be decided later: the answer is that nothing is known.
	patience = 2 * time.Second

	// maxBody bounds what is sent with a request, in bytes.
	maxBody = 4 << 10
)

// A Seller decides: a [sale.Desk].
type Seller interface {
	Order(ctx context.Context, event ulid.ULID, d ledger.Demand) (order ledger.Order, created bool, err error)
	Cancel(ctx context.Context, event ulid.ULID, user string, order ulid.ULID) (ledger.Order, error)
	Pay(ctx context.Context, event, order ulid.ULID, payment string) (ledger.Order, error)
	Find(ctx context.Context, event ulid.ULID, user string, order ulid.ULID) (ledger.Order, error)
	Lookup(ctx context.Context, event, order ulid.ULID) (ledger.Order, error)
	OrdersOfAll(ctx context.Context, user string) ([]sale.EventOrders, error)
	Figures(event ulid.ULID) (sale.Figures, bool)
	Refused(event ulid.ULID, reason string)
	Subscribe(event ulid.ULID, f func()) (stop func())
}

// Payments tells the payment service from others, by what it signs: a
// [payment.Verifier]. Its errors are told to who sends a callback.
type Payments interface {
	Verify(header string, body []byte, now time.Time) error
}

// A Config says what a service works with.
type Config struct {
	Version   string
	Ready     func() error // why it should not get requests at present, in words for strangers
	Seller    Seller
	Catalogue *catalogue.Catalogue
	Gate      *gate.Gate // that requests have to pass
	Payments  Payments   // nil: none are taken
	Streams   int        // how many there may be at once
	Log       *slog.Logger
}

// A Service is the buyers' HTTP service.
type Service struct {
	*web.Service
	cfg Config

	draining chan struct{}
	drain    sync.Once
	streams  streams
	feeds    feeds
}

// New makes the service.
func New(cfg Config) *Service {
	s := &Service{
		Service:  web.New("Flash sale", cfg.Version, cfg.Ready, guard(cfg.Gate)),
		cfg:      cfg,
		draining: make(chan struct{}),
	}
	s.SetStreams(cfg.Streams)
	s.feeds = feeds{look: s.look, pace: s.pace, subscribe: cfg.Seller.Subscribe, all: map[ulid.ULID]*feed{}}
	s.describe()
	s.addPages()
	s.addOrders()
	s.addPayments()
	s.addStream()
	huma.Register(s, huma.Operation{
		OperationID: "get-time",
		Method:      http.MethodGet,
		Path:        "/v1/time",
		Tags:        []string{"events"},
		Summary:     "The time that sales go by",
		Description: "Countdowns should go by it, not by the clock of the buyer's device.",
		Responses:   s.refusals(gate.Public),
	}, now)
	return s
}

// Drain ends the streams, which would go on for as long as an event does: the
// process is about to stop.
func (s *Service) Drain() { s.drain.Do(func() { close(s.draining) }) }

type clock struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		Now time.Time `json:"now"`
	}
}

func now(context.Context, *struct{}) (*clock, error) {
	c := &clock{CacheControl: "no-store"}
	c.Body.Now = time.Now().UTC()
	return c, nil
}
