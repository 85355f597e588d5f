package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/node"
	"github.com/seed27495941/seckill/conformance/servers"
	"github.com/seed27495941/seckill/internal/stores"
)

// TestWalk is the course's own walk, with the real binaries: two API nodes, an
// admin, and a person with the store's own tool. The store is the only thing
// that differs between the two runs.
func TestWalk(t *testing.T) {
	if testing.Short() {
		t.Skip("needs servers; run without -short")
	}
	binary := filepath.Join(t.TempDir(), "seckill")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, store := range []walkStore{
		{
			kind:   servers.Etcd,
			put:    []string{"put", "/seckill/config"},
			delete: []string{"del"},
			list:   []string{"get", "--prefix", "/seckill/nodes/"},
			prefix: "/",
		},
		{
			// A real Consul refuses sessions below 10s: this one does too.
			kind:   servers.Consul,
			config: servers.Config{SessionTTLMin: 10 * time.Second},
			put:    []string{"kv", "put", "seckill/config"},
			delete: []string{"kv", "delete"},
			list:   []string{"kv", "get", "-recurse", "seckill/nodes/"},
		},
	} {
		t.Run(string(store.kind), func(t *testing.T) {
			t.Parallel()
			store.config.Kind = store.kind
			w := &walk{T: t, store: store, binary: binary, began: time.Now()}
			w.run()
		})
	}
}

// A walkStore is what differs between the stores: the words their tools want.
type walkStore struct {
	kind              servers.Kind
	config            servers.Config
	put, delete, list []string
	prefix            string // in front of a key, as the tool knows it
}

type walk struct {
	*testing.T
	store   walkStore
	binary  string
	keys    string // file with those that buyers' tokens are signed with
	cluster *servers.Cluster
	began   time.Time
	remote  []string // flags that say where the admin is, and who asks
}

const (
	goodConfig   = `{"logLevel":"debug","rateLimit":{"middle":50000,"low":5000},"circuitBreaker":{"cpu":70,"latency":500}}`
	betterConfig = `{"logLevel":"error","rateLimit":{"middle":1000,"low":100},"circuitBreaker":{"cpu":60,"latency":250}}`

	// courseSample is not valid JSON, as the course has it: a comma is missing
	// and two are too many.
	courseSample = "{\n  \"logLevel\": \"info\"\n  \"rateLimit\": {\"middle\": 100000, \"low\": 10000,},\n  \"circuitBreaker\": {\"cpu\": 80, \"latency\": 1000,}\n}"

	// settingsFile is what a deleted config falls back to. The machine may be as busy as
	// it is.
	settingsFile = "[log]\nlevel = \"warn\"\n[config.rateLimit]\nmiddle = 7000\n[config.circuitBreaker]\ncpu = 100\nlatency = 60000\n"
)

func (w *walk) run() {
	w.cluster = servers.ForTest(w.T, w.store.config)
	w.step("%s %s runs (%s)", w.store.kind, w.cluster.Version(), w.cluster.Source())

	w.keys = filepath.Join(w.TempDir(), "keys.json")
	w.seckill("keys", "new", "--keys="+w.keys)
	a, b := w.startNode("a"), w.startNode("b")
	admin := w.startAdmin()
	w.listed(admin, a, b)
	w.step("two API nodes and an admin run with --backend=%s; /v1/nodes lists %s and %s", w.store.kind, a.id, b.id)
	w.Log(w.tool(w.store.list...))
	w.step("%s shows both", w.command(w.store.list...))

	require.NotContains(w, a.log.String(), "level=INFO", "the file says warn")
	w.sale(a, b)
	w.configChange(a, b)
	w.deletedKey(admin, a, b)
	w.badConfig(a, b)
	w.deletedConfig(a, b)
	w.killed(admin, a, b)
	w.storeRestart(admin, a)
	w.terminated(admin, a)
}

