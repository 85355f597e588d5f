package etcd

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/credential"
)

// DefaultDialTimeout bounds one attempt to connect, unless configured otherwise.
const DefaultDialTimeout = 5 * time.Second

// Config says how to reach an etcd cluster. Printed or logged it shows no
// secrets.
type Config struct {
	// Endpoints are the client addresses of the members: "host:port",
	// "http://host:port", "https://host:port", "unix:///path" or
	// "unixs:///path". All are secure or none is.
	Endpoints []string

	// User and its password, given directly or in a file, which is read again
	// when the server asks for a new login.
	User         string
	Password     credential.Secret
	PasswordFile string

	// TLS settings. The scheme https alone uses the system's certificates; an
	// endpoint without a scheme is secure if any setting is given.
	TLS credential.TLS

	DialTimeout    time.Duration // 0: DefaultDialTimeout
	RequestTimeout time.Duration // of calls without a deadline; 0: backend.DefaultTimeout

	// Root is put before every key, for example "seckill/". It obeys
	// backend.CheckPrefix.
	Root string
}

// String describes the configuration without its secrets.
func (c Config) String() string {
	s := "etcd"
	for _, a := range c.attrs() {
		s += " " + a.String()
	}
	return s
}

// LogValue implements slog.LogValuer: without secrets.
func (c Config) LogValue() slog.Value { return slog.GroupValue(c.attrs()...) }

func (c Config) attrs() []slog.Attr {
	shown := make([]string, len(c.Endpoints))
	for i, endpoint := range c.Endpoints {
		shown[i] = withoutUser(endpoint)
	}
	attrs := []slog.Attr{slog.String("endpoints", strings.Join(shown, ","))}
	for _, a := range []slog.Attr{
		slog.String("user", c.User),
		slog.String("password", c.Password.String()),
		slog.String("passwordFile", c.PasswordFile),
		slog.String("ca", c.TLS.CAFile),
		slog.String("cert", c.TLS.CertFile),
		slog.String("key", c.TLS.KeyFile),
		slog.String("serverName", c.TLS.ServerName),
		slog.String("root", c.Root),
	} {
		if a.Value.String() != "" {
			attrs = append(attrs, a)
		}
	}
	return attrs
}

// withoutUser drops what may be a password from an address that should have
// none.
func withoutUser(endpoint string) string {
	at := strings.LastIndexByte(endpoint, '@')
	if at < 0 {
		return endpoint
	}
	return "[redacted]@" + endpoint[at+1:]
}

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	if c.DialTimeout == 0 {
		c.DialTimeout = DefaultDialTimeout
	}
	if c.RequestTimeout == 0 {
		c.RequestTimeout = backend.DefaultTimeout
	}
	return c
}

// check reports the first setting that can't be right. Files are looked at by
// whoever opens them.
func (c Config) check() error {
	if len(c.Endpoints) == 0 {
		return errors.New("no endpoints, expected at least one, such as localhost:2379")
	}
	for _, endpoint := range c.Endpoints {
		if err := checkEndpoint(endpoint); err != nil {
			return fmt.Errorf("endpoint %q: %w", withoutUser(endpoint), err)
		}
		if c.TLS.Enabled() && !c.secure(endpoint) {
			return fmt.Errorf("endpoint %q is not secure, but there are TLS settings: expected https", endpoint)
		}
		if c.secure(endpoint) != c.secure(c.Endpoints[0]) {
			return fmt.Errorf("endpoints %q and %q: expected all to be secure, or none", c.Endpoints[0], endpoint)
		}
	}
	return errors.Join(c.checkUser(), c.checkCalls())
}

func (c Config) checkUser() error {
	secret := c.Password != "" || c.PasswordFile != ""
	switch {
	case c.User == "" && secret:
		return errors.New("a password without a user")
	case c.User != "" && !secret:
		return fmt.Errorf("user %q: expected a password or a password file", c.User)
	}
	return nil
}

// checkCalls checks what concerns a store with a client of its own and one
// without alike.
func (c Config) checkCalls() error {
	if c.DialTimeout < 0 || c.RequestTimeout < 0 {
		return fmt.Errorf("timeouts %v and %v: expected none to be negative", c.DialTimeout, c.RequestTimeout)
	}
	if err := backend.CheckPrefix(c.Root); err != nil {
		return fmt.Errorf("root: %w", err)
	}
	return nil
}

// secure tells whether an endpoint is reached through TLS.
func (c Config) secure(endpoint string) bool {
	scheme, _, ok := strings.Cut(endpoint, "://")
	if !ok {
		return c.TLS.Enabled()
	}
	return scheme == "https" || scheme == "unixs"
}

func checkEndpoint(endpoint string) error {
	scheme, rest, ok := strings.Cut(endpoint, "://")
	switch {
	case !ok:
		return checkHostPort(endpoint)
	case scheme == "unix" || scheme == "unixs":
		if !strings.HasPrefix(rest, "/") {
			return errors.New("expected the absolute path of a socket")
		}
		return nil
	case scheme != "http" && scheme != "https":
		return fmt.Errorf("scheme %q, expected http, https, unix or unixs", scheme)
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		// The error quotes the address, which may have a password in it.
		return errors.New("expected an address such as https://host:2379")
	}
	if u.User != nil {
		return errors.New("it has a user in it, expected that in the user and password settings")
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("expected nothing after the port")
	}
	return checkHostPort(u.Host)
}

func checkHostPort(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return errors.New("expected host:port")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("port %q, expected 1 to 65535", port)
	}
	return nil
}
