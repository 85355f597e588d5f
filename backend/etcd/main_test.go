package etcd_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/etcd"
	"github.com/seed27495941/seckill/backend/etcd/embed"
	"github.com/seed27495941/seckill/conformance/servers"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := servers.CloseShared(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code == 0 {
		// A proxy that is stopped abandons what it was just copying.
		abandoned := goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run")
		unread := goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read")
		if err := goleak.Find(abandoned, unread); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// patience is how long a condition may take on a busy machine before a test
// calls it a failure.
const patience = 30 * time.Second

// serve runs a server for one test.
func serve(t *testing.T) *embed.Server {
	t.Helper()
	return serveIn(t, "")
}

func serveIn(t *testing.T, dir string) *embed.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	srv, err := embed.Start(ctx, embed.Config{Dir: dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, srv.Close()) })
	return srv
}

// open makes a store that ends with the test.
func open(t *testing.T, cfg etcd.Config) *etcd.Store {
	t.Helper()
	s, err := etcd.Open(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// on is the configuration for endpoints.
func on(endpoints ...string) etcd.Config { return etcd.Config{Endpoints: endpoints} }

// raw is a client for what happens behind the driver's back.
func raw(t *testing.T, cfg clientv3.Config) *clientv3.Client {
	t.Helper()
	cfg.Logger = zap.NewNop()
	c, err := clientv3.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func rawOn(t *testing.T, endpoint string) *clientv3.Client {
	t.Helper()
	return raw(t, clientv3.Config{Endpoints: []string{endpoint}})
}

// put writes and returns the revision.
func put(t *testing.T, s backend.Store, key, value string, opts ...backend.PutOption) backend.Revision {
	t.Helper()
	rev, err := s.Put(t.Context(), key, []byte(value), opts...)
	require.NoError(t, err)
	require.NotZero(t, rev)
	return rev
}

// within is a context for calls that are to fail by their deadline.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// A watcher runs a watch and hands over its updates.
type watcher struct {
	t       *testing.T
	updates chan backend.Update
	failed  chan error
	cancel  context.CancelFunc
}

func watch(t *testing.T, s backend.Store, prefix string) *watcher {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watcher{t: t, updates: make(chan backend.Update), failed: make(chan error, 1), cancel: cancel}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for u, err := range s.WatchPrefix(ctx, prefix) {
			if err != nil {
				w.failed <- err
				return
			}
			select {
			case w.updates <- u:
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return w
}

// next is the next update that tells something: a report that nothing has
// changed is left out.
func (w *watcher) next() backend.Update {
	w.t.Helper()
	for {
		u := w.any()
		if u.Snapshot || len(u.Puts)+len(u.Deletes) > 0 {
			return u
		}
	}
}

// any is the next update of any kind.
func (w *watcher) any() backend.Update {
	w.t.Helper()
	select {
	case u := <-w.updates:
		return u
	case err := <-w.failed:
		require.NoError(w.t, err, "the watch ended")
	case <-time.After(patience):
		require.Fail(w.t, "no update")
	}
	return backend.Update{}
}

// err is how the watch ends.
func (w *watcher) err() error {
	w.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case <-w.updates:
		case err := <-w.failed:
			return err
		case <-deadline:
			require.Fail(w.t, "the watch does not end")
		}
	}
}

// keys are the names of entries.
func keys(entries []backend.Entry) []string {
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Key
	}
	return names
}

func rawTLS(t *testing.T, endpoint string, cfg *tls.Config) *clientv3.Client {
	t.Helper()
	return raw(t, clientv3.Config{Endpoints: []string{endpoint}, TLS: cfg})
}
