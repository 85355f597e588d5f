// Package client speaks with the operators' service over HTTP: see docs/admin-api.md.
//
// It knows how one proves who one is, what a refusal looks like and on which version a
// change is made, and nothing of what there is to ask for: paths, bodies and answers are
// those of the document.
package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/app/web"
	"github.com/seed27495941/seckill/backend"
)

const (
	// patience is how long an answer may take.
	patience = time.Minute

	// slow is how long that of a slow request may: longer than the service lets it take.
	slow = 7 * time.Minute

	// Agent is what requests say who makes them: the audit log tells them apart by it.
	Agent = "seckill-cli"

	// maxAnswer bounds one, in bytes.
	maxAnswer = 64 << 20
)

// A Config says where the service is, and who asks.
type Config struct {
	Base    string  // URL of the service, such as https://admin.example:8081
	CA      string  // file with the certificates that the service's must chain to; "": the system's
	Token   string  // API token; it is preferred to a session
	Session Session // that a login began
}

// A Session is what a login is remembered by.
type Session struct {
	User    string    `json:"user"`
	Name    string    `json:"name"`  // of the cookie
	Value   string    `json:"value"` // of the cookie: a secret
	Expires time.Time `json:"expires"`
}

// A Client asks one service. It is safe for concurrent use.
type Client struct {
	base string
	cfg  Config
	http http.Client
}

// New makes a client; it needs no service that runs. Errors: backend.ErrInvalid.
func New(cfg Config) (*Client, error) {
	base, err := Base(cfg.Base)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}
	if cfg.CA != "" {
		pool, err := readCA(cfg.CA)
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	if strings.ContainsFunc(cfg.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, fmt.Errorf("%w: the API token has characters that none can have", backend.ErrInvalid)
	}
	return &Client{base, cfg, http.Client{
		Transport: transport, Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Base is the one way to write the URL of a service. Passwords and tokens go there, so
// that without TLS it has to be on this machine. Errors: backend.ErrInvalid.
func Base(text string) (string, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("%w: expected the URL of the admin service, such as https://admin.example:8081, got %q", backend.ErrInvalid, text)
	case u.Scheme == "http" && !settings.IsLoopback(net.JoinHostPort(u.Hostname(), "80")):
		return "", fmt.Errorf("%w: %s is not this machine, and passwords and tokens would go there in clear: expected https", backend.ErrInvalid, text)
	}
	return u.Scheme + "://" + u.Host, nil
}

func readCA(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", backend.ErrInvalid, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%w: %s: expected certificates in PEM", backend.ErrInvalid, file)
	}
	return pool, nil
}

// A Request is something to ask for.
type Request struct {
	Method string
	Path   string // see [Path]
	Query  url.Values
	Body   any // to be sent as JSON, unless it is nil

	// Slow says that the answer may take minutes: the service reads much for it.
	Slow bool

	// IfMatch is the ETag of what is changed, "*" to make what is not there yet, "" for
	// what has none.
	IfMatch string
}

// Path joins the parts of a path, which may have any characters.
func Path(parts ...string) string {
	var path strings.Builder
	for _, part := range parts {
		path.WriteByte('/')
		path.WriteString(url.PathEscape(part))
	}
	return path.String()
}

// ETag is that of a revision; of 0, that of what is not there yet.
func ETag(revision backend.Revision) string {
	if revision == 0 {
		return "*"
	}
	return strconv.Quote(strconv.FormatUint(uint64(revision), 10))
}

// An Answer is what the service has said.
type Answer struct {
	ETag string          // "" if it has none
	Body json.RawMessage // empty if there is none

	cookies []*http.Cookie
}

// Decode reads the body.
func (a Answer) Decode(v any) error {
	if err := json.Unmarshal(a.Body, v); err != nil {
		return fmt.Errorf("the admin service's answer can't be read: %w", err)
	}
	return nil
}

// An Error is a refusal.
type Error struct {
	web.Problem
	ETag string // of what is there now, where that is why
}

func (e *Error) Error() string {
	var text strings.Builder
	text.WriteString(cmp.Or(e.Detail, e.Title))
	for i, fault := range e.Faults {
		text.WriteString([]string{": ", "; "}[min(i, 1)])
		if fault.Where != "" {
			text.WriteString(fault.Where + ": ")
		}
		text.WriteString(fault.What)
	}
	return text.String() + " (" + e.Code + ")"
}

