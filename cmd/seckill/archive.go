package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/seed27495941/seckill/app/sale/archive"
	"github.com/seed27495941/seckill/app/sale/event"
	records "github.com/seed27495941/seckill/app/sale/record"
)

type archiveCommand struct {
	ID    eventID `arg:"" help:"The event. It must be closed."`
	Dir   string  `required:"" placeholder:"DIR" type:"path" help:"Where archives are kept: this one in DIR/ID."`
	Purge bool    `help:"Then delete the sale from the store. The event stays, as archived."`
	yesFlag

	Output string `enum:"text,json" default:"text" help:"text, or json: one object."`
}

// Help is shown by seckill archive --help.
func (*archiveCommand) Help() string {
	return `It writes the archive, or finds one that is there, and reads all of it again: checksums, and every rule of 'seckill verify'. Only
what is in a checked archive as it is in the store is ever deleted. What was interrupted is finished by the same command.

    seckill archive 01K9ZZZZZZZZZZZZZZZZZZZZZ1 --dir=/var/lib/seckill/archive --purge
    seckill verify --archive=/var/lib/seckill/archive/01K9ZZZZZZZZZZZZZZZZZZZZZ1`
}

// Run archives an event, and purges it if that is wanted.
func (c *archiveCommand) Run(p *program) error {
	switch {
	case c.Yes && !c.Purge:
		return usageError{errors.New("--yes is for --purge")}
	case c.Purge && !c.Yes && !isTerminal(os.Stdin):
		return usageError{errors.New("--purge deletes keys of the store, and nobody can be asked here: say --yes")}
	}
	return withStore(p, func(ctx context.Context, s session) error {
		e, err := event.Get(ctx, s, c.ID.ULID)
		if err != nil {
			return about(c.ID.ULID, err)
		}
		a, err := c.archive(ctx, s, e)
		if err != nil {
			return err
		}
		if c.Purge {
			if err := c.purge(ctx, s, a); err != nil {
				return err
			}
		}
		return c.print(a)
	})
}

// archive writes the archive, or checks the one that is there.
func (c *archiveCommand) archive(ctx context.Context, s session, e event.Event) (archive.Archive, error) {
	if e.Status != records.StatusArchived {
		a, err := archive.Write(ctx, s, e.ID, c.Dir)
		if !errors.Is(err, fs.ErrExist) {
			return a, err
		}
	}
	a, err := archive.Check(archive.Path(c.Dir, e.ID))
	if err == nil && a.Sale.ID != e.ID {
		err = fmt.Errorf("archive %s is of event %s, expected that of %s", a.Path, a.Sale.ID, e.ID)
	}
	return a, err
}

func (c *archiveCommand) purge(ctx context.Context, s session, a archive.Archive) error {
	what := fmt.Sprintf("Delete the %d keys of event %s (%s) from the store, which are in %s", len(a.Sale.Entries), a.Sale.ID, oneLine([]byte(a.Manifest.Title)), a.Path)
	if err := c.confirm(ctx, what); err != nil {
		return fmt.Errorf("%w: the archive is there, and all in the store too", err)
	}
	bar := progress(len(a.Sale.Entries), "deleting")
	defer bar.end()
	return archive.Purge(ctx, s, a.Path, bar.step)
}

func (c *archiveCommand) print(a archive.Archive) error {
	to := printer{json: c.Output == "json", to: os.Stdout}
	if to.json {
		return to.object(struct {
			Path     string           `json:"path"`
			Manifest archive.Manifest `json:"manifest"`
			Purged   bool             `json:"purged"`
		}{a.Path, a.Manifest, c.Purge})
	}
	done := map[bool]string{true: ", purged from the store"}[c.Purge]
	return to.line("%s: %d orders in %d batches, checked%s", a.Path, a.Manifest.Orders, a.Manifest.Batches, done)
}
