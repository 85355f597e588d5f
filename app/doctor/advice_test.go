package doctor

import (
	"testing"

	"github.com/stretchr/testify/assert"
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
