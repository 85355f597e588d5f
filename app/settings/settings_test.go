package settings_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend/credential"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestLaterLayersWin(t *testing.T) {
	file := write(t, "seckill.toml", `
backend = "consul"
drain_timeout = "3s"

[store]
endpoints = ["a:1", "b:2"]
datacenter = "file"
token_file = "/run/token"

[store.tls]
ca = "/ca.pem"

[api]
bind = "127.0.0.1:1"

[config.rateLimit]
low = 7
`)
	s, err := settings.Load(settings.Sources{
		File: file,
		Environ: []string{
			"SECKILL_DATACENTER=environment", "SECKILL_API_BIND=127.0.0.1:2", "SECKILL_NODE_TTL=9s",
			"SECKILL_ROOT=", "PATH=/bin",
		},
		Flags: []settings.Flag{{Name: "--api-bind", Key: "api.bind", Value: "127.0.0.1:3"}},
	})
	require.NoError(t, err)

	want := settings.Defaults()
	want.Backend = "consul"
	want.DrainTimeout = 3 * time.Second
	want.Store.Endpoints = []string{"a:1", "b:2"}
	want.Store.Datacenter = "environment"
	want.Store.TokenFile = "/run/token"
	want.Store.TLS.CAFile = "/ca.pem"
	want.API.Bind = "127.0.0.1:3"
	want.Node.TTL = 9 * time.Second
	want.Config.RateLimit.Low = 7
	want.Config.LogLevel = "info"
	assert.Equal(t, want, s)
}

// The sample has every key there is, and tells the defaults.
func TestTheSampleIsTrue(t *testing.T) {
	s, err := settings.Load(settings.Sources{File: "testdata/seckill.toml"})
	require.NoError(t, err)
	want, err := settings.Load(settings.Sources{})
	require.NoError(t, err)
	assert.Equal(t, want, s)

	sample, err := os.ReadFile("testdata/seckill.toml")
	require.NoError(t, err)
	all := regexp.MustCompile(`(?m)^#(\w)`).ReplaceAllString(string(sample), "$1")
	all = strings.Replace(all, `backend = "etcd"`, `backend = "consul"`, 1)
	s, err = settings.Load(settings.Sources{File: write(t, "all.toml", all)})
	require.NoError(t, err)
	assert.Equal(t, "dc1", s.Store.Datacenter)
	for _, key := range settings.Keys() {
		name := key[strings.LastIndex(key, ".")+1:]
		assert.Regexp(t, `(?m)^`+name+` = `, all)
	}
}

func TestYAMLSaysTheSame(t *testing.T) {
	file := write(t, "seckill.yaml", `
backend: consul
store:
  endpoints: [a:1, b:2]
  password: "12345"
  user: gate
  request_timeout: 250ms
api:
admin: {}
config:
  circuitBreaker: {cpu: 95}
`)
	s, err := settings.Load(settings.Sources{File: file})
	require.NoError(t, err)
	assert.Equal(t, []string{"a:1", "b:2"}, s.Store.Endpoints)
	assert.Equal(t, "12345", s.Store.Password.Reveal())
	assert.Equal(t, 250*time.Millisecond, s.Store.RequestTimeout)
	assert.Equal(t, settings.CircuitBreaker{CPU: 95, Latency: 1000}, s.Config.CircuitBreaker)
}

