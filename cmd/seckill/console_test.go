package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	records "github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/web"
	"github.com/seed27495941/seckill/conformance/servers"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/dynconf"
)

// TestConsole has somebody run a sale by the console's pages, in a real browser, with the
// real binaries: an admin and two API nodes. The screenshots are kept.
func TestConsole(t *testing.T) {
	if testing.Short() {
		t.Skip("needs servers; run without -short")
	}
	chromium(t)
	binary := filepath.Join(t.TempDir(), "seckill")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, kind := range []servers.Kind{servers.Etcd, servers.Consul} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			w := &walk{T: t, store: walkStore{kind: kind}, binary: binary, began: time.Now()}
			w.cluster = servers.ForTest(t, servers.Config{Kind: kind})
			w.keys = filepath.Join(t.TempDir(), "keys.json")
			w.seckill("keys", "new", "--keys="+w.keys)
			blacklist := filepath.Join(t.TempDir(), "blacklist")
			require.NoError(t, os.WriteFile(blacklist, []byte("mallory\ntrudy\n"), 0o600))
			a, b := w.startNode("a", "--blacklist-file="+blacklist, "--blacklist-mode=push"), w.startNode("b")
			addr := stores.FreeAddress(t)
			admin := w.start("admin", addr, "admin", "--admin-bind="+addr)
			o := &steward{browser: newBrowser(t, string(kind), "http://"+addr), walk: w, admin: admin, nodes: []*walker{a, b}, blacklist: blacklist}
			o.run()
		})
	}
}

// A steward uses the console.
type steward struct {
	*browser
	walk  *walk
	admin *walker
	nodes []*walker

	blacklist string // file of the first node
}

const (
	chosenPassword = "a lamp, a whale, a violin"

	// evil is typed wherever there is a field, and is to be read as it is.
	evil = `"><script>window.evil=1</script><img src=x onerror=window.evil=1>`
)

func (o *steward) run() {
	o.logIn()
	o.empty()
	event := o.createEvent()
	o.sell(event)
	o.verify(event)
	o.conflict()
	o.deleted()
	o.config()
	o.grayRelease()
	o.noConfig()
	o.drain()
	o.blacklists()
	o.jobs()
	o.keys()
	o.push()
	vera := o.people()
	o.refused(event, vera)
	o.scripts(event)
	o.audit()
	assert.Empty(o, o.complained(), "of nothing")
	o.away()
	o.lost()
}

func (o *steward) logIn() {
	var oneTime []string
	o.eventually("the one-time password", func() bool {
		oneTime = regexp.MustCompile(`log in as (\w+) with the password (\w+)`).FindStringSubmatch(o.admin.log.String())
		return oneTime != nil
	})
	o.open("/events")
	require.Equal(o, "/login", o.path())
	o.inspect("login")
	o.tabsThrough()
	o.fill("#name", oneTime[1])
	o.fill("#password", "not that one")
	o.press("button.main")
	o.sees("wrong")
	o.inspect("login-refused")
	o.fill("#password", oneTime[2])
	o.press("button.main")
	require.Equal(o, "/password", o.path())
	o.open("/events")
	require.Equal(o, "/password", o.path(), "nothing else before the password is another one")
	o.fill("#old", oneTime[2])
	o.fill("#new", chosenPassword)
	o.fill("#again", chosenPassword)
	o.inspect("password")
	o.press("main button.main")
	require.Equal(o, "/", o.path())
	o.sees("The password is changed")
}

// empty looks at pages that have nothing to show yet.
func (o *steward) empty() {
	o.eventually("both nodes", func() bool { return strings.Count(o.text(), "ready") == 2 })
	o.inspect("overview-empty")
	for _, page := range []string{"events", "goods", "topics", "orders", "config/history", "config/rollout", "keys", "audit", "nowhere"} {
		o.open("/" + page)
		o.inspect(strings.ReplaceAll(page, "/", "-") + "-empty")
	}
}

