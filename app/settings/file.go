package settings

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/seed27495941/seckill/app/follow"
)

// A File is the settings file of a process that runs. When it has changed it is
// loaded again, with the same environment and flags on top, and taken as a whole or not
// at all: what is hot in it takes effect at once, and a file that says another thing
// of what is fixed is refused. It is safe for concurrent use.
type File struct {
	started Settings
	from    Sources
	file    *follow.File // nil: there is none
	take    func(Cluster) error
	log     *slog.Logger

	loading sync.Mutex
	size    int64 // of the file in force, in bytes; guarded by loading

	mu     sync.Mutex
	inHand Settings // as loaded last
	status FileStatus
}

// FileStatus tells which settings file is in force, and why it is not as it is now.
type FileStatus struct {
	File     string      `json:"file"`
	Mode     follow.Mode `json:"mode"`
	LoadedAt time.Time   `json:"loadedAt"`

	// Refusal is about the file as it is now, nil if that is in force.
	Refusal *FileRefusal `json:"refusal,omitempty"`

	// Outranked lists what is hot in the file and has no effect, because the
	// environment or a flag is stronger: "log.level by --log-level".
	Outranked []string `json:"outranked,omitempty"`

	// How often the file was taken, at the start too, and refused.
	Loads    uint64 `json:"loads"`
	Refusals uint64 `json:"refusals"`
}

// A FileRefusal tells why the file was not taken.
type FileRefusal struct {
	Error string    `json:"error"`
	At    time.Time `json:"at"`
}

// ErrNoFile says that a process was started without a settings file.
var ErrNoFile = errors.New("the process was started without a settings file (--config)")

// errChanging says that a file is to be looked at again later.
var errChanging = errors.New("the settings file has changed while it was read")

// NewFile prepares to follow the file that settings were loaded from, in the way
// they say; if there was none the result has nothing to do. take puts the defaults of
// the cluster config in force. Errors: the way is none.
func NewFile(loaded Loaded, take func(Cluster) error, log *slog.Logger) (*File, error) {
	f := &File{started: loaded.Settings, inHand: loaded.Settings, from: loaded.from, take: take, log: log}
	name := loaded.from.File
	if name == "" {
		return f, nil
	}
	f.log = log.With("file", name)
	source := follow.Source{File: name, Mode: follow.Mode(loaded.Settings.Reload.Mode), Interval: loaded.Settings.Reload.Interval}
	var err error
	if f.file, err = follow.New(source, log); err != nil {
		return nil, err
	}
	f.file.Done(loaded.stamp)
	f.size = sizeOf(loaded.stamp)
	f.status = FileStatus{File: name, Mode: source.Mode, LoadedAt: time.Now(), Outranked: loaded.outranked, Loads: 1}
	return f, nil
}

// Run loads the file again whenever it has changed, until ctx ends; then it returns
// nil.
func (f *File) Run(ctx context.Context) error {
	if f.file == nil {
		<-ctx.Done()
		return nil
	}
	return f.file.Run(ctx, func(ctx context.Context) {
		_ = f.Reload(ctx) // it is in the status
	})
}

// Reload loads the file now, whether it has changed or not: who calls it says that
// it is complete. Errors, after which everything is as it was: ErrNoFile; what is
// wrong with the file, or fixed.
func (f *File) Reload(ctx context.Context) error {
	if f.file == nil {
		return ErrNoFile
	}
	f.loading.Lock()
	defer f.loading.Unlock()
	stamp := f.file.Look()
	next, err := f.load(stamp)
	if errors.Is(err, errChanging) {
		return err
	}
	if mayPass(err) {
		f.file.Undone()
	} else {
		f.file.Done(stamp)
	}
	if err != nil {
		f.refused(ctx, err)
		return err
	}
	f.size = sizeOf(stamp)
	f.loaded(ctx, next)
	return nil
}

func sizeOf(s follow.Stamp) int64 {
	if s[0] == nil {
		return 0
	}
	return s[0].Size()
}

// mayPass reports whether a file that could not be read may be readable later without
// being another: its rights may be changed.
func mayPass(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path) && !errors.Is(err, fs.ErrNotExist)
}

// load reads the file and puts it in force.
func (f *File) load(stamp follow.Stamp) (Loaded, error) {
	next, err := Open(f.from)
	if !f.file.Look().Same(stamp) {
		return Loaded{}, errChanging
	}
	if err != nil {
		return Loaded{}, err
	}
	if f.size > 0 && sizeOf(stamp) == 0 {
		return Loaded{}, fmt.Errorf("%s: is empty, which a full disk or a writer that died makes of a file: if every setting is to have its default, say so by a line that begins with #", f.from.File)
	}
	if fixed := changes(&f.started, &next.Settings, func(k setting) bool { return !k.isHot() }); len(fixed) > 0 {
		return Loaded{}, fmt.Errorf("%s: %s: fixed while the process runs, so nothing of the file is in force: restart the process, or replace it by 'seckill upgrade'",
			f.from.File, strings.Join(fixed, "; "))
	}
	return next, f.take(next.Settings.Config)
}

// changes lists the settings of some kind that are others in b than in a.
func changes(a, b *Settings, of func(setting) bool) []string {
	var list []string
	for _, k := range known() {
		if how := k.differ(a, b); how != "" && of(k) {
			list = append(list, k.key+": "+how)
		}
	}
	return list
}

func (f *File) loaded(ctx context.Context, next Loaded) {
	f.mu.Lock()
	defer f.mu.Unlock()
	changed := changes(&f.inHand, &next.Settings, setting.isHot)
	f.inHand = next.Settings
	s := &f.status
	s.LoadedAt, s.Refusal, s.Outranked = time.Now(), nil, next.outranked
	s.Loads++
	f.log.InfoContext(ctx, "settings file loaded", "changed", strings.Join(changed, "; "))
}

func (f *File) refused(ctx context.Context, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	level := slog.LevelError
	if last := f.status.Refusal; last != nil && last.Error == err.Error() {
		level = slog.LevelDebug // it was said
	}
	f.status.Refusal = &FileRefusal{Error: err.Error(), At: time.Now()}
	f.status.Refusals++
	f.log.Log(ctx, level, "settings file refused, the old settings stay", "error", err)
}

// Status tells how the file stands, nil if there is none.
func (f *File) Status() *FileStatus {
	if f.file == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.status
	return &s
}