func TestBadFilesAreRefused(t *testing.T) {
	const orders = "orders live in the coordination store (see backend), there is no other database to configure: remove the section"
	for name, test := range map[string]struct{ file, text, want string }{
		"unknown key":        {"f.toml", "[api]\ncolour = 1", "f.toml: line 2: api.colour: unknown key"},
		"mistyped key":       {"f.toml", "[api]\nbnd = ':1'", "f.toml: line 2: api.bnd: unknown key, did you mean api.bind?"},
		"section forgotten":  {"f.yaml", "endpoints: [a:1]", "f.yaml: line 1: endpoints: unknown key, did you mean store.endpoints?"},
		"unknown section":    {"f.toml", "[gate]", "f.toml: line 1: gate: unknown key"},
		"value for section":  {"f.toml", "store = 'x'", "f.toml: line 1: store: unknown key"},
		"section for value":  {"f.yaml", "backend: {a: 1}", "f.yaml: line 1: backend.a: unknown key, did you mean backend?"},
		"the course's mysql": {"f.toml", "[mysql]\nhost = 'db'", "f.toml: line 2: mysql.host: " + orders},
		"the course's redis": {"f.yaml", "redis:\n  address: cache", "f.yaml: line 2: redis.address: " + orders},
		"empty mysql":        {"f.toml", "[mysql]", "f.toml: line 1: mysql: " + orders},
		"the course's etcd": {"f.toml", "[etcd]\nendpoints = ['a:1']",
			`f.toml: line 2: etcd.endpoints: the section is [store], with backend = "etcd" above it`},
		"log level of the cluster config": {"f.toml", "[config]\nlogLevel = 'info'",
			"f.toml: line 2: config.logLevel: set log.level: it is what the cluster config's logLevel falls back to"},
		"backend":   {"f.toml", "backend = 'zookeeper'", `f.toml: line 1: backend: expected one of etcd, consul, memory, got "zookeeper"`},
		"duration":  {"f.toml", "[node]\nttl = 6", "f.toml: line 2: node.ttl: expected a duration above zero, such as 5s or 500ms, got 6"},
		"no wait":   {"f.yaml", "drain_timeout: 0s", `f.yaml: line 1: drain_timeout: expected a duration above zero, such as 5s or 500ms, got "0s"`},
		"nothing":   {"f.yaml", "log:\n  level:", "f.yaml: line 2: log.level: expected one of debug, info, warn, error, got nothing"},
		"number":    {"f.toml", "[config.rateLimit]\nlow = 1.5", "f.toml: line 2: config.rateLimit.low: expected a whole number, got 1.5"},
		"too much":  {"f.toml", "[config.circuitBreaker]\ncpu = 101", "f.toml: line 2: config: circuitBreaker.cpu: expected 1 to 100 per cent, got 101"},
		"addresses": {"f.toml", "[store]\nendpoints = []", "f.toml: line 2: store.endpoints: expected a list of host:port or URLs"},
		"root": {"f.toml", "[store]\nroot = '/seckill'",
			`f.toml: line 2: store.root: expected a prefix of keys that ends in a slash and does not start with one, such as seckill/, got "/seckill"`},
		"bind":   {"f.toml", "[api]\nbind = 8080", "f.toml: line 2: api.bind: expected host:port to listen on, such as 127.0.0.1:8080, got 8080"},
		"port":   {"f.toml", "[api]\nbind = ':http'", `f.toml: line 2: api.bind: expected host:port to listen on, such as 127.0.0.1:8080, got ":http"`},
		"toggle": {"f.toml", "[log]\nformat = true", "f.toml: line 2: log.format: expected one of text, json, got true"},
		"advertise": {"f.toml", "[api]\nadvertise = '0.0.0.0:8080'",
			`f.toml: line 2: api.advertise: expected host:port where other nodes reach this one, such as 10.10.11.12:8080, got "0.0.0.0:8080"`},
		"admin in clear": {"f.toml", "[admin]\nbind = '0.0.0.0:8081'",
			"f.toml: line 2: admin.bind: other machines reach 0.0.0.0:8081, and passwords would go there in clear: give a certificate with admin.tls.cert and admin.tls.key, " +
				"or stay on loopback, such as 127.0.0.1:8081, where a proxy on this machine that terminates TLS reaches it"},
		"admin without key": {"f.toml", "[admin.tls]\ncert = 'a.pem'", "f.toml: line 2: admin.tls.cert: a certificate needs its key, give admin.tls.key too"},
		"admin without certificate": {"f.toml", "[admin]\nbind = '0.0.0.0:8081'\n[admin.tls]\nkey = 'a.key'",
			"f.toml: line 4: admin.tls.key: a key needs its certificate, give admin.tls.cert too"},
		"collector": {"f.toml", "[trace]\nendpoint = 'collector'",
			"f.toml: line 2: trace.endpoint: expected host:port of an OpenTelemetry collector, such as 127.0.0.1:4317, or that as an http or https URL"},
		"datacenter of etcd": {"f.toml", "[store]\ndatacenter = 'dc1'", "f.toml: line 2: store.datacenter: the backend etcd has no such option"},
		"address of memory": {"f.toml", "backend = 'memory'\n[store]\nendpoints = ['a:1']",
			"f.toml: line 3: store.endpoints: the backend memory has no such option"},
		"half-written TOML": {"f.toml", "backend = \"etc", "f.toml: line 1, column 15: toml: basic string not terminated by \""},
		"half-written YAML": {"f.yaml", "store:\n  endpoints: [a:1,", "f.yaml: yaml: line 2: did not find expected node content"},
		"another language":  {"f.json", "{}", "f.json: expected a file whose name ends in .toml, .yaml or .yml"},
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, test.file, test.text)
			_, err := settings.Load(settings.Sources{File: file})
			require.Error(t, err)
			want := test.want
			if dir := filepath.Dir(file); want[0] == 'f' {
				want = filepath.Join(dir, want)
			}
			assert.Equal(t, want, err.Error())
		})
	}
}

