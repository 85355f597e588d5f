package rush_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/registry"
)

// A node is a process that sells. It stays at its address through all its lives.
type node struct {
	shop      *shop
	id        string   // that it is listed under
	addr      string   // for buyers
	endpoints []string // of the store
	trouble   sync.Mutex

	log *logbook
	cmd *exec.Cmd // of the life at present
}

func (s *shop) newNode(endpoints []string) *node {
	addr := stores.FreeAddress(s.T)
	id, err := registry.ID(addr)
	require.NoError(s, err)
	n := &node{shop: s, id: id, addr: addr, endpoints: endpoints, log: &logbook{}}
	s.Cleanup(func() {
		n.end()
		if s.Failed() {
			s.Logf("--- the log of node %s ends with\n%s", n.addr, n.log)
		}
	})
	require.NoError(s, n.start())
	require.NoError(s, n.awaitReady(s.Context()))
	return n
}

// start starts the process, without waiting for it.
func (n *node) start() error {
	s := n.shop
	n.cmd = exec.Command(s.binary, append([]string{
		"api", "--api-bind=" + n.addr, "--ops-bind=127.0.0.1:0", "--rpc-bind=127.0.0.1:0", "--node-ttl=" + ttl.String(),
		"--identity-keys-file=" + s.keysFile, "--config=" + s.settings}, s.storeFlags(n.endpoints)...)...)
	n.cmd.Stdout, n.cmd.Stderr = n.log, n.log
	n.cmd.Env = []string{"HOME=" + s.TempDir()}
	n.cmd.SysProcAttr = stores.DiesWithTests()
	return n.cmd.Start()
}

// awaitReady waits until the node takes buyers.
func (n *node) awaitReady(ctx context.Context) error {
	return await("node "+n.addr+" is ready", func() bool {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url()+"/readyz", nil)
		if err != nil {
			return false
		}
		resp, err := n.shop.http.Do(req)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

func (n *node) url() string { return "http://" + n.addr }

// crash ends the process without a word and starts the next one in its place.
func (n *node) crash(context.Context) error {
	n.end()
	return n.start()
}

// end kills the process, if there is one.
func (n *node) end() {
	if n.cmd.Process != nil {
		_ = n.cmd.Process.Kill()
		_ = n.cmd.Wait() // it tells of the kill
	}
}

// kill does that, and waits until the node takes buyers again.
func (n *node) kill(ctx context.Context) error {
	if err := n.crash(ctx); err != nil {
		return err
	}
	return n.awaitReady(ctx)
}

// faint stops the process until the store has given it up, and then lets it go on.
func (n *node) faint(ctx context.Context) error {
	if err := n.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	err := await("the store gives node "+n.addr+" up", func() bool {
		_, err := n.shop.store.Get(ctx, registry.DefaultDir+n.id)
		return errors.Is(err, backend.ErrNotFound)
	})
	return errors.Join(err, n.cmd.Process.Signal(syscall.SIGCONT))
}

// patience bounds the wait for a condition. Nothing waits that long unless it
// fails.
const patience = 2 * time.Minute

// await waits until something is so.
func await(what string, so func() bool) error {
	for deadline := time.Now().Add(patience); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v in vain: %s", patience, what)
		}
	}
	return nil
}

// A logbook keeps the last of what a process prints.
type logbook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// mostLogged is how much is kept.
const mostLogged = 64 << 10

func (b *logbook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.buf.Len()+len(p) > 2*mostLogged {
		b.buf.Next(b.buf.Len() - mostLogged)
	}
	return b.buf.Write(p)
}

func (b *logbook) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// built builds the program.
func built(t *testing.T) string {
	t.Helper()
	binary := t.TempDir() + "/seckill"
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../../../cmd/seckill")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return binary
}
