// Package admin is the operators' service: what they can look at and change, over
// HTTP and, by the methods of [Service], for the pages of the console.
//
// Whoever calls a method is in its context (package access). Reading is for everybody
// who is known; a method that changes something asks for the role it takes, and what
// it does is written into the audit log, whichever way it was called.
//
// Errors of all methods are problems ([web.Problem]), whose codes are those of the
// document.
package admin

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/grpc"

	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/admin/audit"
	"github.com/seed27495941/seckill/app/gate/limit"
	"github.com/seed27495941/seckill/app/node"
	"github.com/seed27495941/seckill/app/sale"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/registry"
)

// Figures tells how the sales stand that are open: a [sale.Desk], which may be one
// that owns nothing.
type Figures interface {
	Figures(event ulid.ULID) (sale.Figures, bool)
	AllFigures() map[ulid.ULID]sale.Figures
}

// A Config says what a service works with.
type Config struct {
	Version string
	Store   backend.Store
	Node    *node.Node // that supervises
	Figures Figures
	Access  *access.Access
	Audit   *audit.Log
	Log     *slog.Logger

	// Diagnoser is what the store's driver can tell of the servers; nil: nothing.
	Diagnoser backend.Diagnoser

	// Dial makes the connection to another node's node-to-node address.
	Dial func(addr string) (*grpc.ClientConn, error)
}

// A Service is what operators can do. It has to be Run, and is safe for concurrent
// use.
type Service struct {
	cfg       Config
	directory *registry.Directory
	pages     http.Client // of other nodes
	meter     meter
	examiner  examiner
	searches  *searches
	reads     chan struct{} // of the orders of a sale, that go on
	streams   streams
	warned    warned
	refusals  *limit.Users // that are recorded, by who was refused

	draining chan struct{}
	drain    sync.Once
}

// refusalsRecorded is how many of somebody's requests are in the audit log that the role
// does not allow: it is no place for a program that tries again and again.
var refusalsRecorded = limit.Limit{Tokens: 10, Per: time.Minute, Burst: 10}

// New makes the service of a process that is a node. Errors: none but for defects.
func New(cfg Config) (*Service, error) {
	refusals, err := limit.NewUsers(refusalsRecorded, 1000)
	if err != nil {
		return nil, err
	}
	return &Service{
		cfg:       cfg,
		refusals:  refusals,
		directory: cfg.Node.Directory(),
		pages: http.Client{
			Transport:     &http.Transport{Proxy: nil, DisableKeepAlives: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		searches: newSearches(),
		reads:    make(chan struct{}, maxReads),
		draining: make(chan struct{}),
	}, nil
}

// Run measures how fast sales go until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	ticker := time.NewTicker(meterEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			s.meter.note(time.Now(), s.cfg.Figures.AllFigures())
		}
	}
}

// Drain ends the streams, which would go on for as long as somebody looks: the process
// is about to stop.
func (s *Service) Drain() { s.drain.Do(func() { close(s.draining) }) }

// Draining is closed by Drain.
func (s *Service) Draining() <-chan struct{} { return s.draining }
