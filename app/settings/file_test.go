package settings_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/follow"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/internal/stores"
)

// A live is a process that follows its settings file.
type live struct {
	*testing.T
	*settings.File
	path string
	log  *safeBuilder

	mu    sync.Mutex
	taken []settings.Cluster
}

type safeBuilder struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *safeBuilder) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *safeBuilder) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// open starts with a file of a name and text.
func open(t *testing.T, name, text string, change func(*settings.Sources)) *live {
	t.Helper()
	l := &live{T: t, path: write(t, name, text), log: &safeBuilder{}}
	from := settings.Sources{File: l.path}
	change(&from)
	loaded, err := settings.Open(from)
	require.NoError(t, err)
	take := func(c settings.Cluster) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.taken = append(l.taken, c)
		return nil
	}
	l.File, err = settings.NewFile(loaded, take, slog.New(slog.NewTextHandler(l.log, nil)))
	require.NoError(t, err)
	return l
}

func asIs(*settings.Sources) {}

func (l *live) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.taken)
}

// last is what was taken last.
func (l *live) last() settings.Cluster {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.taken[len(l.taken)-1]
}

func (l *live) put(text string) {
	l.Helper()
	require.NoError(l, os.WriteFile(l.path, []byte(text), 0o600))
}

func (l *live) moveIn(text string) {
	l.Helper()
	require.NoError(l, os.WriteFile(l.path+".new", []byte(text), 0o600))
	require.NoError(l, os.Rename(l.path+".new", l.path))
}

func TestWhatIsHotInAFileIsTaken(t *testing.T) {
	l := open(t, "seckill.toml", "[log]\nlevel = 'warn'\n", asIs)
	s := l.Status()
	assert.Equal(t, l.path, s.File)
	assert.Equal(t, follow.Events, s.Mode)
	assert.EqualValues(t, 1, s.Loads)
	assert.Zero(t, l.count(), "the process was started with it")

	l.put("[log]\nlevel = 'debug'\n[config.rateLimit]\nlow = 5\n")
	require.NoError(t, l.Reload(t.Context()))
	want := defaults(t)
	want.LogLevel, want.RateLimit.Low = "debug", 5
	assert.Equal(t, want, l.last())
	assert.EqualValues(t, 2, l.Status().Loads)
	assert.Contains(t, l.log.String(), `msg="settings file loaded" file=`+l.path)
	assert.Contains(t, l.log.String(), `changed="log.level: \"warn\" → \"debug\"; config.rateLimit.low: 10000 → 5"`)

	l.put("")
	require.ErrorContains(t, l.Reload(t.Context()), l.path+": is empty")
	assert.Equal(t, want, l.last(), "what a full disk makes of a file is not believed")
	l.put("# nothing\n")
	require.NoError(t, l.Reload(t.Context()))
	assert.Equal(t, defaults(t), l.last(), "what is left out is as by default again")
}

// What is fixed, and with it the file, is refused as a whole; values that nobody may see are
// not shown.
func TestWhatIsFixedInAFileIsRefused(t *testing.T) {
	const start = "backend = 'consul'\n[store]\ntoken = 'hunter2'\nendpoints = ['http://me:hunter2@a:1']\n"
	for _, test := range []struct{ change, want string }{
		{start + "[api]\nbind = '127.0.0.1:1'\n", `api.bind: "127.0.0.1:8080" → "127.0.0.1:1"`},
		{start + "[node]\nttl = '9s'\n[log]\nlevel = 'debug'\nformat = 'json'", `node.ttl: 6s → 9s; log.format: "text" → "json"`},
		{start + "[reload]\nmode = 'timer'\n", `reload.mode: "events" → "timer"`},
		{"backend = 'etcd'\n", `backend: "consul" → "etcd"; store.endpoints: another value, which is not shown; store.token: another value, which is not shown`},
		{strings.Replace(start, "token = 'hunter2'", "token = 'hunter22'", 1), `store.token: another value, which is not shown`},
	} {
		l := open(t, "seckill.toml", start, asIs)
		l.put(test.change)
		err := l.Reload(t.Context())
		require.EqualError(t, err, l.path+": "+test.want+
			": fixed while the process runs, so nothing of the file is in force: restart the process, or replace it by 'seckill upgrade'")
		assert.NotContains(t, err.Error(), "hunter")
		assert.Zero(t, l.count())
		s := l.Status()
		assert.Equal(t, err.Error(), s.Refusal.Error)
		assert.EqualValues(t, 1, s.Refusals)
		assert.EqualValues(t, 1, s.Loads)
		assert.Contains(t, l.log.String(), "settings file refused, the old settings stay")

		l.put(start + "[log]\nlevel = 'debug'\n")
		require.NoError(t, l.Reload(t.Context()))
		assert.Nil(t, l.Status().Refusal, "put right, it is taken")
		assert.Equal(t, "debug", l.last().LogLevel)
	}
}

