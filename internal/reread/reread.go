// Package reread keeps up with a file that changes while the process runs: keys
// and secrets that are replaced without a restart.
package reread

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// every is how long what was read is used before the file is looked at again.
const every = time.Second

// limit is how large a file may be, in bytes.
const limit = 1 << 20

// A File yields what a file says, as a T. It is safe for concurrent use, and
// needs no goroutine: the file is looked at when somebody asks.
//
// It is read whole rather than asked for its time, so no change goes unseen:
// neither one within the clock's resolution nor one of a link on the way.
type File[T any] struct {
	name  string
	parse func([]byte) (T, error)
	log   *slog.Logger

	value  atomic.Pointer[T]
	opened time.Time
	looked atomic.Int64 // when, in nanoseconds since opened

	mu      sync.Mutex // held by the one who looks
	content []byte     // of the value
	fault   string     // why the file is not in force now; "": it is
	refused []byte     // the content that the fault is about
}

// Open reads a file. What parse refuses later on is logged, once for each
// content, and does not change the value. Parse must not quote the file in its
// errors if that is secret; the file's name is added. A nil log is silent.
// Errors: the file can't be read, is larger than 1 MiB, or parse refuses it.
func Open[T any](name string, parse func([]byte) (T, error), log *slog.Logger) (*File[T], error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f := &File[T]{name: name, parse: parse, log: log, opened: time.Now()}
	content, err := Read(name)
	if err != nil {
		return nil, err
	}
	value, err := f.read(content)
	if err != nil {
		return nil, err
	}
	f.content = content
	f.value.Store(&value)
	return f, nil
}

// Get returns what the file said when it was last looked at and found good,
// which is at most a second ago, or is looked at now.
func (f *File[T]) Get() T {
	if time.Since(f.opened)-time.Duration(f.looked.Load()) >= every && f.mu.TryLock() {
		f.look()
		f.looked.Store(int64(time.Since(f.opened)))
		f.mu.Unlock()
	}
	return *f.value.Load()
}

func (f *File[T]) look() {
	content, err := Read(f.name)
	if err == nil && bytes.Equal(content, f.content) {
		f.recovered()
		return
	}
	var value T
	if err == nil {
		value, err = f.read(content)
	}
	if err != nil {
		f.refuse(content, err)
		return
	}
	f.content, f.fault, f.refused = content, "", nil
	f.value.Store(&value)
	f.log.Info("a changed file is in force", "file", f.name)
}

// recovered notes that the file is again as it was when it was last good.
func (f *File[T]) recovered() {
	if f.fault != "" {
		f.log.Info("a file is again what is in force", "file", f.name)
	}
	f.fault, f.refused = "", nil
}

func (f *File[T]) refuse(content []byte, err error) {
	if err.Error() == f.fault && bytes.Equal(content, f.refused) {
		return
	}
	f.fault, f.refused = err.Error(), content
	f.log.Error("a changed file is refused, what it said before stays in force", "error", err)
}

func (f *File[T]) read(content []byte) (T, error) {
	value, err := f.parse(content)
	if err != nil {
		return value, fmt.Errorf("%s: %w", f.name, err)
	}
	return value, nil
}

// Read reads a file that may be followed. Errors: those of reading, which name
// the file; it is larger than 1 MiB.
func Read(name string) ([]byte, error) {
	if name == "" {
		return nil, errors.New("no file is given")
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if len(content) > limit {
		return nil, fmt.Errorf("%s: more than %d bytes, which no file of this kind has", name, limit)
	}
	return content, nil
}
