package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/archive"
	records "github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/verify"
	"github.com/seed27495941/seckill/backend"
)

type verifyCommand struct {
	Event   *eventID `xor:"what" required:"" placeholder:"ID" help:"The event."`
	All     bool     `xor:"what" required:"" help:"All events, one after the other."`
	Archive string   `xor:"what" required:"" placeholder:"DIR" type:"path" help:"An archive, instead of the store."`
	Acks    string   `placeholder:"FILE" type:"path" help:"Orders that buyers were told to have: a public order id on each line, or a JSON object with the field id."`
	Output  string   `enum:"text,json" default:"text" help:"text, or json: a report, with --all one a line."`
}

// Help is shown by seckill verify --help.
func (*verifyCommand) Help() string {
	return `It reads what was written of a sale, and trusts nothing else: nothing oversold, no buyer over the limit, one order for each request, no
batch missing or of an owner that had none, and every order of --acks in the log. It may be used while the sale goes on.

    seckill verify --event=01K9ZZZZZZZZZZZZZZZZZZZZZ1 --acks=acknowledged.txt
    seckill verify --archive=/var/lib/seckill/archive/01K9ZZZZZZZZZZZZZZZZZZZZZ1

Exit code: 0 if every rule is kept, 1 if one is not, or the store or the archive can't be read, 2 for wrong usage. An event that was archived
is clean if nothing of its sale is left in the store.`
}

// Run checks, prints, and fails if a rule was broken.
func (c *verifyCommand) Run(p *program) error {
	acks, err := c.acknowledged()
	if err != nil {
		return err
	}
	reports, err := c.reports(p, acks)
	if err != nil {
		return err
	}
	broken := 0
	to := printer{json: c.Output == "json", to: os.Stdout}
	for _, r := range reports {
		broken += len(r.Violations)
		if err := to.report(r); err != nil {
			return err
		}
	}
	if !c.All {
		c.unused(acks, reports[0].Event)
	}
	if broken > 0 {
		return fmt.Errorf("violations: %d", broken)
	}
	return nil
}

func (c *verifyCommand) acknowledged() (verify.Acknowledgements, error) {
	if c.Acks == "" {
		return nil, nil
	}
	f, err := os.Open(c.Acks)
	if err != nil {
		return nil, usageError{err}
	}
	defer f.Close()
	acks, err := verify.ReadAcks(f)
	if err != nil {
		return nil, usageError{fmt.Errorf("%s: %w", c.Acks, err)}
	}
	return acks, nil
}

func (c *verifyCommand) reports(p *program, acks verify.Acknowledgements) (reports []verify.Report, err error) {
	if c.Archive != "" {
		r, err := checkArchive(c.Archive, acks)
		return []verify.Report{r}, err
	}
	err = withStore(p, func(ctx context.Context, s session) error {
		if c.All {
			reports, err = verify.All(ctx, s, acks)
			return err
		}
		r, err := verify.Check(ctx, s, c.Event.ULID, acks[c.Event.ULID])
		reports = []verify.Report{r}
		return about(c.Event.ULID, err)
	})
	return reports, err
}

// about says in words that there is no such event.
func about(id ulid.ULID, err error) error {
	if errors.Is(err, backend.ErrNotFound) {
		return fmt.Errorf("there is no event %s: %w", id, err)
	}
	return err
}

// checkArchive reports also what is wrong with a sale that was archived.
func checkArchive(path string, acks verify.Acknowledgements) (verify.Report, error) {
	a, err := archive.Check(path)
	var unclean *archive.UncleanError
	switch {
	case errors.As(err, &unclean):
		return unclean.Report, nil
	case err != nil:
		return verify.Report{}, err
	}
	return a.Sale.Check(acks[a.Sale.ID]), nil
}

// unused tells that some acknowledgements say nothing about what was checked.
func (c *verifyCommand) unused(acks verify.Acknowledgements, event ulid.ULID) {
	left := 0
	for id, orders := range acks {
		if id != event {
			left += len(orders)
		}
	}
	if left > 0 {
		fmt.Fprintf(os.Stderr, "seckill: warning: %s: %d orders are of other events, they were not checked\n", c.Acks, left)
	}
}

func (p printer) report(r verify.Report) error {
	if p.json {
		return p.object(r)
	}
	err := p.line("%s %s: %s", r.Event, cmp.Or(string(r.Status), "unreadable"), summary(r))
	for _, v := range r.Violations {
		err = errors.Join(err, p.line("violation: %s", oneLine([]byte(v.String()))))
	}
	if r.Clean() {
		err = errors.Join(err, p.line("every rule is kept"))
	}
	return err
}

// summary is what was there to be checked.
func summary(r verify.Report) string {
	if r.Status == records.StatusArchived {
		return fmt.Sprintf("its orders are in its archive; at revision %d", r.Revision)
	}
	var statuses []string
	for _, name := range slices.Sorted(maps.Keys(r.Statuses)) {
		statuses = append(statuses, fmt.Sprintf("%d %s", r.Statuses[name], name))
	}
	return fmt.Sprintf("%d of %d units in %d orders (%s) of %d buyers; %d batches; %d acknowledged; at revision %d",
		r.Held, r.Total, r.Orders, cmp.Or(strings.Join(statuses, ", "), "none"), r.Buyers, r.Batches, r.Acknowledged, r.Revision)
}
