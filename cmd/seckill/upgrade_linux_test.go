package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend/etcd/embed"
	"github.com/seed27495941/seckill/conformance/servers"
)

func TestUpgrade(t *testing.T) {
	t.Run("etcd", func(t *testing.T) {
		server, err := embed.Start(t.Context(), embed.Config{})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, server.Close()) })
		testUpgrade(t, "--backend=etcd", "--endpoints="+server.Endpoint())
	})
	t.Run("consul", func(t *testing.T) {
		if testing.Short() {
			t.Skip("needs a Consul server; run without -short")
		}
		testUpgrade(t, "--backend=consul", "--endpoints="+servers.Shared(t, servers.Consul).Endpoints()[0])
	})
}

// An upgrading node is replaced again and again, while buyers order.
type upgrading struct {
	operator
	file  string // PID file
	api   string // where buyers go
	id    string // node's
	keys  string
	event string

	mu        sync.Mutex
	orders    []string // that buyers were told to have
	undecided int      // answers that told them to ask again
	refused   []error
}

func testUpgrade(t *testing.T, store ...string) {
	t.Helper()
	u := &upgrading{
		operator: operator{t, append(store, "--root="+newRoot())},
		file:     filepath.Join(shortDir(t), "pid"),
		keys:     filepath.Join(t.TempDir(), "keys.json"),
		api:      freeAddress(t),
	}
	u.id = strings.NewReplacer(".", "-", ":", "-").Replace(u.api)
	_, stderr, code := seckill(t, "keys", "new", "--keys="+u.keys)
	require.Zero(t, code, stderr)
	u.event = u.ok("events", "create", "--title=Phone", "--sku=phone-1", "--price=19900", "--currency=EUR", "--total=20000", "--per-user=20000", "--closes=+1h", "--publish")
	first := u.start()
	pid, incarnation := first.cmd.Process.Pid, u.listed("")

	stopBuying := u.buy()
	for range 2 {
		u.awaitOrders(100)
		pid = u.upgrade()
		incarnation = u.listed(incarnation)
	}
	u.awaitOrders(100)
	stopBuying()
	require.NoError(t, first.wait(), "the first one ends well")
	assert.Empty(t, u.refused)
	t.Logf("%d orders, %d of them asked for again", len(u.orders), u.undecided)

	require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
	require.Eventually(t, func() bool {
		_, err := os.Stat(u.file)
		return errors.Is(err, fs.ErrNotExist)
	}, time.Minute, 5*time.Millisecond)
	assert.Empty(t, u.ok("kv", "list", "nodes/"), "the last one takes its leave")
	acks := filepath.Join(t.TempDir(), "acks")
	require.NoError(t, os.WriteFile(acks, []byte(strings.Join(u.orders, "\n")+"\n"), 0o600))
	u.ok("verify", "--event="+u.event, "--acks="+acks)
}

// start starts the first process, and waits until it can be bought from.
func (u *upgrading) start() *command {
	u.Helper()
	c := newCommand(u.T, append([]string{
		"api", "--pid-file=" + u.file, "--identity-keys-file=" + u.keys,
		"--api-bind=" + u.api, "--rpc-bind=" + freeAddress(u.T), "--ops-bind=" + freeAddress(u.T),
	}, u.store...)...)
	c.cmd.Env = append(c.cmd.Env, fmt.Sprintf("%s=%d", testPID, os.Getpid()))
	log := u.logTo(c)
	require.NoError(u, c.cmd.Start())
	u.Cleanup(func() {
		_ = c.cmd.Process.Kill() // it may have ended
		_ = c.wait()
		if text, err := os.ReadFile(log); u.Failed() && err == nil {
			u.Logf("the processes logged:\n%s", text)
		}
	})
	b := u.buyer("0", &http.Transport{DisableKeepAlives: true})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		_, err := b.ask(0)
		if err == nil {
			return c
		}
		require.True(u, time.Now().Before(deadline), err)
	}
}

// logTo has a command and its successors log to a file: a pipe would end with the command.
func (u *upgrading) logTo(c *command) string {
	u.Helper()
	path := filepath.Join(u.TempDir(), "log")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(u, err)
	u.Cleanup(func() { _ = file.Close() })
	c.cmd.Stdout, c.cmd.Stderr = file, file
	return path
}