func TestTheAdminServiceListensElsewhereWithTLS(t *testing.T) {
	s, err := settings.Load(settings.Sources{Flags: []settings.Flag{
		{Name: "--admin-bind", Key: "admin.bind", Value: "0.0.0.0:8081"},
		{Name: "--admin-tls-cert", Key: "admin.tls.cert", Value: "a.pem"},
		{Name: "--admin-tls-key", Key: "admin.tls.key", Value: "a.key"},
	}})
	require.NoError(t, err)
	assert.Equal(t, "0.0.0.0:8081", s.Admin.Bind)
	assert.Equal(t, credential.TLS{CertFile: "a.pem", KeyFile: "a.key"}, s.Admin.TLS)

	for _, own := range []string{"127.0.0.1:1", "[::1]:1", "localhost:1", "127.8.8.8:1"} {
		_, err := settings.Load(settings.Sources{Environ: []string{"SECKILL_ADMIN_BIND=" + own}})
		require.NoError(t, err)
	}
	for _, others := range []string{":1", "10.0.0.1:1", "[::]:1", "admin.lan:1", "127.0.0.1.lan:1"} {
		_, err := settings.Load(settings.Sources{Environ: []string{"SECKILL_ADMIN_BIND=" + others}})
		require.ErrorContains(t, err, "SECKILL_ADMIN_BIND: other machines reach "+others)
	}
}

func TestErrorsNameTheSource(t *testing.T) {
	_, err := settings.Load(settings.Sources{File: "/does/not/exist.toml"})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "config file: open /does/not/exist.toml: ")

	_, err = settings.Load(settings.Sources{Environ: []string{"SECKILL_CONFIG_RATELIMIT_LOW=many"}})
	require.EqualError(t, err, `SECKILL_CONFIG_RATELIMIT_LOW: expected a whole number, got "many"`)

	_, err = settings.Load(settings.Sources{Environ: []string{"SECKILL_TOKEN=x"}})
	require.EqualError(t, err, "SECKILL_TOKEN: the backend etcd has no such option")

	_, err = settings.Load(settings.Sources{Flags: []settings.Flag{{Name: "--node-ttl", Key: "node.ttl", Value: "soon"}}})
	require.EqualError(t, err, `--node-ttl: expected a duration above zero, such as 5s or 500ms, got "soon"`)
}

// Of what Kubernetes makes up for a service named seckill nothing looks like a
// setting; a mistyped setting does.
func TestForeignEnvironmentIsNoMistake(t *testing.T) {
	s, err := settings.Load(settings.Sources{Environ: []string{
		"SECKILL_PORT=tcp://10.0.0.1:80", "SECKILL_SERVICE_HOST=10.0.0.1", "SECKILL_PORT_80_TCP_ADDR=10.0.0.1",
		"SECKILL_PASWORD=hunter2",
	}})
	require.NoError(t, err)
	assert.Equal(t, []string{"SECKILL_PASWORD in the environment is not a setting, did you mean SECKILL_PASSWORD?"}, s.Warnings)
}

