package load

import (
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// An Ack is an order that a buyer was told to have.
type Ack struct {
	User     string
	Request  string
	Order    string // its public ID
	Quantity int64
}

// A Result is what came of a run.
type Result struct {
	Took time.Duration

	// Answers are counted by what they say: created and repeated for orders, a
	// problem's code for what is none, and timeout and unreachable where there was
	// no answer.
	Answers map[string]int

	// Decided are the requests that were answered for good, Unanswered those that
	// were not when the run ended.
	Decided    int
	Unanswered int

	// Latency is how long requests took to be decided, in microseconds: from the
	// first time that they were sent, through all that was sent again.
	Latency *hdrhistogram.Histogram

	// Acks are the orders that buyers were told to have, each once.
	Acks []Ack

	// Violations tell which buyer was told what can't be true together. (They take
	// it that no unit comes back during the run: nobody cancels, no order expires.)
	Violations []string
}

// Units is how many units buyers were told to have.
func (r Result) Units() (n int64) {
	for _, a := range r.Acks {
		n += a.Quantity
	}
	return n
}

// Throughput is how many requests were decided in a second.
func (r Result) Throughput() float64 { return float64(r.Decided) / max(r.Took.Seconds(), 1e-9) }

// Percentile is the time in which that many of 100 requests were decided.
func (r Result) Percentile(p float64) time.Duration {
	return time.Duration(r.Latency.ValueAtPercentile(p)) * time.Microsecond
}

// A tally is written by all buyers.
type tally struct {
	mu sync.Mutex
	Result
}

// longestLatency is what a slower decision is counted as.
const longestLatency = time.Hour

func newTally() *tally {
	return &tally{Result: Result{
		Answers: map[string]int{},
		Latency: hdrhistogram.New(1, longestLatency.Microseconds(), 3),
	}}
}

func (t *tally) count(code string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Answers[code]++
}

func (t *tally) unanswered() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Unanswered++
}

func (t *tally) decided(took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Decided++
	_ = t.Latency.RecordValue(min(max(took, time.Microsecond), longestLatency).Microseconds()) // in its range
}

func (t *tally) acknowledge(a Ack) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Acks = append(t.Acks, a)
}

func (t *tally) violate(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Violations = append(t.Violations, fmt.Sprintf(format, args...))
}

// result is the tally as it is.
func (t *tally) result(took time.Duration) Result {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.Result
	r.Took, r.Answers = took, maps.Clone(t.Answers)
	return r
}
