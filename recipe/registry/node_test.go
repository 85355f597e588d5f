package registry_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/recipe/registry"
)

func TestID(t *testing.T) {
	for addr, want := range map[string]string{
		"10.10.11.12:8080":      "10-10-11-12-8080",
		"10.10.11.12:80":        "10-10-11-12-80",
		"[::1]:8080":            "--1-8080",
		"[2001:db8::5]:443":     "2001-db8--5-443",
		"shop-1.example.net:80": "shop-1-example-net-80",
		"localhost:65535":       "localhost-65535",
	} {
		id, err := registry.ID(addr)
		require.NoError(t, err, addr)
		assert.Equal(t, want, id)
		assert.NoError(t, backend.CheckKey("nodes/"+id))
	}
}

func TestIDRefusesWhatNobodyCanConnectTo(t *testing.T) {
	for addr, why := range map[string]string{
		"":                     "expected host:port",
		"10.10.11.12":          "expected host:port",
		"::1:8080":             "expected host:port",
		":8080":                "the host is missing",
		"10.10.11.12:":         "the port is not a number",
		"10.10.11.12:http":     "the port is not a number",
		"10.10.11.12:0":        "the port is not a number",
		"10.10.11.12:65536":    "the port is not a number",
		"0.0.0.0:8080":         "the host is unspecified",
		"[::]:8080":            "the host is unspecified",
		"[::ffff:0.0.0.0]:80":  "the host is unspecified",
		"a/b:80":               "neither an IP address nor a name",
		"a~b:80":               "neither an IP address nor a name",
		"http://10.0.0.1:8080": "expected host:port",
	} {
		_, err := registry.ID(addr)
		require.ErrorIs(t, err, backend.ErrInvalid, addr)
		assert.ErrorContains(t, err, why, addr)
		assert.ErrorContains(t, err, addr)
	}
}

func TestNewRegistrationRefuses(t *testing.T) {
	good := node(first)
	with := func(change func(*registry.Config)) registry.Config {
		cfg := registry.Config{Node: good}
		change(&cfg)
		return cfg
	}
	for name, c := range map[string]struct {
		cfg  registry.Config
		want error
	}{
		"unspecified host":  {with(func(c *registry.Config) { c.Node.Addr = "0.0.0.0:8080" }), backend.ErrInvalid},
		"no address":        {with(func(c *registry.Config) { c.Node.Addr = "" }), backend.ErrInvalid},
		"bad incarnation":   {with(func(c *registry.Config) { c.Node.Incarnation = "1" }), backend.ErrInvalid},
		"dir without slash": {with(func(c *registry.Config) { c.Dir = "nodes" }), backend.ErrInvalid},
		"dir that is bad":   {with(func(c *registry.Config) { c.Dir = "/nodes/" }), backend.ErrInvalid},
		"id with a slash":   {with(func(c *registry.Config) { c.ID = "a/b" }), backend.ErrInvalid},
		"negative TTL":      {with(func(c *registry.Config) { c.TTL = -1 }), backend.ErrInvalid},
		"too large": {with(func(c *registry.Config) {
			c.Node.Labels = map[string]string{"a": strings.Repeat("x", backend.MaxValue)}
		}), backend.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			s := memory.New()
			defer s.Close()
			_, err := registry.NewRegistration(s, c.cfg)
			assert.ErrorIs(t, err, c.want)
		})
	}
}
