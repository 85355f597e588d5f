package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/identity"
	"github.com/seed27495941/seckill/app/load"
	"github.com/seed27495941/seckill/app/load/traffic"
	records "github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/verify"
	"github.com/seed27495941/seckill/conformance/servers"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/registry"
)

// A rehearsal is how often a process is replaced, and under how many requests.
type rehearsal struct {
	handOvers int
	rate      float64 // requests in a second
	streams   int
	calm      int // orders from one hand-over to the next
}

// TestHandOver replaces the process that buyers are served by again and again, and nobody
// notices.
func TestHandOver(t *testing.T) {
	r := rehearsal{handOvers: 2, rate: 300, streams: 5, calm: 100}
	if os.Getenv("SECKILL_TEST_FULL") != "" && !hasRaceDetector() {
		r = rehearsal{handOvers: 10, rate: 2000, streams: 50, calm: 2000}
	}
	stores.EachCluster(t, 1, func(t *testing.T, space stores.Space, c *servers.Cluster) {
		h := newHandOver(t, space, c)
		h.figures(r, h.rehearse(r))
	})
}

// A handOver is a line of processes at one address.
type handOver struct {
	operator
	kind  string
	nodes *registry.Directory
	key   identity.Key
	keys  string // its file
	file  string // PID file
	api   string // where buyers go
	id    string // node's
	log   string // file
	event string

	node registry.Node // that is listed at present
	pid  int           // the process's

	serves, gone []time.Duration // after an upgrade was asked for: the other process serves, and is alone
}

func newHandOver(t *testing.T, space stores.Space, c *servers.Cluster) *handOver {
	t.Helper()
	dir := t.TempDir()
	h := &handOver{
		operator: operator{t, []string{
			"--backend=" + string(c.Kind()), "--endpoints=" + strings.Join(c.Endpoints(), ","), "--root=" + stores.Root(t, space),
		}},
		kind: string(c.Kind()), nodes: registry.NewDirectory(space.Open(t), registry.DefaultDir, slog.New(slog.DiscardHandler)),
		keys: filepath.Join(dir, "keys.json"), file: filepath.Join(stores.ShortDir(t), "pid"), log: filepath.Join(dir, "log"),
		api: stores.FreeAddress(t),
	}
	var err error
	h.id, err = registry.ID(h.api)
	require.NoError(t, err)
	h.key, err = identity.NewKey("HS256", "hand-over")
	require.NoError(t, err)
	text, err := identity.Set{h.key}.Encode()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(h.keys, text, 0o600))
	h.event = publish(t, space.Open(t), records.Event{
		Title: "Phone", SKU: "phone-1", Price: records.Price{Minor: 19900, Currency: "EUR"}, Total: 500000, PerUser: 1000000, PayWithin: 3600,
	})
	return h
}

func (h *handOver) token(user string) (string, error) {
	return identity.Mint(h.key, identity.Claims{Subject: user, Expires: time.Now().Add(time.Hour)})
}

// unlimited are settings under which nobody is refused because there are too many: whoever is, is
// because of the hand-over.
const unlimited = `
[config.rateLimit]
middle = 1000000
low = 1000000

[config.rateLimit.perUser]
requests = 1000000
burst = 1000000

[config.circuitBreaker]
cpu = 100
latency = 60000
`

