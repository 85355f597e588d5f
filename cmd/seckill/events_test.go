package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/ledger"
	records "github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/slot"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/conformance/servers"
	"github.com/seed27495941/seckill/internal/stores"
)

// TestEvents has an operator run a sale from its draft to its archive.
func TestEvents(t *testing.T) {
	eachStore(t, func(t *testing.T, on server) {
		root := newRoot()
		o := &seller{operator: startAdmin(t, on, root), store: operator{t, on.flags(root)}, opened: on.open(t, root), dir: t.TempDir()}
		o.drafts()
		o.edits()
		o.life()
		o.lists()
		o.exports()
		o.verifies()
		o.archives()
	})
}

// newRoot is a namespace that no other run has left anything in.
func newRoot() string { return "events-" + ulid.Make().String() + "/" }

// An operator types commands, at one store or to one admin.
type operator struct {
	*testing.T
	store []string // flags that say which
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
	sale := ulid.MustParse(id)
	entry, err := s.Get(t.Context(), records.EventKey(sale))
	require.NoError(t, err)
	terms, err := records.DecodeEvent(entry)
	require.NoError(t, err)
	o, err := slot.Take(t.Context(), slot.Config{
		Store: s, Event: sale, Slot: k, Incarnation: ulid.Make(),
		Terms: func() records.Event { return terms }, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	stop := stores.Start(t, o.Run)
	for _, user := range users {
		order, _, err := o.Order(t.Context(), ledger.Demand{User: user, Request: "=1+1", Quantity: 1})
		require.NoError(t, err)
		ids = append(ids, records.PublicID(sale, order.ID))
	}
	require.NoError(t, stop())
	return ids
}

// A seller is an operator with a sale.
type seller struct {
	operator
	store  operator
	opened store
	dir    string

	id     string
	other  string   // another sale, that nobody buys from
	acks   []string // orders that buyers were told to have
	orders string   // file with them, as exported
}

func (o *seller) file(name, text string) string {
	o.Helper()
	name = filepath.Join(o.dir, name)
	require.NoError(o, os.WriteFile(name, []byte(text), 0o600))
	return name
}

// drafts are made, from flags and from files.
func (o *seller) drafts() {
	o.Helper()
	o.id = o.ok(create("--slots=1", "--pay-within=90s")...)
	require.Len(o, o.id, 26)
	file := o.file("draft.yaml", "title: Tablet\nsku: t\ntotal: 5\nprice: {minor: 1, currency: JPY}\n")
	var made struct {
		ID, Title, Status string
		PerUser, Slots    int
		Window            records.Window
	}
	require.NoError(o, json.Unmarshal([]byte(o.ok("events", "create", "--file="+file, "--opens=2026-11-11T20:00:00+08:00", "--closes=2030-01-01T00:00:00Z",
		"--per-user=3", "--publish", "--yes", "--output=json")), &made))
	o.other = made.ID
	assert.Equal(o, "Tablet", made.Title)
	assert.Equal(o, "online", made.Status)
	assert.Equal(o, 3, made.PerUser)
	assert.Equal(o, 16, made.Slots)
	assert.True(o, made.Window.Opens.Equal(time.Date(2026, 11, 11, 12, 0, 0, 0, time.UTC)))

	o.fails(2, "total 0, expected 1 to", create("--total=0")...)
	o.fails(2, "perUser 0, expected", create("--per-user=0")...)
	o.fails(2, `--opens: invalid: time "soon"`, create("--opens=soon")...)
	o.fails(2, "expected before it closes", create("--closes=+0s")...)
	o.fails(2, "expected whole seconds", create("--pay-within=1500ms")...)
	o.fails(2, "no title", "events", "create", "--sku=s")
	o.fails(2, "Publish Phone, which can't be changed then: nobody can be asked whether that is meant, so say --yes", create("--publish")...)
	assert.Equal(o, 2, strings.Count(o.ok("events", "list"), "\n"), "nothing was made")
	o.fails(2, "no such file", create("--file="+filepath.Join(o.dir, "none"))...)
	o.fails(2, `"titel"`, create("--file="+o.file("draft.yaml", "titel: x\n"))...)
	o.fails(2, "more than 262144 bytes", create("--file="+o.file("draft.yaml", strings.Repeat("#", 262145)))...)
	o.fails(2, "expected an ID of 26 characters", "events", "publish", "x")
	o.fails(1, "(no_such_event)", "events", "publish", "01K9ZZZZZZZZZZZZZZZZZZZZZ1", "--yes")
	o.fails(2, "this command asks the admin service (--admin), not the store", "events", "list", "--endpoints=127.0.0.1:1")
}

// edits: drafts are changed by flags, by a file and in an editor, and deleted.
func (o *seller) edits() {
	o.Helper()
	draft := o.ok(create("--description=Old", "--slots=2")...)
	shows := func(want ...string) {
		o.Helper()
		shown := o.ok("events", "show", draft)
		for _, pattern := range want {
			assert.Regexp(o, `(?m)^`+pattern, shown)
		}
	}
	assert.Equal(o, draft+" draft", o.ok("events", "edit", draft, "--total=11", "--title=Line\nbreak"))
	shows("total +11$", `title +"Line\\nbreak"$`, "description +Old$", "slots +2$")
	revision := regexp.MustCompile(`revision +(\d+)`).FindStringSubmatch(o.ok("events", "show", draft))[1]
	file := o.file("draft.json", `{"title":"Radio","sku":"r","total":3,"price":{"currency":"EUR"},"window":{"closes":"2030-01-01T00:00:00Z"}}`)
	o.fails(exitUsage, "nobody can be asked whether that replaces the right one: revision "+revision+" is there, so say --if-revision="+revision+" if that was seen, or --yes",
		"events", "edit", draft, "--file="+file, "--per-user=2")
	shows("total +11$")
	o.ok("events", "edit", draft, "--file="+file, "--per-user=2", "--if-revision="+revision)
	shows("title +Radio$", "per user +2$", "slots +16$", "price +0 EUR")
	assert.NotContains(o, o.ok("events", "show", draft), "description", "a file says all")
	o.fails(exitConflict, "(changed)", "events", "edit", draft, "--total=12", "--if-revision="+revision)

	by := func(script string) (out, stderr string, code int) {
		o.Helper()
		c := newCommand(o.T, append([]string{"events", "edit", draft}, o.operator.store...)...)
		c.cmd.Env = append(c.cmd.Env, "EDITOR=sed -i "+script)
		return c.run()
	}
	out, stderr, code := by("s/Radio/Gramophone/")
	require.Zero(o, code, stderr)
	assert.Equal(o, draft+" draft\n", out)
	shows("title +Gramophone$", "total +3$")
	for script, want := range map[string]string{`s/"Gramophone"/12/`: "title: got number", `s/:\s3/:0/`: "total 0, expected 1 to"} {
		_, stderr, code = by(script)
		assert.Equal(o, exitUsage, code)
		assert.Regexp(o, regexp.QuoteMeta(want)+`.*; the text is in \S+\.json\n$`, stderr)
	}
	shows("title +Gramophone$", "total +3$")

	o.fails(exitUsage, "say --yes", "events", "delete", draft)
	o.fails(exitConflict, "(changed)", "events", "delete", draft, "--yes", "--if-revision="+revision)
	assert.Equal(o, draft+" deleted", o.ok("events", "delete", draft, "--yes"))
	o.fails(1, "(no_such_event)", "events", "show", draft)
}

// life: the event goes from status to status.
func (o *seller) life() {
	o.Helper()
	o.fails(exitConflict, "is draft, expected", "events", "close", o.id, "--yes")
	o.fails(exitConflict, "(changed)", "events", "publish", o.id, "--if-revision=1", "--yes")
	o.fails(exitUsage, "which can't be changed then: nobody can be asked", "events", "publish", o.id)
	assert.Regexp(o, `(?m)^status +draft$`, o.ok("events", "show", o.id))
	for range 2 {
		assert.Equal(o, o.id+" online", o.ok("events", "publish", o.id, "--yes"), "again is no error")
	}
	assert.Equal(o, o.id+" offline", o.ok("events", "suspend", o.id))
	assert.Equal(o, o.id+" online", o.ok("events", "resume", o.id))
	o.fails(exitConflict, "is online, expected", "events", "edit", o.id, "--total=7")
	o.fails(exitConflict, "is online, expected", "events", "delete", o.id, "--yes")
	o.fails(exitUsage, "say --yes", "events", "close", o.id)
	o.acks = sell(o.T, o.opened, o.id, 0, "ann", "=bob", "cid")
	assert.Contains(o, o.ok("events", "list"), o.id+"  online")
	o.store.fails(exitConflict, "is online, expected", "archive", o.id, "--dir="+o.dir)
}

// lists: events are listed, with what is none of them, page after page.
func (o *seller) lists() {
	o.Helper()
	_, err := o.opened.Put(o.Context(), "events/x", []byte("{}"))
	require.NoError(o, err)
	table, stderr, code := o.run("events", "list")
	assert.Zero(o, code)
	assert.Regexp(o, `(?m)^ID +STATUS +TOTAL`, table)
	assert.Regexp(o, `(?m)^`+o.id+` +online +10 +1 .* Phone$`, table)
	assert.Contains(o, stderr, "seckill: warning: corrupt record: events/x")
	require.NoError(o, o.opened.Delete(o.Context(), "events/x"))
	var list admin.EventList
	require.NoError(o, json.Unmarshal([]byte(o.ok("events", "list", "--output=json")), &list))
	require.Len(o, list.Events, 2)
	assert.Equal(o, o.id, list.Events[1].ID.String(), "the newest is first")
	table, stderr, code = o.run("events", "list", "--limit=1")
	assert.Zero(o, code)
	assert.NotContains(o, table, o.id)
	next := regexp.MustCompile(`^there is more: (--after=\w{26})\n$`).FindStringSubmatch(stderr)
	require.Len(o, next, 2, stderr)
	assert.Contains(o, o.ok("events", "list", "--limit=1", next[1]), o.id)
	assert.Equal(o, 1, strings.Count(o.ok("events", "list", "--status=draft")+"\n", "\n"), "there is none")
	o.fails(exitUsage, "must be one of", "events", "list", "--status=gone")
}

// exports: orders are found and exported while the sale goes on.
func (o *seller) exports() {
	o.Helper()
	rows, err := csv.NewReader(strings.NewReader(o.ok("orders", "export", "--event="+o.id) + "\n")).ReadAll()
	require.NoError(o, err)
	require.Len(o, rows, 4)
	assert.Equal(o, []string{o.acks[1], "0", "'=bob", "'=1+1", "1", "pending"}, rows[2][:6])
	o.orders = filepath.Join(o.dir, "orders.ndjson")
	assert.Empty(o, o.ok("orders", "export", "--event="+o.id, "--format=ndjson", "--output="+o.orders))
	info, err := os.Stat(o.orders)
	require.NoError(o, err)
	assert.Equal(o, os.FileMode(0o600), info.Mode().Perm())
	o.fails(exitUsage, "is no regular file", "orders", "export", "--event="+o.id, "--output="+o.dir)
	o.fails(exitUsage, "no such file", "orders", "export", "--event="+o.id, "--output="+filepath.Join(o.dir, "none", "x"))

	absent := filepath.Join(o.dir, "absent.csv")
	bad := records.LogDir(ulid.MustParse(o.other), 3) + "x"
	_, err = o.opened.Put(o.Context(), bad, []byte("{}"))
	require.NoError(o, err)
	o.fails(exitFailure, "does not answer: EOF", "orders", "export", "--event="+o.other, "--output="+absent)
	require.NoError(o, o.opened.Delete(o.Context(), bad))
	o.ok("orders", "export", "--event="+o.other, "--output="+absent)
	require.NoError(o, os.Remove(absent))

	found := o.ok("orders", "list", "--event="+o.id)
	assert.Equal(o, 3, strings.Count(found, " pending "), found)
	assert.Regexp(o, `(?m)^`+o.acks[1]+` +=bob +1 +pending `, found)
	assert.NotContains(o, o.ok("orders", "list", "--buyer=ann"), o.acks[1])
	assert.Contains(o, o.ok("orders", "list", "--buyer=ann"), o.acks[0])
	var list admin.OrderList
	require.NoError(o, json.Unmarshal([]byte(o.ok("orders", "list", "--order="+o.acks[2], "--output=json")), &list))
	require.Len(o, list.Orders, 1)
	assert.Equal(o, "cid", list.Orders[0].User)
	assert.NotContains(o, o.ok("orders", "list", "--event="+o.id, "--status=paid"), o.acks[0])
	o.fails(exitUsage, "expected event, buyer or order", "orders", "list")
}

// verifies: the sale is checked, with what buyers were told.
func (o *seller) verifies() {
	o.Helper()
	out := o.store.ok("verify", "--event="+o.id, "--acks="+o.orders)
	assert.Contains(o, out, o.id+" online: 3 of 10 units in 3 orders (3 pending) of 3 buyers")
	assert.Contains(o, out, "3 acknowledged")
	assert.Contains(o, out, "\nevery rule is kept")
	lost := records.PublicID(ulid.MustParse(o.id), ulid.MustParse("01K9ZZZZZZZZZZZZZZZZZZZZZ9"))
	told := o.file("acks", strings.Join(append(o.acks, lost), "\n"))
	out, stderr, code := o.store.run("verify", "--event="+o.id, "--acks="+told)
	assert.Equal(o, 1, code)
	assert.Contains(o, out, "violation: acknowledged: order 01K9ZZZZZZZZZZZZZZZZZZZZZ9 was acknowledged and is not in the log\n")
	assert.Contains(o, stderr, "violations: 1")
	out, _, code = o.store.run("verify", "--all", "--acks="+told, "--output=json")
	assert.Equal(o, 1, code)
	assert.Equal(o, 2, strings.Count(out, "\n"))
	o.store.fails(2, "line 2: ", "verify", "--event="+o.id, "--acks="+o.file("acks", "\nnone\n"))
	o.store.fails(2, "--event", "verify")
	o.store.fails(1, "there is no event", "verify", "--event=01K9ZZZZZZZZZZZZZZZZZZZZZ1")
}

// archives: the sale is closed, archived, and purged.
func (o *seller) archives() {
	o.Helper()
	assert.Equal(o, o.id+" closed", o.ok("events", "close", o.id, "--yes"))
	shown := o.ok("events", "show", o.id)
	assert.Regexp(o, `(?m)^status +closed$`, shown)
	assert.NotContains(o, shown, "ordered:", "there are no figures of what is over")
	archives := filepath.Join(o.dir, "archives")
	at := filepath.Join(archives, o.id)
	archived := []string{"archive", o.id, "--dir=" + archives}
	assert.Equal(o, at+": 3 orders in 3 batches, checked", o.store.ok(archived...))
	o.store.fails(2, "say --yes", append(archived, "--purge")...)
	o.store.fails(2, "--yes is for --purge", append(archived, "--yes")...)
	o.store.fails(1, "there is no event", "archive", "01K9ZZZZZZZZZZZZZZZZZZZZZ1", "--dir="+archives)
	assert.Contains(o, o.store.ok("verify", "--archive="+at, "--acks="+o.orders), "3 acknowledged")
	other := o.ok(create("--slots=1", "--publish", "--yes")...)
	o.ok("events", "close", other, "--yes")
	elsewhere := filepath.Join(o.dir, "elsewhere")
	require.NoError(o, os.CopyFS(filepath.Join(elsewhere, other), os.DirFS(at)))
	o.store.fails(1, "is of event "+o.id, "archive", other, "--dir="+elsewhere, "--purge", "--yes")
	assert.Regexp(o, `(?m)^status +closed$`, o.ok("events", "show", o.id), "another's archive purges neither")
	for range 2 {
		assert.Equal(o, at+": 3 orders in 3 batches, checked, purged from the store", o.store.ok(append(archived, "--purge", "--yes")...))
	}
	assert.Regexp(o, "^"+o.id+` archived: its orders are in its archive; at revision \d+\nevery rule is kept$`, o.store.ok("verify", "--event="+o.id))
	for _, step := range []string{"suspend", "resume"} {
		o.fails(exitConflict, "is archived, expected", "events", step, o.id)
	}
	for _, step := range []string{"publish", "close"} {
		o.fails(exitConflict, "is archived, expected", "events", step, o.id, "--yes")
	}
	absent := filepath.Join(o.dir, "absent.csv")
	o.fails(exitConflict, "is archived", "orders", "export", "--event="+o.id, "--output="+absent)
	assert.NoFileExists(o, absent)
	_, stderr, code := o.store.run("verify", "--event="+o.id, "--acks="+o.orders)
	assert.Equal(o, 1, code, stderr)
	require.NoError(o, os.WriteFile(filepath.Join(at, "pool.json"), []byte("{}"), 0o600))
	o.store.fails(1, "the archive is damaged: pool.json", "verify", "--archive="+at)
}

// draft makes a draft of a sale in the next hour, directly in the store.
func draft(t *testing.T, s backend.Store, e records.Event) event.Event {
	t.Helper()
	base := event.NewDraft(time.Now())
	e.Window = records.Window{Opens: base.Window.Opens, Closes: base.Window.Opens.Add(time.Hour)}
	e.PerUser, e.Slots, e.PayWithin = max(e.PerUser, base.PerUser), base.Slots, max(e.PayWithin, base.PayWithin)
	made, err := event.Create(t.Context(), s, e)
	require.NoError(t, err)
	return made
}

// publish makes a sale that is open, directly in the store.
func publish(t *testing.T, s backend.Store, e records.Event) (id string) {
	t.Helper()
	made, err := event.Publish(t.Context(), s, draft(t, s, e).ID)
	require.NoError(t, err)
	return made.ID.String()
}

// An export that is cut off is an error, and leaves no file.
func TestExportsAreThereInFull(t *testing.T) {
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/csv; charset=utf-8")
		_, _ = io.WriteString(w, "id,slot\n1,0\n")
		_ = http.NewResponseController(w).Flush() // so that something was sent
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(admin.Close)
	dir := t.TempDir()
	command := []string{"orders", "export", "--event=01K9ZZZZZZZZZZZZZZZZZZZZZ1", "--admin=" + admin.URL}
	_, stderr, code := seckill(t, append(command, "--output="+filepath.Join(dir, "orders.csv"))...)
	assert.Equal(t, exitFailure, code)
	assert.Equal(t, "seckill: the admin service at "+admin.URL+" ends the answer too early: unexpected EOF\n", stderr)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
	out, _, code := seckill(t, command...)
	assert.Equal(t, exitFailure, code)
	assert.Equal(t, "id,slot\n1,0\n", out)
}

// A sale whose log could outgrow the store is not published, and the operator is
// told by how much.
func TestPublishNeedsRoom(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a server process; run without -short")
	}
	cluster := servers.ForTest(t, servers.Config{Kind: servers.Etcd, Extra: []string{fmt.Sprint("--quota-backend-bytes=", 8<<20)}})
	o := startAdmin(t, server{"etcd", cluster.Endpoints()[0]}, newRoot())
	out, stderr, code := o.run(create("--total=50000", "--publish", "--yes")...)
	assert.Equal(t, exitConflict, code)
	require.Len(t, strings.TrimSpace(out), 26, "the draft is there: %s", stderr)
	assert.Regexp(t, `was made, but not published: .* can come to 1\d\d\.\d MiB \(50000 units, up to 2\d\d\d bytes each\); the store has [78]\.\d MiB left of 8\.0 MiB, .* 0\.0 MiB`, stderr)
	assert.Contains(t, stderr, "--quota-backend-bytes")
	id := o.ok(create("--total=1500", "--publish", "--yes")...)
	o.fails(exitConflict, "of which sales that are open may need 4.", create("--total=1500", "--publish", "--yes")...)
	o.ok("events", "close", id, "--yes")
	o.ok(create("--total=1500", "--publish", "--yes")...)
}
