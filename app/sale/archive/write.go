package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/export"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/verify"
	"github.com/seed27495941/seckill/backend"
)

// Write archives a closed event in a directory of archives, which is made if it is
// not there. It writes under another name, reads all of that again, checks it, and
// only then gives it the name of [Path]. A crash leaves a directory behind whose
// name begins with a dot.
//
// Errors: event.ErrStatus unless the event is closed, ErrUnclean, fs.ErrExist if
// there is an archive of it, those of the file system and of [verify.Read].
func Write(ctx context.Context, s backend.Store, id ulid.ULID, dir string) (Archive, error) {
	final := Path(dir, id)
	if _, err := os.Lstat(final); err == nil {
		return Archive{}, fmt.Errorf("archive %s: %w", final, fs.ErrExist)
	}
	sale, err := verify.Read(ctx, s, id)
	if err != nil {
		return Archive{}, err
	}
	contents, err := pack(sale)
	if err != nil {
		return Archive{}, err
	}
	if err := makeDir(dir); err != nil {
		return Archive{}, err
	}
	temporary, err := os.MkdirTemp(dir, "."+id.String()+".")
	if err != nil {
		return Archive{}, err
	}
	a, err := contents.store(temporary)
	if err == nil {
		err = os.Rename(temporary, final)
	}
	if err != nil {
		return Archive{}, errors.Join(err, os.RemoveAll(temporary))
	}
	a.Path = final
	return a, flush(dir)
}

// Contents are the files of an archive that is being made.
type contents struct {
	manifest Manifest
	files    []named
}

type named struct {
	File
	data []byte
}

// pack makes the files of a sale.
func pack(sale verify.Sale) (*contents, error) {
	report := sale.Check(nil)
	if report.Status != record.StatusClosed && report.Status != "" {
		return nil, fmt.Errorf("%w: event %s is %s, expected %q", event.ErrStatus, sale.ID, report.Status, record.StatusClosed)
	}
	if !report.Clean() {
		return nil, &UncleanError{report}
	}
	e, err := record.DecodeEvent(sale.Event)
	if err != nil {
		return nil, err
	}
	c := &contents{manifest: Manifest{
		Format: format, Event: sale.ID, Title: e.Title, Made: time.Now().UTC().Truncate(time.Second), Revision: sale.Revision,
		Slots: e.Slots, Batches: report.Batches, Orders: report.Orders, Held: report.Held,
	}}
	c.add(eventFile, sale.Event.Revision, sale.Event.Value)
	records := map[string]backend.Entry{}
	for _, entry := range sale.Entries {
		records[entry.Key] = entry
	}
	c.addRecord(poolFile, records[record.PoolKey(sale.ID)])
	var orders bytes.Buffer
	for k := range e.Slots {
		c.addRecord(slotFile(k), records[record.SlotKey(sale.ID, k)])
		if err := c.addLog(sale, k, &orders); err != nil {
			return nil, err
		}
	}
	c.add(ordersFile, 0, orders.Bytes())
	return c, nil
}

func (c *contents) addRecord(name string, e backend.Entry) { c.add(name, e.Revision, e.Value) }

func (c *contents) add(name string, revision backend.Revision, data []byte) {
	sum := sha256.Sum256(data)
	f := File{Name: name, Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:]), Revision: revision}
	c.files = append(c.files, named{f, data})
	c.manifest.Files = append(c.manifest.Files, f)
}

// addLog adds the log of a slot, and lists its orders.
func (c *contents) addLog(sale verify.Sale, k int, orders *bytes.Buffer) error {
	dir := record.LogDir(sale.ID, k)
	var log bytes.Buffer
	var entries []backend.Entry
	for _, e := range sale.Entries {
		if strings.HasPrefix(e.Key, dir) {
			entries = append(entries, e)
			fmt.Fprintf(&log, "%s %d %d\n%s\n", e.Key, e.Revision, len(e.Value), e.Value)
		}
	}
	c.add(logFile(k), 0, log.Bytes())
	rows, err := export.Slot(sale.ID, k, entries)
	if err != nil {
		return err
	}
	w, err := export.NewWriter(orders, export.NDJSON)
	if err != nil {
		return err
	}
	return errors.Join(w.Write(rows), w.Flush())
}

// store puts the files on the disk, and checks what is there.
func (c *contents) store(dir string) (Archive, error) {
	manifest, err := c.manifest.encode()
	if err != nil {
		return Archive{}, err
	}
	for _, sub := range []string{"slots", "log"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			return Archive{}, err
		}
	}
	for _, f := range append(c.files, named{File{Name: manifestFile}, append(manifest, '\n')}) {
		if err := writeFile(filepath.Join(dir, filepath.FromSlash(f.Name)), f.data); err != nil {
			return Archive{}, err
		}
	}
	for _, sub := range []string{"slots", "log", "."} {
		if err := flush(filepath.Join(dir, sub)); err != nil {
			return Archive{}, err
		}
	}
	return Check(dir)
}

func writeFile(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// makeDir makes a directory and those it is in, and sees that their names are on the
// disk: the loss of one is the loss of all that is in it.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := makeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return flush(parent)
}

// flushAll sees that an archive is on the disk with all that is in it, whoever has put
// it there: it may be a copy, which nobody synced.
func flushAll(path string) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	err = filepath.WalkDir(path, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return flush(name)
	})
	return errors.Join(err, flush(filepath.Dir(path)))
}

// flush sees that a file, or the names in a directory, are on the disk.
func flush(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