// sale: what one node is asked for another one knows of, and the checker finds
// nothing wrong.
func (w *walk) sale(a, b *walker) {
	made := w.operate("events", "create", "--title=Teapot", "--sku=T", "--price=1999", "--currency=EUR", "--total=100", "--per-user=2", "--opens=+0s", "--closes=+1h", "--publish", "--yes")
	id := strings.Fields(made)[0]
	w.step("seckill events create --publish: event %s is online", id)

	token := strings.TrimSpace(w.seckill("token", "--keys="+w.keys, "--buyer=alice"))
	buy := func(at *walker) (status int, order string) {
		req, err := http.NewRequestWithContext(w.Context(), http.MethodPost, "http://"+at.main+"/v1/events/"+id+"/orders",
			strings.NewReader(`{"quantity":2,"request_id":"first"}`))
		require.NoError(w, err)
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		resp, err := at.client.Do(req)
		if err != nil {
			return 0, ""
		}
		defer func() { _ = resp.Body.Close() }()
		var o struct{ ID string }
		require.NoError(w, json.NewDecoder(resp.Body).Decode(&o))
		return resp.StatusCode, o.ID
	}
	var bought string
	w.eventually("an order", func() (ok bool) {
		status, order := buy(a)
		bought = order
		require.NotContains(w, []int{http.StatusConflict, http.StatusUnprocessableEntity}, status)
		return status == http.StatusCreated || status == http.StatusOK
	})
	status, again := buy(b)
	require.Equal(w, http.StatusOK, status)
	require.Equal(w, bought, again)
	w.step("POST /v1/events/{id}/orders at %s: order %s; the same request at %s: the same order", a.id, bought, b.id)

	var figures string
	w.eventually("figures with the order", func() bool {
		figures = regexp.MustCompile(`ordered: .*`).FindString(w.operate("events", "show", id))
		return strings.HasPrefix(figures, "ordered: 2 of 100 units, 98 left, ")
	})
	w.step("seckill events show: %s", figures)

	acks := filepath.Join(w.TempDir(), "acks")
	require.NoError(w, os.WriteFile(acks, []byte(bought+"\n"), 0o600))
	report := w.seckill("verify", "--event="+id, "--acks="+acks)
	w.step("seckill verify: %s", strings.Join(strings.Fields(report), " "))
	w.operate("events", "close", id, "--yes")
	w.eventually("the order of a closed sale", func() bool {
		status, again := buy(b)
		return status == http.StatusOK && again == bought
	})
	w.step("seckill events close: over for good, and its orders can still be read")
}

// open opens the walk's store.
func (w *walk) open() store {
	return server{string(w.store.kind), w.cluster.Endpoints()[0]}.open(w.T, "seckill/")
}

// seckill runs a command on the walk's store that has to succeed.
func (w *walk) seckill(args ...string) string {
	w.Helper()
	return w.types(append(args, "--backend="+string(w.store.kind), "--endpoints="+w.cluster.Endpoints()[0])...)
}

// operate runs a command on the walk's admin that has to succeed.
func (w *walk) operate(args ...string) string {
	w.Helper()
	return w.types(append(args, w.remote...)...)
}

func (w *walk) types(args ...string) string {
	w.Helper()
	cmd := exec.CommandContext(w.Context(), w.binary, args...)
	cmd.Env = []string{"HOME=" + w.TempDir()}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(w, err, "%v: %s", args, &stderr)
	return string(out)
}

// configChange: a config typed with the store's tool is applied by both nodes.
func (w *walk) configChange(nodes ...*walker) {
	typed := time.Now()
	w.tool(append(w.store.put, goodConfig)...)
	var applied []time.Time
	for _, n := range nodes {
		n.await("the new config", func(s node.Status) bool {
			return s.Config.Source == "store" && s.Config.InForce.RateLimit.Middle == 50000 && s.Config.InForce.LogLevel == "debug"
		})
		applied = append(applied, n.status().Config.Since)
	}
	first, last := slices.MinFunc(applied, time.Time.Compare), slices.MaxFunc(applied, time.Time.Compare)
	w.step("%s '{…}': both nodes apply it, %s apart, %s after the command began", w.command(w.store.put...),
		round(last.Sub(first)), round(last.Sub(typed)))
}

// badConfig: what is not valid is refused with a position, and the last good
// one stays.
func (w *walk) badConfig(nodes ...*walker) {
	w.tool(append(w.store.put, courseSample)...)
	for _, n := range nodes {
		n.await("the refusal", func(s node.Status) bool { return s.Config.Refusal != nil })
		s := n.status().Config
		require.Contains(w, s.Refusal.Error, "line 3, column 3")
		require.Equal(w, 50000, s.InForce.RateLimit.Middle)
		require.Contains(w, n.get("/metrics"), "\nseckill_config_refused 1\n")
		require.Contains(w, n.log.String(), "configuration refused")
	}
	w.step("the course's own sample is refused, the last good one stays: %s", nodes[0].status().Config.Refusal.Error)

	w.tool(append(w.store.put, `{"rateLimit":{"middle":0}}`)...)
	for _, n := range nodes {
		n.await("the second refusal", func(s node.Status) bool {
			return s.Config.Refusal != nil && strings.Contains(s.Config.Refusal.Error, "rateLimit.middle")
		})
	}
	w.step("a value out of range too: %s", nodes[0].status().Config.Refusal.Error)
}

