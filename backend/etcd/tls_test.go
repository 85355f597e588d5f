package etcd_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/credential"
	"github.com/seed27495941/seckill/backend/etcd"
	"github.com/seed27495941/seckill/conformance/servers"
)

// An authority signs certificates for a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "authority of the test"},
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &authority{t: t, cert: cert, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// issue makes a certificate, for servers and clients alike.
func (a *authority) issue(name string, ips ...net.IP) (cert, key []byte) {
	a.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name},
		IPAddresses:  ips,
		NotAfter:     time.Now().Add(time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &private.PublicKey, a.key)
	require.NoError(a.t, err)
	encoded, err := x509.MarshalECPrivateKey(private)
	require.NoError(a.t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded})
}

func file(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}

func TestTLS(t *testing.T) {
	a := newAuthority(t)
	serverCert, serverKey := a.issue("etcd.test", net.IPv4(127, 0, 0, 1))
	clientCert, clientKey := a.issue("shop")
	pair, err := tls.X509KeyPair(clientCert, clientKey)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	srv := server(t, servers.Config{
		Kind:  servers.Etcd,
		Extra: []string{"--cert-file=cert.pem", "--key-file=key.pem", "--trusted-ca-file=ca.pem", "--client-cert-auth"},
		Files: map[string][]byte{"cert.pem": serverCert, "key.pem": serverKey, "ca.pem": a.pem},
		TLS:   &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}},
	})
	good := credential.TLS{
		CAFile:   file(t, "ca.pem", a.pem),
		CertFile: file(t, "cert.pem", clientCert),
		KeyFile:  file(t, "key.pem", clientKey),
	}
	named := good
	named.ServerName = "etcd.test"
	for _, settings := range []credential.TLS{good, named} {
		for _, endpoint := range []string{srv.Node(0).Endpoint(), srv.Node(0).URL()} {
			s := open(t, etcd.Config{Endpoints: []string{endpoint}, TLS: settings})
			put(t, s, "k", "v")
			require.Equal(t, []string{"k"}, keys(watch(t, s, "k").next().Puts))
		}
	}

	// A handshake that meets a renewal between its two files.
	renewing := good
	renewing.CertFile = file(t, "cert.pem", clientCert)
	s := open(t, etcd.Config{Endpoints: []string{srv.Node(0).URL()}, TLS: renewing})
	next, _ := a.issue("shop")
	require.NoError(t, os.WriteFile(renewing.CertFile, next, 0o600))
	put(t, s, "k", "v")

	wrongName := good
	wrongName.ServerName = "another.test"
	wrongCA := good
	wrongCA.CAFile = file(t, "other.pem", newAuthority(t).pem)
	noCert := credential.TLS{CAFile: good.CAFile} // the server says so only after the handshake, if it gets to it
	for want, settings := range map[string]credential.TLS{
		"not another.test":                        wrongName,
		"certificate signed by unknown authority": wrongCA,
		"": noCert,
	} {
		s := open(t, etcd.Config{Endpoints: []string{srv.Node(0).URL()}, TLS: settings})
		_, err := s.Put(within(t, time.Second), "k", []byte("w"))
		require.ErrorIs(t, err, context.DeadlineExceeded, want)
		require.ErrorIs(t, err, backend.ErrUnavailable, want)
		require.ErrorContains(t, err, want, "the error tells why")
	}
}

func TestUsersAndPasswordsOverTLS(t *testing.T) {
	a := newAuthority(t)
	serverCert, serverKey := a.issue("etcd.test", net.IPv4(127, 0, 0, 1))
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	srv := server(t, servers.Config{
		Kind:  servers.Etcd,
		Extra: []string{"--cert-file=cert.pem", "--key-file=key.pem", "--bcrypt-cost=4"},
		Files: map[string][]byte{"cert.pem": serverCert, "key.pem": serverKey},
		TLS:   &tls.Config{RootCAs: roots},
	})
	cfg := as(srv.Node(0).URL(), "root", "root")
	cfg.TLS.CAFile = file(t, "ca.pem", a.pem)
	s := open(t, cfg)
	put(t, s, "k", "v") // not switched on yet
	c := rawTLS(t, srv.Node(0).URL(), &tls.Config{RootCAs: roots})
	_, err := c.RoleAdd(t.Context(), "root")
	require.NoError(t, err)
	_, err = c.UserAdd(t.Context(), "root", "root")
	require.NoError(t, err)
	_, err = c.UserGrantRole(t.Context(), "root", "root")
	require.NoError(t, err)
	_, err = c.AuthEnable(t.Context())
	require.NoError(t, err)
	put(t, s, "k", "v")
}
