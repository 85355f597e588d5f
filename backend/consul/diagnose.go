package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/seed27495941/seckill/backend"
)

var _ backend.Diagnoser = (*Store)(nil)

// Diagnose implements [backend.Diagnoser]. Beside the shared checks there are
// "sessions" and "connections". The version and the limits are the agent's
// secrets where ACLs are on: seeing them takes agent "read".
func (s *Store) Diagnose(ctx context.Context) []backend.Finding {
	d := &diagnosis{store: s}
	looks := []struct {
		check string
		look  func(context.Context) backend.Finding
	}{
		{"endpoints", d.endpoints},
		{"credentials", d.credentials},
		{"version", d.version},
		{"members", d.members},
		{"leader", d.leader},
		{"sessions", d.sessions},
		{"connections", d.connections},
	}
	found := make([]backend.Finding, 0, len(looks))
	for _, l := range looks {
		f := d.bounded(ctx, l.look)
		f.Check = l.check
		found = append(found, f)
	}
	return found
}

// A diagnosis is one look at the servers.
type diagnosis struct {
	store   *Store
	visits  []visit
	blocked string // why nothing more can be asked, "" if it can
}

// bounded gives a check the time of a request, and does without it where
// nothing answers.
func (d *diagnosis) bounded(ctx context.Context, look func(context.Context) backend.Finding) backend.Finding {
	if d.blocked != "" {
		return unseen(d.blocked)
	}
	ctx, cancel, err := d.store.life.Call(ctx, 0)
	if err != nil {
		return unseen(err.Error())
	}
	defer cancel()
	ctx, cancelTimeout := context.WithTimeout(ctx, d.store.timeout)
	defer cancelTimeout()
	return look(ctx)
}

// unseen is the finding of a check that could not look.
func unseen(why string) backend.Finding {
	return backend.Finding{Verdict: backend.VerdictUnknown, Found: "not looked at: " + why}
}

func fine(format string, args ...any) backend.Finding {
	return backend.Finding{Verdict: backend.VerdictOK, Found: fmt.Sprintf(format, args...)}
}

// ask reads something of the agent that the store is using.
func (d *diagnosis) ask(ctx context.Context, path string, out any) error {
	_, err := d.store.client.Raw().Query(path, out, (&api.QueryOptions{}).WithContext(ctx))
	return err
}

// A visit is what one endpoint answered when it was asked for the leader: that
// needs no rights.
type visit struct {
	endpoint string
	client   *api.Client
	took     time.Duration
	leader   string // "": it knows none
	err      error
}

// answered reports whether Consul is there, if only to refuse.
func (v visit) answered() bool {
	var status api.StatusError
	if !errors.As(v.err, &status) {
		return v.err == nil
	}
	switch status.Code {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusInternalServerError:
		return true
	}
	return false
}

// endpoints visits all endpoints at once.
func (d *diagnosis) endpoints(ctx context.Context) backend.Finding {
	d.visits = d.store.sites()
	var group sync.WaitGroup
	for i := range d.visits {
		group.Go(func() { d.visits[i].pay(ctx) })
	}
	group.Wait()

	var here, away []string
	for _, v := range d.visits {
		if v.answered() {
			here = append(here, fmt.Sprintf("%s in %v", v.endpoint, v.took.Round(10*time.Microsecond)))
		} else {
			away = append(away, fmt.Sprintf("%s: %s", v.endpoint, d.reason(v.err)))
		}
	}
	f := fine("%d of %d answer: %s", len(here), len(d.visits), strings.Join(append(away, here...), "; "))
	switch {
	case len(here) == 0:
		f.Verdict = backend.VerdictFail
		d.blocked = "no endpoint answers"
	case len(away) > 0:
		f.Verdict = backend.VerdictWarn
	}
	return f
}

// sites are visits to be paid, each with a client that goes nowhere else. The
// endpoint of a client that is not ours it does not tell.
func (s *Store) sites() []visit {
	if s.transport == nil {
		return []visit{{endpoint: "the client's", client: s.client}}
	}
	sites := make([]visit, len(s.transport.endpoints))
	for i, endpoint := range s.transport.endpoints {
		client, err := api.NewClient(&api.Config{
			Address: endpoint.Host,
			Scheme:  endpoint.Scheme,
			Token:   placeholder,
			HttpClient: &http.Client{
				Transport:     s.transport.only(endpoint),
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			},
		})
		sites[i] = visit{endpoint: endpoint.Host, client: client, err: err}
	}
	return sites
}

// only is the transport for one of its endpoints.
func (t *transport) only(endpoint *url.URL) *transport {
	return &transport{base: t.base, endpoints: []*url.URL{endpoint}, token: t.token, user: t.user, password: t.password}
}

func (v *visit) pay(ctx context.Context) {
	if v.err != nil {
		return
	}
	begun := time.Now()
	_, v.err = v.client.Raw().Query("/v1/status/leader", &v.leader, (&api.QueryOptions{}).WithContext(ctx))
	v.took = time.Since(begun)
}

// cli is a command of consul as it has to be typed for this store, on a line of
// its own. Where somebody else's client goes it does not know.
func (d *diagnosis) cli(command string) string {
	s := d.store
	if s.transport == nil {
		return "    consul " + command
	}
	return "    consul " + command + " -http-addr=" + s.transport.endpoints[s.transport.current.Load()].String() + s.toolFlags
}

// toolFlags are those, beside the address, with which Consul's tool gets where
// the store does.
func toolFlags(cfg Config) (flags string) {
	for _, f := range [][2]string{
		{"datacenter", cfg.Datacenter}, {"ca-file", cfg.TLS.CAFile}, {"client-cert", cfg.TLS.CertFile},
		{"client-key", cfg.TLS.KeyFile}, {"tls-server-name", cfg.TLS.ServerName},
	} {
		if f[1] != "" {
			flags += " -" + f[0] + "=" + f[1]
		}
	}
	return flags
}

// reason is why there was no answer, without the address that the client
// library puts in front of it.
func (d *diagnosis) reason(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("no answer within %v", d.store.timeout)
	}
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err
	}
	return strings.TrimSpace(err.Error())
}
