package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
	"github.com/seed27495941/seckill/recipe/internal/run"
)

// DefaultTTL is how long a node that died is listed, as far as the store goes
// by it: Consul raises it to 10s and takes up to twice as long.
const DefaultTTL = 6 * time.Second

// A Config says what to register.
type Config struct {
	Dir  string        // with a slash at the end; DefaultDir if empty
	Node Node          // a new Incarnation is made if it has none
	TTL  time.Duration // DefaultTTL if 0

	// ID is the key's last part, by default that of Node.Addr. A process that
	// still waits for its address takes another, "<id>~<incarnation>".
	ID string

	Logger *slog.Logger // nil: silent
}

// A Registration keeps one node listed, whatever happens: see [Registration.Run].
// It is safe for concurrent use.
type Registration struct {
	store       backend.Store
	key         string
	ttl         time.Duration
	incarnation ulid.ULID
	log         *slog.Logger
	writing     *retry.Loop
	watching    *retry.Loop

	wake  chan struct{} // holds a token while there may be something to do
	ready chan struct{} // closed by the first registration

	turn run.Turn // of Run

	mu       sync.Mutex
	node     Node // as it should be
	lease    backend.Lease
	revision backend.Revision // of our last known write of the key
	seen     backend.Revision // of the key, as the watch has it
	seenUpTo backend.Revision // what the watch is complete up to
	since    time.Time        // zero: not registered
	wrote    bool             // a Put was sent: the key may be there
	replaced string           // the incarnation that replaced ours
	drain    *Drain           // an operator's, as the watch has it
}

// NewRegistration prepares the registration of a node; nothing is sent before
// Run. Errors: ErrInvalid, ErrTooLarge.
func NewRegistration(s backend.Store, cfg Config) (*Registration, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	incarnation, err := ulid.ParseStrict(cfg.Node.Incarnation)
	if err != nil {
		return nil, fmt.Errorf("%w: incarnation %q: %w", backend.ErrInvalid, cfg.Node.Incarnation, err)
	}
	key := cfg.Dir + cfg.ID
	if err := backend.CheckKey(key); err != nil {
		return nil, err
	}
	cfg.Node.ID = cfg.ID
	cfg.Node = cfg.Node.clone()
	if _, err := encode(key, cfg.Node); err != nil {
		return nil, err
	}
	log := retry.Logger(cfg.Logger).With("key", key, "incarnation", cfg.Node.Incarnation)
	return &Registration{
		store:       s,
		key:         key,
		ttl:         cfg.TTL,
		incarnation: incarnation,
		log:         log,
		writing:     retry.New(log, "register"),
		watching:    retry.New(log, "watch the registration"),
		wake:        make(chan struct{}, 1),
		ready:       make(chan struct{}),
		node:        cfg.Node,
	}, nil
}

// complete fills in the defaults and checks the rest.
func (c *Config) complete() error {
	dir, err := completeDir(c.Dir)
	if err != nil {
		return err
	}
	c.Dir = dir
	if c.TTL == 0 {
		c.TTL = DefaultTTL
	}
	if c.TTL < 0 {
		return fmt.Errorf("%w: TTL %v", backend.ErrInvalid, c.TTL)
	}
	if c.Node.Incarnation == "" {
		c.Node.Incarnation = ulid.Make().String()
	}
	id, err := ID(c.Node.Addr)
	if err != nil {
		return err
	}
	if c.ID == "" {
		c.ID = id
	}
	if c.Node.Drain != nil {
		return errDrain
	}
	return checkID(c.ID)
}

var errDrain = fmt.Errorf("%w: a node's drain is an operator's: see DrainNode", backend.ErrInvalid)

func checkID(id string) error {
	if id == "" || strings.Contains(id, "/") {
		return fmt.Errorf("%w: id %q: expected one without a slash", backend.ErrInvalid, id)
	}
	return nil
}

// completeDir is dir, or the default. Errors: ErrInvalid.
func completeDir(dir string) (string, error) {
	if dir == "" {
		return DefaultDir, nil
	}
	return dir, checkDir(dir)
}

// checkDir: without the slash a watch would cover more than the directory.
func checkDir(dir string) error {
	if !strings.HasSuffix(dir, "/") {
		return fmt.Errorf("%w: directory %q: expected a slash at the end", backend.ErrInvalid, dir)
	}
	return nil
}

// Update changes what the node says about itself: in place, under the same
// lease, as soon as the store can be reached. Updates that come faster than
// they can be written become one. The address and the incarnation stay: they
// are what the registration is about.
//
// change is called once, before Update returns, and must not call the
// registration's methods. Errors, which leave the node
// as it was: ErrInvalid, ErrTooLarge.
func (r *Registration) Update(change func(*Node)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := r.node.clone()
	change(&next)
	next = next.clone()
	if next.ID != r.node.ID || next.Addr != r.node.Addr || next.Incarnation != r.node.Incarnation {
		return fmt.Errorf("%w: ID, address and incarnation of a registered node can't change", backend.ErrInvalid)
	}
	if next.Drain != nil {
		return errDrain
	}
	if _, err := encode(r.key, next); err != nil {
		return err
	}
	r.node = next
	r.nudge()
	return nil
}

// Registered reports whether the node is listed, as far as it can know at this
// moment: the key was seen as it should be, and the lease it hangs on is valid.
func (r *Registration) Registered() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.registered()
}

func (r *Registration) registered() bool {
	return !r.since.IsZero() && r.lease != nil && r.lease.Valid()
}

// Ready is closed when the node is registered for the first time.
func (r *Registration) Ready() <-chan struct{} { return r.ready }

// nudge makes Run look again.
func (r *Registration) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// encode makes the value of a node's key. Errors: ErrInvalid, ErrTooLarge.
func encode(key string, n Node) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false) // people read it
	if err := enc.Encode(n); err != nil {
		return nil, fmt.Errorf("%w: %q: %w", backend.ErrInvalid, key, err)
	}
	value := bytes.TrimSpace(buf.Bytes())
	return value, backend.CheckValue(key, value)
}

// isReplaced reports whether a later process has this one's key.
func (r *Registration) isReplaced() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.replaced != ""
}

// currentLease is nil while there is none.
func (r *Registration) currentLease() backend.Lease {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lease
}

// wanted is the value that the key should have.
func (r *Registration) wanted() ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return encode(r.key, r.node)
}
