package traffic

import (
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/seed27495941/seckill/app/load"
)

// A Result is what came of it.
type Result struct {
	Took     time.Duration
	Requests map[Kind]int
	New      int // requests on new connections
	Kept     int // on connections that had been used before

	// During is the latency of requests that were under way during something, Between
	// that of all others.
	During, Between Latency

	Acks []load.Ack // orders that buyers were told to have

	// Undecided are answers that told a buyer to ask again. Decided is how long it
	// took from the first time that something was to be asked until its answer came, where there
	// were such answers in between.
	Undecided map[Kind]int
	Decided   Latency

	Streams int // that were begun
	Events  int // that they told

	// Failures is how many requests and streams got no answer, or one that can't be true, and Failed
	// tells of the first of them.
	Failures int
	Failed   []string
}

// Count is how many requests there were.
func (r Result) Count() int { return r.New + r.Kept }

// Rate is how many requests there were in a second.
func (r Result) Rate() float64 { return float64(r.Count()) / max(r.Took.Seconds(), 1e-9) }

// A Latency is a distribution.
type Latency struct{ microseconds *hdrhistogram.Histogram }

// longestLatency is what a longer one is counted as.
const longestLatency = time.Hour

func newLatency() Latency {
	return Latency{hdrhistogram.New(1, longestLatency.Microseconds(), 3)}
}

func (l Latency) record(d time.Duration) {
	_ = l.microseconds.RecordValue(min(max(d, time.Microsecond), longestLatency).Microseconds()) // in its range
}

// Count is how many there were.
func (l Latency) Count() int64 { return l.microseconds.TotalCount() }

// Percentile is the time that so many of 100 did not exceed.
func (l Latency) Percentile(p float64) time.Duration {
	return time.Duration(l.microseconds.ValueAtPercentile(p)) * time.Microsecond
}

// mostTold is how many failures are told.
const mostTold = 50

// A tally is written by all clients.
type tally struct {
	mu sync.Mutex
	Result
	from, to time.Time // the last disturbance; to is zero while it lasts
}

func newTally() *tally {
	return &tally{Result: Result{
		Requests: map[Kind]int{}, Undecided: map[Kind]int{},
		During: newLatency(), Between: newLatency(), Decided: newLatency(),
	}}
}

func (t *tally) disturb() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.from, t.to = time.Now(), time.Time{}
}

func (t *tally) calm() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.to = time.Now()
}

// asked counts a request and its answer.
func (t *tally) asked(k Kind, kept bool, due, answered time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Requests[k]++
	if kept {
		t.Kept++
	} else {
		t.New++
	}
	at := t.Between
	if !t.from.IsZero() && answered.After(t.from) && (t.to.IsZero() || due.Before(t.to)) {
		at = t.During
	}
	at.record(answered.Sub(due))
}

func (t *tally) undecided(k Kind) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Undecided[k]++
}

func (t *tally) decided(took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Decided.record(took)
}

func (t *tally) acknowledge(a load.Ack) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Acks = append(t.Acks, a)
}

// streamed counts an event.
func (t *tally) streamed(first bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Events++
	if first {
		t.Streams++
	}
}

func (t *tally) fail(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Failures++
	if len(t.Failed) < mostTold {
		t.Failed = append(t.Failed, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
	}
}

func (t *tally) orders() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.Acks)
}

func (t *tally) failures() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.Failures
}

func (t *tally) result(took time.Duration) Result {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.Result
	r.Took, r.Requests, r.Undecided = took, maps.Clone(t.Requests), maps.Clone(t.Undecided)
	return r
}
