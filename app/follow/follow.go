package follow

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Mode is how a file is followed.
type Mode string

// The modes there are.
const (
	Events Mode = "events"
	Timer  Mode = "timer"
	Push   Mode = "push"
)

// Defaults of a [Source].
const (
	DefaultInterval = time.Minute
	DefaultSettle   = 2 * time.Second
)

// A Source is a file, and how it is followed.
type Source struct {
	File     string
	Mode     Mode          // empty: Events
	Interval time.Duration // between two looks: DefaultInterval if 0. Push does not use it.
	Settle   time.Duration // that a change has to last: DefaultSettle if 0
}

// Validate says what is wrong with a source.
func (s Source) Validate() error {
	switch {
	case s.File == "":
		return fmt.Errorf("no file to follow")
	case s.Mode != "" && s.Mode != Events && s.Mode != Timer && s.Mode != Push:
		return fmt.Errorf("follow %s: mode %q: expected one of %s, %s, %s", s.File, s.Mode, Events, Timer, Push)
	case s.Interval < 0:
		return fmt.Errorf("follow %s: interval %v: expected a time", s.File, s.Interval)
	case s.Settle < 0:
		return fmt.Errorf("follow %s: settle time %v: expected a time", s.File, s.Settle)
	}
	return nil
}

// A File is a file that is followed. It is safe for concurrent use.
type File struct {
	source Source
	files  []string // the file and those beside it
	log    *slog.Logger

	mu   sync.Mutex
	done Stamp
}

// New prepares to follow a file together with others, such as its checksum: a
// change of any is one of all, but only the file's own directory has events.
// Errors: the source is not valid.
func New(s Source, log *slog.Logger, beside ...string) (*File, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if s.Mode == "" {
		s.Mode = Events
	}
	if s.Interval == 0 {
		s.Interval = DefaultInterval
	}
	if s.Settle == 0 {
		s.Settle = DefaultSettle
	}
	return &File{source: s, files: append([]string{s.File}, beside...), log: log.With("file", s.File)}, nil
}

// Source returns what is followed, and how.
func (f *File) Source() Source { return f.source }

// Look returns the files' stamp.
func (f *File) Look() Stamp { return Look(f.files...) }

// Done says that there is nothing left to do with the files as they were with
// this stamp: they were taken, or refused for good. Run does not tell of them.
func (f *File) Done(s Stamp) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done = s
}

// Undone says that the files could not be read, and have to be once that is over: even if
// they are then as they were when they were Done.
func (f *File) Undone() { f.Done(nil) }

func (f *File) isDone(s Stamp) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return s.Same(f.done)
}

// restless is after how many settle times it is said that files do not settle.
const restless = 10

// Settle waits until the files have been the same for the settle time. That they go on
// changing is logged. Errors: context.Cause(ctx) when ctx ends.
func (f *File) Settle(ctx context.Context) error {
	now := f.Look()
	for tries := 1; ; tries++ {
		if err := sleep(ctx, f.source.Settle); err != nil {
			return err
		}
		next := f.Look()
		if next.Same(now) {
			return nil
		}
		now = next
		if tries%restless == 0 {
			f.log.Warn("a file keeps changing: until it has been the same for the settle time it is not loaded, and what was loaded before stays",
				"settle", f.source.Settle, "changing_for", time.Duration(tries)*f.source.Settle)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// Run calls changed, from one goroutine, whenever the files have changed and
// settled, until they are [File.Done]: with the next event, or after Interval, it
// is called again. It returns nil when ctx ends.
func (f *File) Run(ctx context.Context, changed func(context.Context)) error {
	if f.source.Mode == Push {
		<-ctx.Done()
		return nil
	}
	w := f.watch()
	defer w.close()
	ticker := time.NewTicker(f.source.Interval)
	defer ticker.Stop()
	for {
		if !f.isDone(f.Look()) && f.Settle(ctx) == nil && !f.isDone(f.Look()) {
			changed(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.events:
		case err := <-w.errors: // of an overflow, mostly
			f.log.Warn("events of a file's directory may be missing", "error", err)
		case <-ticker.C:
			w.renew()
		}
	}
}

// A watch is of the file's directory. Without one, because of the mode or because
// the system has none left to give, its channels are nil.
type watch struct {
	dir     string
	log     *slog.Logger
	watcher *fsnotify.Watcher
	events  <-chan fsnotify.Event
	errors  <-chan error
}

func (f *File) watch() *watch {
	w := &watch{dir: filepath.Dir(f.source.File), log: f.log}
	if f.source.Mode != Events {
		return w
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		w.log.Warn("no events of a file's directory, it is looked at from time to time", "error", err)
		return w
	}
	w.watcher, w.events, w.errors = watcher, watcher.Events, watcher.Errors
	w.renew()
	return w
}

// renew watches the directory that has the name now: it may be another one than
// before.
func (w *watch) renew() {
	if w.watcher == nil {
		return
	}
	// If it is not watched any more, as a directory that was deleted, all is well.
	_ = w.watcher.Remove(w.dir)
	if err := w.watcher.Add(w.dir); err != nil {
		w.log.Warn("no events of a file's directory, it is looked at from time to time", "error", err)
	}
}

func (w *watch) close() {
	if w.watcher != nil {
		_ = w.watcher.Close() // its goroutine ends with the channels
	}
}
