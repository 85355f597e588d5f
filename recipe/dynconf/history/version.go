package history

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/internal/lenient"
)

// A Version is what the configuration was at a time, or that it was deleted.
type Version struct {
	// Revision is the key's that the version was written at. A deletion has
	// none of its own: it has that of the version which was deleted.
	Revision backend.Revision `json:"revision"`
	Base     backend.Revision `json:"base,omitempty"` // that the change was made on; 0 if none, or external
	Deleted  bool             `json:"deleted,omitempty"`

	ID      string    `json:"id,omitempty"` // of the change, "" if external
	Author  string    `json:"author"`
	Comment string    `json:"comment,omitempty"`
	Time    time.Time `json:"time"` // by the clock of the author, or of who recorded an external one

	Hash    string `json:"hash,omitempty"`
	Value   []byte `json:"-"`
	Omitted bool   `json:"omitted,omitempty"` // the value was too large to be kept; the hash is right
}

// A record is a version as it is stored: a value that is text as text.
type record struct {
	Version
	Text   *string `json:"value,omitempty"`
	Binary []byte  `json:"binary,omitempty"`
}

const deletedSuffix = "-deleted"

func (h *History) dir() string { return "history/" + h.key + "/" }

func (h *History) versionKey(v Version) string {
	key := fmt.Sprintf("%s%020d", h.dir(), v.Revision)
	if v.Deleted {
		key += deletedSuffix
	}
	return key
}

func (v Version) encode() ([]byte, error) {
	r := record{Version: v}
	switch text := string(v.Value); {
	case v.Deleted || v.Omitted:
	case utf8.ValidString(text):
		r.Text = &text
	default:
		r.Binary = v.Value
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false) // people read it
	if err := enc.Encode(r); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(buf.Bytes()), nil
}

// decode reads a record. Fields that this version does not know are left alone.
func (h *History) decode(e backend.Entry) (Version, error) {
	r, err := lenient.Decode[record](e.Value)
	if err != nil {
		return Version{}, fmt.Errorf("%q: %w", e.Key, err)
	}
	v := r.Version
	switch {
	case h.versionKey(v) != e.Key:
		return Version{}, fmt.Errorf("%q: is about another version, %s", e.Key, h.versionKey(v))
	case r.Text != nil:
		v.Value = []byte(*r.Text)
	case !v.Deleted && !v.Omitted:
		v.Value = append([]byte{}, r.Binary...)
	}
	return v, nil
}

// Versions lists the versions that are recorded, the oldest first. Unreadable
// has, for each key among the records that is none, what is wrong with it.
// Errors: those of [backend.List].
func (h *History) Versions(ctx context.Context) (versions []Version, unreadable []error, err error) {
	entries, err := h.records(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		v, err := h.decode(e)
		if err != nil {
			unreadable = append(unreadable, err)
			continue
		}
		versions = append(versions, v)
	}
	return versions, unreadable, nil
}

// Version finds the version that was written at a revision. Errors: ErrNotFound
// if it has no record, those of [backend.Store.Get], and of a record that can't
// be read.
func (h *History) Version(ctx context.Context, rev backend.Revision) (Version, error) {
	e, err := h.store.Get(ctx, h.versionKey(Version{Revision: rev}))
	if err != nil {
		return Version{}, err
	}
	return h.decode(e)
}

// records lists the entries that should be versions, the oldest first.
func (h *History) records(ctx context.Context) ([]backend.Entry, error) {
	entries, _, err := backend.List(ctx, h.store, h.dir())
	var records []backend.Entry
	for _, e := range entries {
		// What lies deeper are intents, and the history of a key that this
		// one is the folder of.
		if name := strings.TrimPrefix(e.Key, h.dir()); name != "" && !strings.Contains(name, "/") {
			records = append(records, e)
		}
	}
	return records, err
}

// put records a version on the condition that its record has a revision, 0 for
// none yet. A value too large is left out.
func (h *History) put(ctx context.Context, v Version, have backend.Revision) error {
	key := h.versionKey(v)
	encoded, err := v.encode()
	if err == nil && backend.CheckValue(key, encoded) != nil {
		v.Value, v.Omitted = nil, true
		encoded, err = v.encode()
	}
	if err != nil {
		return err
	}
	conds := []backend.PutOption{backend.If(key, have)}
	if v.Deleted && v.ID == "" {
		conds = append(conds, backend.If(h.key, 0)) // what is recorded is that it is absent
	}
	_, err = h.store.Put(ctx, key, encoded, conds...)
	return err
}

// correct replaces the record of a version that another has put first, unless
// it says the same: who made the change knows it, who recorded it has guessed.
func (h *History) correct(ctx context.Context, v Version) error {
	e, err := h.store.Get(ctx, h.versionKey(v))
	if err != nil && !errors.Is(err, backend.ErrNotFound) {
		return err
	}
	if have, err := h.decode(e); err == nil && have.ID == v.ID {
		return nil
	}
	return h.put(ctx, v, e.Revision)
}

// isRecord reports whether a key is one that a record may have.
func (h *History) isRecord(key string) bool {
	digits := strings.TrimSuffix(strings.TrimPrefix(key, h.dir()), deletedSuffix)
	_, err := strconv.ParseUint(digits, 10, 64)
	return err == nil && len(digits) == 20
}
