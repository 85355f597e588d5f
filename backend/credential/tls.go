package credential

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
)

// TLS names the files of TLS settings, a client's or those of a peer that is both
// client and server. The zero value asks for none.
type TLS struct {
	CAFile     string // PEM certificates that the other end's must chain to; empty: the system's
	CertFile   string // PEM certificate of this end, needs KeyFile
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
		return nil, errors.New("TLS: a certificate needs a key file, and a key its certificate")
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pool, err := t.authorities()
		if err != nil {
			return nil, err
		}
		cfg.RootCAs = pool
	}
	if t.CertFile == "" {
		return cfg, nil
	}
	current, err := t.follow()
	if err != nil {
		return nil, err
	}
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return current(), nil }
	return cfg, nil
}

// ServerConfig is that of a server that anybody may connect to. The certificate and
// its key are needed; they are read as Config says.
func (t TLS) ServerConfig() (*tls.Config, error) {
	if t.CertFile == "" || t.KeyFile == "" {
		return nil, errors.New("TLS: a server shows a certificate, so a certificate and a key file are needed")
	}
	current, err := t.follow()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return current(), nil },
	}, nil
}

// PeerConfig is that of a server whose clients are its like: they show a
// certificate of the same CA. All three files are needed; they are read as Config
// says.
func (t TLS) PeerConfig() (*tls.Config, error) {
	if t.CAFile == "" || t.CertFile == "" || t.KeyFile == "" {
		return nil, errors.New("TLS: both ends show certificates, so a CA, a certificate and a key file are needed")
	}
	pool, err := t.authorities()
	if err != nil {
		return nil, err
	}
	current, err := t.follow()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		ClientAuth:     tls.RequireAndVerifyClientCert,
		ClientCAs:      pool,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return current(), nil },
	}, nil
}

// authorities reads the CA.
func (t TLS) authorities() (*x509.CertPool, error) {
	pem, err := os.ReadFile(t.CAFile)
	if err != nil {
		return nil, fmt.Errorf("TLS: CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("TLS: CA: %s has no certificate in PEM form", t.CAFile)
	}
	return pool, nil
}

// follow reads the certificate, and returns what reads it again: the last good
// pair, if that fails.
func (t TLS) follow() (func() *tls.Certificate, error) {
	pair, err := t.keyPair()
	if err != nil {
		return nil, err
	}
	var last atomic.Pointer[tls.Certificate]
	last.Store(pair)
	return func() *tls.Certificate {
		if pair, err := t.keyPair(); err == nil {
			last.Store(pair)
		}
		return last.Load()
	}, nil
}

func (t TLS) keyPair() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("TLS: certificate %s with key %s: %w", t.CertFile, t.KeyFile, err)
	}
	return &pair, nil
}