// Do asks, and waits for the answer, a minute at most, or seven if that is Slow. Errors: *[Error] for a refusal;
// backend.ErrUnavailable if nothing was sent; backend.ErrUnknown if no answer came to
// what changes something: it may have been done.
func (c *Client) Do(ctx context.Context, r Request) (Answer, error) {
	request, err := c.request(ctx, r)
	if err != nil {
		return Answer{}, err
	}
	patient := c.http
	if r.Slow {
		patient.Timeout = slow
	}
	response, err := patient.Do(request)
	if err != nil {
		return Answer{}, c.lost(r, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return Answer{}, c.lost(r, err)
	case len(body) > maxAnswer:
		return Answer{}, fmt.Errorf("the answer of %s has more than %d bytes", c.base, maxAnswer)
	case response.StatusCode >= http.StatusMultipleChoices:
		return Answer{}, c.refusal(response, body)
	}
	return Answer{response.Header.Get("ETag"), body, response.Cookies()}, nil
}

// Stream asks for what may be large, of a media type, and hands it to read as it comes,
// however long that takes: until ctx ends. What the service has cut off is an error of
// what read reads from, which read has to return. Errors: as of [Client.Do], and those of
// read.
func (c *Client) Stream(ctx context.Context, r Request, media string, read func(io.Reader) error) error {
	request, err := c.request(ctx, r)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", media+", "+web.ProblemType)
	unbounded := c.http
	unbounded.Timeout = 0
	response, err := unbounded.Do(request)
	if err != nil {
		return c.lost(r, err)
	}
	defer response.Body.Close()
	got, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if response.StatusCode != http.StatusOK || got != media {
		body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
		if err != nil {
			return c.lost(r, err)
		}
		return c.refusal(response, body)
	}
	return read(stream{response.Body, c.base})
}

// A stream says of what was cut off where it came from.
type stream struct {
	io.Reader
	base string
}

func (s stream) Read(to []byte) (int, error) {
	n, err := s.Reader.Read(to)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("the admin service at %s ends the answer too early: %w", s.base, err)
	}
	return n, err
}

func (c *Client) request(ctx context.Context, r Request) (*http.Request, error) {
	var body io.Reader = http.NoBody
	if r.Body != nil {
		text, err := json.Marshal(r.Body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
	}
	at := c.base + r.Path
	if len(r.Query) > 0 {
		at += "?" + r.Query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, r.Method, at, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", Agent)
	if r.Body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	switch r.IfMatch {
	case "":
	case "*":
		request.Header.Set("If-None-Match", "*")
	default:
		request.Header.Set("If-Match", r.IfMatch)
	}
	switch {
	case c.cfg.Token != "":
		request.Header.Set("Authorization", "Bearer "+c.cfg.Token)
	case c.cfg.Session.Value != "":
		request.AddCookie(&http.Cookie{Name: c.cfg.Session.Name, Value: c.cfg.Session.Value})
	}
	return request, nil
}

// lost is what it means that no answer came.
func (c *Client) lost(r Request, err error) error {
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err // the URL is said anyway
	}
	switch {
	case isDialing(err):
		return fmt.Errorf("%w: the admin service at %s can't be reached: %w", backend.ErrUnavailable, c.base, err)
	case r.Method == http.MethodGet:
		return fmt.Errorf("the admin service at %s does not answer: %w", c.base, err)
	}
	return fmt.Errorf("%w: the admin service at %s does not answer, so look whether it was done: %w", backend.ErrUnknown, c.base, err)
}

// isDialing reports whether a request failed before it was sent: there is no connection,
// or not with the one that is meant.
func isDialing(err error) bool {
	var op *net.OpError
	var certificate *tls.CertificateVerificationError
	return errors.As(err, &op) && op.Op == "dial" || errors.As(err, &certificate)
}

func (c *Client) refusal(response *http.Response, body []byte) error {
	e := &Error{ETag: response.Header.Get("ETag")}
	media, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if media != web.ProblemType || json.Unmarshal(body, &e.Problem) != nil || e.Code == "" {
		return fmt.Errorf("%s answers %s with %q, which the admin service would not: is something else there?", c.base, response.Status, media)
	}
	e.Status = response.StatusCode
	return e
}
