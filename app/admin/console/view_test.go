package console

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/sale/record"
)

func TestNumbersCanBeRead(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1234: "−1,234"} {
		assert.Equal(t, want, grouped(n))
	}
	for want, p := range map[string]record.Price{
		"19.99 EUR":    {Minor: 1999, Currency: "EUR"},
		"0.05 EUR":     {Minor: 5, Currency: "EUR"},
		"1,234.00 USD": {Minor: 123400, Currency: "USD"},
		"1,999 JPY":    {Minor: 1999, Currency: "JPY"},
		"1.999 KWD":    {Minor: 1999, Currency: "KWD"},
	} {
		assert.Equal(t, want, money(p))
	}
	assert.Equal(t, "–", percent(0, 0))
	assert.Equal(t, "12.5 %", percent(1, 8))
	for d, want := range map[time.Duration]string{-time.Second: "0 s", 89 * time.Second: "89 s", 5 * time.Minute: "5 min", 3 * time.Hour: "3 h"} {
		assert.Equal(t, want, roughly(d))
	}
	assert.Equal(t, "é…", clip("éé", 3), "no half of a character")
}

func TestSideBySide(t *testing.T) {
	d := sideBySide("a", "1\n2\n3\n", "b", "1\ntwo\nand a half\n3")
	assert.True(t, d.Changed)
	assert.Equal(t, []diffRow{
		{LeftLine: 1, RightLine: 1, Left: "1", Right: "1"},
		{LeftLine: 2, RightLine: 2, Left: "2", Right: "two", Out: true, In: true},
		{RightLine: 3, Right: "and a half", In: true},
		{LeftLine: 3, RightLine: 4, Left: "3", Right: "3"},
	}, d.Rows)
	assert.False(t, sideBySide("a", "1\n", "b", "1").Changed)
	assert.Empty(t, sideBySide("a", "", "b", "").Rows)
}

// What somebody sends must not become a page that takes the memory away.
func TestSideBySideIsBounded(t *testing.T) {
	d := sideBySide("a", "{}", "b", "{"+strings.Repeat("\n", mostRows+6)+"}")
	assert.Len(t, d.Rows, mostRows)
	assert.Equal(t, 7, d.Cut, "lines more are not shown")
	assert.True(t, d.Changed)
}

func TestConflictsTellWhatDiffers(t *testing.T) {
	c := compare(`"7"`, `"9"`, []field{{"Title", "mine"}, {"SKU", "same"}}, []field{{"Title", "theirs"}, {"SKU", "same"}})
	assert.Equal(t, &conflict{Seen: "7", Have: "9", Fields: []difference{{"Title", "mine", "theirs"}}}, c)
	gone := compare("", "", []field{{"Value", "mine"}}, nil)
	assert.Equal(t, &conflict{Fields: []difference{{"Value", "mine", ""}}}, gone)
}

func TestLabels(t *testing.T) {
	found, err := labels(" zone = a, rack=7,")
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"zone": "a", "rack": "7"}, found)
	_, err = labels("zone")
	require.ErrorContains(t, err, "form")
	_, err = labels("=a")
	require.Error(t, err)
}

func TestOnwardLeadsNowhereElse(t *testing.T) {
	for to, want := range map[string]string{
		"/events": "/events", "": "/", "//evil.example": "/", `/\evil.example`: "/", "https://evil.example": "/", "/\t/evil.example": "/", "events": "/", "/\x00/evil.example": "/",
	} {
		w := httptest.NewRecorder()
		p := &page{w: w, r: httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/login", http.NoBody)}
		require.NoError(t, p.onward(to))
		assert.Equal(t, want, w.Header().Get("Location"), to)
	}
}

// A parser of HTML drops the line end that a textarea begins with.
func TestATextKeepsTheLineEndThatItBeginsWith(t *testing.T) {
	v, err := parse(files)
	require.NoError(t, err)
	var b strings.Builder
	require.NoError(t, v.page(&b, "key", frame{Data: keyPage{Key: "notes/a", Value: "\nfirst"}}))
	assert.Contains(t, b.String(), ">\n\nfirst</textarea>")
}

func TestAFlashIsShownOnceAndIsText(t *testing.T) {
	w := httptest.NewRecorder()
	p := &page{w: w, r: httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", http.NoBody)}
	require.NoError(t, p.leave("/", flash{"good", "<b>é" + strings.Repeat("<\n", 2000)}))
	q := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
	for _, c := range w.Result().Cookies() {
		assert.Less(t, len(c.String()), 4096, "or browsers drop it")
		assert.True(t, c.HttpOnly)
		q.AddCookie(c)
	}
	w = httptest.NewRecorder()
	f := (&page{w: w, r: q}).takeFlash()
	require.NotNil(t, f)
	assert.True(t, strings.HasPrefix(f.Text, "<b>é"))
	assert.Contains(t, w.Header().Get("Set-Cookie"), "Max-Age=0")
	for _, forged := range []string{"x", "e30", "PHNjcmlwdD4geA"} {
		q := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
		q.AddCookie(&http.Cookie{Name: p.flashName(), Value: forged})
		if f := (&page{w: httptest.NewRecorder(), r: q}).takeFlash(); f != nil {
			assert.Equal(t, "bad", f.Kind, "kinds are those of the style sheet")
		}
	}
}

func TestEventsAreTypedFieldByField(t *testing.T) {
	f := eventForm{Title: "T", SKU: "S", Price: "x", Currency: "EUR", Opens: "2026-11-11T20:00", Closes: "soon", Total: "1", PerUser: "1", PayWithin: "60", Slots: "1"}
	_, err := f.draft()
	require.Error(t, err)
	f.Price, f.Closes = "1", "2026-11-11T21:00:00"
	body, err := f.draft()
	require.NoError(t, err)
	assert.Contains(t, string(body), `"opens":"2026-11-11T20:00:00Z"`)
}

func TestOnlyNewsAreTold(t *testing.T) {
	told := map[string]string{}
	assert.Equal(t, map[string]string{"a": "1", "b": "2"}, changes(told, map[string]string{"a": "1", "b": "2"}))
	assert.Equal(t, map[string]string{"b": "3"}, changes(told, map[string]string{"a": "1", "b": "3"}))
	assert.Empty(t, changes(told, map[string]string{"a": "1", "b": "3"}))
}
