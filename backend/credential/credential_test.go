package credential_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend/credential"
)

func TestSecretNeverPrints(t *testing.T) {
	const hidden = "hunter2"
	s := credential.Secret(hidden)
	type config struct{ Token credential.Secret }
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("opened", "token", s, "config", config{s})
	encoded, err := json.Marshal(config{s})
	require.NoError(t, err)

	source, err := credential.NewSource("token", s, "")
	require.NoError(t, err)
	slog.New(slog.NewTextHandler(&log, nil)).Info("opened", "source", source)
	shown := []string{log.String(), string(encoded), fmt.Sprint(source), fmt.Sprintf("%+v %#v", source, source)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t", "%08.3f"} {
		shown = append(shown, fmt.Sprintf(verb, s), fmt.Sprintf(verb, config{s}))
	}
	for _, text := range shown {
		assert.NotContains(t, text, hidden)
		assert.NotContains(t, text, fmt.Sprintf("%x", hidden))
	}
	assert.Equal(t, hidden, s.Reveal())
	assert.Empty(t, fmt.Sprint(credential.Secret("")))
}

func TestSourceFollowsItsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	write("first\n")

	synctest.Test(t, func(t *testing.T) {
		s, err := credential.NewSource("token", "", file)
		require.NoError(t, err)
		assert.Equal(t, "first", s.Get().Reveal())

		write("  second\n")
		time.Sleep(time.Second)
		assert.Equal(t, "second", s.Get().Reveal())

		write("")
		time.Sleep(time.Second)
		assert.Equal(t, "second", s.Get().Reveal(), "an empty file is one that is just being written")

		require.NoError(t, os.Remove(file))
		time.Sleep(time.Second)
		assert.Equal(t, "second", s.Get().Reveal())
	})
}

func TestSourceRefuses(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, []byte("\n"), 0o600))

	_, err := credential.NewSource("password", "x", empty)
	require.ErrorContains(t, err, "password: given directly and as the file "+empty)
	_, err = credential.NewSource("password", "", empty)
	require.ErrorContains(t, err, empty+": the file is empty")
	_, err = credential.NewSource("password", "", empty+"-not")
	require.ErrorIs(t, err, os.ErrNotExist)

	none, err := credential.NewSource("password", "", "")
	require.NoError(t, err)
	assert.Empty(t, none.Get().Reveal())
}

func TestTLSNamesTheFileAtFault(t *testing.T) {
	junk := filepath.Join(t.TempDir(), "junk.pem")
	require.NoError(t, os.WriteFile(junk, []byte("junk"), 0o600))

	_, err := credential.TLS{CertFile: junk}.Config()
	require.ErrorContains(t, err, "a certificate needs a key file")
	_, err = credential.TLS{CAFile: junk}.Config()
	require.ErrorContains(t, err, junk+" has no certificate")
	_, err = credential.TLS{CAFile: junk + "-not"}.Config()
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = credential.TLS{CertFile: junk, KeyFile: junk}.Config()
	require.ErrorContains(t, err, "certificate "+junk)
	_, err = credential.TLS{CertFile: junk}.ServerConfig()
	require.ErrorContains(t, err, "a certificate and a key file are needed")
	_, err = credential.TLS{CertFile: junk, KeyFile: junk}.ServerConfig()
	require.ErrorContains(t, err, "certificate "+junk)
	assert.False(t, credential.TLS{}.Enabled())
}

// A server shows the renewed certificate to whoever comes next, and speaks HTTP/2.
func TestTLSServerCertificateIsRenewed(t *testing.T) {
	dir := t.TempDir()
	settings := credential.TLS{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	renew := func() (certificate []byte) {
		certificate, key := selfSigned(t)
		require.NoError(t, os.WriteFile(settings.CertFile, certificate, 0o600))
		require.NoError(t, os.WriteFile(settings.KeyFile, key, 0o600))
		return certificate
	}
	first := renew()
	cfg, err := settings.ServerConfig()
	require.NoError(t, err)
	shown := func() []byte {
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		server := tls.Server(far, cfg)
		done := make(chan error, 1)
		go func() { done <- server.HandshakeContext(t.Context()) }()
		client := tls.Client(near, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}) //nolint:gosec // the test looks itself
		require.NoError(t, client.HandshakeContext(t.Context()))
		require.NoError(t, <-done)
		assert.Equal(t, "h2", client.ConnectionState().NegotiatedProtocol)
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: client.ConnectionState().PeerCertificates[0].Raw})
	}
	assert.Equal(t, first, shown())
	second := renew()
	assert.Equal(t, second, shown())
}

// Whoever renews a certificate replaces two files, one after the other. A
// handshake in between uses the pair of before.
func TestTLSCertificateIsBeingRenewed(t *testing.T) {
	dir := t.TempDir()
	settings := credential.TLS{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	replace := func(name string, content []byte) { require.NoError(t, os.WriteFile(name, content, 0o600)) }
	oldCert, oldKey := selfSigned(t)
	newCert, newKey := selfSigned(t)
	replace(settings.CertFile, oldCert)
	replace(settings.KeyFile, oldKey)
	cfg, err := settings.Config()
	require.NoError(t, err)
	shown := func() []byte {
		pair, err := cfg.GetClientCertificate(nil)
		require.NoError(t, err)
		private, ok := pair.PrivateKey.(crypto.Signer)
		require.True(t, ok)
		require.Equal(t, pair.Leaf.PublicKey, private.Public(), "the pair is mixed")
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})
	}
	require.Equal(t, oldCert, shown())

	replace(settings.CertFile, newCert)
	require.Equal(t, oldCert, shown(), "the new certificate has no key yet")
	replace(settings.KeyFile, newKey[:20])
	require.Equal(t, oldCert, shown(), "the key is being written")
	replace(settings.KeyFile, newKey)
	require.Equal(t, newCert, shown())
	require.NoError(t, os.Remove(settings.CertFile))
	require.Equal(t, newCert, shown())
}

func selfSigned(t *testing.T) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}
