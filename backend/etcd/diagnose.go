package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/status"

	"github.com/seed27495941/seckill/backend"
)

var _ backend.Diagnoser = (*Store)(nil)

// Diagnose implements backend.Diagnoser. Beside the shared checks there are
// "alarms", "quota", "fragmentation" and "compaction". All that it asks for
// every user may ask for, except whether history was compacted: that takes the
// right to read under the root.
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
		{"alarms", d.alarms},
		{"quota", d.quota},
		{"fragmentation", d.fragmentation},
		{"compaction", d.compaction},
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

// A visit is what one endpoint answered when it was asked for its status.
type visit struct {
	endpoint string
	took     time.Duration
	status   *pb.StatusResponse // nil: it did not tell
	err      error              // why not
}

// answered reports whether a server is there, if only to refuse.
func (v visit) answered() bool { return v.err == nil || refusal(v.err) != nil }

// endpoints visits all endpoints at once.
func (d *diagnosis) endpoints(ctx context.Context) backend.Finding {
	names := d.store.client.Endpoints()
	d.visits = make([]visit, len(names))
	var group sync.WaitGroup
	for i, name := range names {
		group.Go(func() { d.visits[i] = d.store.visit(ctx, name) })
	}
	group.Wait()

	var here, away []string
	for _, v := range d.visits {
		if v.answered() {
			here = append(here, fmt.Sprintf("%s in %v", withoutUser(v.endpoint), v.took.Round(10*time.Microsecond)))
		} else {
			away = append(away, fmt.Sprintf("%s: %s", withoutUser(v.endpoint), d.reason(v.err)))
		}
	}
	f := fine("%d of %d answer: %s", len(here), len(names), strings.Join(append(away, here...), "; "))
	switch {
	case len(here) == 0:
		f.Verdict = backend.VerdictFail
		d.blocked = "no endpoint answers"
	case len(away) > 0:
		f.Verdict = backend.VerdictWarn
	}
	return f
}

// visit asks one endpoint over a connection of its own, without waiting for a
// server that refuses to be connected to. A login is tried only where there is
// a server to log in at.
func (s *Store) visit(ctx context.Context, endpoint string) visit {
	v := visit{endpoint: endpoint}
	conn, err := s.client.Dial(endpoint)
	if err != nil {
		v.err = err
		return v
	}
	defer conn.Close()
	server := pb.NewMaintenanceClient(conn)
	begun := time.Now()
	v.status, v.err = server.Status(ctx, &pb.StatusRequest{})
	v.took = time.Since(begun)
	if v.err == nil || !staleLogin(v.err) {
		return v
	}
	if token, err := s.token(ctx); err == nil && token != "" {
		v.status, v.err = server.Status(withToken(ctx, token), &pb.StatusRequest{})
	}
	return v
}

// reason is why there was no answer, without what gRPC wraps around it.
func (d *diagnosis) reason(err error) string {
	text := status.Convert(err).Message()
	if strings.HasPrefix(text, context.DeadlineExceeded.Error()) {
		return fmt.Sprintf("no answer within %v", d.store.timeout)
	}
	text = strings.TrimPrefix(text, "connection error: desc = ")
	text = strings.TrimPrefix(strings.Trim(text, `"`), "transport: ")
	return strings.TrimPrefix(text, "Error while dialing: ")
}

// credentials finds out whether the server knows who we are; what we may do is
// another question.
func (d *diagnosis) credentials(ctx context.Context) backend.Finding {
	s := d.store
	f := s.try(ctx, func(ctx context.Context) error {
		_, err := s.kv.Range(ctx, &pb.RangeRequest{Key: []byte(s.root), CountOnly: true}, callOptions...)
		return err
	})
	switch {
	case f == nil || errors.Is(rpctypes.Error(f.err), rpctypes.ErrPermissionDenied):
		return fine("%s", s.identity())
	case s.login == nil && errors.Is(rpctypes.Error(f.err), rpctypes.ErrUserEmpty):
		d.blocked = "the server wants to know a user"
		return backend.Finding{Verdict: backend.VerdictFail, Found: "authentication is on, and no user is given"}
	case refusal(f.err) != nil:
		d.blocked = "the credentials are refused"
		return backend.Finding{Verdict: backend.VerdictFail, Found: status.Convert(f.err).Message()}
	}
	return unseen(d.reason(f.err))
}

// identity is as whom the store is used, after a call that was not refused.
func (s *Store) identity() string {
	if s.login == nil {
		return "no user is given, and none is asked for"
	}
	if token, ok := s.login.have(); ok && token == "" {
		return fmt.Sprintf("the user %s is given, but authentication is off", s.login.user)
	}
	return fmt.Sprintf("logged in as %s", s.login.user)
}

// ctl is a command of etcdctl as it has to be typed for this cluster, on a line
// of its own. What an ordinary user may not do asks for the password of root.
func (d *diagnosis) ctl(args ...any) string {
	command := "    etcdctl --endpoints=" + strings.Join(d.names(), ",")
	files := d.store.files
	for _, f := range [][2]string{{"cacert", files.CAFile}, {"cert", files.CertFile}, {"key", files.KeyFile}} {
		if f[1] != "" {
			command += " --" + f[0] + "=" + f[1]
		}
	}
	if d.store.login != nil {
		command += " --user=root"
	}
	return command + " " + strings.TrimSuffix(fmt.Sprintln(args...), "\n")
}

// names are the endpoints that answer, as they can be shown.
func (d *diagnosis) names() (names []string) {
	for _, v := range d.visits {
		if v.answered() {
			names = append(names, withoutUser(v.endpoint))
		}
	}
	return names
}
