package pubsub

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
	"github.com/seed27495941/seckill/recipe/internal/run"
)

// mostStreams bounds what a subscriber remembers.
const mostStreams = 1 << 16

// A Message is what a subscriber receives.
type Message struct {
	Topic     string
	Payload   []byte
	Publisher string // its ULID: another one after each start
	Number    uint64 // counts the publisher's messages on the topic, from 1
	Revision  backend.Revision

	// Missed is how many messages of that publisher on that topic have
	// vanished between the last one that was received and this one: the
	// subscriber was out of touch, or busy, for longer than the retention.
	Missed uint64
}

// A SubscriberConfig says what to receive.
type SubscriberConfig struct {
	Dir      string       // with a slash at the end
	Retained bool         // also what was published before and is still there
	Logger   *slog.Logger // nil: silent
}

// A Subscriber hands messages to handlers. Somebody has to [Subscriber.Run] it.
// It is safe for concurrent use.
type Subscriber struct {
	store    backend.Store
	dir      string
	retained bool
	log      *slog.Logger
	loop     *retry.Loop
	synced   chan struct{}

	// Run's own.
	begun bool
	heard map[stream]heard

	turn run.Turn // of Run

	mu       sync.Mutex
	handlers []handler
}

// heard is the last message of a stream that a subscriber knows.
type heard struct {
	number   uint64
	revision backend.Revision
}

type handler struct {
	matches func(topic string) bool
	f       func(context.Context, Message)
}

// NewSubscriber prepares a subscriber. Errors: ErrInvalid.
func NewSubscriber(s backend.Store, cfg SubscriberConfig) (*Subscriber, error) {
	if err := checkDir(cfg.Dir); err != nil {
		return nil, err
	}
	log := retry.Logger(cfg.Logger).With("dir", cfg.Dir)
	return &Subscriber{
		store:    s,
		dir:      cfg.Dir,
		retained: cfg.Retained,
		log:      log,
		loop:     retry.New(log, "receive messages"),
		synced:   make(chan struct{}),
		heard:    map[stream]heard{},
	}, nil
}

// Handle has f called with each message on a topic from now on.
//
// Handlers are called from Run, one call at a time, in the order of revisions;
// several for one message in the order they were given. Their context is Run's.
// A slow handler holds up the others, but loses nothing within the retention.
func (s *Subscriber) Handle(topic string, f func(context.Context, Message)) {
	s.handle(handler{func(t string) bool { return t == topic }, f})
}

// HandlePrefix has f called with each message on a topic that starts with
// prefix: "orders/" covers "orders/paid", "orders" also "orders2", "" all.
func (s *Subscriber) HandlePrefix(prefix string, f func(context.Context, Message)) {
	s.handle(handler{func(t string) bool { return strings.HasPrefix(t, prefix) }, f})
}

func (s *Subscriber) handle(h handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlers = append(s.handlers, h)
}

// Synced is closed when the first state is in: what is published after that is
// received.
func (s *Subscriber) Synced() <-chan struct{} { return s.synced }

// LastError is the last trouble with the watch, over or not, and when it came;
// nil if there was none.
func (s *Subscriber) LastError() (time.Time, error) {
	last := s.loop.Last()
	return last.At, last.Err
}

// Run receives messages until ctx ends; then it returns nil. A watch that ends
// for any other reason is begun again, with a backoff; only a closed store
// (ErrClosed) ends Run early. Called again it goes on where it was, with
// what is still there; but not twice at once, which is ErrInvalid.
func (s *Subscriber) Run(ctx context.Context) error {
	if err := s.turn.Begin(fmt.Sprintf("the subscriber of %q", s.dir)); err != nil {
		return err
	}
	defer s.turn.End()
	return s.loop.Keep(ctx, s.follow)
}

func (s *Subscriber) follow(ctx context.Context) error {
	for u, err := range s.store.WatchPrefix(ctx, s.dir) {
		if err != nil {
			return err
		}
		s.loop.Worked()
		s.receive(ctx, u.Puts)
		s.forget()
		if !s.begun {
			s.begun = true
			close(s.synced)
		}
	}
	return nil
}

// receive takes in the puts of an update. That messages vanish is no news.
func (s *Subscriber) receive(ctx context.Context, puts []backend.Entry) {
	deliver := s.begun || s.retained
	for _, e := range puts {
		if deliver && ctx.Err() != nil {
			return // the rest is received when Run is called again
		}
		from, number, err := parse(s.dir, e.Key)
		if err != nil {
			s.log.Warn("not a message, left out", "key", e.Key, "revision", uint64(e.Revision), "error", err)
			continue
		}
		missed, fresh := s.hear(from, number, e.Revision)
		if fresh && deliver {
			s.deliver(ctx, Message{
				Topic:     from.topic,
				Payload:   e.Value,
				Publisher: from.publisher,
				Number:    number,
				Revision:  e.Revision,
				Missed:    missed,
			})
		}
	}
}

// hear takes note of a message. It is fresh if its number is the greatest yet
// of its stream: a snapshot tells again what was received, and a write that was
// lost on its way may arrive when the publisher has gone on without it.
func (s *Subscriber) hear(from stream, number uint64, rev backend.Revision) (missed uint64, fresh bool) {
	last, known := s.heard[from]
	if number <= last.number {
		return 0, false
	}
	s.heard[from] = heard{number, rev}
	if !known {
		return 0, true // what came before may be from before the subscription
	}
	return number - last.number - 1, true
}

// forget drops the half of the streams that were silent for longest, if there
// are too many.
func (s *Subscriber) forget() {
	if len(s.heard) <= mostStreams {
		return
	}
	revisions := make([]backend.Revision, 0, len(s.heard))
	for _, h := range s.heard {
		revisions = append(revisions, h.revision)
	}
	slices.Sort(revisions)
	middle := revisions[len(revisions)/2]
	maps.DeleteFunc(s.heard, func(_ stream, h heard) bool { return h.revision < middle })
}

func (s *Subscriber) deliver(ctx context.Context, m Message) {
	s.mu.Lock()
	handlers := slices.Clone(s.handlers)
	s.mu.Unlock()
	for _, h := range handlers {
		if h.matches(m.Topic) {
			each := m
			each.Payload = slices.Clone(m.Payload)
			h.f(ctx, each)
		}
	}
}
