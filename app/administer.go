package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/admin/access/password"
	"github.com/seed27495941/seckill/app/admin/audit"
	"github.com/seed27495941/seckill/app/admin/console"
	"github.com/seed27495941/seckill/app/admin/jobs"
	"github.com/seed27495941/seckill/app/peer"
	"github.com/seed27495941/seckill/app/sale"
	"github.com/seed27495941/seckill/backend"
)

// administer makes the process one that operators come to: it watches over the cluster
// config, knows who operators are, and looks on how sales go.
func (b *builder) administer(ctx context.Context) error {
	if err := b.node.Supervise(); err != nil {
		return err
	}
	dial, err := peer.NewDialer(b.Settings.RPC.TLS)
	if err != nil {
		return fmt.Errorf("rpc: %w", err)
	}
	record := audit.New(b.Store, audit.Options{Logger: b.Log, Refusals: admin.Refusals()})
	who, err := access.New(access.Config{
		Store: b.Store, Hasher: password.New(password.Recommended()), Log: b.Log, Audit: record, FirstPassword: b.FirstPassword,
	})
	if err != nil {
		return err
	}
	if b.desk == nil {
		// Nobody registers this one, so it owns nothing.
		b.desk = sale.New(sale.Config{
			Store: b.Store, Directory: b.node.Directory(), Incarnation: ulid.Make(),
			Valid: func() bool { return true }, Dial: dial, Logger: b.Log,
		})
		b.background = append(b.background, b.desk.Run)
	}
	service, err := admin.New(admin.Config{
		Version: b.Version, Store: b.Store, Node: b.node, Figures: b.desk, Access: who, Dial: dial, Log: b.Log, Audit: record, Diagnoser: b.diagnoser,
	})
	if err != nil {
		return err
	}
	runner, err := b.jobs(record, who.Accounts())
	if err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	b.background = append(b.background, who.Run, service.Run, runner.Run)
	b.draining = append(b.draining, service.Drain)
	b.access = who
	return b.answerOperators(ctx, service, who)
}

// jobs are what this process does for the cluster while no other one does.
func (b *builder) jobs(record *audit.Log, accounts *access.Accounts) (*jobs.Runner, error) {
	s := b.Settings.Jobs
	return jobs.New(jobs.Config{
		Store: b.Store, Audit: record, Logger: b.Log,
		ArchiveDir: s.ArchiveDir, ArchiveAfter: s.ArchiveAfter,
		Retention: audit.Retention{Keep: s.AuditKeep, Max: s.AuditMax},
		Sessions: func(ctx context.Context, conds ...backend.Condition) error {
			_, err := accounts.Sweep(ctx, conds...)
			return err
		},
	})
}

// answerOperators takes the address that operators come to.
func (b *builder) answerOperators(ctx context.Context, service *admin.Service, who *access.Access) (err error) {
	var certificate *tls.Config
	if b.Settings.Admin.TLS.Enabled() {
		if certificate, err = b.Settings.Admin.TLS.ServerConfig(); err != nil {
			return fmt.Errorf("admin.tls: %w", err)
		}
	}
	pages, err := console.New(console.Config{Service: service, Access: who, Log: b.Log}) //nolint:contextcheck // each request has its own
	if err != nil {
		return err
	}
	handler := operators(admin.NewAPI(service).Handler(), who.Authenticate(admin.Remember(pages)))
	b.addresses.Admin, err = b.serve(ctx, "admin", b.Settings.Admin.Listener, handler)
	if err == nil && certificate != nil {
		server := &b.servers[len(b.servers)-1]
		server.Listener = tls.NewListener(server.Listener, certificate)
	}
	return err
}

// operators has the API where programs look for it, and the console everywhere else.
func operators(api, pages http.Handler) http.Handler {
	mux := http.NewServeMux()
	for _, at := range []string{"/v1/", "/sd/", "/openapi.json", "/openapi.yaml", "/livez", "/readyz"} {
		mux.Handle(at, api)
	}
	mux.Handle("/", pages)
	return mux
}
