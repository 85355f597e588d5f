package breaker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	tick      = time.Second
	rest      = 5 * time.Second // open, before a trial
	trialTime = 5 * time.Second // after which it is judged by as many as are through
	probes    = 20              // of a trial
	tolerated = 2               // slow ones
	fewest    = 100             // requests that have a percentile
	readings  = 3               // of the processors, that make a mean
	guilty    = 10              // per cent of the processors: who uses less does not keep them busy
)

// Thresholds are above what a breaker opens.
type Thresholds struct {
	CPU     float64       // per cent, above 0 and at most 100, which is no threshold
	Latency time.Duration // of the 99th percentile
}

// Validate says what is wrong with thresholds.
func (t Thresholds) Validate() error {
	if !(t.CPU > 0 && t.CPU <= 100) {
		return fmt.Errorf("cpu threshold %v: expected per cent, above 0 and at most 100", t.CPU)
	}
	if t.Latency <= 0 {
		return fmt.Errorf("latency threshold %v: expected a time above 0", t.Latency)
	}
	return nil
}

// A Config says when to open, and how to know.
type Config struct {
	Thresholds Thresholds
	// How busy the processors were since the call before, in per cent of what the process may
	// use: all of it, and what the process itself has used.
	CPU func() (all, own float64, err error)
	Log *slog.Logger
}

// State is what a breaker does with requests.
type State string

// The states there are.
const (
	Closed   State = "closed"    // all are let through
	Open     State = "open"      // none is
	HalfOpen State = "half-open" // some are, as a trial
)

// A Breaker has to be Run: without that it stays closed. It is safe for
// concurrent use.
type Breaker struct {
	cpu func() (all, own float64, err error)
	log *slog.Logger

	thresholds atomic.Pointer[Thresholds]
	phase      atomic.Pointer[phase]
	window     window
	refused    atomic.Uint64

	mu     sync.Mutex
	busy   []load // the last readings
	status Status
}

// A phase is the time a breaker is in one state.
type phase struct {
	state State
	since time.Time

	// Of a trial: requests that were let through, of these are through, and of these were slow.
	admitted, through, slow atomic.Int64

	calls atomic.Uint64 // numbers them
	begun sync.Map      // when those began, by their numbers, that are being worked on
}

// slowNow is how many requests have been worked on for longer than limit.
func (p *phase) slowNow(limit time.Duration) (n int64) {
	p.begun.Range(func(_, at any) bool {
		if began, ok := at.(time.Time); ok && time.Since(began) > limit {
			n++
		}
		return true
	})
	return n
}

// A load is how busy the processors are, in per cent.
type load struct{ all, own float64 }

// A Status tells what a breaker does, and why.
type Status struct {
	State State     `json:"state"`
	Since time.Time `json:"since"`

	CPU       float64 `json:"cpu"`                 // per cent, the mean that counts
	OwnCPU    float64 `json:"ownCpu"`              // of that, this process
	Latency   float64 `json:"latencyMillis"`       // the 99th percentile
	Requests  int     `json:"requests"`            // of the last ten seconds, that it is of
	LastError string  `json:"lastError,omitempty"` // why the processors can't be read, if so

	// The thresholds.
	CPULimit     float64 `json:"cpuLimit"`
	LatencyLimit float64 `json:"latencyLimitMillis"`

	// Why it opened last, closed since or not.
	Reason   string    `json:"reason,omitempty"`
	OpenedAt time.Time `json:"openedAt,omitzero"`
	Opened   uint64    `json:"opened"`  // how often
	Refused  uint64    `json:"refused"` // requests
}

// New makes a breaker, which is closed. Errors: the thresholds are not valid.
func New(cfg Config) (*Breaker, error) {
	if cfg.CPU == nil {
		return nil, errors.New("breaker: nothing that reads the processors")
	}
	b := &Breaker{cpu: cfg.CPU, log: cfg.Log}
	if err := b.SetThresholds(cfg.Thresholds); err != nil {
		return nil, err
	}
	b.phase.Store(&phase{state: Closed, since: time.Now()})
	return b, nil
}

// SetThresholds changes them at once; what they mean for the state is seen within
// a second. Errors: they are not valid; then the old ones stay.
func (b *Breaker) SetThresholds(t Thresholds) error {
	if err := t.Validate(); err != nil {
		return err
	}
	b.thresholds.Store(&t)
	return nil
}

// A Call is a request that was let through.
type Call struct {
	breaker *Breaker
	phase   *phase
	began   time.Time // later, by as long as it waited since
	number  uint64    // in a trial
}