// start starts the first process, and waits until buyers may come.
func (h *handOver) start() *command {
	h.Helper()
	settings := filepath.Join(h.TempDir(), "seckill.toml")
	require.NoError(h, os.WriteFile(settings, []byte(unlimited), 0o600))
	c := newCommand(h.T, append([]string{
		"api", "--config=" + settings, "--pid-file=" + h.file, "--identity-keys-file=" + h.keys,
		"--api-bind=" + h.api, "--rpc-bind=" + stores.FreeAddress(h.T), "--ops-bind=" + stores.FreeAddress(h.T),
		"--drain-timeout=1m", // longer than two hand-overs take on a busy machine: see upgradeTwice
	}, h.store...)...)
	c.cmd.Env = append(c.cmd.Env, fmt.Sprintf("%s=%d", testPID, os.Getpid()))
	// A pipe would end with the command, and its successors log there too.
	file, err := os.OpenFile(h.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(h, err)
	defer file.Close()
	c.cmd.Stdout, c.cmd.Stderr = file, file
	require.NoError(h, c.cmd.Start())
	h.pid = c.cmd.Process.Pid
	h.Cleanup(func() {
		_ = c.cmd.Process.Kill() // it may have ended
		_ = c.wait()
		if h.Failed() {
			h.Logf("the processes logged:\n%s", h.logged())
		}
	})
	h.awaitListed()
	stores.Wait(h, "the node takes buyers", func() bool {
		req, err := http.NewRequestWithContext(h.Context(), http.MethodGet, "http://"+h.api+"/readyz", http.NoBody)
		require.NoError(h, err)
		resp, err := new(http.Client).Do(req)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return c
}

func (h *handOver) logged() string {
	h.Helper()
	text, err := os.ReadFile(h.log)
	require.NoError(h, err)
	return string(text)
}

// awaitListed waits until the node is listed once, under its own id, by another process
// than before.
func (h *handOver) awaitListed() {
	h.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		listed, err := h.nodes.Fetch(h.Context())
		require.NoError(h, err)
		if len(listed) == 1 && listed[0].ID == h.id && listed[0].Incarnation != h.node.Incarnation {
			assert.NotEqual(h, h.node.RPC, listed[0].RPC, "the process before had that address")
			h.node = listed[0]
			return
		}
		require.True(h, time.Now().Before(deadline), "listed are %v", listed)
	}
}

// rehearse replaces the process so many times, while buyers come.
func (h *handOver) rehearse(r rehearsal) traffic.Result {
	h.Helper()
	first := h.start()
	buyers, err := traffic.Start(traffic.Config{
		Address: h.api, Event: h.event, Token: h.token,
		Rate: r.rate, Interval: 500 * time.Millisecond, Streams: r.streams, Patience: time.Minute,
	})
	require.NoError(h, err)
	h.Cleanup(func() { buyers.Stop() })
	for range r.handOvers {
		h.awaitOrders(buyers, r.calm)
		buyers.During(h.upgrade)
		require.NoError(h, first.wait(), "it ends well")
	}
	h.awaitOrders(buyers, r.calm)
	buyers.During(h.upgradeTwice)
	h.awaitOrders(buyers, r.calm)
	result := buyers.Stop()

	assert.Zero(h, result.Failures, "requests that failed:\n%s", strings.Join(result.Failed, "\n"))
	assert.NotContains(h, h.logged(), "level=ERROR")
	h.read(result.Acks)
	h.stop()
	h.verify(result.Acks)
	return result
}

// awaitOrders waits for so many more.
func (h *handOver) awaitOrders(buyers *traffic.Traffic, more int) {
	h.Helper()
	want := buyers.Orders() + more
	stores.Wait(h.T, "orders", func() bool { return buyers.Orders() >= want })
}

// upgrade replaces the running process, and waits until it has gone.
func (h *handOver) upgrade() {
	h.Helper()
	began := time.Now()
	h.replace()
	h.serves = append(h.serves, time.Since(began))
	h.awaitListed()
	h.gone = append(h.gone, time.Since(began))
}

// upgradeTwice replaces the running process, and the next one while that still waits for a
// connection on which nothing is asked.
func (h *handOver) upgradeTwice() {
	h.Helper()
	idle, err := new(net.Dialer).DialContext(h.Context(), "tcp", h.api)
	require.NoError(h, err)
	defer idle.Close()
	_, err = io.WriteString(idle, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(h, err)
	resp, err := http.ReadResponse(bufio.NewReader(idle), nil)
	require.NoError(h, err)
	require.NoError(h, resp.Body.Close())
	require.Equal(h, http.StatusOK, resp.StatusCode)
	waits := h.pid
	h.replace()
	h.replace()
	assert.NoError(h, syscall.Kill(waits, 0), "the first one is there still")
	require.NoError(h, idle.Close())
	h.awaitListed()
}

// replace has another process take the running one's place.
func (h *handOver) replace() {
	h.Helper()
	out, stderr, code := seckill(h.T, "upgrade", "--pid-file="+h.file)
	require.Zero(h, code, stderr)
	var pid int
	_, err := fmt.Sscanf(out, "process %d serves now\n", &pid)
	require.NoError(h, err, out)
	require.NotEqual(h, h.pid, pid)
	h.pid = pid
	h.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) }) // it may have ended
}