// deletedConfig: a deleted config falls back to the node's own settings.
func (w *walk) deletedConfig(nodes ...*walker) {
	w.tool(append(w.store.delete, w.store.prefix+"seckill/config")...)
	for _, n := range nodes {
		n.await("the file's values", func(s node.Status) bool {
			return s.Config.Source == "defaults" && s.Config.InForce.LogLevel == "warn" && s.Config.InForce.RateLimit.Middle == 7000
		})
		require.Contains(w, n.get("/metrics"), "\nseckill_config_refused 0\n")
	}
	w.step("deleted: both nodes are back to the values of their file")
}

// deletedKey: a node whose key was deleted by hand comes back by itself, and
// says so at the level that was published.
func (w *walk) deletedKey(admin, a, b *walker) {
	before := a.status().Node.Revision
	w.tool(append(w.store.delete, w.store.prefix+"seckill/nodes/"+a.id)...)
	deleted := time.Now()
	a.await("its key again", func(s node.Status) bool { return s.Node.Registered && s.Node.Revision > before })
	w.step("the key of %s deleted by hand: it is back after %s", a.id, round(time.Since(deleted)))
	w.eventually("a line that only the published level shows", func() bool {
		return strings.Contains(a.log.String(), "level=INFO msg=registered")
	})
	w.step("the published logLevel is in force: the node logs what its file's level kept quiet")
	w.listed(admin, a, b)
}

// killed: a node that is killed vanishes from the store and from admin's list.
func (w *walk) killed(admin, a, b *walker) {
	ttl := time.Duration(b.status().Node.TTLSeconds * float64(time.Second))
	b.kill()
	killed := time.Now()
	limit := 3*ttl + 15*time.Second
	w.listed(admin, a)
	took := time.Since(killed)
	require.LessOrEqual(w, took, limit)
	require.NotContains(w, w.tool(w.store.list...), b.id)
	w.step("kill -9 of %s: gone from the store and from /v1/nodes after %s (TTL %s, allowed %s)", b.id, round(took), ttl, limit)
}

// storeRestart: the store is killed and started again; nothing of ours is.
func (w *walk) storeRestart(admin, a *walker) {
	ctx := w.Context()
	require.NoError(w, w.cluster.Node(0).Kill(ctx))
	require.Equal(w, "ready", strings.TrimSpace(a.get("/readyz")))
	w.listed(admin, a)
	require.NoError(w, w.cluster.Node(0).Start(ctx))
	back := time.Now()
	w.tool(append(w.store.put, betterConfig)...)
	a.await("the config typed after the restart", func(s node.Status) bool {
		return s.Config.InForce.RateLimit.Middle == 1000 && s.Node.Registered && s.Store.Reachable
	})
	w.listed(admin, a)
	w.eventually("the node in the store", func() bool {
		out, err := w.try(w.store.list...)
		return err == nil && strings.Contains(out, a.id)
	})
	w.step("%s killed and started again: the node served on, applied a new config and is listed %s after it was back, with no restart of ours",
		w.store.kind, round(time.Since(back)))
}

