package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pageFaults is a function for pages, which lists what is wrong with one for those who
// can't see it well.
//
//go:embed testdata/faults.js
var pageFaults string

// A browser is one with a single tab, and somebody who uses it.
type browser struct {
	*testing.T
	ctx   context.Context
	base  string // of the console
	shots string // directory that screenshots are kept in

	mu       sync.Mutex
	troubles []string // that the browser complained of
}

// chromium finds a browser, or skips the test: whoever runs it has to know.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("no browser: neither chromium nor google-chrome is in PATH, so the console's pages are not tried")
	return ""
}

// newBrowser starts a browser that keeps its screenshots under a name.
func newBrowser(t *testing.T, name, base string) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium(t)), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	allocator, stop := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
	t.Cleanup(stop)
	ctx, closeTab := chromedp.NewContext(allocator)
	t.Cleanup(closeTab)
	b := &browser{T: t, ctx: ctx, base: base, shots: filepath.Join(artifacts(t), name)}
	require.NoError(t, os.MkdirAll(b.shots, 0o755))
	require.NoError(t, chromedp.Listen(ctx, b.listen))
	_, err := chromedp.Call(ctx, log.Enable, cdp.Empty{})
	require.NoError(t, err)
	used := looks[len(looks)-1]
	b.look(used.scheme, used.width)
	t.Cleanup(func() {
		if t.Failed() {
			b.snap("failed")
		}
	})
	return b
}

// artifacts is where things are kept that people look at.
func artifacts(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("SECKILL_ARTIFACTS"); dir != "" {
		return dir
	}
	dir, err := filepath.Abs(filepath.Join("..", "..", "bin", "screenshots"))
	require.NoError(t, err)
	return dir
}

// listen notes what the browser complains of. Refusals that a test is about, and
// streams that end with a page, are none.
func (b *browser) listen(event any) {
	text := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		text = e.ExceptionDetails.Text + " " + e.ExceptionDetails.URL
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
			text = e.Entry.Text
		}
	}
	if text != "" {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.troubles = append(b.troubles, text)
	}
}

// do has the browser do something within a time.
func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	require.NoError(b, chromedp.Do(ctx, steps...))
}

// ask evaluates an expression in the page.
func ask[T any](b *browser, expression string) T {
	b.Helper()
	answer, err := try[T](b, expression)
	require.NoError(b, err, expression)
	return answer
}

func try[T any](b *browser, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression))
}

// quoted is a text in JavaScript.
func quoted(text string) string {
	encoded, _ := json.Marshal(text) // texts can be encoded
	return string(encoded)
}

func (b *browser) open(path string) {
	b.Helper()
	b.do(chromedp.Navigate(b.base + path))
}

// fill types into a field in place of what is there.
func (b *browser) fill(field, text string) {
	b.Helper()
	ask[bool](b, fmt.Sprintf(`(() => { const e = document.querySelector(%s); e.value = %s; return true })()`, quoted(field), quoted(text)))
}

// press presses a button or a link, and waits for the page that follows.
func (b *browser) press(what string) {
	b.Helper()
	ask[bool](b, `window.before = true`)
	b.do(chromedp.Click(chromedp.CSS(what)))
	b.eventually("the page after "+what, func() bool {
		done, err := try[bool](b, `!window.before && document.readyState === "complete"`)
		return err == nil && done
	})
}

func (b *browser) eventually(what string, cond func() bool) {
	b.Helper()
	require.Eventually(b, cond, 90*time.Second, 50*time.Millisecond, what)
}

// text is what can be read of the page's main part.
func (b *browser) text() string {
	b.Helper()
	return ask[string](b, `document.querySelector("main").innerText`)
}

// sees waits for a text in the page.
func (b *browser) sees(text string) {
	b.Helper()
	var last string
	require.Eventually(b, func() bool {
		last, _ = try[string](b, `document.querySelector("main").innerText`)
		return strings.Contains(last, text)
	}, 90*time.Second, 50*time.Millisecond, "%q is to be read", text)
}

func (b *browser) path() string {
	b.Helper()
	return ask[string](b, `location.pathname`)
}

// looks are the ways in which a page is looked at. The last one is how it is used.
var looks = []struct {
	name, scheme string
	width        int64
}{{"dark", "dark", 1280}, {"phone", "light", 390}, {"light", "light", 1280}}

// inspect keeps screenshots of the page in every look, and holds it against what those
// need who can't see it well.
func (b *browser) inspect(name string) {
	b.Helper()
	for _, look := range looks {
		b.look(look.scheme, look.width)
		faults := ask[[]string](b, "("+pageFaults+")()")
		assert.Empty(b, faults, "%s, %s", name, look.name)
		b.snap(name + "-" + look.name)
	}
}

func (b *browser) look(scheme string, width int64) {
	b.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	require.NoError(b, err)
	b.do(chromedp.EmulateViewport(width, 900))
}

// snap keeps a screenshot.
func (b *browser) snap(name string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	whole := true
	shot, err := chromedp.Call(ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{CaptureBeyondViewport: &whole, OptimizeForSpeed: &whole})
	if assert.NoError(b, err) {
		assert.NoError(b, os.WriteFile(filepath.Join(b.shots, name+".png"), shot.Data, 0o600))
	}
}

// tabsThrough walks through the page by its tabulator key, and expects every element that
// can have the focus once, in their order, each to be seen to have it.
func (b *browser) tabsThrough() {
	b.Helper()
	want := ask[[]string](b, `(() => {
		const all = [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")]
			.filter((e) => e.type !== "hidden" && !e.matches(":disabled") && e.checkVisibility());
		all.forEach((e, i) => { e.dataset.stop = i });
		const start = document.createElement("i"); // before everything
		start.tabIndex = -1;
		document.body.prepend(start);
		start.focus();
		start.remove();
		return all.map((e, i) => String(i));
	})()`)
	var got []string
	for range 4*len(want) + 10 { // parts of a date are stops of their own
		b.do(chromedp.KeyEvent(kb.Tab))
		at := ask[[]string](b, `(() => {
			const e = document.activeElement, s = getComputedStyle(e);
			return [e.dataset.stop ?? "", s.outlineStyle + " " + s.outlineWidth];
		})()`)
		if at[0] == "" {
			break // the page's end
		}
		if len(got) == 0 || got[len(got)-1] != at[0] {
			if slices.Contains(got, at[0]) {
				break
			}
			got = append(got, at[0])
			assert.NotContains(b, []string{"none 0px", "auto 0px"}, at[1], "the focus is seen at stop %s", at[0])
		}
	}
	assert.Equal(b, want, got, "the focus reaches everything, in order")
}

// complained tells what the browser complained of so far: broken scripts, and what the
// content security policy kept out.
func (b *browser) complained() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.troubles)
}
