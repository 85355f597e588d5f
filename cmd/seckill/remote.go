package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/seed27495941/seckill/app/admin/client"
	"github.com/seed27495941/seckill/app/process"
	"github.com/seed27495941/seckill/backend"
)

// remoteFlags are for commands that go over the operators' API.
type remoteFlags struct {
	URL       string `name:"admin" group:"admin" env:"SECKILL_ADMIN" default:"http://127.0.0.1:8081" placeholder:"URL" help:"The admin service (${default})."`
	TokenFile string `name:"admin-token-file" group:"admin" env:"SECKILL_ADMIN_TOKEN_FILE" placeholder:"FILE" help:"File with an API token. Without it SECKILL_ADMIN_TOKEN has the token, else the session of 'seckill login' counts."`
	CA        string `name:"admin-ca" group:"admin" env:"SECKILL_ADMIN_CA" placeholder:"FILE" help:"Certificates that the admin service's must chain to."`
}

// outputFlag is for commands that have the API's answers shown.
type outputFlag struct {
	Output string `enum:"text,json" default:"text" help:"text, or json: what the API answers."`
}

// A remote is the admin service, to run one command on.
type remote struct {
	*client.Client
	printer
}

// run runs do on the admin service, until a signal comes.
func (f remoteFlags) run(p *program, output string, do func(ctx context.Context, r remote) error) error {
	cfg, err := f.config(p)
	if err != nil {
		return err
	}
	return f.runAs(cfg, output, do)
}

// bySession is run for what begins and ends a session: it goes by the one that is kept,
// whatever token there is as well.
func (f remoteFlags) bySession(p *program, do func(ctx context.Context, r remote) error) error {
	cfg, err := f.session(p)
	if err != nil {
		return err
	}
	return f.runAs(cfg, "", do)
}

func (f remoteFlags) runAs(cfg client.Config, output string, do func(ctx context.Context, r remote) error) error {
	c, err := client.New(cfg)
	if err != nil {
		return err
	}
	ctx, _, release := process.Signals(context.Background())
	defer release()
	return f.explain(do(ctx, remote{c, printer{json: output == "json", to: os.Stdout}}))
}

// config says where the service is, and who asks: a token counts before a session.
func (f remoteFlags) config(p *program) (client.Config, error) {
	token, err := f.token()
	switch {
	case err != nil:
		return client.Config{}, err
	case token == "":
		return f.session(p)
	}
	cfg, err := f.service(p)
	cfg.Token = token
	return cfg, err
}

// session says where the service is, and that who has logged in asks.
func (f remoteFlags) session(p *program) (client.Config, error) {
	cfg, err := f.service(p)
	if err != nil {
		return cfg, err
	}
	sessions, err := sessions()
	if err != nil {
		return cfg, err
	}
	cfg.Session, err = sessions.Get(cfg.Base)
	return cfg, err
}

// service says where it is.
func (f remoteFlags) service(p *program) (client.Config, error) {
	for _, flag := range p.flags {
		if flag.Key == "backend" || strings.HasPrefix(flag.Key, "store.") {
			return client.Config{}, usageError{fmt.Errorf("%s: this command asks the admin service (--admin), not the store", flag.Name)}
		}
	}
	base, err := client.Base(f.URL)
	if err != nil {
		return client.Config{}, fmt.Errorf("--admin: %w", err)
	}
	return client.Config{Base: base, CA: f.CA}, nil
}

func (f remoteFlags) token() (string, error) {
	if f.TokenFile == "" {
		return strings.TrimSpace(os.Getenv("SECKILL_ADMIN_TOKEN")), nil
	}
	text, err := os.ReadFile(f.TokenFile)
	if err != nil {
		return "", usageError{fmt.Errorf("--admin-token-file: %w", err)}
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		return "", usageError{fmt.Errorf("--admin-token-file: %s is empty", f.TokenFile)}
	}
	return token, nil
}

// explain adds what to do about a refusal.
func (f remoteFlags) explain(err error) error {
	var refusal *client.Error
	if !errors.As(err, &refusal) {
		return err
	}
	switch refusal.Code {
	case "unauthenticated":
		return fmt.Errorf("%w: 'seckill login', or --admin-token-file, says who you are", err)
	case "must_change_password":
		return fmt.Errorf("%w: 'seckill passwd' does that", err)
	}
	return err
}

// sessions are next to the directory of 'seckill up', which is an etcd's.
func sessions() (client.Sessions, error) {
	dir, err := stateDir()
	return client.Sessions{File: filepath.Join(filepath.Dir(dir), "seckill-admin", "sessions.json")}, err
}

func (r remote) get(ctx context.Context, path string, query url.Values) (client.Answer, error) {
	return r.Do(ctx, client.Request{Method: http.MethodGet, Path: path, Query: query})
}

// show prints an answer: as it is for programs, by text for people.
func show[T any](r remote, a client.Answer, text func(T) error) error {
	if r.json {
		if len(a.Body) == 0 {
			return nil // there is nothing to say but that it is done
		}
		return r.line("%s", strings.TrimSpace(string(a.Body)))
	}
	var body T
	if len(a.Body) > 0 {
		if err := a.Decode(&body); err != nil {
			return err
		}
	}
	return text(body)
}

// said shows an answer of which people are told one line.
func (r remote) said(a client.Answer, format string, args ...any) error {
	return show(r, a, func(any) error { return r.line(format, args...) })
}

// table prints rows below a head, as columns. Cells are shown on one line.
func (r remote) table(head string, rows [][]string) error {
	table := tabwriter.NewWriter(r.to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, strings.ReplaceAll(head, " ", "\t"))
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(table, "\t")
			}
			fmt.Fprint(table, dash(oneLine([]byte(cell))))
		}
		fmt.Fprintln(table)
	}
	return table.Flush()
}

// problems warns of records that can't be read.
func (r remote) problems(problems []string) {
	for _, p := range problems {
		fmt.Fprintln(os.Stderr, "seckill: warning:", oneLine([]byte(p)))
	}
}

// more tells people that a list goes on.
func (r remote) more(next string) {
	if next != "" {
		fmt.Fprintf(os.Stderr, "there is more: --after=%s\n", next)
	}
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// readText reads a file, - for the standard input: not more than is known to be too much.
func readText(name string) (string, error) {
	from := io.Reader(os.Stdin)
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return "", usageError{err}
		}
		defer file.Close()
		from = file
	}
	text, err := io.ReadAll(io.LimitReader(from, backend.MaxValue+1))
	if err != nil {
		return "", usageError{fmt.Errorf("%s: %w", name, err)}
	}
	return string(text), nil
}
