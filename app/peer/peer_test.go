package peer_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/seed27495941/seckill/app/peer"
	"github.com/seed27495941/seckill/backend/credential"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// An authority signs certificates for 127.0.0.1.
type authority struct {
	file        string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return authority{writePEM(t, "CERTIFICATE", der), certificate, key}
}

// settings are those of a node that trusts the authority and has its signature.
func (a authority) settings(t *testing.T) credential.TLS {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.certificate, key.Public(), a.key)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return credential.TLS{CAFile: a.file, CertFile: writePEM(t, "CERTIFICATE", der), KeyFile: writePEM(t, "PRIVATE KEY", pkcs8)}
}

func writePEM(t *testing.T, kind string, der []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return file
}

// serve is a process that says whether it is well.
func serve(t *testing.T, settings credential.TLS) (addr string) {
	t.Helper()
	server, err := peer.NewServer(settings)
	require.NoError(t, err)
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- peer.Serve(ctx, server, listener) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-served)
	})
	return listener.Addr().String()
}

func ask(t *testing.T, settings credential.TLS, addr string) error {
	t.Helper()
	dial, err := peer.NewDialer(settings)
	require.NoError(t, err)
	conn, err := dial(addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	return err
}

func TestNodesOfOneAuthorityTalk(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	addr := serve(t, ours.settings(t))
	require.NoError(t, ask(t, ours.settings(t), addr))

	stranger := theirs.settings(t)
	assert.Equal(t, codes.Unavailable, status.Code(ask(t, stranger, addr)), "neither trusts the other")
	stranger.CAFile = ours.file
	assert.Equal(t, codes.Unavailable, status.Code(ask(t, stranger, addr)), "another authority's certificate")
	assert.Equal(t, codes.Unavailable, status.Code(ask(t, credential.TLS{CAFile: ours.file}, addr)), "no certificate")
	assert.Equal(t, codes.Unavailable, status.Code(ask(t, credential.TLS{}, addr)), "no TLS")
}

func TestWithoutTLS(t *testing.T) {
	require.NoError(t, ask(t, credential.TLS{}, serve(t, credential.TLS{})))
}

func TestHalfTheFilesAreNotEnough(t *testing.T) {
	whole := newAuthority(t).settings(t)
	for _, half := range []credential.TLS{
		{CAFile: whole.CAFile}, {CertFile: whole.CertFile, KeyFile: whole.KeyFile}, {CAFile: whole.CAFile, CertFile: whole.CertFile},
	} {
		_, err := peer.NewServer(half)
		require.ErrorContains(t, err, "a CA, a certificate and a key file are needed")
	}
}
