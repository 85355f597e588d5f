package consul_test

import (
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
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend/consul"
	"github.com/seed27495941/seckill/backend/credential"
	"github.com/seed27495941/seckill/conformance/servers"
)

// Errors say which setting was wrong and what was expected.
func TestBadConfig(t *testing.T) {
	good := []string{"127.0.0.1:8500"}
	for want, cfg := range map[string]consul.Config{
		"endpoints: none given, expected host:port":                    {},
		`endpoint "consul": has no port`:                               {Endpoints: []string{"consul"}},
		`endpoint "ftp://consul:1": has the scheme "ftp"`:              {Endpoints: []string{"ftp://consul:1"}},
		`endpoint "http://:8500": has no host`:                         {Endpoints: []string{"http://:8500"}},
		`endpoint "http://consul:1/x": has more than an address`:       {Endpoints: []string{"http://consul:1/x"}},
		`endpoint "http://…@consul:1": has a user in it`:               {Endpoints: []string{"http://me:hunter2@consul:1"}},
		`endpoint "http://…@%zz": is no address`:                       {Endpoints: []string{"http://me:hunter2@%zz"}},
		`endpoint "http://consul:1": is http, but TLS is set`:          {Endpoints: []string{"http://consul:1"}, TLS: credential.TLS{ServerName: "x"}},
		"token: given directly and as the file":                        {Endpoints: good, Token: "hunter2", TokenFile: "/x"},
		"token: open /not/there":                                       {Endpoints: good, TokenFile: "/not/there"},
		"password: open /not/there":                                    {Endpoints: good, User: "me", PasswordFile: "/not/there"},
		"user: none given":                                             {Endpoints: good, Password: "hunter2"},
		"user: has a colon":                                            {Endpoints: good, User: "a:b"},
		"TLS: CA: open /not/there":                                     {Endpoints: good, TLS: credential.TLS{CAFile: "/not/there"}},
		"dial timeout: -1s, expected a positive duration, or 0 for 2s": {Endpoints: good, DialTimeout: -time.Second},
		"request timeout: -1s, expected a positive duration":           {Endpoints: good, RequestTimeout: -time.Second},
		`root: invalid: prefix "/x" starts with a slash`:               {Endpoints: good, Root: "/x"},
		"root: has 129 bytes, at most 128 are allowed":                 {Endpoints: good, Root: strings.Repeat("x", 129)},
	} {
		_, err := consul.Open(cfg)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "hunter2")
		require.True(t, strings.HasPrefix(err.Error(), "consul: "), err)
	}
}

func TestConfigShowsNoSecrets(t *testing.T) {
	cfg := consul.Config{
		Endpoints: []string{"http://me:hunter2@consul:8500"}, Token: "hunter2", User: "me", Password: "hunter2", Root: "seckill/",
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("opened", "config", cfg)
	encoded, err := json.Marshal(map[string]any{"token": cfg.Token, "password": cfg.Password})
	require.NoError(t, err)
	for _, text := range []string{
		log.String(), string(encoded), cfg.String(),
		fmt.Sprint(cfg), fmt.Sprintf("%+v", cfg), fmt.Sprintf("%#v", cfg), fmt.Sprintf("%q", cfg), fmt.Sprintf("%v", &cfg),
	} {
		assert.NotContains(t, text, "hunter2")
	}
	assert.Contains(t, cfg.String(), "seckill/")
	assert.Contains(t, log.String(), "consul:8500")
}

// A proxy in front of Consul gets its own credentials, the datacenter is asked for by name, and no token is sent where none is set.
func TestWhatIsSent(t *testing.T) {
	t.Setenv(api.HTTPTokenEnvName, "hunter3")
	var user, password, dc string
	var header http.Header
	var mu sync.Mutex
	var consistent, blocking, inconsistent atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if q := r.URL.Query(); q.Has("consistent") {
			consistent.Add(1)
		} else {
			inconsistent.Add(1)
		}
		if r.URL.Query().Get("index") != "" {
			blocking.Add(1)
			<-r.Context().Done() // nothing changes
			return
		}
		mu.Lock()
		defer mu.Unlock()
		user, password, _ = r.BasicAuth()
		dc = r.URL.Query().Get("dc")
		header = r.Header
		w.Header().Set("X-Consul-Index", "5")
		http.NotFound(w, r)
	}))
	t.Cleanup(server.Close) // behind the store, whose query it waits for
	s := open(t, consul.Config{Endpoints: []string{server.URL}, User: "me", Password: "hunter2", Datacenter: "east"})
	_, err := s.Get(t.Context(), "k")
	require.Error(t, err)
	require.Equal(t, []string{"me", "hunter2", "east"}, []string{user, password, dc})
	require.NotContains(t, header, "X-Consul-Token")

	// Guarantee 1 rests on it, and one server alone would never show its absence.
	require.NoError(t, list(t, s, "dir/"))
	for _, address := range []string{"http://consul:8500?token=hunter2", "consul:8500/?token=hunter2", "http://consul:8500/#hunter2"} {
		_, err := consul.Open(consul.Config{Endpoints: []string{address}})
		require.Error(t, err)
		require.NotContains(t, err.Error()+consul.Config{Endpoints: []string{address}}.String(), "hunter2")
	}
	follow(t, s, "dir/").any()
	eventually(t, "a blocking query", func() bool { return blocking.Load() > 0 })
	require.Zero(t, inconsistent.Load())
	require.GreaterOrEqual(t, consistent.Load(), int64(4))
}

func TestTLS(t *testing.T) {
	t.Parallel()
	certificate, key, pool := selfSigned(t)
	c := own(t, servers.Config{
		Extra: []string{"-hcl", `tls { https { cert_file = "tls/server.crt" key_file = "tls/server.key" } }`},
		Files: map[string][]byte{"tls/server.crt": certificate, "tls/server.key": key},
		TLS:   &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
	})
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, certificate, 0o600))
	s := open(t, consul.Config{Endpoints: c.Endpoints(), TLS: credential.TLS{CAFile: ca}})
	put(t, s, "k", "v")
	follow(t, s, "").next()

	s = open(t, consul.Config{Endpoints: []string{c.Node(0).URL()}, DialTimeout: watchdog, RequestTimeout: watchdog})
	_, err := s.Put(t.Context(), "k", nil)
	require.ErrorContains(t, err, "certificate")
}

func selfSigned(t *testing.T) (certificate, key []byte, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	pool = x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(certificate))
	return certificate, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), pool
}