// upgrade replaces the running process and returns the other one's pid.
func (u *upgrading) upgrade() int {
	u.Helper()
	out, stderr, code := seckill(u.T, "upgrade", "--pid-file="+u.file)
	require.Zero(u, code, stderr)
	var pid int
	_, err := fmt.Sscanf(out, "process %d serves now\n", &pid)
	require.NoError(u, err, out)
	u.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) }) // it may have ended
	return pid
}

// listed waits until the node is listed once, under its own id, by another process
// than before, and returns that one's incarnation.
func (u *upgrading) listed(before string) (incarnation string) {
	u.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		out := u.ok("kv", "list", "nodes/")
		key, value, _ := strings.Cut(out, "\t")
		var node struct{ Incarnation string }
		if key == "nodes/"+u.id && json.Unmarshal([]byte(value), &node) == nil && node.Incarnation != before {
			return node.Incarnation
		}
		require.True(u, time.Now().Before(deadline), "listed are %q", out)
	}
}

// buy has buyers order all the time, on new connections and on kept ones. What it
// returns ends that.
func (u *upgrading) buy() (stop func()) {
	ctx, cancel := context.WithCancel(u.Context())
	var buying sync.WaitGroup
	for i := range 8 {
		b := u.buyer(strconv.Itoa(i+1), &http.Transport{DisableKeepAlives: i%2 == 0})
		buying.Go(func() {
			defer b.client.CloseIdleConnections()
			for n := 0; ctx.Err() == nil; n++ {
				u.note(b.order(n)) //nolint:contextcheck // what was asked is to be answered
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	return func() {
		cancel()
		buying.Wait()
	}
}

func (u *upgrading) note(order string, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err != nil {
		u.refused = append(u.refused, err)
		return
	}
	u.orders = append(u.orders, order)
}

// awaitOrders waits for so many more.
func (u *upgrading) awaitOrders(more int) {
	u.Helper()
	had := func() int {
		u.mu.Lock()
		defer u.mu.Unlock()
		return len(u.orders)
	}
	want := had() + more
	require.Eventually(u, func() bool { return had() >= want }, time.Minute, 5*time.Millisecond)
}

// A buyer orders one unit after the other.
type buyer struct {
	u      *upgrading
	token  string
	client http.Client
}

func (u *upgrading) buyer(name string, connections *http.Transport) *buyer {
	u.Helper()
	token, stderr, code := seckill(u.T, "token", "--keys="+u.keys, "--buyer="+name)
	require.Zero(u, code, stderr)
	return &buyer{u: u, token: strings.TrimSpace(token), client: http.Client{Transport: connections, Timeout: time.Minute}}
}

// errUndecided is what a buyer is told while a slot has no owner that can write: the
// same request gets the one true answer.
var errUndecided = errors.New("undecided")

// order makes the buyer's nth order, and asks again as long as it is undecided.
func (b *buyer) order(n int) (id string, err error) {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		id, err = b.ask(n)
		if !errors.Is(err, errUndecided) || time.Now().After(deadline) {
			return id, err
		}
		b.u.mu.Lock()
		b.u.undecided++
		b.u.mu.Unlock()
	}
}

// ask asks for the nth order once.
func (b *buyer) ask(n int) (id string, err error) {
	body := fmt.Sprintf(`{"quantity":1,"request_id":"%d"}`, n)
	req, err := http.NewRequestWithContext(b.u.Context(), http.MethodPost, "http://"+b.u.api+"/v1/events/"+b.u.event+"/orders", strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+b.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := b.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	switch {
	case resp.StatusCode == http.StatusServiceUnavailable && strings.Contains(string(answer), `"code":"undecided"`):
		return "", errUndecided
	case resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusOK:
		return "", fmt.Errorf("answered %s: %s", resp.Status, answer)
	}
	var order struct{ ID string }
	return order.ID, json.Unmarshal(answer, &order)
}

// shortDir is a directory that a socket's path, of a hundred bytes at most, can begin
// with: TempDir's has the name of the test.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "seckill") //nolint:usetesting // TempDir is what it replaces
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}