// read reads every order that a buyer was told to have, as that one.
func (h *handOver) read(acks []load.Ack) {
	h.Helper()
	violations, err := load.ReadBack(h.Context(), load.Config{
		Event: h.event, Nodes: []string{"http://" + h.api}, Token: h.token,
		Buyers: 1, PerUser: 1, Concurrency: 50, Patience: time.Minute,
	}, acks)
	require.NoError(h, err)
	assert.Empty(h, violations)
}

// stop ends the last process, which leaves nothing behind.
func (h *handOver) stop() {
	h.Helper()
	require.NoError(h, syscall.Kill(h.pid, syscall.SIGTERM))
	stores.Wait(h.T, "the last one ends", func() bool {
		_, err := os.Stat(h.file)
		return errors.Is(err, fs.ErrNotExist)
	})
	listed, err := h.nodes.Fetch(h.Context())
	require.NoError(h, err)
	assert.Empty(h, listed, "it takes its leave")
}

// verify has the checker find those orders in the store, and no others.
func (h *handOver) verify(acks []load.Ack) {
	h.Helper()
	var told bytes.Buffer
	for _, a := range acks {
		fmt.Fprintln(&told, a.Order)
	}
	path := filepath.Join(h.TempDir(), "acks")
	require.NoError(h, os.WriteFile(path, told.Bytes(), 0o600))
	var r verify.Report
	require.NoError(h, json.Unmarshal([]byte(h.ok("verify", "--event="+h.event, "--acks="+path, "--output=json")), &r))
	assert.Empty(h, r.Violations)
	assert.Equal(h, len(acks), r.Acknowledged)
	assert.Equal(h, len(acks), r.Orders)
}

// figures prints what the buyers noticed.
func (h *handOver) figures(r rehearsal, t traffic.Result) {
	h.say("%d hand-overs, and two at a time, in %.1fs", len(h.gone), t.Took.Seconds())
	h.say("%d requests, %.0f a second of %.0f, %d on new connections and %d on kept ones: %d failed",
		t.Count(), t.Rate(), r.rate, t.New, t.Kept, t.Failures)
	h.say("%v, %d orders; %d streams told of %d events", t.Requests, len(t.Acks), t.Streams, t.Events)
	h.say("%-34s %9s %9s %9s %9s %9s", "", "count", "p50", "p99", "p99.9", "longest")
	h.latency("latency between hand-overs", t.Between)
	h.latency("latency during hand-overs", t.During)
	h.latency("undecided at first, until decided", t.Decided)
	h.say("answers that said undecided: %v", t.Undecided)
	h.say("the next process serves after    %v", seconds(h.serves))
	h.say("the one before it is gone after  %v", seconds(h.gone))
}

func seconds(all []time.Duration) string {
	var text []string
	for _, d := range all {
		text = append(text, fmt.Sprintf("%.1fs", d.Seconds()))
	}
	return strings.Join(text, " ")
}

func rounded(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

// hasRaceDetector: with it the processes and the buyers need many times the time.
func hasRaceDetector() bool {
	info, _ := debug.ReadBuildInfo()
	return slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

func (h *handOver) latency(what string, l traffic.Latency) {
	h.say("%-34s %9d %9v %9v %9v %9v", what, l.Count(), rounded(l.Percentile(50)), rounded(l.Percentile(99)), rounded(l.Percentile(99.9)), rounded(l.Percentile(100)))
}

// say prints a line, also if the test succeeds and is run with -v.
func (h *handOver) say(format string, args ...any) {
	fmt.Fprintf(h.Output(), "%-6s %s\n", h.kind, fmt.Sprintf(format, args...))
}