// terminated: SIGTERM takes a node off the list at once, not after its TTL.
func (w *walk) terminated(admin, a *walker) {
	sent := time.Now()
	require.NoError(w, a.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(w, a.wait(), "exit status after SIGTERM")
	require.NotContains(w, w.tool(w.store.list...), a.id)
	w.step("SIGTERM: %s has deregistered and left with status 0 after %s", a.id, round(time.Since(sent)))
	w.listed(admin)
	require.NoError(w, admin.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(w, admin.wait())
}

// A walker is one of our processes.
type walker struct {
	w    *walk
	name string
	id   string
	main string // address of the service
	ops  string
	cmd  *exec.Cmd
	log  *lockedBuffer
	wait func() error

	client *http.Client
}

func (w *walk) startNode(name string, more ...string) *walker {
	api := stores.FreeAddress(w.T)
	id := strings.NewReplacer(".", "-", ":", "-").Replace(api)
	p := w.start(name, api, append([]string{"api", "--api-bind=" + api, "--rpc-bind=127.0.0.1:0", "--identity-keys-file=" + w.keys}, more...)...)
	p.id = id
	p.await("its registration", func(s node.Status) bool { return s.Node.Registered })
	return p
}

func (w *walk) startAdmin() *walker {
	addr := stores.FreeAddress(w.T)
	p := w.start("admin", addr, "admin", "--admin-bind="+addr)
	w.eventually("there is a first operator", func() bool { return strings.Contains(p.log.String(), "log in as") })
	p.client = logIn(w.T, "http://"+addr, p.log.String())
	w.remote = tokenFlags(w.T, server{string(w.store.kind), w.cluster.Endpoints()[0]}, "seckill/", "http://"+addr)
	return p
}

func (w *walk) start(name, addr string, args ...string) *walker {
	file := filepath.Join(w.TempDir(), "settings.toml")
	require.NoError(w, os.WriteFile(file, []byte(settingsFile), 0o600))
	p := &walker{w: w, name: name, main: addr, ops: stores.FreeAddress(w.T), log: &lockedBuffer{}, client: &http.Client{Timeout: 10 * time.Second}}
	args = append(args, "--backend="+string(w.store.kind), "--endpoints="+w.cluster.Endpoints()[0], "--config="+file, "--ops-bind="+p.ops)
	p.cmd = exec.Command(w.binary, args...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = diesWithTests()
	p.cmd.Env = []string{"HOME=" + w.TempDir()}
	require.NoError(w, p.cmd.Start())
	p.wait = sync.OnceValue(p.cmd.Wait)
	w.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.wait()
		if w.Failed() {
			w.Logf("--- log of %s\n%s", name, p.log)
		}
	})
	w.eventually(name+" is ready", func() bool { return p.get("/readyz") == "ready\n" })
	return p
}

func (p *walker) kill() {
	require.NoError(p.w, p.cmd.Process.Kill())
	require.Error(p.w, p.wait())
}

// get reads a page of the ops listener, or of the service for /readyz; "" if
// there is no answer.
func (p *walker) get(path string) string {
	addr := p.ops
	if path == "/readyz" || strings.HasPrefix(path, "/v1/") {
		addr = p.main
	}
	req, err := http.NewRequestWithContext(p.w.Context(), http.MethodGet, "http://"+addr+path, nil)
	require.NoError(p.w, err)
	resp, err := p.client.Do(req)
	if err != nil {
		return ""
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return ""
	}
	return string(body)
}

func (p *walker) status() node.Status {
	var s node.Status
	require.NoError(p.w, json.Unmarshal([]byte(p.get("/status")), &s))
	return s
}

func (p *walker) await(what string, cond func(node.Status) bool) {
	p.w.Helper()
	p.w.eventually(p.name+": "+what, func() bool {
		var s node.Status
		return json.Unmarshal([]byte(p.get("/status")), &s) == nil && s.Node != nil && cond(s)
	})
}

// listed waits until admin lists exactly these nodes.
func (w *walk) listed(admin *walker, nodes ...*walker) {
	w.Helper()
	want := []string{}
	for _, n := range nodes {
		want = append(want, n.id)
	}
	slices.Sort(want)
	w.eventually(fmt.Sprintf("admin lists %v", want), func() bool {
		var page struct {
			Nodes []struct{ ID string } `json:"nodes"`
		}
		if json.Unmarshal([]byte(admin.get("/v1/nodes")), &page) != nil {
			return false
		}
		have := []string{}
		for _, n := range page.Nodes {
			have = append(have, n.ID)
		}
		return slices.Equal(have, want)
	})
}

// eventually waits for a condition under a watchdog.
func (w *walk) eventually(what string, cond func() bool) {
	w.Helper()
	require.Eventually(w, cond, 90*time.Second, 5*time.Millisecond, what)
}

// tool runs the store's own command-line tool and returns what it printed.
func (w *walk) tool(args ...string) string {
	w.Helper()
	out, err := w.try(args...)
	require.NoError(w, err)
	return out
}

// try is tool for where it may fail.
func (w *walk) try(args ...string) (string, error) {
	name, target := "etcdctl", "--endpoints="+w.cluster.Endpoints()[0]
	if w.store.kind == servers.Consul {
		name, target = "consul", "-http-addr="+w.cluster.Node(0).URL()
	}
	path, err := servers.Binary(w.Context(), name, w.Output())
	if err != nil {
		return "", err
	}
	if w.store.kind == servers.Consul {
		args = slices.Insert(slices.Clone(args), 2, target) // behind "kv put"
	} else {
		args = append([]string{target}, args...)
	}
	out, err := exec.CommandContext(w.Context(), path, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// command shows a tool's command as a person types it.
func (w *walk) command(args ...string) string {
	name := "etcdctl"
	if w.store.kind == servers.Consul {
		name = "consul"
	}
	return name + " " + strings.Join(args, " ")
}

// step prints a line of the walk.
func (w *walk) step(format string, args ...any) {
	fmt.Fprintf(w.Output(), "%-6s %6.1fs  %s\n", w.store.kind, time.Since(w.began).Seconds(), fmt.Sprintf(format, args...))
}

func round(d time.Duration) time.Duration {
	if d < 10*time.Millisecond {
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Millisecond)
}

// lockedBuffer keeps what a process prints while others read it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
