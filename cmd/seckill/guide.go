package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/seed27495941/seckill/app"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/settings"
)

// A guide tells somebody who has just started everything what there is.
type guide struct {
	settings settings.Settings
	at       app.Addresses
	store    string
	took     time.Duration
	sample   *event.Event // something to buy, nil if there is nothing
}

func (g guide) print(w io.Writer) {
	fmt.Fprintf(w, `
seckill %s is ready, %v after its start.

  buyers     http://%s   /v1/events /v1/me/orders /livez /readyz /openapi.json
  operators  %s   /v1/nodes /v1/config /livez /readyz /openapi.json
  ops        http://%s   /metrics /status /debug/pprof/
  store      %s

To try next, in another terminal:

`, buildVersion().Version, g.took.Round(time.Millisecond), g.at.API, g.admin(), g.at.Ops, g.store)
	for _, line := range g.next() {
		fmt.Fprintln(w, "  "+line)
	}
	fmt.Fprint(w, "\nCtrl-C ends it.\n\n")
}

// admin is where operators go.
func (g guide) admin() string {
	if g.settings.Admin.TLS.Enabled() {
		return "https://" + g.at.Admin.String()
	}
	return "http://" + g.at.Admin.String()
}

// next lists commands that show something.
func (g guide) next() []string {
	lines := append(g.purchase(),
		fmt.Sprintf("%s login --admin %s", os.Args[0], g.admin()),
		fmt.Sprintf("%s nodes list --admin %s", os.Args[0], g.admin()),
		fmt.Sprintf("curl http://%s/status", g.at.Ops),
	)
	root := g.settings.Store.Root
	switch g.settings.Backend {
	case settings.Etcd:
		at := strings.Join(endpoints(g.settings, "127.0.0.1:2379"), ",")
		lines = append(lines,
			fmt.Sprintf("etcdctl --endpoints %s get --prefix /%s", at, root),
			fmt.Sprintf(`etcdctl --endpoints %s put /%sconfig '{"logLevel":"debug"}'`, at, root),
			fmt.Sprintf("%s verify --all --endpoints %s", os.Args[0], at),
			fmt.Sprintf("%s kv list --endpoints %s", os.Args[0], at))
	case settings.Consul:
		at := endpoints(g.settings, "127.0.0.1:8500")
		lines = append(lines,
			fmt.Sprintf("consul kv get -http-addr %s -recurse %s", at[0], root),
			fmt.Sprintf(`consul kv put -http-addr %s %sconfig '{"logLevel":"debug"}'`, at[0], root),
			fmt.Sprintf("%s verify --all --backend consul --endpoints %s", os.Args[0], strings.Join(at, ",")),
			fmt.Sprintf("%s kv list --backend consul --endpoints %s", os.Args[0], strings.Join(at, ",")))
	}
	if g.sample != nil {
		lines = append(lines, fmt.Sprintf("curl -N http://%s/v1/events/%s/stream", g.at.API, g.sample.ID)) // it does not end
	}
	return lines
}

// purchase lists commands that buy something.
func (g guide) purchase() []string {
	if g.sample == nil {
		return nil
	}
	return []string{
		fmt.Sprintf("token=$(%s)", g.token()),
		fmt.Sprintf(`curl -H "Authorization: Bearer $token" --json '{"quantity":1,"request_id":"first"}' http://%s/v1/events/%s/orders`, g.at.API, g.sample.ID),
		fmt.Sprintf(`curl -H "Authorization: Bearer $token" http://%s/v1/me/orders`, g.at.API),
		fmt.Sprintf("curl http://%s/v1/events", g.at.API),
	}
}

// token is the command that makes a token which counts here.
func (g guide) token() string {
	s := g.settings.Identity
	command := fmt.Sprintf("%s token --keys %s --buyer alice", os.Args[0], s.KeysFile)
	if s.Issuer != "" {
		command += " --issuer " + s.Issuer
	}
	if s.Audience != "" {
		command += " --audience " + s.Audience
	}
	return command
}
