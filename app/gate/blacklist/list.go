package blacklist

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed27495941/seckill/app/follow"
)

// A List is a blacklist in force. It is safe for concurrent use.
type List struct {
	file *follow.File
	log  *slog.Logger
	set  atomic.Pointer[set]
	turn chan struct{} // held by who loads

	mu     sync.Mutex
	status Status
}

// Status tells which list is in force, and whether the file is another one.
type Status struct {
	File     string      `json:"file"`
	Mode     follow.Mode `json:"mode"`
	IDs      int         `json:"ids"`
	Size     int64       `json:"size"`     // of the file, in bytes
	Verified bool        `json:"verified"` // by its checksum
	LoadedAt time.Time   `json:"loadedAt"`
	Took     float64     `json:"tookSeconds"` // to load
	BadLines int         `json:"badLines"`
	FirstBad []BadLine   `json:"firstBad,omitempty"`

	// Refusal is why the file as it is now was not taken, nil if it was.
	Refusal   *FileError `json:"refusal,omitempty"`
	RefusedAt time.Time  `json:"refusedAt,omitzero"`

	Loads    uint64 `json:"loads"`
	Refusals uint64 `json:"refusals"`
}

// Open loads a list. Without a checksum it waits for the settle time, for nobody
// can know what was going on when the process started. Errors: the source is not
// valid; a *FileError; context.Cause(ctx) when ctx ends.
func Open(ctx context.Context, source follow.Source, log *slog.Logger) (*List, error) {
	file, err := follow.New(source, log, checksumFile(source.File))
	if err != nil {
		return nil, err
	}
	source = file.Source()
	l := &List{
		file:   file,
		log:    log.With("file", source.File),
		turn:   make(chan struct{}, 1),
		status: Status{File: source.File, Mode: source.Mode},
	}
	l.set.Store(&set{})
	if sum, err := readChecksum(checksumFile(source.File)); err == nil && sum == nil {
		if err := file.Settle(ctx); err != nil {
			return nil, err
		}
	}
	if err := l.Reload(ctx); err != nil {
		return nil, err
	}
	return l, nil
}

// Contains reports whether a user is on the list. It takes no lock and allocates
// nothing.
func (l *List) Contains(user string) bool { return l.set.Load().contains(user) }

// Run reloads the list whenever the file has changed, as its source says, until
// ctx ends; then it returns nil.
func (l *List) Run(ctx context.Context) error {
	return l.file.Run(ctx, func(ctx context.Context) {
		_ = l.Reload(ctx) // it is in the status
	})
}

// Reload loads the file now, whether it has changed or not: who calls it says
// that it is complete. Errors: a *FileError, and the old list stays;
// context.Cause(ctx) when ctx ends.
func (l *List) Reload(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case l.turn <- struct{}{}:
	}
	defer func() { <-l.turn }()

	stamp, began := l.file.Look(), time.Now()
	found, err := l.read(ctx, stamp)
	refusal := (*FileError)(nil)
	if err != nil && !errors.As(err, &refusal) {
		return err
	}
	if refusal == nil || refusal.cause == nil {
		l.file.Done(stamp)
	} else {
		l.file.Undone()
	}
	if refusal != nil {
		l.refused(ctx, refusal)
		return refusal
	}
	l.set.Store(found.set)
	l.loaded(found, time.Since(began))
	return nil
}

func (l *List) read(ctx context.Context, stamp follow.Stamp) (content, error) {
	name := l.file.Source().File
	p := &pace{}
	if l.Status().Loads > 0 { // else nobody is let in before it is loaded
		p = gently()
	}
	found, err := read(ctx, name, p)
	switch {
	case err != nil:
		return content{}, err
	case !l.file.Look().Same(stamp):
		return content{}, &FileError{File: name, Reason: "has changed while it was read"}
	case found.size == 0 && !found.verified && l.set.Load().len > 0:
		return content{}, &FileError{File: name, Reason: `is empty, expected ids, or a line that begins with # to say that nobody is on the list`}
	}
	return found, nil
}

func (l *List) loaded(c content, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.status
	l.status = Status{
		File: before.File, Mode: before.Mode,
		IDs: c.set.len, Size: c.size, Verified: c.verified,
		LoadedAt: time.Now(), Took: took.Seconds(),
		BadLines: c.bad, FirstBad: c.firstBad,
		Loads: before.Loads + 1, Refusals: before.Refusals,
	}
	l.log.Info("blacklist loaded", "ids", c.set.len, "before", before.IDs, "took", took)
	if c.bad > 0 {
		l.log.Warn("bad lines of the blacklist were left out", "lines", c.bad, "first", c.firstBad[0].Line, "reason", c.firstBad[0].Reason)
	}
}

func (l *List) refused(ctx context.Context, r *FileError) {
	l.mu.Lock()
	defer l.mu.Unlock()
	level := slog.LevelWarn
	if last := l.status.Refusal; last != nil && last.Error() == r.Error() {
		level = slog.LevelDebug // it was said
	}
	l.status.Refusal, l.status.RefusedAt = r, time.Now()
	l.status.Refusals++
	l.log.Log(ctx, level, "blacklist refused, the old one stays", "in", r.File, "line", r.Line, "reason", r.Reason)
}

// Status tells which list is in force.
func (l *List) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}
