package embed_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/seed27495941/seckill/backend/etcd/embed"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// lumberjack, which etcd links for its log rotation, never ends.
		goleak.IgnoreTopFunction("gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"))
}

func start(t *testing.T, cfg embed.Config) *embed.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s, err := embed.Start(ctx, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func client(t *testing.T, s *embed.Server) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{s.Endpoint()}, Logger: zap.NewNop()})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func TestTemporaryDirectoryGoesWithTheServer(t *testing.T) {
	begun := time.Now()
	s := start(t, embed.Config{})
	t.Logf("ready after %v", time.Since(begun))
	c := client(t, s)
	_, err := c.Put(t.Context(), "/k", "v")
	require.NoError(t, err)
	require.DirExists(t, s.Dir())
	require.NoError(t, c.Close())
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "closing again")
	require.NoDirExists(t, s.Dir())
}

func TestDataSurviveARestartOnAnotherPort(t *testing.T) {
	dir := t.TempDir()
	first := start(t, embed.Config{Dir: dir})
	c := client(t, first)
	put, err := c.Put(t.Context(), "/k", "v")
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.NoError(t, first.Close())

	second := start(t, embed.Config{Dir: dir})
	require.NotEqual(t, first.Endpoint(), second.Endpoint())
	c = client(t, second)
	got, err := c.Get(t.Context(), "/k")
	require.NoError(t, err)
	require.Len(t, got.Kvs, 1)
	assert.Equal(t, put.Header.Revision, got.Kvs[0].ModRevision)
	assert.Equal(t, put.Header.ClusterId, got.Header.ClusterId)
	require.NoError(t, c.Close())
}

func TestDirectoriesAreClustersOfTheirOwn(t *testing.T) {
	ids := map[uint64]bool{}
	for range 2 {
		c := client(t, start(t, embed.Config{}))
		got, err := c.Get(t.Context(), "/k")
		require.NoError(t, err)
		ids[got.Header.ClusterId] = true
		require.NoError(t, c.Close())
	}
	assert.Len(t, ids, 2)
}

func TestDirectoryInUse(t *testing.T) {
	s := start(t, embed.Config{Dir: t.TempDir()})
	begun := time.Now()
	_, err := embed.Start(t.Context(), embed.Config{Dir: s.Dir()})
	require.ErrorIs(t, err, embed.ErrInUse)
	require.ErrorContains(t, err, s.Dir())
	assert.Less(t, time.Since(begun), 5*time.Second)
}

func TestDirectoryInUseByAnotherKindOfServer(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(dir+"/member/snap", 0o700))
	db, err := bbolt.Open(dir+"/member/snap/db", 0o600, nil)
	require.NoError(t, err)
	defer db.Close()
	_, err = embed.Start(t.Context(), embed.Config{Dir: dir})
	require.ErrorIs(t, err, embed.ErrInUse)
}

func TestAddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	dir := t.TempDir()
	_, err = embed.Start(t.Context(), embed.Config{Dir: dir, ClientAddr: l.Addr().String()})
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.ErrorContains(t, err, l.Addr().String())

	start(t, embed.Config{Dir: dir}) // the failure has left no lock
}

func TestBadAddress(t *testing.T) {
	_, err := embed.Start(t.Context(), embed.Config{ClientAddr: "nonsense"})
	require.ErrorContains(t, err, `client address "nonsense": expected host:port`)
}

func TestStartIsBoundByItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	cancel(gone)
	_, err := embed.Start(ctx, embed.Config{})
	require.ErrorIs(t, err, gone)
}

func TestQuietAtWarn(t *testing.T) {
	var log bytes.Buffer
	s := start(t, embed.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, s.Close())
	assert.Empty(t, strings.TrimSpace(log.String()))
}
