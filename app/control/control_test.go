package control_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed27495941/seckill/app/control"
	"github.com/seed27495941/seckill/app/node"
	"github.com/seed27495941/seckill/app/peer"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/credential"
	"github.com/seed27495941/seckill/backend/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A process is one that can be told something.
type process struct {
	*testing.T
	addr string
	id   ulid.ULID
	node *node.Node
	stop func()
}

func serve(t *testing.T, sources control.Sources) *process {
	t.Helper()
	store := memory.New()
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	loaded, err := settings.Load(settings.Sources{})
	require.NoError(t, err)
	p := &process{T: t, id: ulid.Make()}
	p.node, err = node.New(node.Config{Store: store, Defaults: loaded.Config, Log: slog.New(slog.DiscardHandler), Level: new(slog.LevelVar)})
	require.NoError(t, err)

	server, err := peer.NewServer(credential.TLS{})
	require.NoError(t, err)
	control.Register(server, p.id, p.node, sources)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p.addr = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	go func() { served <- peer.Serve(ctx, server, listener) }()
	p.stop = func() {
		cancel()
		assert.NoError(t, <-served)
		served <- nil
	}
	t.Cleanup(func() { p.stop() })
	return p
}

// tell is who talks to a process of an incarnation.
func (p *process) tell(incarnation string) *control.Process {
	p.Helper()
	dial, err := peer.NewDialer(credential.TLS{})
	require.NoError(p, err)
	to, err := control.Dial(dial, p.addr, incarnation)
	require.NoError(p, err)
	p.Cleanup(func() { assert.NoError(p, to.Close()) })
	return to
}

func TestAConfigIsPushedAndCleared(t *testing.T) {
	p := serve(t, nil)
	to := p.tell(p.id.String())
	had, err := to.Clear(t.Context())
	require.NoError(t, err)
	assert.False(t, had)

	until, hash, err := to.Push(t.Context(), []byte(`{"rateLimit":{"low":1}}`), time.Hour, "ann@desk", "why?")
	require.NoError(t, err)
	o := p.node.ConfigStatus().Override
	require.NotNil(t, o)
	assert.JSONEq(t, `{"rateLimit":{"low":1}}`, o.Value)
	assert.Equal(t, "ann@desk", o.Author)
	assert.Equal(t, "why?", o.Comment)
	assert.Regexp(t, `^127\.0\.0\.1:\d+$`, o.From)
	assert.Equal(t, o.Hash, hash)
	assert.WithinDuration(t, o.Until, until, time.Millisecond)
	assert.Equal(t, time.Hour, o.Until.Sub(o.Since))
	assert.Equal(t, 1, p.node.InForce().RateLimit.Low)

	_, _, err = to.Push(t.Context(), []byte(`{}`), 0, "ann@desk", "")
	require.NoError(t, err)
	o = p.node.ConfigStatus().Override
	assert.Equal(t, 15*time.Minute, o.Until.Sub(o.Since), "the node's own choice")

	had, err = to.Clear(t.Context())
	require.NoError(t, err)
	assert.True(t, had)
	assert.Nil(t, p.node.ConfigStatus().Override)
}

func TestABadPushIsRefusedWithThePlace(t *testing.T) {
	p := serve(t, nil)
	to := p.tell(p.id.String())
	_, _, err := to.Push(t.Context(), []byte("{\n  \"rateLimt\": {}}"), time.Hour, "a", "")
	require.ErrorIs(t, err, backend.ErrInvalid)
	require.EqualError(t, err, `invalid: "config": line 2, column 3: unknown field "rateLimt"`)
	for _, lasts := range []time.Duration{25 * time.Hour, 1<<63 - 1, -1 << 63} {
		_, _, err = to.Push(t.Context(), []byte("{}"), lasts, "a", "")
		require.ErrorIs(t, err, backend.ErrInvalid)
		require.ErrorContains(t, err, "expected a time from 1s to 24h0m0s, got ")
	}
	_, _, err = to.Push(t.Context(), []byte("\xff"), time.Hour, "a", "")
	require.ErrorIs(t, err, backend.ErrInvalid)
	assert.Nil(t, p.node.ConfigStatus().Override)
}

func TestAnotherIncarnationIsToldNothing(t *testing.T) {
	p := serve(t, control.Sources{"list": func(context.Context) error { t.Error("loaded"); return nil }})
	for _, meant := range []string{ulid.Make().String(), "", "x"} {
		to := p.tell(meant)
		_, _, err := to.Push(t.Context(), []byte(`{}`), time.Hour, "a", "")
		require.ErrorIs(t, err, control.ErrReplaced)
		require.ErrorContains(t, err, "this is process "+p.id.String())
		_, err = to.Clear(t.Context())
		require.ErrorIs(t, err, control.ErrReplaced)
		require.ErrorIs(t, to.Reload(t.Context(), "list"), control.ErrReplaced)
	}
	assert.Nil(t, p.node.ConfigStatus().Override)
}

func TestSourcesAreLoadedAgain(t *testing.T) {
	loads := 0
	p := serve(t, control.Sources{
		"list": func(context.Context) error { loads++; return nil },
		"bad":  func(context.Context) error { return errors.New("list.txt: line 7: is no id") },
	})
	to := p.tell(p.id.String())
	require.NoError(t, to.Reload(t.Context(), "list"))
	assert.Equal(t, 1, loads)
	err := to.Reload(t.Context(), "bad")
	require.ErrorIs(t, err, control.ErrRefused)
	require.EqualError(t, err, "refused: list.txt: line 7: is no id")
	err = to.Reload(t.Context(), "lists")
	require.ErrorIs(t, err, backend.ErrInvalid)
	require.EqualError(t, err, `invalid: source "lists": expected one of bad, list`)

	p = serve(t, nil)
	require.ErrorContains(t, p.tell(p.id.String()).Reload(t.Context(), "list"), "this process has nothing to load again")
}

// A reload ends when nobody waits for it any more.
func TestAReloadEndsWithItsCaller(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan error, 1)
	p := serve(t, control.Sources{"slow": func(ctx context.Context) error {
		close(begun)
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	require.ErrorIs(t, p.tell(p.id.String()).Reload(ctx, "slow"), control.ErrUnreachable)
	require.ErrorIs(t, <-ended, context.Canceled)
}

func TestAProcessThatIsGoneCannotBeReached(t *testing.T) {
	p := serve(t, nil)
	to := p.tell(p.id.String())
	p.stop()
	_, _, err := to.Push(t.Context(), []byte(`{}`), time.Hour, "a", "")
	require.ErrorIs(t, err, control.ErrUnreachable)
}