func TestNoErrorShowsASecret(t *testing.T) {
	const hidden = "hunter2"
	for _, test := range []struct{ file, text string }{
		{"f.toml", "[store]\npassword = hunter2"},
		{"f.toml", "[store]\npassword = 'hunter2"},
		{"f.toml", "[store]\npassword = ['hunter2']"},
		{"f.toml", "[store.password]\nvalue = 'hunter2'"},
		{"f.toml", "[store]\npassword = 'hunter2'\nusr = 'x'"},
		{"f.toml", "[store]\ntoken = 'hunter2'"},
		{"f.toml", "[store]\nendpoints = ['http://me:hunter2@a:1', '']"},
		{"f.toml", "[trace]\nendpoint = 'http://me:hunter2@a:1'"},
		{"f.yaml", "store:\n  password: *hunter2"},
		{"f.yaml", "store:\n  password: [hunter2]"},
		{"f.yaml", "store:\n  password: 'hunter2"},
		{"f.yaml", "store:\n  password: {1: hunter2}"},
		{"f.yaml", "store: {1: hunter2}"},
		{"f.yaml", "hunter2"},
		{"f.yaml", "- hunter2"},
		{"f.yaml", "store:\n  password: a: hunter2"},
	} {
		_, err := settings.Load(settings.Sources{File: write(t, test.file, test.text)})
		require.Error(t, err, test.text)
		assert.NotContains(t, err.Error(), hidden, test.text)
	}

	s, err := settings.Load(settings.Sources{Environ: []string{"SECKILL_PASSWORD=" + hidden, "SECKILL_USER=me"}})
	require.NoError(t, err)
	encoded, err := json.Marshal(s)
	require.NoError(t, err)
	assert.NotContains(t, fmt.Sprintf("%v %+v %#v %s", s, s, s, encoded), hidden)
}

func TestAdvertiseIsCalledInTheEnvironmentAsItsFlagIs(t *testing.T) {
	s, err := settings.Load(settings.Sources{Environ: []string{"SECKILL_ADVERTISE=10.9.9.9:80"}})
	require.NoError(t, err)
	assert.Equal(t, "10.9.9.9:80", s.API.Advertise)
}

func TestTheCollectorIsAURL(t *testing.T) {
	for given, want := range map[string]string{
		"127.0.0.1:4317":         "http://127.0.0.1:4317",
		"collector:4317":         "http://collector:4317",
		"[::1]:4317":             "http://[::1]:4317",
		"http://collector:4317":  "http://collector:4317",
		"https://collector:4317": "https://collector:4317",
	} {
		s, err := settings.Load(settings.Sources{Environ: []string{"SECKILL_TRACE_ENDPOINT=" + given}})
		require.NoError(t, err)
		assert.Equal(t, want, s.Trace.Endpoint)
	}
	for _, bad := range []string{
		"collector", ":4317", "collector:otlp", "collector:0", "collector:99999", "://a:1", "grpc://a:1", "http://a", "http://me@a:1",
		"http://a:1/", "http://a:1/v1/traces", "http://a:1?x", "http://a:1#x", "a b:1", "%zz:1",
	} {
		_, err := settings.Load(settings.Sources{Environ: []string{"SECKILL_TRACE_ENDPOINT=" + bad}})
		require.ErrorContains(t, err, "SECKILL_TRACE_ENDPOINT: expected host:port of an OpenTelemetry collector", bad)
	}
}

func TestReachable(t *testing.T) {
	bound := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4711}
	for _, test := range []struct {
		listener settings.Listener
		want     string
	}{
		{settings.Listener{Bind: "127.0.0.1:0"}, "127.0.0.1:4711"},
		{settings.Listener{Bind: "node-1.lan:0"}, "node-1.lan:4711"},
		{settings.Listener{Bind: "[::1]:0"}, "[::1]:4711"},
		{settings.Listener{Bind: "0.0.0.0:8080", Advertise: "10.10.11.12:80"}, "10.10.11.12:80"},
	} {
		got, err := test.listener.Reachable(bound, "--advertise")
		require.NoError(t, err)
		assert.Equal(t, test.want, got)
	}
	for _, bind := range []string{":8080", "0.0.0.0:8080", "[::]:8080", "[::ffff:0.0.0.0]:8080"} {
		_, err := settings.Listener{Bind: bind}.Reachable(bound, "--rpc-advertise")
		require.ErrorContains(t, err, bind+" stands for every address of this machine")
		require.ErrorContains(t, err, "--rpc-advertise")
	}
}