func TestABadFileIsRefused(t *testing.T) {
	for name, test := range map[string]struct{ file, text, want string }{
		"TOML":    {"f.toml", "[log]\nlevel = \"deb", ": line 2, column 13: "},
		"YAML":    {"f.yaml", "log:\n  level: [debug,", ": yaml: line 2: "},
		"unknown": {"f.toml", "[log]\nlevl = 'debug'", ": line 2: log.levl: unknown key, did you mean log.level?"},
		"value":   {"f.toml", "[log]\nlevel = 'loud'", `: line 2: log.level: expected one of debug, info, warn, error, got "loud"`},
		"range":   {"f.toml", "[config.rateLimit]\nlow = 0", ": line 2: config: rateLimit.low: expected 1 to 1000000000 requests per second, got 0"},
	} {
		t.Run(name, func(t *testing.T) {
			l := open(t, test.file, "", asIs)
			l.put(test.text)
			require.ErrorContains(t, l.Reload(t.Context()), l.path+test.want)
			require.ErrorContains(t, l.Reload(t.Context()), l.path+test.want, "it is asked again")
			assert.EqualValues(t, 2, l.Status().Refusals)
			assert.Equal(t, 1, strings.Count(l.log.String(), "settings file refused"), "and said once")
			assert.Zero(t, l.count())
		})
	}
}

func TestStrongerLayersStayAboveTheFile(t *testing.T) {
	l := open(t, "seckill.toml", "", func(from *settings.Sources) {
		from.Environ = []string{"SECKILL_CONFIG_RATELIMIT_LOW=3"}
		from.Flags = []settings.Flag{
			{Name: "--log-level", Key: "log.level", Value: "error"}, {Name: "--api-bind", Key: "api.bind", Value: "127.0.0.1:3"},
		}
	})
	assert.Empty(t, l.Status().Outranked)
	l.put("[log]\nlevel = 'debug'\n[api]\nbind = '127.0.0.1:4'\n[config.rateLimit]\nmiddle = 7\nlow = 7\n")
	require.NoError(t, l.Reload(t.Context()), "nothing that is fixed has another effect")
	assert.Equal(t, "error", l.last().LogLevel)
	assert.Equal(t, settings.RateLimit{Middle: 7, Low: 3, PerUser: defaults(t).RateLimit.PerUser}, l.last().RateLimit)
	assert.Equal(t, []string{"log.level by --log-level", "config.rateLimit.low by SECKILL_CONFIG_RATELIMIT_LOW"}, l.Status().Outranked)
}

