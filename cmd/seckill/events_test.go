package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/sale/ledger"
	records "github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/slot"
	"github.com/seed27495941/seckill/backend/consul"
	"github.com/seed27495941/seckill/backend/etcd"
	"github.com/seed27495941/seckill/backend/etcd/embed"
	"github.com/seed27495941/seckill/conformance/servers"
	"github.com/seed27495941/seckill/internal/stores"
)

// Between the two stores only --backend and --endpoints differ.
func TestEvents(t *testing.T) {
	t.Run("etcd", func(t *testing.T) {
		server, err := embed.Start(t.Context(), embed.Config{})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, server.Close()) })
		root := newRoot()
		s, err := etcd.Open(etcd.Config{Endpoints: []string{server.Endpoint()}, Root: root})
		require.NoError(t, err)
		testEvents(t, s, "--backend=etcd", "--endpoints="+server.Endpoint(), "--root="+root)
	})
	t.Run("consul", func(t *testing.T) {
		if testing.Short() {
			t.Skip("needs a Consul server; run without -short")
		}
		endpoint := servers.Shared(t, servers.Consul).Endpoints()[0]
		root := newRoot()
		s, err := consul.Open(consul.Config{Endpoints: []string{endpoint}, Root: root})
		require.NoError(t, err)
		testEvents(t, s, "--backend=consul", "--endpoints="+endpoint, "--root="+root)
	})
}

// newRoot is a namespace that no other run has left anything in.
func newRoot() string { return "events-" + ulid.Make().String() + "/" }

// An operator types commands at one store.
type operator struct {
	*testing.T
	store []string
}

func (o operator) run(args ...string) (out, stderr string, code int) {
	o.Helper()
	return seckill(o.T, append(args, o.store...)...)
}

func (o operator) ok(args ...string) string {
	o.Helper()
	out, stderr, code := o.run(args...)
	require.Zero(o, code, "%q: %s", args, stderr)
	require.Empty(o, stderr)
	return strings.TrimSuffix(out, "\n")
}

func (o operator) fails(want int, message string, args ...string) {
	o.Helper()
	_, stderr, code := o.run(args...)
	assert.Equal(o, want, code, "%q: %s", args, stderr)
	assert.Contains(o, stderr, message)
}

var phone = []string{"--title=Phone", "--sku=phone-1", "--price=19900", "--currency=EUR", "--total=10", "--closes=+1h"}

func create(more ...string) []string {
	return append(append([]string{"events", "create"}, phone...), more...)
}

