// Package archive keeps sales that are over in files, and the store small.
//
// An archive is a directory named like its event:
//
//	event.json      the event's record, as it was in the store
//	pool.json       the pool
//	slots/<k>.json  a slot
//	log/<k>.log     the log of a slot: for each batch a line with key, revision and
//	                size, the batch's bytes, and the end of a line
//	orders.ndjson   the orders as they stand, for people: see package export
//	manifest.json   size and SHA-256 of each of these, counts, and the version of
//	                the format
//
// [Write] makes one, which is there in full or not at all; [Check] reads one and
// holds it against every rule of package verify; and [Purge] deletes from the store
// what is in one.
package archive

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/verify"
	"github.com/seed27495941/seckill/backend"
)

// format is the version of the layout that this package writes, and reads.
const format = 1

const (
	manifestFile = "manifest.json"
	eventFile    = "event.json"
	poolFile     = "pool.json"
	ordersFile   = "orders.ndjson"
)

func slotFile(k int) string { return "slots/" + strconv.Itoa(k) + ".json" }
func logFile(k int) string  { return "log/" + strconv.Itoa(k) + ".log" }

// A Manifest says what is in an archive.
type Manifest struct {
	Format   int              `json:"format"`
	Event    ulid.ULID        `json:"event"`
	Title    string           `json:"title"`
	Made     time.Time        `json:"made"`
	Revision backend.Revision `json:"revision"` // of the store, at which the sale was read
	Slots    int              `json:"slots"`
	Batches  int              `json:"batches"`
	Orders   int              `json:"orders"`
	Held     int64            `json:"held"` // units in orders that are pending or paid
	Files    []File           `json:"files"`
}

// Validate says what is wrong with a manifest: ErrInvalid.
func (m Manifest) Validate() error {
	switch {
	case m.Format != format:
		return fmt.Errorf("%w: format %d, expected %d", backend.ErrInvalid, m.Format, format)
	case m.Slots < 1 || m.Slots > record.MaxSlots:
		return fmt.Errorf("%w: %d slots, expected 1 to %d", backend.ErrInvalid, m.Slots, record.MaxSlots)
	}
	return nil
}

// A File is one in an archive.
type File struct {
	Name   string `json:"name"` // with slashes
	Size   int64  `json:"size"` // in bytes
	SHA256 string `json:"sha256"`

	// Revision is that of the key, where the file is the value of one.
	Revision backend.Revision `json:"revision,omitempty"`
}

// An Archive is one that was checked.
type Archive struct {
	Path     string
	Manifest Manifest
	Sale     verify.Sale
	Report   verify.Report
}

// Path is where the archive of an event is, in a directory of archives.
func Path(dir string, event ulid.ULID) string { return filepath.Join(dir, event.String()) }

// ErrDamaged says that an archive is not as it was written.
var ErrDamaged = errors.New("the archive is damaged")

// ErrUnclean says that a sale breaks the rules: it stays where it is, to be looked
// into. An UncleanError has the report.
var ErrUnclean = errors.New("the sale breaks the rules")

// An UncleanError is ErrUnclean in detail.
type UncleanError struct{ Report verify.Report }

func (e *UncleanError) Error() string {
	return fmt.Sprintf("%v: event %s: %d violations, the first: %s", ErrUnclean, e.Report.Event, len(e.Report.Violations), e.Report.Violations[0])
}

// Is makes errors.Is(err, ErrUnclean) true.
func (e *UncleanError) Is(target error) bool { return target == ErrUnclean }

func (m Manifest) encode() ([]byte, error) { return json.MarshalIndent(m, "", "  ") }
