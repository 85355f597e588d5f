package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/seed27495941/seckill/app/doctor"
	"github.com/seed27495941/seckill/app/process"
	"github.com/seed27495941/seckill/backend"
)

type doctorCommand struct {
	Output string `enum:"text,json" default:"text" help:"text, or json: an array with an object for each check."`
}

// Help is shown by seckill doctor --help.
func (*doctorCommand) Help() string {
	return `It uses the store as the other commands would: with the same flags, file and environment. Each check ends in a verdict:

    ok       nothing to do
    warn     it works, but not well or not for long
    fail     it does not work
    unknown  it could not be looked at, for want of a right or of something that failed before

Exit code: 0 if nothing fails, 1 if something does or the examination was interrupted, 2 for wrong usage or settings.
With the default --request-timeout it takes half a minute at most, on a healthy store less than a second. It leaves
nothing behind: what it writes is one small key below doctor/, which goes with its lease even if the process is killed.`
}

// Run examines the store.
func (c *doctorCommand) Run(p *program) (err error) {
	loaded, err := p.settings()
	if err != nil {
		return err
	}
	s, err := open(loaded)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	ctx, _, release := process.Signals(context.Background())
	defer release()

	found := doctor.Run(ctx, s, loaded)
	if err := c.print(os.Stdout, found); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return failures(found)
}

func failures(found []backend.Finding) error {
	failed := count(found, backend.VerdictFail)
	if failed == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d checks failed", failed, len(found))
}

func count(found []backend.Finding, v backend.Verdict) (n int) {
	for _, f := range found {
		if f.Verdict == v {
			n++
		}
	}
	return n
}

func (c *doctorCommand) print(to io.Writer, found []backend.Finding) error {
	if c.Output == "json" {
		encoder := json.NewEncoder(to)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		return encoder.Encode(found)
	}
	_, err := io.WriteString(to, table(found))
	return err
}

// table shows findings to people: remedies, if there are any, below what they
// are for.
func table(found []backend.Finding) string {
	verdict, check := 0, 0
	for _, f := range found {
		verdict, check = max(verdict, len(f.Verdict)), max(check, len(f.Check))
	}
	var b strings.Builder
	for _, f := range found {
		fmt.Fprintf(&b, "%-*s  %-*s  %s\n", verdict, f.Verdict, check, f.Check, f.Found)
		for line := range strings.Lines(f.Remedy) {
			fmt.Fprintf(&b, "%*s  %s\n", verdict+2+check, "", strings.TrimSuffix(line, "\n"))
		}
	}
	fmt.Fprintf(&b, "\n%d ok, %d warn, %d fail, %d unknown\n", count(found, backend.VerdictOK), count(found, backend.VerdictWarn),
		count(found, backend.VerdictFail), count(found, backend.VerdictUnknown))
	return b.String()
}
