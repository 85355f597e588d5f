package etcd_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/credential"
	"github.com/seed27495941/seckill/backend/etcd"
)

func TestBadSettings(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	ca := credential.TLS{CAFile: none}
	for want, cfg := range map[string]etcd.Config{
		"no endpoints, expected at least one":            {},
		`endpoint "localhost": expected host:port`:       on("localhost"),
		`endpoint ":2379": expected host:port`:           on(":2379"),
		`endpoint "": expected host:port`:                on(""),
		`port "0", expected 1 to 65535`:                  on("a:0"),
		`port "etcd", expected 1 to 65535`:               on("http://a:2379", "a:etcd"),
		`scheme "ftp", expected http, https`:             on("ftp://a:1"),
		"expected nothing after the port":                on("http://a:2379/path"),
		"expected the absolute path of a socket":         on("unix://a"),
		`endpoint "[redacted]@a:1": it has a user in it`: on("https://u:pass@a:1"),
		"expected all to be secure, or none":             on("http://a:1", "https://b:1"),
		"is not secure, but there are TLS settings":      {Endpoints: []string{"http://a:1"}, TLS: ca},
		"a password without a user":                      {Endpoints: []string{"a:1"}, Password: "pass"},
		`user "u": expected a password`:                  {Endpoints: []string{"a:1"}, User: "u"},
		"expected none to be negative":                   {Endpoints: []string{"a:1"}, RequestTimeout: -1},
		"root: invalid: prefix":                          {Endpoints: []string{"a:1"}, Root: "/a"},
	} {
		_, err := etcd.Open(cfg)
		require.ErrorIs(t, err, backend.ErrInvalid, want)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "pass@")
	}
	for _, cfg := range []etcd.Config{
		{Endpoints: []string{"a:1"}, TLS: ca},
		{Endpoints: []string{"a:1"}, User: "u", PasswordFile: none},
	} {
		_, err := etcd.Open(cfg)
		require.ErrorIs(t, err, os.ErrNotExist)
		require.ErrorContains(t, err, none)
	}
}

func TestGoodEndpoints(t *testing.T) {
	for _, endpoint := range []string{
		"localhost:2379", "10.0.0.1:2379", "[::1]:2379", "http://a:1", "http://a:1/", "https://a:1", "unix:///run/etcd", "unixs:///run/etcd",
	} {
		s, err := etcd.Open(on(endpoint))
		require.NoError(t, err, endpoint)
		require.NoError(t, s.Close())
	}
}

func TestAConfigShowsNoSecrets(t *testing.T) {
	cfg := etcd.Config{
		Endpoints: []string{"a:1", "http://u:hunter2@b:1"},
		User:      "shop",
		Password:  "hunter2",
		Root:      "seckill/",
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("config", "cfg", cfg)
	slog.New(slog.NewTextHandler(&log, nil)).Info("config", "cfg", &cfg)
	for _, s := range []string{
		cfg.String(), fmt.Sprint(cfg), fmt.Sprintf("%v %+v %s", &cfg, cfg, cfg), log.String(),
	} {
		assert.NotContains(t, s, "hunter2")
		assert.Contains(t, s, "shop")
		assert.Contains(t, s, "[redacted]@b:1")
		assert.Contains(t, s, "a:1")
		assert.Contains(t, s, "seckill/")
	}
}
