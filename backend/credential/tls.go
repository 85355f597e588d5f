package credential

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
)

// TLS names the files of a client's TLS settings. The zero value asks for none.
type TLS struct {
	CAFile     string // PEM certificates that the server's must chain to; empty: the system's
	CertFile   string // PEM client certificate, needs KeyFile
	KeyFile    string
	ServerName string // expected in the server's certificate; empty: the host of the address
}

// Enabled reports whether any setting is given.
func (t TLS) Enabled() bool { return t != TLS{} }

// Config reads the files. The client certificate and its key are read again for
// every handshake, so renewed ones are used without a restart; as long as they
// can't be read or do not belong together, because they are just being replaced,
// the last good pair is used. Errors name the file.
func (t TLS) Config() (*tls.Config, error) {
	if (t.CertFile == "") != (t.KeyFile == "") {
		return nil, errors.New("TLS: a client certificate needs both a certificate and a key file")
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("TLS: CA: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("TLS: CA: %s has no certificate in PEM form", t.CAFile)
		}
	}
	if t.CertFile == "" {
		return cfg, nil
	}
	pair, err := t.keyPair()
	if err != nil {
		return nil, err
	}
	var last atomic.Pointer[tls.Certificate]
	last.Store(pair)
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if pair, err := t.keyPair(); err == nil {
			last.Store(pair)
		}
		return last.Load(), nil
	}
	return cfg, nil
}

func (t TLS) keyPair() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("TLS: client certificate %s with key %s: %w", t.CertFile, t.KeyFile, err)
	}
	return &pair, nil
}