// sell has buyers order in a slot, and returns the public IDs of the orders.
func sell(t *testing.T, s store, id string, k int, users ...string) (ids []string) {
	t.Helper()
	event := ulid.MustParse(id)
	entry, err := s.Get(t.Context(), records.EventKey(event))
	require.NoError(t, err)
	terms, err := records.DecodeEvent(entry)
	require.NoError(t, err)
	o, err := slot.Take(t.Context(), slot.Config{
		Store: s, Event: event, Slot: k, Incarnation: ulid.Make(),
		Terms: func() records.Event { return terms }, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	stop := stores.Start(t, o.Run)
	for _, user := range users {
		order, _, err := o.Order(t.Context(), ledger.Demand{User: user, Request: "=1+1", Quantity: 1})
		require.NoError(t, err)
		ids = append(ids, records.PublicID(event, order.ID))
	}
	require.NoError(t, stop())
	return ids
}

func testEvents(t *testing.T, s store, flags ...string) {
	t.Helper()
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	o := operator{t, flags}
	dir := t.TempDir()

	t.Log("a draft is made, from flags and from files")
	id := o.ok(create("--slots=1", "--pay-within=90s")...)
	require.Len(t, id, 26)
	file := filepath.Join(dir, "draft.yaml")
	require.NoError(t, os.WriteFile(file, []byte("title: Tablet\nsku: t\ntotal: 5\nprice: {minor: 1, currency: JPY}\n"), 0o600))
	var made struct {
		ID, Title, Status string
		PerUser, Slots    int
		Window            records.Window
	}
	require.NoError(t, json.Unmarshal([]byte(o.ok("events", "create", "--file="+file, "--opens=2026-11-11T20:00:00+08:00", "--closes=2030-01-01T00:00:00Z",
		"--per-user=3", "--publish", "--output=json")), &made))
	assert.Equal(t, "Tablet", made.Title)
	assert.Equal(t, "online", made.Status)
	assert.Equal(t, 3, made.PerUser)
	assert.Equal(t, 16, made.Slots)
	assert.True(t, made.Window.Opens.Equal(time.Date(2026, 11, 11, 12, 0, 0, 0, time.UTC)))

	t.Log("what is wrong is named")
	o.fails(2, "total 0, expected 1 to", create("--total=0")...)
	o.fails(2, "perUser 0, expected", create("--per-user=0")...)
	o.fails(2, `--opens: invalid: time "soon"`, create("--opens=soon")...)
	o.fails(2, "expected before it closes", create("--closes=+0s")...)
	o.fails(2, "expected whole seconds", create("--pay-within=1500ms")...)
	o.fails(2, "no title", "events", "create", "--sku=s")
	o.fails(2, "no such file", create("--file="+filepath.Join(dir, "none"))...)
	require.NoError(t, os.WriteFile(file, []byte("titel: x\n"), 0o600))
	o.fails(2, `"titel"`, create("--file="+file)...)
	o.fails(2, "expected an ID of 26 characters", "events", "publish", "x")
	o.fails(1, "there is no event 01K9ZZZZZZZZZZZZZZZZZZZZZ1", "events", "publish", "01K9ZZZZZZZZZZZZZZZZZZZZZ1")

	t.Log("its life")
	o.fails(3, "is draft, expected", "events", "close", id)
	assert.Equal(t, id+" online", o.ok("events", "publish", id))
	assert.Equal(t, id+" online", o.ok("events", "publish", id), "again is no error")
	assert.Equal(t, id+" offline", o.ok("events", "suspend", id))
	assert.Equal(t, id+" online", o.ok("events", "resume", id))
	acks := sell(t, s, id, 0, "ann", "=bob", "cid")
	assert.Regexp(t, `(?m)^pay within +1m30s\nunits +\d+ with the slots, \d+ not granted yet$`, o.ok("events", "show", id))
	o.fails(3, "is online, expected", "events", "archive", id, "--dir="+dir)

	t.Log("events are listed, with what is none of them")
	_, err := s.Put(t.Context(), "events/x", []byte("{}"))
	require.NoError(t, err)
	table := o.ok("events", "list")
	assert.Regexp(t, `(?m)^ID +STATUS +TOTAL`, table)
	assert.Regexp(t, `(?m)^`+id+` +online +10 +1 .* Phone$`, table)
	assert.Contains(t, table, "problem: corrupt record: events/x")
	lines := strings.Split(o.ok("events", "list", "--output=json"), "\n")
	require.Len(t, lines, 3)
	assert.Contains(t, lines[2], `"problem"`)
	require.NoError(t, s.Delete(t.Context(), "events/x"))

	t.Log("orders are exported while it goes on")
	rows, err := csv.NewReader(strings.NewReader(o.ok("orders", "export", "--event="+id))).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 4)
	assert.Equal(t, []string{acks[1], "0", "'=bob", "'=1+1", "1", "pending"}, rows[2][:6])
	file = filepath.Join(dir, "orders.ndjson")
	assert.Empty(t, o.ok("orders", "export", "--event="+id, "--format=ndjson", "--output="+file))
	o.fails(2, "is no regular file", "orders", "export", "--event="+id, "--output="+dir)
	o.fails(2, "no such file", "orders", "export", "--event="+id, "--output="+filepath.Join(dir, "none", "x"))

	t.Log("and checked, with what buyers were told")
	out := o.ok("verify", "--event="+id, "--acks="+file)
	assert.Contains(t, out, id+" online: 3 of 10 units in 3 orders (3 pending) of 3 buyers")
	assert.Contains(t, out, "3 acknowledged")
	assert.Contains(t, out, "\nevery rule is kept")
	lost := records.PublicID(ulid.MustParse(id), ulid.MustParse("01K9ZZZZZZZZZZZZZZZZZZZZZ9"))
	told := filepath.Join(dir, "acks")
	require.NoError(t, os.WriteFile(told, []byte(strings.Join(append(acks, lost), "\n")), 0o600))
	out, stderr, code := o.run("verify", "--event="+id, "--acks="+told)
	assert.Equal(t, 1, code)
	assert.Contains(t, out, "violation: acknowledged: order 01K9ZZZZZZZZZZZZZZZZZZZZZ9 was acknowledged and is not in the log\n")
	assert.Contains(t, stderr, "violations: 1")
	out, _, code = o.run("verify", "--all", "--acks="+told, "--output=json")
	assert.Equal(t, 1, code)
	assert.Equal(t, 2, strings.Count(out, "\n"))
	require.NoError(t, os.WriteFile(told, []byte("\nnone\n"), 0o600))
	o.fails(2, "line 2: ", "verify", "--event="+id, "--acks="+told)
	o.fails(2, "--event", "verify")
	o.fails(1, "there is no event", "verify", "--event=01K9ZZZZZZZZZZZZZZZZZZZZZ1")

	t.Log("closed, archived, purged")
	assert.Equal(t, id+" closed", o.ok("events", "close", id))
	archives := filepath.Join(dir, "archives")
	at := filepath.Join(archives, id)
	archived := []string{"events", "archive", id, "--dir=" + archives}
	assert.Equal(t, at+": 3 orders in 3 batches, checked", o.ok(archived...))
	o.fails(2, "say --yes", append(archived, "--purge")...)
	o.fails(2, "--yes is for --purge", append(archived, "--yes")...)
	assert.Contains(t, o.ok("verify", "--archive="+at, "--acks="+file), "3 acknowledged")
	other := o.ok(create("--slots=1", "--publish")...)
	o.ok("events", "close", other)
	elsewhere := filepath.Join(dir, "elsewhere")
	require.NoError(t, os.CopyFS(filepath.Join(elsewhere, other), os.DirFS(at)))
	o.fails(1, "is of event "+id, "events", "archive", other, "--dir="+elsewhere, "--purge", "--yes")
	assert.Contains(t, o.ok("events", "show", id), " closed\n", "another's archive purges neither")
	for range 2 {
		assert.Equal(t, at+": 3 orders in 3 batches, checked, purged from the store", o.ok(append(archived, "--purge", "--yes")...))
	}
	assert.Regexp(t, "^"+id+` archived: its orders are in its archive; at revision \d+\nevery rule is kept$`, o.ok("verify", "--event="+id))
	for _, step := range []string{"publish", "suspend", "resume", "close"} {
		o.fails(3, "is archived, expected", "events", step, id)
	}
	o.fails(1, "is archived", "orders", "export", "--event="+id)
	_, stderr, code = o.run("verify", "--event="+id, "--acks="+file)
	assert.Equal(t, 1, code, stderr)
	require.NoError(t, os.WriteFile(filepath.Join(at, "pool.json"), []byte("{}"), 0o600))
	o.fails(1, "the archive is damaged: pool.json", "verify", "--archive="+at)
}

// A sale whose log could outgrow the store is not published, and the operator is
// told by how much.
func TestPublishNeedsRoom(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a server process; run without -short")
	}
	cluster := servers.ForTest(t, servers.Config{Kind: servers.Etcd, Extra: []string{fmt.Sprint("--quota-backend-bytes=", 8<<20)}})
	o := operator{t, []string{"--endpoints=" + cluster.Endpoints()[0]}}
	out, stderr, code := o.run(create("--total=50000", "--publish")...)
	assert.Equal(t, 1, code)
	require.Len(t, strings.TrimSpace(out), 26, "the draft is there: %s", stderr)
	assert.Regexp(t, `was made, but not published: .* can come to 1\d\d\.\d MiB \(50000 units, up to 2\d\d\d bytes each\); the store has [78]\.\d MiB left of 8\.0 MiB, .* 0\.0 MiB`, stderr)
	assert.Contains(t, stderr, "--quota-backend-bytes")
	id := o.ok(create("--total=1500", "--publish")...)
	o.fails(1, "of which sales that are open may need 4.", create("--total=1500", "--publish")...)
	o.ok("events", "close", id)
	o.ok(create("--total=1500", "--publish")...)
}

func TestConfirm(t *testing.T) {
	for answer, want := range map[string]bool{"yes\n": true, " yes \r\n": true, "no\n": false, "\n": false, "yes please\n": false} {
		ok, err := confirm(t.Context(), strings.NewReader(answer), "?")
		require.NoError(t, err)
		assert.Equal(t, want, ok, "%q", answer)
	}
	_, err := confirm(t.Context(), strings.NewReader("yes"), "?")
	require.ErrorIs(t, err, io.EOF, "half an answer is none")

	nobody, terminal := io.Pipe()
	defer terminal.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = confirm(ctx, nobody, "?")
	require.ErrorIs(t, err, context.Canceled, "Ctrl-C ends it")
}
