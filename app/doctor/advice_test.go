package doctor

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend/credential"
)

// The texts are those that the drivers' tests see from real servers.
func TestConnectionAdvice(t *testing.T) {
	for text, want := range map[string]string{
		"dial tcp 127.0.0.1:1: connect: connection refused":        "Nothing listens there",
		"dial tcp: lookup store.lan on 10.0.0.53:53: no such host": "The name is not known",
		"no answer within 5s": "a firewall",
		"authentication handshake failed: tls: failed to verify certificate: x509: certificate signed by unknown authority":         "--ca=FILE",
		"tls: failed to verify certificate: x509: certificate is valid for etcd.test, not another.test":                             "--server-name=NAME",
		"tls: failed to verify certificate: x509: cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs": "--server-name=NAME",
		"remote error: tls: certificate required":                                                      "--cert=FILE --key=FILE",
		"http: server gave HTTP response to HTTPS client":                                              "speaks no TLS",
		"authentication handshake failed: EOF":                                                         "speaks no TLS, or",
		"Unexpected response code: 400 (Client sent an HTTP request to an HTTPS server.)":              "--endpoints=https://HOST:PORT --ca=FILE",
		"error reading server preface: EOF":                                                            "speaks TLS, or is none of this kind",
		"Unexpected response code: 404 (404 page not found)":                                           "another server",
		"a:1: connect: connection refused; b:1: connect: connection refused; c:1: no answer within 5s": "HOST:PORT\nSomething is there and silent",
		"something that nobody has seen before":                                                        "",
	} {
		got := connection(text)
		assert.Contains(t, got, want, text)
		assert.Equal(t, want == "", got == "", text)
	}
}

// Commands go where the program goes, in the way that it does.
func TestCommandsReachTheStore(t *testing.T) {
	set := settings.Defaults()
	set.Store.Root = "shop/"
	assert.Equal(t, "    etcdctl get --prefix --keys-only /shop/", last(etcdAdvice(set).list))
	assert.Equal(t, "    consul kv get -recurse -keys shop/", last(consulAdvice(set).list))

	set.Store.Endpoints = []string{"store-1:1", "store-2:1"}
	assert.Equal(t, "    consul kv get -recurse -keys -http-addr=store-1:1 shop/", last(consulAdvice(set).list))

	set.Store.Datacenter = "dc2"
	set.Store.TLS = credential.TLS{CAFile: "ca.pem", CertFile: "my cert.pem", KeyFile: "key.pem", ServerName: "store.test"}
	assert.Equal(t, "    etcdctl --endpoints=store-1:1,store-2:1 --cacert=ca.pem --cert='my cert.pem' --key=key.pem get --prefix --keys-only /shop/",
		last(etcdAdvice(set).list))
	assert.Equal(t, "    consul kv get -recurse -keys -http-addr=https://store-1:1 -datacenter=dc2 -ca-file=ca.pem "+
		"-client-cert='my cert.pem' -client-key=key.pem -tls-server-name=store.test shop/", last(consulAdvice(set).list))
}

// last is the last line of a remedy.
func last(remedy string) string { return remedy[strings.LastIndexByte(remedy, '\n')+1:] }

func TestQuotedForAShell(t *testing.T) {
	for text, want := range map[string]string{
		"/seckill/": "/seckill/",
		"":          "''",
		"two words": "'two words'",
		"it's $0":   `'it'\''s $0'`,
		"größe/":    "'größe/'",
	} {
		assert.Equal(t, want, quoted(text))
	}
}
