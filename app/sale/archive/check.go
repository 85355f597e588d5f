package archive

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/verify"
	"github.com/seed27495941/seckill/backend"
)

// maxManifest is more than any manifest has, in bytes.
const maxManifest = 1 << 20

// Check reads an archive, all of it: every file is there, and no other, with the
// checksum that the manifest tells; all records are in them; and the sale breaks no
// rule. Errors: ErrDamaged, ErrUnclean, those of the file system.
func Check(path string) (Archive, error) {
	a, err := check(path)
	if err != nil {
		return Archive{}, fmt.Errorf("archive %s: %w", path, err)
	}
	return a, nil
}

func check(path string) (Archive, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return Archive{}, err
	}
	defer root.Close()
	m, err := readManifest(root)
	if err != nil {
		return Archive{}, err
	}
	r := &reading{root: root, manifest: m, files: map[string]File{}}
	if err := r.inventory(); err != nil {
		return Archive{}, err
	}
	sale, err := r.sale()
	if err != nil {
		return Archive{}, err
	}
	a := Archive{Path: path, Manifest: m, Sale: sale, Report: sale.Check(nil)}
	return a, a.judge()
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

func readManifest(root *os.Root) (Manifest, error) {
	f, err := root.Open(manifestFile)
	if err != nil {
		return Manifest{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err != nil {
		return Manifest{}, err
	}
	m, err := backend.DecodeJSON[Manifest](backend.Entry{Key: manifestFile, Value: data})
	if err == nil {
		err = m.Validate()
	}
	if err != nil {
		return Manifest{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return m, nil
}

// judge holds an archive against the rules of sales, and against what its manifest
// tells of it.
func (a Archive) judge() error {
	r, m := a.Report, a.Manifest
	if !r.Clean() {
		return &UncleanError{r}
	}
	if r.Status != record.StatusClosed {
		return damaged("the event is %s, expected %q", r.Status, record.StatusClosed)
	}
	if r.Batches != m.Batches || r.Orders != m.Orders || r.Held != m.Held {
		return damaged("%d batches, %d orders and %d units held, expected %d, %d and %d", r.Batches, r.Orders, r.Held, m.Batches, m.Orders, m.Held)
	}
	return nil
}

// A reading is an archive that is being read.
type reading struct {
	root     *os.Root
	manifest Manifest
	files    map[string]File
}

// inventory compares the names in the directory with those that belong there.
func (r *reading) inventory() error {
	want := []string{manifestFile, eventFile, poolFile, ordersFile}
	for k := range r.manifest.Slots {
		want = append(want, slotFile(k), logFile(k))
	}
	told := []string{manifestFile}
	for _, f := range r.manifest.Files {
		told = append(told, f.Name)
		r.files[f.Name] = f
	}
	there, err := regularFiles(r.root)
	if err != nil {
		return err
	}
	for what, have := range map[string][]string{"the manifest": told, "the directory": there} {
		missing, more := without(want, have), without(have, want)
		if len(missing) > 0 || len(have) != len(want) {
			return damaged("%s lacks %q, and has %q", what, missing, more)
		}
	}
	return nil
}

func regularFiles(root *os.Root) (names []string, err error) {
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return nil
		case !d.Type().IsRegular():
			return damaged("%s is no file", name)
		}
		names = append(names, name)
		return nil
	})
	return names, err
}

// without are the names that others don't have.
func without(names, others []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(others, name) })
}

// read reads a file and checks it.
func (r *reading) read(name string) ([]byte, error) {
	want := r.files[name]
	f, err := r.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, want.Size+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) != want.Size {
		return nil, damaged("%s has not %d bytes, as the manifest tells", name, want.Size)
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != want.SHA256 {
		return nil, damaged("%s has the SHA-256 %x, expected %s", name, sum, want.SHA256)
	}
	return data, nil
}

func (r *reading) record(name, key string) (backend.Entry, error) {
	data, err := r.read(name)
	return backend.Entry{Key: key, Value: data, Revision: r.files[name].Revision}, err
}

// sale reads everything.
func (r *reading) sale() (verify.Sale, error) {
	id := r.manifest.Event
	sale := verify.Sale{ID: id, Revision: r.manifest.Revision}
	var err error
	if sale.Event, err = r.record(eventFile, record.EventKey(id)); err != nil {
		return sale, err
	}
	pool, err := r.record(poolFile, record.PoolKey(id))
	if err != nil {
		return sale, err
	}
	sale.Entries = append(sale.Entries, pool)
	for k := range r.manifest.Slots {
		slot, err := r.record(slotFile(k), record.SlotKey(id, k))
		if err != nil {
			return sale, err
		}
		batches, err := r.log(k)
		if err != nil {
			return sale, err
		}
		sale.Entries = append(append(sale.Entries, slot), batches...)
	}
	slices.SortFunc(sale.Entries, func(a, b backend.Entry) int { return cmp.Compare(a.Key, b.Key) })
	_, err = r.read(ordersFile)
	return sale, err
}

// log reads the log of a slot.
func (r *reading) log(k int) (entries []backend.Entry, err error) {
	data, err := r.read(logFile(k))
	if err != nil {
		return nil, err
	}
	for len(data) > 0 {
		e, rest, err := nextBatch(data)
		if err == nil && !strings.HasPrefix(e.Key, record.LogDir(r.manifest.Event, k)) {
			err = fmt.Errorf("the key %.80q", e.Key)
		}
		if err != nil {
			return nil, damaged("%s: batch %d: %v", logFile(k), len(entries)+1, err)
		}
		entries = append(entries, e)
		data = rest
	}
	return entries, nil
}

// nextBatch reads one batch of a log: "<key> <revision> <size>", its bytes, and the
// end of a line.
func nextBatch(data []byte) (e backend.Entry, rest []byte, err error) {
	line, rest, _ := bytes.Cut(data, []byte("\n"))
	words := strings.Split(string(line[:min(len(line), 2*backend.MaxKey)]), " ")
	if len(words) != 3 {
		return e, nil, errors.New("expected a line with key, revision and size")
	}
	revision, errRevision := strconv.ParseUint(words[1], 10, 64)
	size, errSize := strconv.ParseUint(words[2], 10, 32)
	if err := errors.Join(errRevision, errSize); err != nil {
		return e, nil, err
	}
	if uint64(len(rest)) < size+1 || rest[size] != '\n' {
		return e, nil, fmt.Errorf("expected %d bytes and the end of a line", size)
	}
	return backend.Entry{Key: words[0], Value: rest[:size:size], Revision: backend.Revision(revision)}, rest[size+1:], nil
}
