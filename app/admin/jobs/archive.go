package jobs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/seed27495941/seckill/app/sale/archive"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
)

// archive puts closed sales away, and finishes the purging of those that are put away.
func (s *sales) archive(ctx context.Context, e event.Event, came *result) (bool, error) {
	switch {
	case e.Status == record.StatusClosed && came.due(over(e).Add(s.ArchiveAfter)):
	case e.Status == record.StatusArchived:
		if purged, err := s.isPurged(ctx, e); err != nil || purged {
			return false, err
		}
	default:
		return false, nil
	}
	defer s.events.forget()
	err := s.files.do(ctx, func(ctx context.Context) error { return s.putAway(ctx, e) })
	return err == nil, err
}

// putAway writes an archive, unless that was done, and deletes what is in it from the
// store, on the record. It may be held up: see files.
func (s *sales) putAway(ctx context.Context, e event.Event) error {
	path := archive.Path(s.ArchiveDir, e.ID)
	if e.Status == record.StatusClosed {
		if err := s.write(ctx, e); err != nil {
			return err
		}
	} else if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("the purging of it was interrupted, and can only be finished where its archive is: %w", err)
	}
	return s.audit.Do(ctx, s.action("event.archive", e.ID.String()), status{e.Status}, func(ctx context.Context) (any, error) {
		return archived{record.StatusArchived, path}, archive.Purge(ctx, s.store, path, nil)
	})
}

// archived is what the audit log has of a sale that is in an archive.
type archived struct {
	Status record.Status `json:"status"`
	Path   string        `json:"path"`
}

// isPurged reports whether nothing is left of a sale.
func (s *sales) isPurged(ctx context.Context, e event.Event) (bool, error) {
	if s.purged[e.ID] {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, long/2) // there may be much
	defer cancel()
	left, _, err := backend.List(ctx, s.store, record.SaleDir(e.ID))
	if err != nil || len(left) > 0 {
		return false, err
	}
	s.purged[e.ID] = true
	return true, nil
}

// write makes the archive. One that is there is checked by who purges.
func (s *sales) write(ctx context.Context, e event.Event) error {
	if err := s.sweep(e); err != nil {
		return err
	}
	_, err := archive.Write(ctx, s.store, e.ID, s.ArchiveDir)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// forgotten is when a half-written archive has nobody any more who writes it.
const forgotten = time.Hour

// sweep removes what crashes have left of an event's archive that was being written.
func (s *sales) sweep(e event.Event) error {
	entries, err := os.ReadDir(s.ArchiveDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), "."+e.ID.String()+".") {
			continue
		}
		if info, err := entry.Info(); err != nil || time.Since(info.ModTime()) < forgotten {
			continue // gone, or somebody may be at it
		}
		if err := os.RemoveAll(filepath.Join(s.ArchiveDir, entry.Name())); err != nil {
			return err
		}
	}
	return err
}