// admit takes one of the places of a trial, if there is one.
func (p *phase) admit() bool {
	for {
		n := p.admitted.Load()
		if n >= probes {
			return false
		}
		if p.admitted.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Allow lets a request through or refuses it, and then says when to come again. A
// request that is let through has to be Done, or Dropped.
func (b *Breaker) Allow() (call Call, ok bool, retryAfter time.Duration) {
	p, now := b.phase.Load(), time.Now()
	switch {
	case p.state == Closed:
		return Call{breaker: b, phase: p, began: now}, true, 0
	case p.state == HalfOpen && p.admit():
		call = Call{breaker: b, phase: p, began: now, number: p.calls.Add(1)}
		call.work(true)
		return call, true, 0
	case p.state == HalfOpen:
		retryAfter = tick
	default:
		retryAfter = max(rest-now.Sub(p.since), tick)
	}
	b.refused.Add(1)
	return Call{}, false, retryAfter
}

// Done tells that a request is through: it has an answer, or begins to stream one.
func (c Call) Done() {
	c.work(false)
	if c.breaker == nil || c.phase != c.breaker.phase.Load() {
		return
	}
	took := time.Since(c.began)
	if c.phase.state == Closed {
		c.breaker.window.count(took)
		return
	}
	if took > c.breaker.thresholds.Load().Latency {
		c.phase.slow.Add(1)
	}
	c.phase.through.Add(1)
}

// Await waits for others than this node, who take as long as they do: that counts for
// nothing. Whoever waits has to bound it, for in a trial the request keeps its place.
func (c *Call) Await(wait func()) {
	began := time.Now()
	c.work(false)
	defer func() {
		c.began = c.began.Add(time.Since(began))
		c.work(true)
	}()
	wait()
}

// AwaitClient reads what the client has not sent yet. That is nothing this node can bound,
// so in a trial another one may have the place meanwhile.
func (c *Call) AwaitClient(read func()) {
	c.place(-1)
	defer c.place(1)
	c.Await(read)
}

// isTrial reports whether it is part of a trial.
func (c Call) isTrial() bool { return c.breaker != nil && c.phase.state == HalfOpen }

// work tells a trial whether the request is being worked on.
func (c Call) work(on bool) {
	switch {
	case !c.isTrial():
	case on:
		c.phase.begun.Store(c.number, c.began)
	default:
		c.phase.begun.Delete(c.number)
	}
}

// place gives back, or takes again, the call's place in a trial.
func (c Call) place(n int64) {
	if c.isTrial() {
		c.phase.admitted.Add(n)
	}
}

// Drop tells that somebody else has refused the request: how long that took means
// nothing, and in a trial another one may have its place.
func (c Call) Drop() {
	c.work(false)
	c.place(-1)
}

// Run opens and closes the breaker until ctx ends; then it returns nil, and the
// breaker is closed.
func (b *Breaker) Run(ctx context.Context) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			b.enter(Closed)
			return nil
		case <-ticker.C:
			b.look()
		}
	}
}

// look looks for signs, and does what they ask for.
func (b *Breaker) look() {
	cpu := b.readCPU()
	limits := *b.thresholds.Load()
	p := b.phase.Load()
	latency, n := b.window.percentile99()
	b.mu.Lock()
	b.status.CPU, b.status.OwnCPU, b.status.Latency, b.status.Requests = cpu.all, cpu.own, millis(latency), n
	b.mu.Unlock()

	busy := ""
	if limits.CPU < 100 && cpu.all > limits.CPU && cpu.own >= guilty {
		busy = fmt.Sprintf("processors at %.0f%%, expected at most %v%%", cpu.all, limits.CPU)
	}
	switch p.state {
	case Closed:
		slow := ""
		if n >= fewest && latency > limits.Latency {
			slow = fmt.Sprintf("more than 1 in 100 of %d requests took %v or longer, expected at most %v", n, latency, limits.Latency)
		}
		b.openIf(busy, slow)
	case Open:
		if busy == "" && time.Since(p.since) >= rest {
			b.enter(HalfOpen)
		}
	case HalfOpen:
		b.judge(p, limits, busy)
	}
	b.window.turn()
}

// judge ends a trial, if it is time: by those that are through, if they are enough, else
// when the time is up, and then those that have taken too long already are slow as well.
func (b *Breaker) judge(p *phase, limits Thresholds, busy string) {
	through := p.through.Load()
	enough, over := through >= probes, time.Since(p.since) >= trialTime
	if busy == "" && !enough && !over {
		return
	}
	slow, n, of := "", p.slow.Load(), through
	if !enough {
		n, of = n+p.slowNow(limits.Latency), p.admitted.Load()
	}
	if n > tolerated {
		slow = fmt.Sprintf("%d of %d requests on trial took longer than %v", n, of, limits.Latency)
	}
	switch {
	case b.openIf(busy, slow):
	case of == 0:
		b.enter(HalfOpen) // nobody came: another trial
	case through == 0:
		// Nobody knows yet: it goes on.
	default:
		b.enter(Closed)
	}
}

// openIf opens the breaker for reasons, if there are any.
func (b *Breaker) openIf(busy, slow string) bool {
	reason := strings.Trim(busy+"; "+slow, "; ")
	if reason == "" {
		return false
	}
	b.mu.Lock()
	b.status.Reason, b.status.OpenedAt = reason, time.Now()
	b.status.Opened++
	b.mu.Unlock()
	b.log.Warn("circuit breaker open", "reason", reason)
	b.enter(Open)
	return true
}

func (b *Breaker) enter(s State) {
	before := b.phase.Load().state
	b.window.clear()
	b.phase.Store(&phase{state: s, since: time.Now()})
	if before != s && s != Open {
		b.log.Info("circuit breaker", "state", s, "before", before)
	}
}

// readCPU takes a reading and returns the mean of the last ones, 0 until there are
// enough of them.
func (b *Breaker) readCPU() (mean load) {
	all, own, err := b.cpu()
	if sum := all + own; err == nil && (math.IsNaN(sum) || math.IsInf(sum, 0)) {
		err = fmt.Errorf("%v per cent, of that %v of this process", all, own)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		if b.status.LastError == "" {
			b.log.Warn("circuit breaker can't read the processors", "error", err)
		}
		b.status.LastError, b.busy = err.Error(), nil
		return load{}
	}
	b.status.LastError = ""
	b.busy = append(b.busy, load{all, own})
	if len(b.busy) < readings {
		return load{}
	}
	b.busy = b.busy[len(b.busy)-readings:]
	for _, l := range b.busy {
		mean.all += l.all / readings
		mean.own += l.own / readings
	}
	return mean
}

// Status tells what the breaker does.
func (b *Breaker) Status() Status {
	p := b.phase.Load()
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.status
	s.State, s.Since = p.state, p.since
	limits := b.thresholds.Load()
	s.CPULimit, s.LatencyLimit = limits.CPU, millis(limits.Latency)
	s.Refused = b.refused.Load()
	return s
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
