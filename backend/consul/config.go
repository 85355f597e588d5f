package consul

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/credential"
)

// Config says how to reach Consul. Only Endpoints is required. Nothing is taken
// from the environment: CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN and the like are
// not read.
type Config struct {
	// Endpoints are agents or servers of one datacenter, as host:port or
	// http://host:port or https://host:port. One is used until it fails, then
	// the next. Without a scheme it is https if TLS is set, else http.
	Endpoints []string

	// Token is the ACL token; TokenFile a file with it, read again when it
	// changes. At most one may be given.
	Token     credential.Secret
	TokenFile string

	// User and Password, or a file with it, are for HTTP basic authentication
	// at a proxy in front of Consul, which itself has none.
	User         string
	Password     credential.Secret
	PasswordFile string

	Datacenter string // empty: that of the endpoint
	TLS        credential.TLS

	DialTimeout    time.Duration // for one connection; 0: 2s
	RequestTimeout time.Duration // for a call whose context has no deadline; 0: backend.DefaultTimeout

	// Root is put in front of every key: with "seckill/" the key "config" is
	// Consul's "seckill/config". At most [MaxRoot] bytes.
	Root string
}

// MaxRoot is the most bytes that [Config.Root] may have, so that the largest
// write passes Consul's limit of 512 KiB for a transaction.
const MaxRoot = 128

const defaultDialTimeout = 2 * time.Second

// redacted is c without what must not be shown. An endpoint is shown by its
// host only, because somebody may have put a password into it.
func (c Config) redacted() map[string]any {
	hosts := make([]string, len(c.Endpoints))
	for i, e := range c.Endpoints {
		hosts[i] = hideUser(e)
	}
	return map[string]any{
		"endpoints": hosts, "token": c.Token, "tokenFile": c.TokenFile,
		"user": c.User, "password": c.Password, "passwordFile": c.PasswordFile,
		"datacenter": c.Datacenter, "tls": c.TLS.Enabled(),
		"dialTimeout": c.DialTimeout, "requestTimeout": c.RequestTimeout, "root": c.Root,
	}
}

// String shows the configuration without its secrets.
func (c Config) String() string { return fmt.Sprintf("consul%v", c.redacted()) }

// GoString is String: %#v must not show what %v hides.
func (c Config) GoString() string { return c.String() }

// LogValue implements slog.LogValuer, without the secrets.
func (c Config) LogValue() slog.Value {
	var attrs []slog.Attr
	for key, value := range c.redacted() {
		attrs = append(attrs, slog.Any(key, value))
	}
	return slog.GroupValue(attrs...)
}

// settings are a Config that was found good.
type settings struct {
	endpoints      []*url.URL
	token          *credential.Source
	user           string
	password       *credential.Source
	tls            *tls.Config
	dialTimeout    time.Duration
	requestTimeout time.Duration
}

func (c Config) check() (*settings, error) {
	s := &settings{user: c.User}
	var err error
	if s.endpoints, err = parseEndpoints(c.Endpoints, c.TLS.Enabled()); err != nil {
		return nil, err
	}
	if s.token, err = credential.NewSource("token", c.Token, c.TokenFile); err != nil {
		return nil, err
	}
	if _, err := sendable(s.token); err != nil {
		return nil, err
	}
	if s.password, err = credential.NewSource("password", c.Password, c.PasswordFile); err != nil {
		return nil, err
	}
	if c.User == "" && (c.Password != "" || c.PasswordFile != "") {
		return nil, errors.New("user: none given, expected one with the password")
	}
	if strings.Contains(c.User, ":") {
		return nil, errors.New("user: has a colon, which HTTP basic authentication can't carry")
	}
	if s.tls, err = c.TLS.Config(); err != nil {
		return nil, err
	}
	if s.dialTimeout, err = timeout("dial timeout", c.DialTimeout, defaultDialTimeout); err != nil {
		return nil, err
	}
	s.requestTimeout, err = timeout("request timeout", c.RequestTimeout, backend.DefaultTimeout)
	return s, err
}

// sendable returns the token as it is now, or what keeps it from being sent.
func sendable(source *credential.Source) (credential.Secret, error) {
	token := source.Get()
	for _, c := range []byte(token.Reveal()) {
		if c < ' ' && c != '\t' || c == 0x7f {
			return "", fmt.Errorf("token: the %v has the character %U, which an HTTP header can't carry", source, c)
		}
	}
	return token, nil
}

func timeout(what string, d, byDefault time.Duration) (time.Duration, error) {
	switch {
	case d < 0:
		return 0, fmt.Errorf("%s: %v, expected a positive duration, or 0 for %v", what, d, byDefault)
	case d == 0:
		return byDefault, nil
	default:
		return d, nil
	}
}

func checkRoot(root string) error {
	if err := backend.CheckPrefix(root); err != nil {
		return fmt.Errorf("root: %w", err)
	}
	if len(root) > MaxRoot {
		return fmt.Errorf("root: has %d bytes, at most %d are allowed", len(root), MaxRoot)
	}
	return nil
}

func parseEndpoints(endpoints []string, secure bool) ([]*url.URL, error) {
	if len(endpoints) == 0 {
		return nil, errors.New("endpoints: none given, expected host:port or http(s)://host:port")
	}
	parsed := make([]*url.URL, 0, len(endpoints))
	for _, e := range endpoints {
		u, fault := parseEndpoint(e, secure)
		if fault != "" {
			return nil, fmt.Errorf("endpoint %q: %s", hideUser(e), fault)
		}
		parsed = append(parsed, u)
	}
	return parsed, nil
}

// parseEndpoint returns what is wrong with an endpoint, "" if nothing is.
func parseEndpoint(endpoint string, secure bool) (u *url.URL, fault string) {
	const expected = "expected host:port or http(s)://host:port"
	if !strings.Contains(endpoint, "://") {
		scheme := "http"
		if secure {
			scheme = "https"
		}
		if _, _, err := net.SplitHostPort(endpoint); err != nil {
			return nil, "has no port, " + expected
		}
		endpoint = scheme + "://" + endpoint
	}
	u, err := url.Parse(endpoint)
	switch {
	case err != nil:
		return nil, "is no address, " + expected // the error would repeat it, password included
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Sprintf("has the scheme %q, %s", u.Scheme, expected)
	case u.Scheme == "http" && secure:
		return nil, "is http, but TLS is set: expected https"
	case u.User != nil:
		return nil, "has a user in it, expected that in the settings user and password"
	case u.Hostname() == "":
		return nil, "has no host, " + expected
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return nil, "has more than an address, " + expected
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, ""
}

// hideUser cuts user and password out of an address, and a query: people put
// tokens there.
func hideUser(endpoint string) string {
	host := strings.Index(endpoint, "://") + 1
	if host > 0 {
		host += len("//")
	}
	if end := strings.IndexAny(endpoint[host:], "?#"); end >= 0 && !strings.Contains(endpoint[host+end:], "@") {
		endpoint = endpoint[:host+end] + "…"
	}
	at := strings.LastIndex(endpoint, "@")
	if at < 0 {
		return endpoint
	}
	scheme, _, found := strings.Cut(endpoint[:at], "://")
	if !found {
		return "…" + endpoint[at:]
	}
	return scheme + "://…" + endpoint[at:]
}
