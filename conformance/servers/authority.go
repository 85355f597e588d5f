package servers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"testing"
	"time"
)

// An Authority signs certificates for a test; they last an hour.
type Authority struct {
	PEM []byte // its own certificate

	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes one.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	template := certificate("authority of the test")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	a := &Authority{cert: template}
	a.PEM, a.key = a.sign(t, template)
	block, _ := pem.Decode(a.PEM)
	var err error
	if a.cert, err = x509.ParseCertificate(block.Bytes); err != nil {
		t.Fatal(err)
	}
	return a
}

// Issue makes a certificate with its key, in PEM form, for servers at 127.0.0.1 and for clients alike.
func (a *Authority) Issue(t testing.TB, name string) (cert, key []byte) {
	t.Helper()
	template := certificate(name)
	template.DNSNames, template.IPAddresses = []string{name}, []net.IP{net.IPv4(127, 0, 0, 1)}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	cert, private := a.sign(t, template)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// Pool has the authority's certificate.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// Secure makes the servers of cfg speak TLS, with a certificate of the authority for 127.0.0.1.
func (a *Authority) Secure(t testing.TB, cfg Config) Config {
	t.Helper()
	cert, key := a.Issue(t, string(cfg.Kind)+".test")
	cfg.Files = map[string][]byte{"server.crt": cert, "server.key": key}
	cfg.TLS = &tls.Config{RootCAs: a.Pool(), MinVersion: tls.VersionTLS12}
	switch cfg.Kind {
	case Etcd:
		cfg.Extra = append(cfg.Extra, "--cert-file=server.crt", "--key-file=server.key")
	case Consul:
		cfg.Extra = append(cfg.Extra, "-hcl", `tls { https { cert_file = "server.crt" key_file = "server.key" } }`)
	default:
		t.Fatalf("servers: no such kind: %q", cfg.Kind)
	}
	return cfg
}

// sign makes a key and signs a certificate for it; the authority's own is signed by itself.
func (a *Authority) sign(t testing.TB, template *x509.Certificate) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer := a.key
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), signer)
	if err != nil {
		t.Fatal(fmt.Errorf("certificate: %w", err))
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key
}

func certificate(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().Add(time.Hour),
	}
}