func (o *steward) createEvent() (id string) {
	o.open("/events/new")
	o.tabsThrough()
	o.fill("#title", "A hundred teapots")
	o.fill("#sku", "TEAPOT")
	o.fill("#price", "1999")
	o.fill("#currency", "EUR")
	o.fill("#total", "100")
	o.fill("#perUser", "2")
	o.fill("#opens", time.Now().Add(-time.Minute).UTC().Format("2006-01-02T15:04:05"))
	o.fill("#closes", time.Now().Add(-time.Hour).UTC().Format("2006-01-02T15:04:05"))
	o.press("main button.main")
	o.sees("closes")
	o.inspect("event-refused")
	require.Equal(o, "A hundred teapots", ask[string](o.browser, `document.querySelector("#title").value`), "nothing typed is lost")
	o.fill("#closes", time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05"))
	o.press("main button.main")
	o.sees("Saved.")
	id = strings.TrimPrefix(o.path(), "/events/")
	o.inspect("event-draft")

	o.press(`main a[href$="/publish"]`)
	o.inspect("event-publish")
	o.press("main button.main")
	o.sees("It is published")
	return id
}

// sell has buyers buy while somebody looks at the sale.
func (o *steward) sell(event string) {
	require.Equal(o, "/events/"+event, o.path())
	o.eventually("figures", func() bool {
		sold, err := try[string](o.browser, `document.querySelector("#curve svg").dataset.sold ?? ""`)
		return err == nil && sold == "0"
	})
	o.eventually("some seconds of it", func() bool {
		points, err := try[int](o.browser, `document.querySelector("#curve .sold:not(line)")?.points.numberOfItems ?? 0`)
		return err == nil && points > 2
	})
	const curve = `document.querySelector("#curve .sold:not(line)").getAttribute("points")`
	before := ask[string](o.browser, curve)
	for i := range 20 {
		o.buy(event, fmt.Sprintf("buyer-%d", i), o.nodes[i%2])
	}
	o.eventually("the curve at 40 sold", func() bool {
		return ask[string](o.browser, `document.querySelector("#curve svg").dataset.sold`) == "40"
	})
	after := ask[string](o.browser, curve)
	require.NotEqual(o, lastHeight(before), lastHeight(after), "the curve moves")
	o.sees("60")
	o.eventually("the text in place of the curve", func() bool {
		return strings.Contains(ask[string](o.browser, `document.querySelector("#curve-text").textContent`), "40 sold, 60 remaining of 100")
	})
	o.refusals(event)
	o.inspect("sale")
	o.tabsThrough()
	o.open("/")
	o.sees("A hundred teapots")
	o.inspect("overview")
	o.open("/orders?event=" + event)
	o.sees("buyer-7")
	o.inspect("orders")
	o.open("/orders?buyer=buyer-7")
	o.sees("buyer-7")
	assert.NotContains(o, o.text(), "buyer-8")
}

// refusals: a buyer who wants too much is refused, and the page tells why. Who opens it only
// then sees the same curve.
func (o *steward) refusals(event string) {
	for i, at := range o.nodes {
		o.eventually("a refusal", func() bool {
			return o.order(event, "buyer-0", fmt.Sprint("more-", i), at) == http.StatusConflict
		})
	}
	o.eventually("why they were refused", func() bool {
		rows, err := try[[]string](o.browser, `[...document.querySelectorAll("#sale-refusals tbody tr")].map((e) => e.innerText)`)
		return err == nil && slices.ContainsFunc(rows, func(row string) bool {
			return strings.HasPrefix(row, "More units than one buyer may have limit_reached") && strings.HasSuffix(row, "2")
		})
	})
	o.open("/events/" + event)
	o.eventually("the curve from its beginning", func() bool {
		first, err := try[string](o.browser, `document.querySelector("#curve tbody tr:last-child td:nth-child(2)")?.textContent ?? ""`)
		return err == nil && first == "0"
	})
}

// lastHeight is the y of a curve's last point.
func lastHeight(points string) string { return points[strings.LastIndexByte(points, ',')+1:] }

func (o *steward) buy(event, buyer string, at *walker) {
	o.eventually("an order of "+buyer, func() bool {
		status := o.order(event, buyer, "first", at)
		return status == http.StatusCreated || status == http.StatusOK
	})
}

// order asks for two units, and returns the status of the answer, 0 if there was none.
func (o *steward) order(event, buyer, request string, at *walker) (status int) {
	token := strings.TrimSpace(o.walk.seckill("token", "--keys="+o.walk.keys, "--buyer="+buyer))
	req, err := http.NewRequestWithContext(o.Context(), http.MethodPost, "http://"+at.main+"/v1/events/"+event+"/orders",
		strings.NewReader(`{"quantity":2,"request_id":"`+request+`"}`))
	require.NoError(o, err)
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := at.client.Do(req)
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	require.NoError(o, resp.Body.Close())
	return resp.StatusCode
}

// verify: the sale is held against its rules, by what the store has of it.
func (o *steward) verify(event string) {
	o.open("/orders?event=" + event)
	o.press(`main a[href$="/verify"]`)
	o.press("main button.main")
	o.sees("Every rule is kept")
	o.sees("of 20 buyers")
	o.inspect("verify")
}

// conflict: of two who edit one draft the second one is told.
func (o *steward) conflict() {
	draft(o.T, o.walk.open(), records.Event{Title: "A draft", SKU: "D", Price: records.Price{Minor: 1, Currency: "EUR"}, Total: 1})
	o.open("/events")
	o.sees("A draft")
	o.inspect("events")
	o.press(`main tbody tr:first-child a`)
	draft := o.path()
	o.open(draft + "/edit")
	o.fill("#title", "My draft")
	require.Equal(o, 200, ask[int](o.browser, `(() => {
		const form = new FormData(document.querySelector("main form"));
		form.set("title", "Their draft");
		const r = new XMLHttpRequest();
		r.open("POST", location.pathname, false);
		r.setRequestHeader("Content-Type", "application/x-www-form-urlencoded");
		r.send(new URLSearchParams(form));
		return r.status;
	})()`))
	o.press("main button.main")
	o.sees("Somebody else changed this meanwhile")
	o.sees("Their draft")
	require.Equal(o, "My draft", ask[string](o.browser, `document.querySelector("#title").value`))
	o.inspect("event-conflict")
	o.press("main button.main")
	o.sees("Saved.")
	o.press(`main a[href$="/delete"]`)
	o.inspect("event-delete")
	o.fill("#typed", "something else")
	o.press("main button.bad")
	o.sees("Nothing was done")
	o.open(draft + "/delete")
	o.fill("#typed", "My draft")
	o.press("main button.bad")
	o.sees("The draft is deleted.")
}

// deleted: who edits something that is deleted meanwhile loses nothing.
func (o *steward) deleted() {
	o.open("/goods/new")
	for field, text := range map[string]string{"#id": "SHORTLIVED", "#sku": "S", "#title": "A kettle"} {
		o.fill(field, text)
	}
	o.press("main button.main")
	o.sees("Saved.")
	o.fill("#description", "a text that took an hour")
	o.walk.seckill("kv", "delete", "goods/SHORTLIVED")
	o.press("main button.main")
	o.sees("Somebody has deleted this meanwhile")
	require.Equal(o, "a text that took an hour", ask[string](o.browser, `document.querySelector("#description").value`))
	o.inspect("goods-deleted")
	o.press("main button.main")
	o.sees("Saved.")
	require.Equal(o, "/goods/SHORTLIVED", o.path())
	require.Equal(o, "a text that took an hour", ask[string](o.browser, `document.querySelector("#description").value`))
}

// inForce is what both nodes have in force once they agree, and it is not what it was.
func (o *steward) inForce(not string) (hash string) {
	o.Helper()
	o.eventually("both nodes with the same config, another one than "+not, func() bool {
		found, err := try[[]string](o.browser, `[...document.querySelectorAll("#config-nodes tbody td")].map((e) => e.innerText)`)
		if err != nil || len(found) != 2 || found[0] != found[1] || !strings.HasSuffix(found[0], "same") {
			return false
		}
		hash = strings.Fields(found[0])[0]
		return hash != not
	})
	return hash
}

func (o *steward) config() {
	o.open("/config")
	own := o.inForce("")
	o.inspect("config-none")
	o.tabsThrough()
	o.review("{\n  \"logLevel\": \"info\",\n  \"rateLimit\": {\"middle\": 0}\n}")
	o.sees("line 3, column 17")
	o.sees("rateLimit.middle")
	o.inspect("config-refused")
	o.review("{\n  \"logLevel\": \"info\"\n  \"rateLimit\": {}\n}")
	o.sees("line 3, column 3")

	o.review("{\n  \"logLevel\": \"info\",\n  \"rateLimit\": {\"middle\": 50000}\n}")
	o.fill("#comment", "Fewer for now")
	o.press(`form[action$="/publish"] button`)
	o.sees("Published as revision")
	first := o.inForce(own)

	o.review("{\n  \"logLevel\": \"info\",\n  \"rateLimit\": {\"middle\": 60000}\n}")
	require.Equal(o, []string{"− "}, ask[[]string](o.browser, `[...document.querySelectorAll(".diff .out .sign")].map((e) => e.textContent)`))
	require.Equal(o, []string{"+ "}, ask[[]string](o.browser, `[...document.querySelectorAll(".diff .in .sign")].map((e) => e.textContent)`))
	o.fill("#comment", "More again")
	o.inspect("config-review")
	o.press(`form[action$="/publish"] button`)
	second := o.inForce(first)
	require.NotEqual(o, own, second)
	o.inspect("config")
	o.open("/nodes")
	o.eventually("both nodes with "+second, func() bool { return strings.Count(o.text(), second) == 2 })
	o.inspect("nodes")

	o.open("/config/history")
	o.inspect("config-history")
	o.press(`main tbody tr:nth-child(2) th a`)
	o.fill("#comment", "It was too much")
	o.inspect("config-version")
	o.press("main button.main")
	o.sees("is published again")
	require.Equal(o, first, o.inForce(second), "rolled back")
}

func (o *steward) review(value string) {
	o.Helper()
	o.open("/config")
	o.fill("#value", value)
	o.press(`form[action$="/review"] button`)
}

// A trial is how the page of a gray release shows a node.
type trial struct{ wanted, has, stands string }

// trials are the nodes of a gray release, as they are shown.
func (o *steward) trials() map[string]trial {
	rows, err := try[[][]string](o.browser, `[...document.querySelectorAll("#rollout tbody tr")].map((r) => [...r.cells].map((c) => c.innerText.trim()))`)
	shown := map[string]trial{}
	for _, cells := range rows {
		if err == nil && len(cells) == 4 {
			shown[cells[0]] = trial{cells[1], cells[2], cells[3]}
		}
	}
	return shown
}

// tryConfig begins a gray release at so few nodes that it is none of these two, mostly.
func (o *steward) tryConfig(value, why string) (rollout string) {
	o.review(value)
	o.fill("#percent", "0.01")
	o.fill("#rollout-comment", why)
	o.press(`form[action$="/start"] button`)
	o.sees("The trial has begun.")
	return ask[string](o.browser, `document.querySelector('form[action$="/retarget"] input[name=id]').value`)
}

// retarget has a part of the nodes try it.
func (o *steward) retarget(percent string) {
	o.fill("#percent", percent)
	o.press(`form[action$="/retarget"] button`)
}

// oneOf is the share of the nodes that selects one of both, and which.
func (o *steward) oneOf(rollout string) (percent, selected, other string) {
	r := dynconf.Rollout{ID: rollout}
	for r.Percent = 0.01; r.Percent < 100; r.Percent += 0.01 {
		a, b := r.Selects(dynconf.Node{ID: o.nodes[0].id}), r.Selects(dynconf.Node{ID: o.nodes[1].id})
		switch {
		case a && !b:
			return fmt.Sprintf("%.2f", r.Percent), o.nodes[0].id, o.nodes[1].id
		case b && !a:
			return fmt.Sprintf("%.2f", r.Percent), o.nodes[1].id, o.nodes[0].id
		}
	}
	o.Fatal("no share selects one node alone")
	return "", "", ""
}

// everywhere waits until both nodes have what is on trial.
func (o *steward) everywhere() {
	o.Helper()
	o.eventually("the trial at both nodes", func() bool {
		for _, t := range o.trials() {
			if !strings.HasSuffix(t.wanted, "on trial") || !strings.HasPrefix(t.wanted, t.has) || t.stands != "same" {
				return false
			}
		}
		return len(o.trials()) == 2
	})
}

// grayRelease: a config is tried at one node, then at both, and published; the next one is
// taken off again.
func (o *steward) grayRelease() {
	o.open("/config")
	published := o.inForce("")
	rollout := o.tryConfig(`{"logLevel":"info","rateLimit":{"middle":70000}}`, "A trial")
	o.retarget("most")
	o.sees("expected a number")
	o.inspect("rollout-refused")
	percent, selected, other := o.oneOf(rollout)
	o.retarget(percent)
	o.sees("The share is changed.")
	o.eventually("the trial at one node", func() bool {
		shown := o.trials()
		on, off := shown[selected], shown[other]
		return strings.HasSuffix(on.wanted, "on trial") && strings.HasPrefix(on.wanted, on.has) && on.stands == "same" &&
			strings.HasSuffix(off.wanted, "published") && strings.HasPrefix(off.wanted, off.has) && off.stands == "same" && on.has != off.has
	})
	o.sees("1 of 1")
	o.inspect("rollout-one")
	o.tabsThrough()
	o.retarget("100")
	o.everywhere()
	o.fill(`form[action$="/promote"] input[name=comment]`, "It was good")
	o.press(`form[action$="/promote"] button`)
	o.sees("It is published to all nodes.")
	o.sees("promoted")
	o.inspect("rollout-promoted")
	o.open("/config")
	require.Contains(o, ask[string](o.browser, `document.querySelector("#value").value`), "70000")
	promoted := o.inForce(published)

	o.tryConfig(`{"logLevel":"info","rateLimit":{"middle":80000}}`, "Another trial")
	o.retarget("100")
	o.everywhere()
	o.fill(`form[action$="/abandon"] input[name=comment]`, "It was but a trial")
	o.press(`form[action$="/abandon"] button`)
	o.sees("It is taken off all nodes.")
	o.inspect("rollout-abandoned")
	o.open("/config")
	require.Equal(o, promoted, o.inForce(""))
}

// noConfig: the config is deleted, once who wants it has said so, and why.
func (o *steward) noConfig() {
	o.open("/config")
	published := o.inForce("")
	o.press(`main a[href="/config/delete"]`)
	o.fill("#comment", "not needed any more")
	o.fill("#typed", "something else")
	o.press("main button.bad")
	o.sees("expected config, so nothing was done")
	require.Equal(o, "not needed any more", ask[string](o.browser, `document.querySelector("#comment").value`))
	o.inspect("config-delete-refused")
	o.fill("#typed", "config")
	o.press("main button.bad")
	o.sees("The cluster config is deleted.")
	o.sees("Nothing is published")
	o.inForce(published)
}

func (o *steward) drain() {
	o.open("/nodes/" + o.nodes[1].id)
	o.sees("ready")
	o.tabsThrough()
	o.fill("#reason", "a new disk")
	o.press(`form[action$="/drain"] button`)
	o.sees("a new disk")
	o.inspect("node-drained")
	o.open("/nodes")
	o.sees("drained")
	o.open("/nodes/" + o.nodes[1].id)
	o.press(`form[action$="/undrain"] button`)
	o.sees("may have requests again")
	o.fill("#weight", "3")
	o.press(`form[action$="/weight"] button`)
	o.sees("The weight is set.")
	o.inspect("node")
}

// blacklists: how each node's stands, and having one loaded again.
func (o *steward) blacklists() {
	o.open("/blacklist")
	o.sees("in force")
	o.sees("no blacklist")
	o.inspect("blacklist")
	o.tabsThrough()
	require.NoError(o, os.WriteFile(o.blacklist, []byte("mallory\nno end"), 0o600))
	o.press(`form[action="/blacklist"] button`)
	o.sees("That was refused")
	o.sees("file refused")
	o.sees("The list of before stays in force")
	o.inspect("blacklist-refused")
	require.NoError(o, os.WriteFile(o.blacklist, []byte("eve\nmallory\ntrudy\n"), 0o600))
	o.press(`form[action="/blacklist"] button`)
	o.sees(o.nodes[0].id + " has loaded its blacklist again.")
	require.Equal(o, "3", ask[string](o.browser, `document.querySelector("main tbody td.number:not(:empty)").innerText.trim()`))
	o.open("/nodes/" + o.nodes[1].id)
	o.press(`form[action$="/reload"] button[value="blacklist"]`)
	o.sees("That was refused")
	o.sees("expected one of settings")
	o.press(`form[action$="/reload"] button[value="settings"]`)
	o.sees("The node has loaded its settings again.")
}

// jobs: what the admin does by itself, as it tells.
func (o *steward) jobs() {
	o.open("/jobs")
	for _, text := range []string{"history", "versions recorded", "windows", "done", "sessions"} {
		o.sees(text)
	}
	o.inspect("jobs")
	o.tabsThrough()
}

func (o *steward) keys() {
	o.open("/keys?prefix=&contains=TEAPOT")
	o.sees("events/")
	o.inspect("keys")
	o.open("/keys?prefix=admin/users/")
	o.sees("secret")
	o.press("main tbody a")
	o.sees("not shown to you")
	o.inspect("key-secret")
	require.NotContains(o, ask[string](o.browser, "document.documentElement.outerHTML"), "argon2")
	o.open("/keys/new")
	o.fill("#key", "notes/first")
	o.fill("#value", "hello")
	o.press("main button.main")
	o.sees("Saved.")
	o.walk.seckill("kv", "put", "notes/first", "from elsewhere")
	o.fill("#value", "hello again")
	o.press("main button.main")
	o.sees("Somebody else changed this meanwhile")
	o.sees("from elsewhere")
	o.inspect("key-conflict")
	o.press("main button.main")
	o.sees("Saved.")
	o.inspect("key")
	o.press(`main a[href^="/key/delete"]`)
	o.fill("#typed", "notes/first")
	o.press("main button.bad")
	o.sees("notes/first is deleted.")
	o.open("/key?key=audit/x")
	o.sees("There is no such key")
}

// push: one node has another config in force than is published, and says so.
func (o *steward) push() {
	at := "/nodes/" + o.nodes[0].id
	o.open(at)
	o.fill(`form[action$="/push"] textarea`, `{"logLevel":"verbose"}`)
	o.fill("#why", "to see more")
	o.press(`form[action$="/push"] button`)
	o.sees("logLevel")
	o.inspect("node-push-refused")
	o.fill(`form[action$="/push"] textarea`, `{"logLevel":"debug"}`)
	o.fill("#minutes", "5")
	o.fill("#why", "to see more")
	o.press(`form[action$="/push"] button`)
	o.sees("It is in force at this node until")
	o.eventually("the mark of what was pushed", func() bool {
		o.open(at)
		return strings.Contains(o.text(), "pushed to")
	})
	o.inspect("node-pushed")
	o.press(`form[action$="/push"] button[formaction$="/clear"]`)
	o.sees("goes by what is published again")
}

// people lets somebody in, who may but look, and a program. It tells the password.
func (o *steward) people() (password string) {
	o.open("/users")
	o.fill("#user-name", "vera")
	o.press(`form[action="/users"] button`)
	o.sees("vera may log in")
	password = ask[string](o.browser, `document.querySelector("#secret").value`)
	o.inspect("user-added")
	o.open("/users")
	o.fill("#token-name", "ci")
	o.press(`form[action="/tokens"] button`)
	require.Contains(o, ask[string](o.browser, `document.querySelector("#secret").value`), "seckill_")
	o.open("/users")
	require.True(o, ask[bool](o.browser, `(() => {
		const form = document.querySelector('form[action="/tokens"]');
		const send = () => form.dispatchEvent(new SubmitEvent("submit", { bubbles: true, cancelable: true }));
		return send() && !send();
	})()`), "two clicks make one token")
	o.inspect("users")
	o.tabsThrough()
	return password
}

// refused: who may not do something is kept from it, whatever is sent.
func (o *steward) refused(event, password string) {
	const another = "a kite, a stove, a harp"
	stranger, viewer := o.visitor(), o.visitor()
	for _, page := range []string{"/", "/events/" + event, "/keys", "/users", "/audit", "/nodes/live", "/nowhere"} {
		r := stranger.get(page)
		require.Equal(o, http.StatusSeeOther, r.StatusCode, page)
		require.True(o, strings.HasPrefix(r.Header.Get("Location"), "/login?next="), page)
	}
	require.Equal(o, http.StatusUnauthorized, stranger.post("/nodes/"+o.nodes[0].id+"/drain", nil).StatusCode)
	require.Equal(o, "/", viewer.post("/login", url.Values{"name": {"admin"}, "password": {chosenPassword}, "next": {"//evil.example/"}}).Header.Get("Location"))

	require.Equal(o, "/password", viewer.post("/login", url.Values{"name": {"vera"}, "password": {password}}).Header.Get("Location"))
	require.Equal(o, http.StatusSeeOther, viewer.post("/password", url.Values{"old": {password}, "new": {another}, "again": {another}}).StatusCode)
	require.Equal(o, http.StatusOK, viewer.get("/events/"+event).StatusCode)
	require.Equal(o, http.StatusForbidden, viewer.get("/users").StatusCode)
	require.Equal(o, http.StatusForbidden, viewer.get("/orders?event="+event).StatusCode)
	for _, path := range []string{
		"/events/new", "/events/" + event + "/suspend", "/goods/new", "/topics/new", "/nodes/" + o.nodes[0].id + "/drain", "/nodes/" + o.nodes[0].id + "/weight",
		"/config/rollback", "/config/delete", "/config/rollout/start", "/config/rollout/promote", "/nodes/" + o.nodes[0].id + "/reload", "/blacklist",
		"/events/" + event + "/verify", "/users", "/tokens", "/key", "/users/admin/role", "/users/vera/reset",
	} {
		form := url.Values{"weight": {"2"}, "to": {"1"}, "comment": {"x"}, "typed": {"config"}, "etag": {`"1"`}, "percent": {"1"}, "maxFailures": {"0"}, "source": {"settings"}, "node": {o.nodes[0].id}, "key": {"notes/x"}, "name": {"x"}, "title": {"x"}, "role": {"admin"}, "id": {"x"}}
		for field, text := range map[string]string{
			"price": "1", "total": "1", "perUser": "1", "payWithin": "60", "slots": "1", "opens": "2026-11-11T20:00:00", "closes": "2026-11-11T21:00:00",
		} {
			form.Set(field, text)
		}
		r := viewer.post(path, form)
		require.Equal(o, http.StatusForbidden, r.StatusCode, path)
	}
	forged := viewer.request(http.MethodPost, "/logout", nil)
	forged.Header.Set("Origin", "https://evil.example")
	require.Equal(o, http.StatusForbidden, viewer.do(forged).StatusCode)
	require.Equal(o, http.StatusRequestEntityTooLarge, viewer.post("/key", url.Values{"key": {"x"}, "value": {strings.Repeat("x", 2<<20)}}).StatusCode)
	for _, path := range []string{"/static/../pages/layout.html", "/static/%2e%2e/console.go", "/events/..%2f..%2fusers", "/goods/%2e%2e", "/nodes/..%2fconfig", "/events/a%00b"} {
		r := viewer.get(path)
		require.NotEqual(o, http.StatusOK, r.StatusCode, path)
		require.Less(o, r.StatusCode, http.StatusInternalServerError, path)
	}
	r := viewer.get("/")
	require.Contains(o, r.Header.Get("Content-Security-Policy"), "default-src 'self'")
	require.NotContains(o, r.Header.Get("Content-Security-Policy"), "unsafe")
	require.Equal(o, "no-store", r.Header.Get("Cache-Control"))
}

// A visitor is one without a browser, which goes where it wants.
type visitor struct {
	o *steward
	http.Client
}

func (o *steward) visitor() *visitor {
	jar, err := cookiejar.New(nil)
	require.NoError(o, err)
	return &visitor{o, http.Client{Jar: jar, Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func (v *visitor) request(method, path string, form url.Values) *http.Request {
	r, err := http.NewRequestWithContext(v.o.Context(), method, v.o.base+path, strings.NewReader(form.Encode()))
	require.NoError(v.o, err)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return r
}

// A reply is what of an answer is looked at.
type reply struct {
	StatusCode int
	Header     http.Header
}

func (v *visitor) do(r *http.Request) reply {
	response, err := v.Do(r)
	require.NoError(v.o, err)
	_, _ = io.Copy(io.Discard, response.Body)
	require.NoError(v.o, response.Body.Close())
	return reply{response.StatusCode, response.Header}
}

func (v *visitor) get(path string) reply { return v.do(v.request(http.MethodGet, path, nil)) }

func (v *visitor) post(path string, form url.Values) reply {
	return v.do(v.request(http.MethodPost, path, form))
}

// scripts: what looks like one is shown as text wherever it can be typed.
func (o *steward) scripts(event string) {
	o.open("/goods/new")
	for field, text := range map[string]string{"#id": "EVIL", "#sku": evil[:60], "#title": evil, "#description": evil} {
		o.fill(field, text)
	}
	o.press("main button.main")
	o.sees("Saved.")
	o.inspect("goods-edit")
	o.open("/topics/new")
	for field, text := range map[string]string{"#id": "EVIL", "#title": evil, "#description": evil, "#events": event} {
		o.fill(field, text)
	}
	o.press("main button.main")
	o.sees("Saved.")
	o.inspect("topic-edit")
	publish(o.T, o.walk.open(), records.Event{Title: evil, SKU: evil[:60], Price: records.Price{Minor: 1, Currency: "EUR"}, Total: 1})
	o.walk.seckill("kv", "put", "notes/evil", evil)
	o.buy(event, evil, o.nodes[0])
	o.open("/nodes/" + o.nodes[0].id)
	o.fill("#reason", evil)
	o.press(`form[action$="/drain"] button`)
	o.review(`{"logLevel":"warn"}`)
	o.fill("#comment", evil)
	o.press(`form[action$="/publish"] button`)
	o.open("/users")
	o.fill("#token-name", evil[:60])
	o.press(`form[action="/tokens"] button`)
	for _, page := range []string{
		"/", "/events", "/goods", "/goods/EVIL", "/topics", "/topics/EVIL", "/nodes/" + o.nodes[0].id, "/config/history", "/users", "/audit",
		"/jobs", "/blacklist", "/config/delete",
		"/keys?prefix=notes/", "/key?key=notes/evil", "/orders?event=" + event, "/goods/EVIL/delete", "/keys?prefix=&contains=" + "%22%3E%3Cscript%3E",
		"/login?next=%22%3E%3Cscript%3E", "/%3Cscript%3E", "/orders?buyer=%22%3E%3Cscript%3E", "/audit?actor=%22%3E%3Cscript%3E",
	} {
		o.open(page)
		assert.Empty(o, ask[string](o.browser, `String(window.evil ?? "")`), page)
		assert.Zero(o, ask[int](o.browser, `document.querySelectorAll("body script, img").length`), page)
	}
	o.open("/goods/EVIL")
	require.Equal(o, evil, ask[string](o.browser, `document.querySelector("#title").value`))
	o.open("/nodes/" + o.nodes[0].id)
	o.sees(evil)
	o.press(`form[action$="/undrain"] button`)
}

// audit shows every step, and who took it.
func (o *steward) audit() {
	o.open("/audit")
	o.inspect("audit")
	for _, action := range []string{
		"event.create", "event.publish", "event.edit", "event.delete", "config.publish", "config.rollback", "config.delete", "rollout.start", "rollout.retarget", "rollout.promote",
		"rollout.abandon", "node.reload",
		"node.drain", "node.undrain", "node.weigh", "key.put", "key.delete", "node.push", "node.clear", "user.add", "token.create", "goods.put", "topic.put",
	} {
		o.open("/audit?action=" + action)
		rows := ask[[]string](o.browser, `[...document.querySelectorAll("main tbody tr")].map((e) => e.innerText)`)
		if assert.NotEmpty(o, rows, action) {
			assert.Contains(o, rows[0], "admin")
			assert.Contains(o, strings.Join(rows, "\n"), "done")
		}
	}
	o.open("/audit?action=node.drain&target=" + o.nodes[1].id)
	o.sees("node.drain")
}

// away: without the store pages say so, and show what is known.
func (o *steward) away() {
	o.open("/")
	require.NoError(o, o.walk.cluster.Node(0).Kill(o.Context()))
	o.sees("The store does not answer")
	o.inspect("overview-away")
	o.open("/jobs")
	o.sees("needs the store")
	o.inspect("jobs-away")
	o.open("/blacklist")
	o.sees("in force") // nodes tell it themselves
	require.NoError(o, o.walk.cluster.Node(0).Start(o.Context()))
	o.open("/")
	o.eventually("the store is back", func() bool { return !strings.Contains(o.text(), "does not answer") })
}

// lost: when the admin falls silent the page says that it is old, and how old; when it
// speaks again the page goes on.
func (o *steward) lost() {
	o.open("/nodes")
	o.sees("ready")
	require.NoError(o, o.admin.cmd.Process.Signal(syscall.SIGSTOP))
	o.sees("Live updates are interrupted")
	o.inspect("nodes-lost")
	require.NoError(o, o.admin.cmd.Process.Signal(syscall.SIGCONT))
	o.eventually("live again", func() bool { return !strings.Contains(o.text(), "interrupted") })
	o.do(chromedp.Navigate("about:blank")) // or the stream would be waited for
}

// What somebody has opened to read it stays open, and has the focus still, when the page is
// told something new of it.
func TestConsoleKeepsWhatIsOpen(t *testing.T) {
	script, err := os.ReadFile(filepath.Join("..", "..", "app", "admin", "console", "static", "console.js"))
	require.NoError(t, err)
	part := func(found string) string {
		return `<details id="findings"><summary id="findings-head">` + found + `</summary><p>the remedy of ` + found + `</p></details>`
	}
	told := make(chan string)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `<!doctype html><title>T</title><script type="module" src="/console.js"></script><body data-stream="/live"><main>`+
			`<p id="lost" hidden><span id="lost-age"></span></p><div id="part">`+part("first")+`</div></main>`)
	})
	mux.HandleFunc("GET /console.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = w.Write(script)
	})
	mux.HandleFunc("GET /live", func(w http.ResponseWriter, r *http.Request) {
		to := web.NewStream(w)
		for ok := to.Begin(); ok; {
			select {
			case html := <-told:
				ok = to.Event("parts", map[string]string{"part": html})
			case <-r.Context().Done():
				return
			}
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	b := newBrowser(t, "console-script", server.URL)
	t.Cleanup(func() { b.do(chromedp.Navigate("about:blank")) }) // or the stream would be waited for
	b.open("/")
	tell := func(html string) {
		t.Helper()
		select {
		case told <- html:
		case <-time.After(time.Minute):
			t.Fatal("the page does not follow")
		}
	}
	tell(part("second"))
	b.sees("second")
	require.NotContains(t, b.text(), "remedy", "what was shut stays shut")
	b.do(chromedp.Click(chromedp.CSS("summary")))
	b.sees("the remedy of second")
	tell(part("third"))
	b.sees("the remedy of third")
	assert.Equal(t, "findings-head", ask[string](b, `document.activeElement.id`))
	assert.Empty(t, b.complained())
}