func TestAFileThatCannotBePutInForceIsRefused(t *testing.T) {
	loaded, err := settings.Open(settings.Sources{File: write(t, "f.toml", "")})
	require.NoError(t, err)
	why := errors.New("not now")
	f, err := settings.NewFile(loaded, func(settings.Cluster) error { return why }, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.ErrorIs(t, f.Reload(t.Context()), why)
	assert.NotNil(t, f.Status().Refusal)
}

func TestNoFileIsNothingToFollow(t *testing.T) {
	loaded, err := settings.Open(settings.Sources{})
	require.NoError(t, err)
	f, err := settings.NewFile(loaded, nil, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	stop := stores.Start(t, f.Run)
	require.ErrorIs(t, f.Reload(t.Context()), settings.ErrNoFile)
	assert.Nil(t, f.Status())
	require.NoError(t, stop())
}

const never = 24 * time.Hour // an interval that has no part in the test

// In each way in which a file may change it is followed.
func TestAFileIsFollowed(t *testing.T) {
	for mode, interval := range map[follow.Mode]time.Duration{follow.Events: never, follow.Timer: 50 * time.Millisecond} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			reload := fmt.Sprintf("[reload]\nmode = '%s'\ninterval = '%s'\n", mode, interval)
			l := open(t, "seckill.toml", reload, asIs)
			l.put(reload + "[log]\nlevel = 'warn'\n") // before it is followed
			stores.Start(t, l.File.Run)
			await := func(level string) {
				t.Helper()
				stores.Wait(t, "taken: "+level, func() bool { return l.count() > 0 && l.last().LogLevel == level })
			}
			await("warn")
			l.moveIn(reload + "[log]\nlevel = 'debug'\n")
			await("debug")
			l.put(reload + "[log]\nlevel = 'error'\n")
			await("error")

			require.NoError(t, os.Remove(l.path))
			stores.Wait(t, "refused", func() bool { return l.Status().Refusal != nil })
			assert.Contains(t, l.Status().Refusal.Error, "config file: open "+l.path)
			assert.Equal(t, "error", l.last().LogLevel)
			l.moveIn(reload)
			await("info")
			stores.Wait(t, "no longer refused", func() bool { return l.Status().Refusal == nil })
		})
	}
}

// As Kubernetes does it: seckill.toml → ..data/seckill.toml, ..data → ..1.
func TestAVolumeThatIsExchangedIsFollowed(t *testing.T) {
	dir := t.TempDir()
	version := func(name, text string) {
		t.Helper()
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name, "seckill.toml"), []byte(text), 0o600))
		require.NoError(t, os.Symlink(name, filepath.Join(dir, "..data_tmp")))
		require.NoError(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	version("..1", "")
	path := filepath.Join(dir, "seckill.toml")
	require.NoError(t, os.Symlink(filepath.Join("..data", "seckill.toml"), path))
	loaded, err := settings.Open(settings.Sources{File: path})
	require.NoError(t, err)
	taken := make(chan string, 1)
	f, err := settings.NewFile(loaded, func(c settings.Cluster) error { taken <- c.LogLevel; return nil }, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	stores.Start(t, f.Run)
	version("..2", "[log]\nlevel = 'debug'\n")
	assert.Equal(t, "debug", <-taken)
}

func TestAFileThatIsPushedIsLoadedWhenToldTo(t *testing.T) {
	l := open(t, "seckill.toml", "[reload]\nmode = 'push'\n", asIs)
	stop := stores.Start(t, l.File.Run)
	l.put("[reload]\nmode = 'push'\n[log]\nlevel = 'debug'\n")
	require.NoError(t, l.Reload(t.Context()))
	assert.Equal(t, "debug", l.last().LogLevel)
	require.NoError(t, stop())
}

// The page for operators has every hot setting, with its default.
func TestHotSettingsAreOnThePage(t *testing.T) {
	page, err := os.ReadFile("../../docs/hot-settings.md")
	require.NoError(t, err)
	encoded, err := json.Marshal(defaults(t))
	require.NoError(t, err)
	var values map[string]any
	require.NoError(t, json.Unmarshal(encoded, &values))
	for _, key := range settings.Keys() {
		name, hot := strings.CutPrefix(key, "config.")
		if !hot {
			continue
		}
		value := any(values)
		for part := range strings.SplitSeq(name, ".") {
			section, ok := value.(map[string]any)
			require.True(t, ok, key)
			value = section[part]
		}
		assert.Regexp(t, fmt.Sprintf("(?m)^\\| %#q \\|[^|]*\\| `?%v`? \\|", regexp.QuoteMeta(name), value), string(page))
	}
}

// A process takes a moment from loading its settings to following their file.
func TestWhatChangesBeforeAFileIsFollowedIsNotMissed(t *testing.T) {
	path := write(t, "seckill.toml", "")
	loaded, err := settings.Open(settings.Sources{File: path})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, []byte("[log]\nlevel = 'debug'\n"), 0o600))
	taken := make(chan string, 1)
	f, err := settings.NewFile(loaded, func(c settings.Cluster) error { taken <- c.LogLevel; return nil }, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	stores.Start(t, f.Run)
	select {
	case level := <-taken:
		assert.Equal(t, "debug", level)
	case <-time.After(time.Minute):
		t.Error("missed")
	}
}
